//! A log that is full, and so cannot record what `--tubes` says.

use nix::sys::signal::Signal;

use crate::file::{TubesFile, has_policy};
use crate::small_disk::SmallDisk;
use crate::support::{Conn, Server, eventually};

const REFUSED: &str = "the log cannot record the policies of --tubes now: trying again";

/// Bytes in the body of each job.
const BODY: usize = 10_000;

/// Puts jobs until there is no room for one more, and then does what takes little room, until nothing does.
fn fill(conn: &mut Conn) {
    let put = format!("put 0 0 60 {BODY}\r\n{}\r\n", "x".repeat(BODY));
    let is_put = |conn: &mut Conn| {
        conn.send(put.as_str());
        conn.reply().line().starts_with(b"INSERTED")
    };
    eventually("the log is full", || {
        while is_put(conn) {}
        conn.ask("stats").value("binlog-state") == Some("full")
    });
    while conn.ask("pause-tube default 0").line() == b"PAUSED" {}
}

/// It is tried again without another signal, however often the log refuses it.
#[test]
fn what_a_full_log_refuses_is_set_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = disk.folder();
    let file = TubesFile::new("");
    let log = ["-s", "100000", "-b", folder.to_str().expect("it is UTF-8")];
    let server: Server = file.serve(&log);
    let mut conn = server.connect();
    // A segment that is reclaimed meanwhile makes some room. Then it is set, and another one is tried.
    let mut tube = String::new();
    let mut attempts = 0;
    eventually("it is refused", || {
        fill(&mut conn);
        attempts += 1;
        tube = format!("t{attempts}");
        file.write(format!("[tubes.{tube}]\nmax-jobs = 1\n"));
        server.signal(Signal::SIGHUP);
        let mut is_refused = false;
        eventually("it is refused or set", || {
            is_refused = server.output().contains(REFUSED);
            is_refused || has_policy(&mut conn, &tube)
        });
        is_refused
    });

    // What it says counts already.
    let said = server.output().matches("was read again").count();
    assert_eq!(said, attempts, "{}", server.output());
    let listed = conn.ask("stats-tube default");
    let jobs: u64 = listed.value("current-jobs-ready").and_then(|it| it.parse().ok()).unwrap_or(0);
    assert!(jobs > 50, "{listed}");
    for id in 1..=jobs {
        conn.ask(format!("delete {id}"));
    }
    eventually("it is set", || has_policy(&mut conn, &tube));
    assert_eq!(server.output().matches(REFUSED).count(), 1, "it is told once: {}", server.output());
}
