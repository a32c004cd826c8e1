//! Many slow handshakes at once: others are served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::certificates::Authority;
use crate::peer::open;
use crate::secure::Secure;
use crate::support::{eventually, skip};

/// More than may be under way.
const CROWD: usize = 1500;

/// Handshakes that may be under way.
const MOST: f64 = 1024.0;

/// Those that have sent a bit of their hello, and those that have not.
fn crowd(server: &Secure, count: usize) -> Vec<TcpStream> {
    let begin = |number: usize| {
        let mut stream = open(server.tls).expect("the server accepts");
        if number.is_multiple_of(2) {
            // It may be ended already.
            let _ = stream.write_all(&[22, 3, 1]);
        }
        stream
    };
    (0..count).map(begin).collect()
}

/// Whether the server has ended it.
fn has_ended(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("it is a socket");
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn slow_handshakes_by_the_thousand() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be read");
    if hard < 2 * CROWD as u64 {
        return skip("slow handshakes", "this machine gives a process too few descriptors");
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it may be raised");
    let authority = Authority::new();
    let server = Secure::start(&authority, &["--http", "127.0.0.1:0"]);
    let mut open = server.secure(&authority);
    let mut crowd = crowd(&server, CROWD);
    // While they are there, whoever speaks is served.
    for _ in 0..20 {
        assert_eq!(open.ask("use t"), "USING t");
        assert_eq!(server.secure(&authority).ask("use t"), "USING t");
        assert_eq!(server.connect().ask("use t").line(), b"USING t");
    }
    let under_way = server.metric("jq_tls_handshakes_in_progress").expect("it is there");
    assert!(under_way <= MOST, "{under_way}");
    let out =
        server.metric("jq_tls_handshakes_total{result=\"crowded_out\"}").expect("it is there");
    let late = server.metric("jq_tls_handshakes_total{result=\"timed_out\"}").expect("it is there");
    assert!(out + late >= CROWD as f64 - MOST, "{out} {late}");
    // In the end their time is over.
    eventually("all of them are ended", || crowd.iter_mut().all(has_ended));
    eventually("nothing is left of them", || {
        server.metric("jq_tls_handshakes_in_progress") == Some(0.0)
    });
    assert_eq!(open.ask("use t"), "USING t");
}

/// They do not have the last descriptors.
#[test]
fn descriptors_go_to_those_who_speak() {
    let authority = Authority::new();
    let server = Secure::by_shell("ulimit -n 64 && exec \"$@\"", &authority, &[]);
    let _crowd = crowd(&server, 200);
    for _ in 0..5 {
        assert_eq!(server.connect().ask("use t").line(), b"USING t");
        assert_eq!(server.secure(&authority).ask("use t"), "USING t");
    }
}
