//! What `docs/binlog.md` says and no other test is about.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::support::folder::{Folder, kill, stop};
use crate::support::{Conn, eventually};

fn put(conn: &mut Conn, body: &str) -> u64 {
    conn.send(format!("put 0 0 60 {}\r\n{body}\r\n", body.len()));
    let reply = conn.reply();
    let line = String::from_utf8_lossy(reply.line()).into_owned();
    let id = line.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_restart_forgets_who_asked_for_what() {
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    put(&mut conn, "a job");
    assert_eq!(conn.ask("watch other").line(), b"WATCHING 2");
    let stats = conn.ask("stats");
    assert_eq!((stats.value("cmd-put"), stats.value("cmd-watch")), (Some("1"), Some("1")));
    kill(server);
    let server = folder.serve(&["-f", "0"]);
    let stats = server.connect().ask("stats");
    assert_eq!(stats.value("current-jobs-ready"), Some("1"));
    assert_eq!((stats.value("cmd-put"), stats.value("cmd-watch")), (Some("0"), Some("0")));
    assert_eq!(stats.value("current-workers"), Some("0"));
}

/// An eighth of a segment behind what is written, and a quarter in the reserve.
#[test]
fn files_have_room_ahead() {
    const SEGMENT: u64 = 1 << 20;
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0", "-s", "1048576"]);
    let mut conn = server.connect();
    for _ in 0..100 {
        put(&mut conn, &"x".repeat(100));
    }
    let len = |path| fs::metadata(path).map_or(0, |file| file.len());
    let reserve = folder.inner().join("reserve");
    eventually("there is room behind what is written", || {
        let written = 48 + 100 * 146;
        let segment = len(folder.last_segment());
        (written + SEGMENT / 16..=written + SEGMENT / 4).contains(&segment)
    });
    eventually("there is room to delete all jobs", || {
        len(reserve.clone()) >= SEGMENT / 4 + 100 * 17
    });
    assert!(fs::read(&reserve).expect("it is there").iter().all(|byte| *byte == 0));
    // It goes when the server does.
    stop(server);
    assert!(!reserve.exists());
}

#[test]
fn what_there_is_is_logged() {
    let folder = Folder::new();
    let server = folder.serve(&["-F", "-s", "65536"]);
    let mut conn = server.connect();
    put(&mut conn, "kept");
    stop(server);
    let server = folder.serve(&["-F", "-s", "65536", "-V"]);
    let mut conn = server.connect();
    for _ in 0..500 {
        let id = put(&mut conn, &"x".repeat(1000));
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
    eventually("old segments are reclaimed", || {
        let stats = conn.ask("stats");
        stats.value("binlog-oldest-live-bytes").is_some()
            && !folder.segments().is_empty()
            && folder.segments()[0] != folder.inner().join("segment-0000000001")
    });
    let said = stop(server);
    let line = |what: &str| {
        let line = said.lines().find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("{what}: {said}")).to_owned()
    };
    let replayed = line("replayed the binlog");
    assert!(replayed.contains(" bytes=") && replayed.contains(" live_bytes=50"), "{replayed}");
    let reclaimed = line("a binlog segment is reclaimed");
    let all = ["segment=1", " bytes=", " live="];
    assert!(all.iter().all(|what| reclaimed.contains(what)), "{reclaimed}");
}

/// More jobs than are written under one lock.
#[test]
fn a_segment_that_is_damaged_meanwhile_is_written_from_memory() {
    const KEPT: u64 = 300;
    let folder = Folder::new();
    let server = folder.serve(&["-F", "-s", "65536"]);
    let mut conn = server.connect();
    let body = |id: u64| format!("{id:0>100}");
    for id in 1..=KEPT {
        assert_eq!(put(&mut conn, &body(id)), id);
    }
    let others: Vec<u64> = (0..300).map(|_| put(&mut conn, &"x".repeat(1000))).collect();
    let first = folder.inner().join("segment-0000000001");
    let file = fs::OpenOptions::new().write(true).open(&first).expect("it is there");
    file.write_all_at(b"damage", 5000).expect("it can be written");
    for id in others {
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
    for _ in 0..500 {
        let id = put(&mut conn, &"x".repeat(1000));
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
    eventually("the segment is reclaimed", || !first.exists());
    let said = server.output();
    assert!(
        said.contains("a binlog segment is damaged; writing what was in it from memory"),
        "{said}"
    );
    kill(server);
    let server = folder.serve(&["-F"]);
    let mut conn = server.connect();
    for id in 1..=KEPT {
        let found = conn.ask(format!("peek {id}"));
        assert_eq!(found.body(), Some(body(id).as_bytes()), "{id}");
    }
}
