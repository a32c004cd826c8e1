//! Flags, sockets, privileges, and then the server. Nothing else.

use std::io::{self, Write};
use std::process::ExitCode;

use jq_server::clock::Clock;
use jq_server::config::{self, Config};
use jq_server::log::{OpenError, Opened};
use jq_server::privileges::{self, BecomeError};
use jq_server::server::{Bound, ServeError};
use jq_server::{logging, server};
use tracing::{error, info, warn};

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
    logging::init(config.log_format, config.verbosity);
    info!(version = jq_server::VERSION, pid = std::process::id(), "jq-server");
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let bound = match Bound::open(&config.listen) {
        Ok(bound) => bound,
        Err(failure) => {
            error!("{failure}");
            return ExitCode::from(config::EXIT_CANNOT_LISTEN);
        }
    };
    if let Some(user) = &config.user
        && let Err(failure) = privileges::become_user(user)
    {
        error!("{failure}");
        return ExitCode::from(match failure {
            BecomeError::NoSuchUser(_) => config::EXIT_NO_SUCH_USER,
            BecomeError::Refused(..) => config::EXIT_CANNOT_BECOME,
        });
    }
    privileges::raise_descriptor_limit();
    let clock = Clock::start();
    let opened = match Opened::open(&config, &clock) {
        Ok(opened) => opened,
        Err(failure) => {
            error!("{failure}");
            return ExitCode::from(match failure {
                OpenError::Directory(_) => config::EXIT_CANNOT_LOCK,
                OpenError::Replay(..) => config::EXIT_CANNOT_REPLAY,
            });
        }
    };
    match server::run(bound, &config, clock, opened) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ ServeError::Listen(_)) => {
            error!("{failure}");
            ExitCode::from(config::EXIT_CANNOT_LISTEN)
        }
        Err(failure @ ServeError::Io(_)) => {
            error!("{failure}");
            ExitCode::FAILURE
        }
    }
}
