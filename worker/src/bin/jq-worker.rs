//! The command `jq-worker`.

use std::process::ExitCode;

use jq_worker::{commands, exec};

fn main() -> ExitCode {
    // The process that keeps a job's: started by the worker itself, and nothing else of this
    // program is of use to it.
    if std::env::args_os().nth(1).is_some_and(|first| first == exec::keeper::ARGUMENT) {
        return exec::keeper::main();
    }
    commands::main(std::env::args_os())
}
