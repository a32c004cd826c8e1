//! Limits of the whole server.

use crate::support::{Conn, Input, PATIENCE, Server, eventually};

/// Whether a new connection is let in.
fn is_served(conn: &mut Conn) -> bool {
    conn.try_send("list-tube-used\r\n").is_ok()
        && matches!(conn.next(PATIENCE), Input::Reply(reply) if reply.line() == b"USING default")
}

fn put(conn: &mut Conn, body: &[u8]) -> String {
    conn.send([format!("put 0 0 60 {}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat());
    String::from_utf8(conn.reply().line().to_vec()).expect("it is ASCII")
}

#[test]
fn jobs_and_memory() {
    let server = Server::jq(&["--max-jobs", "3", "--max-memory", "100000", "-z", "1000000"]);
    let mut conn = server.connect();
    assert_eq!(put(&mut conn, &[b'x'; 200_000]), "OUT_OF_MEMORY");
    assert_eq!(put(&mut conn, &[b'x'; 60_000]), "INSERTED 2");
    assert_eq!(put(&mut conn, &[b'x'; 60_000]), "OUT_OF_MEMORY");
    assert_eq!(put(&mut conn, b"y"), "INSERTED 4");
    conn.ask("use other");
    assert_eq!(put(&mut conn, b"y"), "INSERTED 5");
    assert_eq!(put(&mut conn, b"y"), "OUT_OF_MEMORY");
    let stats = conn.ask("stats");
    assert_eq!(stats.value("refused-puts-max-jobs"), Some("1"), "{stats}");
    assert_eq!(stats.value("refused-puts-max-memory"), Some("2"), "{stats}");
    // What is gone makes room.
    assert_eq!(conn.ask("delete 2").line(), b"DELETED");
    assert_eq!(put(&mut conn, &[b'x'; 60_000]), "INSERTED 7");
}

/// With a log too, where what is there at the start counts.
#[test]
fn what_is_restored_counts() {
    let folder = crate::support::folder::Folder::new();
    let server = folder.serve(&["-f0"]);
    let mut conn = server.connect();
    for _ in 0..5 {
        assert!(put(&mut conn, b"x").starts_with("INSERTED"));
    }
    crate::support::folder::kill(server);
    let server = folder.serve(&["-f0", "--max-jobs", "4"]);
    let mut conn = server.connect();
    assert_eq!(conn.ask("stats").value("current-jobs-ready"), Some("5"));
    assert_eq!(put(&mut conn, b"x"), "OUT_OF_MEMORY");
    assert_eq!(conn.ask("delete 1").line(), b"DELETED");
    assert_eq!(put(&mut conn, b"x"), "OUT_OF_MEMORY");
    assert_eq!(conn.ask("delete 2").line(), b"DELETED");
    assert!(put(&mut conn, b"x").starts_with("INSERTED"));
}

/// A connection that is one too many is closed at once, on any thread and by any kind of socket.
#[test]
fn connections() {
    const MOST: usize = 3;
    let most = MOST.to_string();
    let flags = ["--max-connections", &most];
    for server in [
        Server::jq(&flags),
        Server::jq(&[&flags[..], &["--threads", "3"]].concat()),
        Server::jq_unix(&flags),
    ] {
        let mut conns: Vec<Conn> = Vec::new();
        // The one that has waited for the server to be ready may not be closed yet.
        eventually("there are as many as there may be", || {
            let mut conn = server.connect();
            if is_served(&mut conn) {
                conns.push(conn);
            }
            conns.len() == MOST
        });
        let refused = |conn: &mut Conn| -> u64 {
            let stats = conn.ask("stats");
            let refused = stats.value("refused-connections").and_then(|value| value.parse().ok());
            refused.unwrap_or_else(|| panic!("{stats}"))
        };
        let before = refused(&mut conns[0]);
        for _ in 0..10 {
            let mut conn = server.connect();
            conn.expect("OUT_OF_MEMORY\r\n");
            conn.expect_closed();
        }
        assert_eq!(refused(&mut conns[0]), before + 10);
        let stats = conns[0].ask("stats");
        assert_eq!(stats.value("current-connections"), Some("3"), "{stats}");
        assert!(server.output().contains("see --max-connections"), "{}", server.output());
        // Everybody else is served as ever.
        for conn in &mut conns {
            assert_eq!(conn.ask("list-tube-used").line(), b"USING default");
        }
        // One that goes makes room for another.
        drop(conns.pop());
        eventually("another one is let in", || {
            let mut conn = server.connect();
            is_served(&mut conn)
        });
    }
}

/// A client that closes its connection and opens another is hardly ever refused, though the limit is reached and
/// its connection was on another thread than the one that accepts. It may be, if that thread gets no processor.
#[test]
fn a_client_that_comes_again() {
    const TIMES: usize = 200;
    for (most, threads) in [("1", "1"), ("2", "2")] {
        let server = Server::jq(&["--max-connections", most, "--threads", threads]);
        let mut others: Vec<Conn> = Vec::new();
        eventually("all are there but one", || {
            let mut conn = server.connect();
            if others.len() + 1 < most.parse().unwrap() && is_served(&mut conn) {
                others.push(conn);
            }
            others.len() + 1 == most.parse::<usize>().unwrap()
        });
        let mut refused = 0;
        for _ in 0..TIMES {
            eventually("it is let in", || {
                let is_served = is_served(&mut server.connect());
                refused += usize::from(!is_served);
                is_served
            });
        }
        assert!(refused < TIMES / 10, "{threads} threads: refused {refused} times");
    }
}
