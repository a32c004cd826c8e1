//! Flags, sockets, privileges, and then the server. Nothing else.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use jq_server::access::{Access, HashToken, HashTokenError};
use jq_server::admin::{Admin, AdminError};
use jq_server::clock::Clock;
use jq_server::config::{self, Config, HttpConfig};
use jq_server::log::binlog::Options;
use jq_server::log::{self, OpenError, Opened, v7};
use jq_server::policies::TubesFile;
use jq_server::privileges::{self, BecomeError};
use jq_server::server::{Bound, Certificates, Parts, ServeError};
use jq_server::{FileError, logging, memory, server};
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: memory::Reserving = memory::Reserving;

fn main() -> ExitCode {
    let config = match Config::from_args(std::env::args_os()) {
        Ok(config) => config,
        Err(exit) => {
            // Nobody may be there to read it; the status counts all the same.
            let _ = match exit.status {
                0 => io::stdout().write_all(exit.message.as_bytes()),
                _ => io::stderr().write_all(exit.message.as_bytes()),
            };
            return ExitCode::from(exit.status);
        }
    };
    if let Some(hash_token) = &config.hash_token {
        return self::hash_token(hash_token);
    }
    memory::set_limits();
    logging::init(config.log_format, config.verbosity);
    if config.binlog_export_v7.is_none() {
        server::ignore_hangup();
    }
    info!(version = jq_server::VERSION, pid = std::process::id(), "jq-server");
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if let Some(dir) = &config.binlog_export_v7 {
        return export(dir, &config);
    }
    if let Some(status) = inspect(&config) {
        return status;
    }
    let bound = match Bound::open(&config.listeners) {
        Ok(bound) => bound,
        Err(failure) => {
            error!("{failure}");
            return ExitCode::from(config::EXIT_CANNOT_LISTEN);
        }
    };
    let http = match bind_http(&config, &bound) {
        Ok(http) => http,
        Err(status) => return status,
    };
    if let Err(status) = become_user(&config) {
        return status;
    }
    privileges::raise_descriptor_limit();
    let (tubes, access) = match read_files(&config) {
        Ok(files) => files,
        Err(failure) => {
            error!("{failure}");
            return ExitCode::from(config::EXIT_USAGE);
        }
    };
    let certificates = match config.tls.as_ref().map(Certificates::read).transpose() {
        Ok(certificates) => certificates,
        Err(failure) => {
            error!("{failure}");
            return ExitCode::from(config::EXIT_USAGE);
        }
    };
    if let Some(name) = unknown_principal(&config, access.as_deref()) {
        error!("--listen ...?as={name}: there is no principal of this name in the file of --auth");
        return ExitCode::from(config::EXIT_USAGE);
    }
    let started = http
        .map(|(bound, http)| Admin::start(bound, http, &config, certificates.as_ref()))
        .transpose();
    let admin = match started {
        Ok(admin) => admin,
        Err(failure) => {
            error!("{failure}");
            return match failure {
                AdminError::Listen(_) => ExitCode::from(config::EXIT_CANNOT_LISTEN),
                AdminError::Tokens(_) => ExitCode::from(config::EXIT_USAGE),
                AdminError::Io(_) => ExitCode::FAILURE,
            };
        }
    };
    if access.is_some() && config.http.as_ref().is_some_and(|http| http.token_file.is_none()) {
        warn!(
            "--auth is for the protocol alone: without --http-token-file, every program of this \
             machine can read all jobs over HTTP"
        );
    }
    let clock = Clock::start();
    let opened = match Opened::open(&config, &clock) {
        Ok(opened) => opened,
        Err(failure) => return cannot_open(&failure),
    };
    let parts = Parts { admin, tubes, access, certificates };
    match server::run(bound, &config, clock, opened, parts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ ServeError::Listen(_)) => {
            error!("{failure}");
            ExitCode::from(config::EXIT_CANNOT_LISTEN)
        }
        Err(failure @ (ServeError::Io(_) | ServeError::LogLost(_))) => {
            error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Hashes a token.
fn hash_token(hash_token: &HashToken) -> ExitCode {
    let Err(failure) = hash_token.run() else { return ExitCode::SUCCESS };
    let _ = writeln!(io::stderr(), "error: {failure}");
    match failure {
        HashTokenError::Input(_) => ExitCode::from(config::EXIT_USAGE),
        // As shells count those whom a signal has ended.
        HashTokenError::Interrupted(signal) => ExitCode::from(128 + signal as u8),
        HashTokenError::Hash(_) | HashTokenError::Io(..) => ExitCode::FAILURE,
    }
}

/// Binds the socket of `--http`, if it is given.
fn bind_http<'a>(
    config: &'a Config,
    others: &[Bound],
) -> Result<Option<(Bound, &'a HttpConfig)>, ExitCode> {
    let Some(http) = &config.http else { return Ok(None) };
    let bound = Bound::open_http(&http.address, others).map_err(|failure| {
        error!("{failure}");
        ExitCode::from(config::EXIT_CANNOT_LISTEN)
    })?;
    if http.token_file.is_none() && !bound.is_local() {
        error!(
            "--http {}: others could reach it, so it needs --http-token-file; without, expected a \
             loopback address such as 127.0.0.1, or unix:PATH",
            http.address
        );
        return Err(ExitCode::from(config::EXIT_USAGE));
    }
    Ok(Some((bound, http)))
}

/// Reads the files that flags name, as the user that serves: that is who reads them again.
fn read_files(config: &Config) -> Result<(Option<TubesFile>, Option<Arc<Access>>), FileError> {
    let tubes = config.tubes.as_deref().map(TubesFile::read).transpose()?;
    let access = config.auth.as_deref().map(Access::open).transpose()?;
    Ok((tubes, access.map(Arc::new)))
}

/// The principal of a listener that is not in the file of --auth.
fn unknown_principal<'a>(config: &'a Config, access: Option<&Access>) -> Option<&'a str> {
    let directory = access?.directory();
    let mut names = config.listeners.iter().filter_map(|listener| listener.acts_as.as_deref());
    names.find(|name| directory.by_name(name).is_none())
}

/// Makes beanstalkd's files of the jobs that are kept in a directory.
fn export(dir: &Path, config: &Config) -> ExitCode {
    if let Err(status) = become_user(config) {
        return status;
    }
    let options = Options::new(config.sync_policy, config.binlog_size);
    match v7::export(dir, options, Clock::start().now()) {
        Ok(exported) => {
            // It is done, whether somebody reads it or not.
            let _ = write!(io::stdout(), "{exported}");
            ExitCode::SUCCESS
        }
        Err(failure) => cannot_open(&failure),
    }
}

/// Backs up, checks or prints what is kept in a directory, if that is asked for.
fn inspect(config: &Config) -> Option<ExitCode> {
    let Config { binlog_backup, binlog_check, binlog_dump, .. } = config;
    if binlog_backup.is_none() && binlog_check.is_none() && binlog_dump.is_none() {
        return None;
    }
    if let Err(status) = become_user(config) {
        return Some(status);
    }
    let now = Clock::start().now();
    let done = if let Some((from, to)) = binlog_backup {
        log::backup(from, to, now).map(|done| done.to_string())
    } else if let Some(dir) = binlog_check {
        log::check(dir, now).map(|done| done.to_string())
    } else if let Some(dir) = binlog_dump {
        log::dump(dir, now, io::stdout().lock()).map(|()| String::new())
    } else {
        return None;
    };
    Some(match done {
        Ok(text) => {
            // It is done, whether somebody reads it or not.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => cannot_open(&failure),
    })
}

fn become_user(config: &Config) -> Result<(), ExitCode> {
    let Some(user) = &config.user else { return Ok(()) };
    privileges::become_user(user).map_err(|failure| {
        error!("{failure}");
        ExitCode::from(match failure {
            BecomeError::NoSuchUser(_) => config::EXIT_NO_SUCH_USER,
            BecomeError::Refused(..) => config::EXIT_CANNOT_BECOME,
        })
    })
}

fn cannot_open(failure: &OpenError) -> ExitCode {
    error!("{failure}");
    ExitCode::from(match failure {
        OpenError::Directory(_) => config::EXIT_CANNOT_LOCK,
        OpenError::Replay(..) | OpenError::TakeOver(..) | OpenError::Nothing(_) => {
            config::EXIT_CANNOT_REPLAY
        }
        OpenError::Output(_) => return ExitCode::FAILURE,
    })
}
