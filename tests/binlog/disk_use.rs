//! Files never grow past a small multiple of what is in the queue.

use std::fs;

use crate::support::folder::{Folder, kill, stop};
use crate::support::{Conn, Server, eventually};

const SEGMENT: u64 = 262_144;

const FLAGS: &[&str] = &["-F", "-s", "262144"];

/// What all files take, also those that are only there for what is to come.
fn size(folder: &Folder) -> u64 {
    let files = folder.segments().into_iter().chain([folder.inner().join("reserve")]);
    let sizes = files.map(|path| match fs::metadata(path) {
        Ok(meta) => meta.len(),
        // Reclaimed while we look.
        Err(_) => 0,
    });
    sizes.sum()
}

fn value(conn: &mut Conn, key: &str) -> u64 {
    let stats = conn.ask("stats");
    stats.value(key).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{stats}"))
}

/// Asserts that the files are no longer than twice what is live and two segments. That a segment
/// can end only behind a record, and that this look and the server's are not at the same moment,
/// makes it one largest record more.
fn assert_bounded(folder: &Folder, live: u64, record: u64) {
    let size = size(folder);
    let bound = 2 * live + 2 * SEGMENT + record;
    assert!(size > 0, "the files are looked for where they are");
    assert!(size <= bound, "{size} bytes for {live} that are live; at most {bound}");
}

/// Puts and deletes so many jobs in batches, and looks at the files after each.
fn churn(server: &Server, pairs: u64, body: usize, mut look: impl FnMut()) {
    const BATCH: u64 = 250;
    let mut conn = server.connect();
    let put = format!("put 0 0 60 {body}\r\n{}\r\n", "x".repeat(body));
    conn.send(&put);
    let reply = conn.reply();
    let id = std::str::from_utf8(reply.line()).ok().and_then(|it| it.strip_prefix("INSERTED "));
    let id: u64 = id.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{reply}"));
    assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    let mut next = id + 1;
    for _ in 0..pairs / BATCH {
        let mut batch = String::new();
        let mut replies = String::new();
        for _ in 0..BATCH {
            batch.push_str(&put);
            batch.push_str(&format!("delete {next}\r\n"));
            replies.push_str(&format!("INSERTED {next}\r\nDELETED\r\n"));
            next += 1;
        }
        conn.send(batch);
        assert!(conn.bytes(replies.len()) == replies.as_bytes());
        look();
    }
}

#[test]
fn an_old_job_and_many_that_come_and_go() {
    let folder = Folder::new();
    let server = folder.serve(FLAGS);
    let mut conn = server.connect();
    conn.send("put 0 0 60 8\r\nprecious\r\n");
    conn.expect("INSERTED 1\r\n");
    let first = folder.last_segment();
    churn(&server, 100_000, 10, || assert_bounded(&folder, 100, 1000));
    assert!(!first.exists(), "the first segment is reclaimed");
    assert!(value(&mut conn, "binlog-records-migrated") > 0);
    assert!(value(&mut conn, "binlog-segments") <= 4);
    conn.send("peek 1\r\n");
    conn.expect("FOUND 1 8\r\nprecious\r\n");
    kill(server);
    let server = folder.serve(FLAGS);
    let mut conn = server.connect();
    conn.send("peek 1\r\n");
    conn.expect("FOUND 1 8\r\nprecious\r\n");
    assert_eq!(value(&mut conn, "current-jobs-ready"), 1);
}

#[test]
fn large_jobs_that_come_and_go() {
    let folder = Folder::new();
    let server = folder.serve(FLAGS);
    churn(&server, 1000, 10_000, || assert_bounded(&folder, 250 * 10_100, 10_100));
    // A segment may get longer than it should, if much comes before the next one is ready; then it
    // goes with what comes next.
    eventually("what is not needed goes", || {
        churn(&server, 250, 100, || ());
        size(&folder) <= 2 * SEGMENT + 10_100
    });
}

#[test]
fn jobs_that_are_released_again_and_again() {
    let folder = Folder::new();
    let server = folder.serve(FLAGS);
    let mut conn = server.connect();
    for id in 1..=20 {
        conn.send("put 0 0 600 100\r\n");
        conn.send(format!("{}\r\n", "y".repeat(100)));
        conn.expect(format!("INSERTED {id}\r\n"));
    }
    for round in 0..150 {
        for id in 1..=20 {
            let line = format!("reserve-job {id}\r\nrelease {id} 0 {}\r\n", 1000 * (round % 2));
            conn.send(line.repeat(8));
        }
        let reply = |id| format!("RESERVED {id} 100\r\n{}\r\nRELEASED\r\n", "y".repeat(100));
        for id in 1..=20 {
            conn.expect(reply(id).repeat(8));
        }
        assert_bounded(&folder, 20 * 160, 1000);
    }
    assert!(value(&mut conn, "binlog-records-written") > 40_000);
    kill(server);
    let server = folder.serve(FLAGS);
    let mut conn = server.connect();
    for id in 1..=20 {
        assert_eq!(conn.ask(format!("stats-job {id}")).value("releases"), Some("1200"));
    }
}

/// Their bodies are live, and copied no more often than others die.
#[test]
fn buried_and_delayed_jobs_stay() {
    let folder = Folder::new();
    let server = folder.serve(FLAGS);
    let mut conn = server.connect();
    for id in 1..=100 {
        let delay = if id % 2 == 0 { 10_000 } else { 0 };
        conn.send(format!("put {id} {delay} 60 500\r\n{}\r\n", "z".repeat(500)));
        conn.expect(format!("INSERTED {id}\r\n"));
        if delay == 0 {
            conn.ask(format!("reserve-job {id}"));
            assert_eq!(conn.ask(format!("bury {id} {id}")).line(), b"BURIED");
        }
    }
    let live = 100 * 560;
    churn(&server, 10_000, 100, || assert_bounded(&folder, live, 1000));
    assert_eq!(value(&mut conn, "current-jobs-buried"), 50);
    // No more was copied than there was, for each time that as much had died.
    let migrated = value(&mut conn, "binlog-records-migrated");
    assert!(migrated < 10_000, "{migrated} records were copied");
    stop(server);
    let server = folder.serve(FLAGS);
    let mut conn = server.connect();
    assert_eq!(conn.ask("peek-buried").line(), b"FOUND 1 500");
    assert_eq!(value(&mut conn, "current-jobs-delayed"), 50);
    for id in 1..=100 {
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
    eventually("all is reclaimed", || size(&folder) <= 2 * SEGMENT);
}

/// What is set for tubes counts as jobs do, also where it takes more than a segment: or else it would be
/// written once more for ever, and clients would not be answered meanwhile.
#[test]
fn settings_of_many_tubes() {
    const TUBES: u64 = 2000;
    const SIZE: u64 = 65_536;
    // The record of a tube: a frame, a name of 100 bytes, and what is set.
    const RECORD: u64 = 160;
    let folder = Folder::new();
    let tube = |number| format!("{number:0100}");
    let table = |number| format!("[tubes.{}]\nmax-jobs = 7\nmax-bytes = 8000\n", tube(number));
    let file = folder.path().join("tubes.toml");
    fs::write(&file, (1..=TUBES).map(table).collect::<String>()).expect("it can be written");
    let file = file.to_str().expect("it is UTF-8");
    let size_flag = &["-s", "65536"];
    let mut server = folder.serve(&[size_flag, &["--tubes", file][..]].concat());
    for _ in 0..3 {
        // Several segments, so that each that has settings is reclaimed.
        churn(&server, 2000, 200, || ());
        let bound = 2 * TUBES * RECORD + 2 * SIZE + 1000;
        eventually("all is reclaimed that can be", || size(&folder) <= bound);
        let mut conn = server.connect();
        assert!(value(&mut conn, "binlog-bytes") > SIZE, "more than a segment is set");
        for number in 1..=TUBES {
            let stats = conn.ask(format!("stats-tube {}", tube(number)));
            assert_eq!(stats.value("has-policy"), Some("true"), "{stats}");
        }
        assert_eq!(conn.ask(format!("use {}", tube(TUBES))).line()[..6], *b"USING ");
        conn.send(format!("put 0 0 60 8001\r\n{}\r\n", "x".repeat(8001)));
        conn.expect("OUT_OF_MEMORY\r\n");
        kill(server);
        // Set by the log alone from here on.
        server = folder.serve(size_flag);
    }
}
