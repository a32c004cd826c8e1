//! `jq-compare` measures servers that speak the beanstalkd protocol, side by side.
//!
//! It starts each server alone on one core, loads it from one other core, takes turns between
//! the servers round by round, and prints medians and their ratios to the first server. See
//! `README.md` for what the scenarios do and how to read the numbers.
//!
//! The load comes from one thread that does as little as it can: raw `epoll`, requests built in
//! advance, replies framed by hand. That is why this crate uses neither `tokio` nor the project's
//! own protocol and client crates: what it measures must not be measured with itself.
//! By TLS, the cryptography of the load counts as well, on the client's core.

mod affinity;
mod args;
mod channel;
mod control;
mod echo;
mod failure;
mod handover;
mod interrupt;
mod ledger;
mod load;
mod meter;
mod metric;
mod procfs;
mod report;
mod resident;
mod restart;
mod round;
mod scenario;
mod server;
mod session;
mod spec;
mod stall;
mod stats;
mod suite;
mod syscalls;
mod wakeup;
mod way;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Helper};

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.helper {
        Some(Helper::Echo { port }) => echo::run(port).map_err(|e| e.to_string()),
        Some(Helper::Launch { cpus, parent, command }) => {
            Err(server::launch(&cpus, parent, &command).to_string())
        }
        None => return round::run(args.compare),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("jq-compare: {message}");
            ExitCode::FAILURE
        }
    }
}
