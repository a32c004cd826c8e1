//! What is there when a server with `-b` is started again, on both servers.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::folder::{Folder, kill};
use crate::support::{self, Conn, PATIENCE, Server};

const KEPT_STATE: &str = "kept-state";
const DAMAGED_BINLOG: &str = "damaged-binlog";

/// The entries of the allow-list that this file shows.
pub(crate) fn deviations() -> impl Iterator<Item = &'static str> {
    [KEPT_STATE, DAMAGED_BINLOG].into_iter()
}

/// Flags besides `-b`.
const FLAGS: [&str; 2] = ["-f", "0"];

fn put(conn: &mut Conn, body: &str) -> Vec<u8> {
    conn.send(format!("put 5 0 60 {}\r\n{body}\r\n", body.len()));
    conn.reply().line().to_vec()
}

/// The two programs, each with whether it is ours.
fn both(what: &str) -> Vec<(PathBuf, bool)> {
    let theirs = support::beanstalkd(what).map(|program| (program, false));
    theirs.into_iter().chain([(support::jq_server(), support::is_our_server())]).collect()
}

/// Shows [`KEPT_STATE`].
#[test]
fn more_than_jobs_is_kept() {
    for (program, ours) in both("what beanstalkd keeps") {
        let folder = Folder::new();
        let server = Server::start(&program, &folder.flags(&FLAGS));
        let mut conn = server.connect();
        assert_eq!(put(&mut conn, "x"), b"INSERTED 1");
        assert_eq!(conn.ask("reserve").line(), b"RESERVED 1 1");
        assert_eq!(conn.ask("release 1 9 0").line(), b"RELEASED");
        assert_eq!(conn.ask("pause-tube default 1000").line(), b"PAUSED");
        server.signal(Signal::SIGUSR1);
        let deadline = Instant::now() + PATIENCE;
        let wanted = |stats: &support::Reply| {
            stats.value("draining") == Some("true")
                && stats.value("binlog-unsynced-bytes").is_none_or(|bytes| bytes == "0")
        };
        while !wanted(&conn.ask("stats")) {
            assert!(Instant::now() < deadline, "the drain begins");
        }
        kill(server);

        let server = Server::start(&program, &folder.flags(&FLAGS));
        let mut conn = server.connect();
        let job = conn.ask("stats-job 1");
        let tube = conn.ask("stats-tube default");
        let kept = [job.value("pri"), job.value("releases"), tube.value("pause")];
        let wanted = if ours { ["9", "1", "1000"] } else { ["5", "0", "0"] };
        assert_eq!(kept, wanted.map(Some), "{}", program.display());
        let wanted = if ours { &b"DRAINING"[..] } else { b"INSERTED 2" };
        assert_eq!(put(&mut conn, "y"), wanted, "{}", program.display());
    }
}

/// Shows [`DAMAGED_BINLOG`].
#[test]
fn damage_is_not_served() {
    for (program, ours) in both("what beanstalkd makes of a damaged log") {
        let folder = Folder::new();
        let server = Server::start(&program, &folder.flags(&FLAGS));
        let mut conn = server.connect();
        assert_eq!(put(&mut conn, "precious"), b"INSERTED 1");
        assert_eq!(put(&mut conn, "more"), b"INSERTED 2");
        kill(server);
        damage(&folder, b"precious");
        if ours {
            let got = support::exit_status(&program, &folder.flags(&FLAGS));
            assert_eq!(got.and_then(|status| status.code()), Some(11));
        } else {
            let server = Server::start(&program, &folder.flags(&FLAGS));
            let mut conn = server.connect();
            conn.send("peek 1\r\n");
            conn.expect("FOUND 1 8\r\nqrecious\r\n");
        }
    }
}

/// Flips a bit in the first byte of this, wherever it is.
fn damage(folder: &Folder, text: &[u8]) {
    for (file, mut bytes) in folder.contents() {
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            bytes[at] ^= 1;
            return fs::write(file, bytes).expect("it can be written");
        }
    }
    panic!("the job is in one of the files");
}
