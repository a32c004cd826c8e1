//! Starting the program with just these flags, and hearing from it where it listens.

use std::ffi::OsStr;
use std::process::Command;

use crate::support::{Conn, Endpoint, Process, jq_server};

/// Starts the program with these flags and no others.
pub(crate) fn start(flags: &[impl AsRef<OsStr>]) -> Process {
    let mut command = Command::new(jq_server());
    command.args(flags);
    Process::spawn(command)
}

/// Runs the program to its end. Tells its exit status and what it wrote.
pub(crate) fn run(flags: &[impl AsRef<OsStr>]) -> (i32, String) {
    let mut process = start(flags);
    (process.exit_code(), process.output())
}

/// Where a server says that it listens, as soon as it says so.
pub(crate) fn endpoint(server: &Process) -> Endpoint {
    let line = server.await_output("listening address=");
    let (_, rest) = line.split_once("address=\"").expect("the address is in quotes");
    let (address, _) = rest.split_once('"').expect("the address is in quotes");
    match address.strip_prefix("unix:") {
        Some(path) => Endpoint::Unix(path.into()),
        None => Endpoint::Tcp(address.parse().expect("an address and a port")),
    }
}

/// A connection to a server, and proof that it serves.
pub(crate) fn connect(endpoint: &Endpoint) -> Conn {
    let mut conn = Conn::open(endpoint).expect("the server accepts");
    assert_eq!(conn.ask("list-tube-used").line(), b"USING default");
    conn
}
