//! Where it listens.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::run::{connect, endpoint, run, start};
use crate::support::{Endpoint, scratch_path, skip};

#[test]
fn port_0_is_a_free_one_that_is_logged() {
    let servers = [(); 2].map(|()| start(&["-l", "127.0.0.1", "-p", "0"]));
    let ports = servers.each_ref().map(|server| match endpoint(server) {
        Endpoint::Tcp(address) => {
            connect(&Endpoint::Tcp(address));
            address.port()
        }
        Endpoint::Unix(path) => panic!("{} is no port", path.display()),
    });
    assert!(ports[0] != 0 && ports[1] != 0 && ports[0] != ports[1], "{ports:?}");
}

#[test]
fn ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skip("listening on ::1", "this machine has no IPv6 loopback address");
    }
    let server = start(&["-l", "::1", "-p", "0"]);
    let endpoint = endpoint(&server);
    assert!(matches!(endpoint, Endpoint::Tcp(address) if address.is_ipv6()), "{endpoint:?}");
    connect(&endpoint);
}

#[test]
fn a_name_is_looked_up() {
    let server = start(&["-l", "localhost", "-p", "0"]);
    connect(&endpoint(&server));
}

fn unix(path: &Path) -> [String; 2] {
    ["-l".to_owned(), format!("unix:{}", path.display())]
}

#[test]
fn a_unix_socket_is_removed_at_the_end() {
    let path = scratch_path("socket");
    let mut server = start(&unix(&path));
    connect(&endpoint(&server));
    assert!(fs::metadata(&path).expect("it is there").file_type().is_socket());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(!path.exists(), "it is gone");
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let path = scratch_path("socket");
    drop(UnixListener::bind(&path).expect("a socket can be made"));
    assert!(path.exists(), "it is left behind");
    let server = start(&unix(&path));
    connect(&endpoint(&server));
    drop(server);
    assert!(!path.exists(), "it is gone");
}

#[test]
fn a_unix_socket_in_use_is_left_alone() {
    let path = scratch_path("socket");
    let first = start(&unix(&path));
    let endpoint = endpoint(&first);
    let (status, output) = run(&unix(&path));
    assert_eq!(status, 111, "{output}");
    assert!(output.contains(path.to_str().expect("it is text")), "{output}");
    connect(&endpoint);
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    let path = scratch_path("file");
    fs::write(&path, "precious").expect("the temporary folder is writable");
    let (status, output) = run(&unix(&path));
    assert_eq!(status, 111, "{output}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    fs::remove_file(&path).expect("it is ours");
}

#[test]
fn several_listeners_of_different_kinds() {
    let path = scratch_path("socket");
    let url = format!("unix:{}?mode=0606", path.display());
    let server = start(&["--listen", "tcp://127.0.0.1:0", "--listen", &url]);
    server.await_output(&format!("unix:{}", path.display()));
    let Endpoint::Tcp(address) = endpoint(&server) else { panic!("the first is of TCP") };
    connect(&Endpoint::Tcp(address));
    connect(&Endpoint::Unix(path.clone()));
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o606);
    // Nothing listens where it would without --listen.
    assert_eq!(server.output().matches("listening").count(), 2, "{}", server.output());
}

#[test]
fn a_group_that_there_is_not() {
    let path = scratch_path("socket");
    let url = format!("unix:{}?group=no-such-group", path.display());
    let (status, output) = run(&["--listen", &url]);
    assert_eq!(status, 111, "{output}");
    assert!(output.contains("there is no group \"no-such-group\""), "{output}");
    assert!(!path.exists(), "it is gone");
}
