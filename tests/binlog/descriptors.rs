//! Clients that take all descriptors: the log goes on for those that are connected.

use std::net::TcpStream;

use crate::support::folder::Folder;
use crate::support::{Server, eventually};

#[test]
fn idle_clients_leave_some_for_the_log() {
    const JOBS: u64 = 1000;
    for policy in ["-f0", "-f50"] {
        let folder = Folder::new();
        let flags = folder.flags(&[policy, "-s", "65536"]);
        let server = Server::jq_by_shell(r#"ulimit -n 64; exec "$@""#, &flags);
        let mut conn = server.connect();
        let address = ("127.0.0.1", server.port());
        let connect = |_| TcpStream::connect(address).expect("the kernel accepts");
        let _idle: Vec<TcpStream> = (0..74).map(connect).collect();
        eventually("no descriptor is left", || server.output().contains("Too many open files"));
        let body = "x".repeat(1000);
        for id in 1..=JOBS {
            conn.send(format!("put 0 0 600 1000\r\n{body}\r\n"));
            conn.expect(format!("INSERTED {id}\r\n"));
        }
        let stats = conn.ask("stats");
        assert_eq!(stats.value("binlog-state"), Some("good"), "{stats}");
        let segments = |stats: &crate::support::Reply| -> u64 {
            stats.value("binlog-segments").and_then(|it| it.parse().ok()).expect("a number")
        };
        assert!(segments(&stats) > JOBS * 1000 / 65_536 / 2, "others were begun: {stats}");
        for id in 1..=JOBS {
            assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        }
        eventually("old segments are reclaimed", || segments(&conn.ask("stats")) < 5);
        assert!(!server.output().contains("no descriptor is left"), "{}", server.output());
    }
}
