//! Sockets that the service manager passes in (sd_listen_fds(3)).

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::run::{connect, endpoint};
use crate::support::{Conn, Endpoint, Process, by_shell, scratch_path};

/// What the service manager does, with the socket on descriptor 0.
const PASS: &str = r#"exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@""#;

/// The same, but meant for another process.
const PASS_TO_ANOTHER: &str =
    r#"exec 3<&0 </dev/null; export LISTEN_PID=1 LISTEN_FDS=1; exec "$@""#;

/// Starts a server with a socket passed in, and an address of its own in its flags.
fn start(script: &str, socket: impl Into<OwnedFd>) -> Process {
    let mut command = by_shell(script);
    command.args(["-l", "127.0.0.1", "-p", "0"]);
    Process::spawn_on(command, Stdio::from(socket.into()))
}

fn tcp_socket() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, Endpoint::Tcp(address))
}

#[test]
fn a_tcp_socket() {
    let (listener, given) = tcp_socket();
    // Whoever comes before the server is there waits for it.
    let mut early = Conn::open(&given).expect("the socket listens");
    early.send("list-tube-used\r\n");
    let mut server = start(PASS, listener);
    early.expect("USING default\r\n");
    assert_eq!(format!("{:?}", endpoint(&server)), format!("{given:?}"));
    connect(&given);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_unix_socket() {
    let path = scratch_path("socket");
    let listener = UnixListener::bind(&path).expect("a socket can be made");
    let given = Endpoint::Unix(path.clone());
    let mut early = Conn::open(&given).expect("the socket listens");
    early.send("list-tube-used\r\n");
    let mut server = start(PASS, listener.try_clone().expect("a socket can be duplicated"));
    early.expect("USING default\r\n");
    connect(&given);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(path.exists(), "it is the service manager's to remove");

    // The next one takes over, with those who came meanwhile.
    let mut between = Conn::open(&given).expect("the socket still listens");
    between.send("list-tube-used\r\n");
    let _next = start(PASS, listener);
    between.expect("USING default\r\n");
    std::fs::remove_file(&path).expect("it is ours");
}

#[test]
fn something_else_than_a_socket() {
    let file = File::open("/dev/null").expect("it is always there");
    let mut server = start(PASS, file);
    assert_eq!(server.exit_code(), 111, "{}", server.output());
}

#[test]
fn a_socket_meant_for_another_process() {
    let (listener, given) = tcp_socket();
    let server = start(PASS_TO_ANOTHER, listener);
    let own = endpoint(&server);
    assert_ne!(format!("{own:?}"), format!("{given:?}"));
    connect(&own);
}
