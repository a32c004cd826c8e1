//! What the command line offers.

mod check;
mod control;
mod job_file;
mod run;
mod scripts;
mod selftest;
mod serve;
mod submit;

#[cfg(test)]
pub(crate) use selftest::queue::Queue as PrivateQueue;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use control::Wanted;

use crate::config::{Config, ConfigError, Flags};
use crate::store::StoreError;
use crate::worker::StartError;

/// Invalid flags, or a configuration that cannot be used.
pub const EXIT_CONFIG: u8 = 5;
/// The state directory cannot be used, or another worker uses it.
pub const EXIT_STATE: u8 = 10;
/// The worker cannot listen on the address.
pub const EXIT_LISTEN: u8 = 111;

/// Takes JSON jobs from a queue, runs a local process for each, and publishes its result at a URL.
#[derive(Debug, Parser)]
#[command(
    name = "jq-worker",
    version,
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: (),
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
    /// Log more: -V each job that succeeds, -VV everything
    #[arg(short = 'V', action = clap::ArgAction::Count, global = true)]
    verbosity: u8,
    /// Format of log lines
    #[arg(long, value_name = "FORMAT", default_value = "text", global = true)]
    log_format: jq_server::logging::Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration: report what the worker would do, and what is wrong
    Check(Flags),
    /// Run built-in jobs that succeed, fail, hang and misbehave, against a private queue
    Selftest(Flags),
    /// Run one job from a file, without a queue, and print its result
    Run(run::Args),
    /// Put a job from a file into the queue
    Submit(submit::Args),
    /// Have a worker end a job, wherever it is
    Cancel(control::Args),
    /// Have a worker queue a job anew that is over
    Rerun(control::Args),
    /// What the self-test runs
    #[command(hide = true)]
    SelftestHandler {
        /// Which of them.
        name: selftest::Behaviour,
    },
}

/// A command failed.
#[derive(Debug)]
pub struct Failed {
    status: u8,
    message: String,
}

impl Failed {
    fn new(status: u8, message: impl fmt::Display) -> Self {
        Self { status, message: message.to_string() }
    }

    fn other(message: impl fmt::Display) -> Self {
        Self::new(1, message)
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self::new(EXIT_CONFIG, error)
    }
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        let status = match &error {
            StartError::Config(_) => EXIT_CONFIG,
            StartError::Store(StoreError::Locked(_) | StoreError::Io(..)) => EXIT_STATE,
        };
        Self::new(status, error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::other(error)
    }
}

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Does what the arguments say.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                // Nobody may be there to read it; the status counts all the same.
                return ExitCode::from(EXIT_CONFIG);
            }
            // Whoever reads only the beginning wants no more.
            return match printed {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    let _ = writeln!(io::stderr(), "jq-worker: standard output: {error}");
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            };
        }
    };
    if let Some(Command::SelftestHandler { name }) = &cli.command {
        return selftest::behave(*name);
    }
    // What the self-test has to say it prints; its failures are wanted.
    if !matches!(cli.command, Some(Command::Selftest(_))) || cli.verbosity > 0 {
        jq_server::logging::init(cli.log_format, cli.verbosity);
    }
    let done = match cli.command {
        None => Config::load(&cli.flags)
            .map_err(Failed::from)
            .and_then(|config| serve::serve(config, cli.flags)),
        Some(Command::Check(flags)) => check::check(&flags),
        Some(Command::Selftest(flags)) => selftest::selftest(&flags),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Submit(args)) => submit::submit(&args),
        Some(Command::Cancel(args)) => control::control(&args, Wanted::Cancelled),
        Some(Command::Rerun(args)) => control::control(&args, Wanted::RunAgain),
        Some(Command::SelftestHandler { .. }) => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { status, message }) => {
            if !message.is_empty() {
                let _ = writeln!(io::stderr(), "jq-worker: {message}");
            }
            ExitCode::from(status)
        }
    }
}

/// Threads for what waits, as does nearly all of a worker.
const MAX_THREADS: usize = 4;

/// One for a whole command.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(MAX_THREADS))
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_or_a_subcommand() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["jq-worker"], args].concat());
        let cli = parse(&["--tube", "t", "-VV", "--", "sh", "-c", "x"]).unwrap();
        assert_eq!(
            (cli.flags.command, cli.verbosity),
            (vec!["sh".into(), "-c".into(), "x".into()], 2)
        );
        assert!(matches!(
            parse(&["check", "--tube", "t"]).unwrap().command,
            Some(Command::Check(_))
        ));
        assert!(parse(&["--tube", "t", "check"]).is_err());
        assert!(parse(&["--tube", "a b"]).is_err());
        assert!(parse(&["--server", "nowhere"]).is_err());
        assert!(parse(&["surprise"]).is_err());
    }
}
