//! `jq-ctl`: looks into a job queue and steers it from the command line.
//!
//! Most commands need nothing but the beanstalk protocol, so they serve beanstalkd too. What the
//! protocol has no command for goes over jq-server's HTTP API (`--http`).
//!
//! Owns: the command line, the files that jobs are exported to, and how things look. Must not know:
//! what a byte of the protocol means (jq-client's), or what a document of the API contains
//! (jq-api's).

pub mod cli;
mod commands;
mod completions;
mod config;
mod failed;
mod http;
mod look;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
pub use crate::completions::completions;
use crate::failed::Failed;
pub use crate::failed::{
    EXIT_FAILED, EXIT_FILE, EXIT_NOT_CONFIRMED, EXIT_NOT_FOUND, EXIT_TIMED_OUT, EXIT_UNREACHABLE,
    EXIT_USAGE,
};

/// Does what the arguments say, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print().map_err(Failed::from);
            if error.use_stderr() {
                // Nobody may be there to read it; the status counts all the same.
                return ExitCode::from(EXIT_USAGE);
            }
            return ended(printed);
        }
    };
    ended(commands::run(cli))
}

fn ended(result: Result<(), Failed>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            if !failed.message.is_empty() {
                let _ = writeln!(anstream::stderr(), "jq-ctl: {}", failed.message);
            }
            ExitCode::from(failed.status)
        }
    }
}
