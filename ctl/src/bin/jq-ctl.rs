//! The command `jq-ctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    jq_ctl::main(std::env::args_os())
}
