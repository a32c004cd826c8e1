//! What is served over TLS, and how connections end.

use std::io::{Read, Write};
use std::net::Shutdown;

use rustls::version::{TLS12, TLS13};

use crate::certificates::Authority;
use crate::peer::{config, connect, connect_as, shake_hands};
use crate::secure::Secure;
use crate::support::eventually;

#[test]
fn one_queue_with_tls_and_without() {
    let authority = Authority::new();
    for threads in ["1", "3"] {
        let server = Secure::start(&authority, &["--threads", threads, "-z", "5000000"]);
        let body = "0123456789".repeat(400_000);
        let mut plain = server.connect();
        let mut peers: Vec<_> = (0..6).map(|_| server.secure(&authority)).collect();
        for (number, peer) in (1..).zip(&mut peers) {
            peer.send(format!("put 0 0 60 {}\r\n{body}\r\n", body.len()));
            peer.expect(format!("INSERTED {number}\r\n"));
            let found = plain.ask(format!("reserve-job {number}"));
            assert_eq!(
                found.bytes().len(),
                format!("RESERVED {number} 4000000\r\n").len() + 4_000_002
            );
            plain.send(format!("release {number} 0 0\r\n"));
            plain.expect("RELEASED\r\n");
            peer.send(format!("reserve-job {number}\r\n"));
            peer.expect(format!("RESERVED {number} {}\r\n{body}\r\n", body.len()));
            assert_eq!(peer.ask(&format!("delete {number}")), "DELETED");
        }
    }
}

#[test]
fn versions_and_protocols() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &[]);
    for version in [&TLS12, &TLS13] {
        for protocols in
            [&[][..], &[b"beanstalk".to_vec()], &[b"h2".to_vec(), b"beanstalk".to_vec()]]
        {
            let mut config = config(&authority, None, &[version]);
            config.alpn_protocols = protocols.to_vec();
            let peer = connect_as(server.tls, config).expect("they speak the same");
            let conn = &peer.stream.conn;
            assert_eq!(conn.protocol_version(), Some(version.version));
            let expected = (!protocols.is_empty()).then_some(&b"beanstalk"[..]);
            assert_eq!(conn.alpn_protocol(), expected);
        }
        let mut config = config(&authority, None, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let error = connect_as(server.tls, config).map(drop).expect_err("it is another protocol");
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
}

/// With the end of TLS, and with that of the connection alone.
#[test]
fn what_comes_before_the_end_counts() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &[]);
    let mut plain = server.connect();
    for (number, says_end) in (1..).zip([true, false]) {
        let mut peer = server.secure(&authority);
        peer.send("put 0 0 60 5\r\nhello\r\nput 0 0 60 5\r\nhal");
        if says_end {
            peer.stream.conn.send_close_notify();
            peer.stream.flush().expect("the server takes it");
        } else {
            peer.stream.sock.shutdown(Shutdown::Write).expect("it is connected");
        }
        peer.expect(format!("INSERTED {}\r\n", 2 * number - 1));
        peer.expect_end();
        eventually("the second is never there", || {
            plain.ask("stats").value("current-jobs-ready") == Some(&number.to_string())
        });
    }
}

#[test]
fn the_server_says_the_end() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &[]);
    let mut peer = server.secure(&authority);
    peer.send("list-tube-used\r\nquit\r\n");
    peer.expect("USING default\r\n");
    peer.expect_end();
    let mut peer = server.secure(&authority);
    peer.send("reserve\r\n");
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    peer.expect_end();
}

#[test]
fn one_connection_too_many_is_told_by_tls() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &["--max-connections", "1", "--http", "127.0.0.1:0"]);
    let only = server.secure(&authority);
    let config = config(&authority, None, rustls::ALL_VERSIONS);
    let mut peer = shake_hands(server.tls, config).expect("the handshake succeeds");
    peer.expect("OUT_OF_MEMORY\r\n");
    peer.expect_end();
    eventually("it is counted", || server.metric("jq_refused_connections_total") == Some(1.0));
    drop(only);
    eventually("there is room again", || connect(server.tls, &authority, None).is_ok());
}

/// A client that asks for new keys gets its replies with new ones; records without data end it.
#[test]
fn floods_of_records_without_data_end() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &["--http", "127.0.0.1:0"]);
    let mut peer = server.secure(&authority);
    for _ in 0..100 {
        peer.stream.conn.refresh_traffic_keys().expect("it is TLS 1.3");
        assert_eq!(peer.ask("list-tube-used"), "USING default");
    }
    // What the server says to that, if it can still be heard.
    let flood = (0..100).try_for_each(|_| {
        peer.stream.conn.refresh_traffic_keys().map_err(std::io::Error::other)?;
        peer.stream.flush()
    });
    let ended = flood.and_then(|()| peer.stream.read(&mut [0]).map(drop));
    assert!(ended.is_err(), "it goes on");
    let mut other = server.secure(&authority);
    assert_eq!(other.ask("list-tube-used"), "USING default");
}

/// A record that cannot be deciphered ends the connection, and what came before it counts.
#[test]
fn what_comes_before_a_failure_counts() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &[]);
    let mut peer = server.secure(&authority);
    let request = b"put 0 0 60 5\r\nhello\r\n";
    peer.stream.conn.writer().write_all(request).expect("there is room");
    let mut records = Vec::new();
    peer.stream.conn.write_tls(&mut records).expect("there is memory");
    records.extend([23, 3, 3, 0, 32]);
    records.extend([0; 32]);
    peer.stream.sock.write_all(&records).expect("the server takes it");
    let mut rest = Vec::new();
    // It ends with an alert, or is reset if not all was read.
    assert!(peer.stream.read_to_end(&mut rest).is_err(), "{}", rest.escape_ascii());
    let mut plain = server.connect();
    eventually("the job is there", || plain.ask("stats").value("current-jobs-ready") == Some("1"));
    // The same while a reserve waits.
    let mut peer = server.secure(&authority);
    peer.send("watch t\r\nreserve\r\nreserve\r\n");
    peer.expect("WATCHING 2\r\nRESERVED 1 5\r\nhello\r\n");
    peer.stream.sock.write_all(&[0xff; 50]).expect("the server takes it");
    eventually("its job is ready again", || {
        plain.ask("stats").value("current-jobs-ready") == Some("1")
    });
}
