//! What `stats` and `stats-job` say of the log.

use std::fs;
use std::path::Path;

use crate::support::folder::{Folder, kill};
use crate::support::procfs::resident;
use crate::support::{Conn, Server, beanstalkd, eventually};

/// Ours, which come behind theirs with a log or without.
const OURS: &[&str] = &[
    "jq-version",
    "current-jobs-bytes",
    "job-disconnects",
    "memory-resident-bytes",
    "extensions",
    "refused-puts-draining",
    "refused-puts-out-of-memory",
    "refused-puts-max-jobs",
    "refused-puts-max-memory",
    "refused-puts-tube-max-jobs",
    "refused-puts-tube-max-bytes",
    "refused-puts-job-too-big",
    "refused-connections",
    "duplicate-puts",
    "jobs-expired",
    "jobs-dead-lettered",
    "jobs-buried-by-policy",
];

/// Those that come behind these with a log.
const OF_THE_LOG: &[&str] = &[
    "binlog-state",
    "binlog-state-code",
    "binlog-error",
    "binlog-failures",
    "binlog-pending-bytes",
    "binlog-unsynced-bytes",
    "binlog-segments",
    "binlog-bytes",
    "binlog-live-bytes",
    "binlog-dead-bytes",
    "binlog-oldest-live-bytes",
    "binlog-oldest-dead-bytes",
];

fn keys(stats: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(stats).expect("it is text");
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(key, _)| key.to_owned()).collect()
}

fn number(conn: &mut Conn, key: &str) -> u64 {
    let stats = conn.ask("stats");
    let value = stats.value(key).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{key} is a number in {stats}"))
}

fn put(conn: &mut Conn, id: u64) {
    conn.send("put 0 0 60 4\r\nbody\r\n");
    conn.expect(format!("INSERTED {id}\r\n"));
}

#[test]
fn our_keys_come_after_theirs() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let stats = server.connect().ask("stats");
    let got = keys(stats.body().expect("stats have a body"));
    let (theirs, ours) = got.split_at(got.iter().position(|key| key == OURS[0]).expect("ours"));
    assert_eq!(ours, [OURS, OF_THE_LOG].concat());
    assert_eq!(stats.value("version"), Some("\"1.13\""));
    assert_eq!(stats.value("jq-version"), Some(concat!("\"", env!("CARGO_PKG_VERSION"), "\"")));
    assert_eq!(stats.value("binlog-state"), Some("good"));
    assert_eq!(stats.value("binlog-state-code"), Some("0"));
    assert_eq!(stats.value("binlog-error"), Some("\"\""));
    assert_eq!(stats.value("binlog-failures"), Some("0"));
    // Without a log there are none about it.
    let without = Server::jq(&["-f", "0"]).connect().ask("stats");
    let without = keys(without.body().expect("stats have a body"));
    assert!(without.iter().eq(theirs.iter().chain(&ours[..OURS.len()])), "{without:?}");

    // Who makes a metric of each finds them all in the documentation.
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compat.md");
    let page = fs::read_to_string(page).expect("the page is there");
    for key in ours {
        assert!(page.contains(&format!("`{key}`")), "docs/compat.md lists {key}");
    }

    let Some(beanstalkd) = beanstalkd("the order of the keys of stats") else { return };
    let peer = Folder::new();
    let peer = Server::start(&beanstalkd, &peer.flags(&[]));
    assert_eq!(theirs, keys(peer.connect().ask("stats").body().expect("stats have a body")));
}

#[test]
fn numbers_move() {
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0", "-s", "70000"]);
    let mut conn = server.connect();
    assert_eq!(number(&mut conn, "binlog-max-size"), 70_000);
    assert_eq!(number(&mut conn, "binlog-records-written"), 0);
    assert_eq!(number(&mut conn, "binlog-records-migrated"), 0);
    let current = number(&mut conn, "binlog-current-index");
    assert_eq!(number(&mut conn, "binlog-oldest-index"), current);
    let (bytes, live) = (number(&mut conn, "binlog-bytes"), number(&mut conn, "binlog-live-bytes"));
    assert_eq!(live, 0);
    put(&mut conn, 1);
    assert_eq!(number(&mut conn, "binlog-records-written"), 1);
    assert!(number(&mut conn, "binlog-bytes") > bytes);
    let live = number(&mut conn, "binlog-live-bytes");
    assert!(live > 4);
    let dead = number(&mut conn, "binlog-dead-bytes");
    assert_eq!(conn.ask("delete 1").line(), b"DELETED");
    assert_eq!(number(&mut conn, "binlog-records-written"), 2);
    assert_eq!(number(&mut conn, "binlog-live-bytes"), 0);
    assert!(number(&mut conn, "binlog-dead-bytes") > dead + live);
    // The segment of each job, and a look at the oldest.
    assert_eq!(number(&mut conn, "binlog-oldest-live-bytes"), 0);
    assert_eq!(number(&mut conn, "binlog-oldest-dead-bytes"), number(&mut conn, "binlog-bytes"));
    put(&mut conn, 2);
    assert_eq!(number(&mut conn, "binlog-oldest-live-bytes"), live);
    let file = current.to_string();
    assert_eq!(conn.ask("stats-job 2").value("file"), Some(&*file));
    kill(server);
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    assert_eq!(conn.ask("stats-job 2").value("file"), Some(&*file), "it is still there");
    assert!(number(&mut conn, "binlog-current-index") > current);
    put(&mut conn, 3);
    assert_ne!(conn.ask("stats-job 3").value("file"), Some(&*file));
}

/// Exporters make a metric of each key, so whatever happens there are no others.
#[test]
fn the_keys_are_always_the_same() {
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0", "-s", "65536"]);
    let mut conn = server.connect();
    let mut seen = Vec::new();
    let mut look = |conn: &mut Conn| {
        let stats = conn.ask("stats");
        let keys = keys(stats.body().expect("stats have a body"));
        assert!(seen.is_empty() || seen == keys, "{seen:?}, then {keys:?}");
        seen = keys;
    };
    look(&mut conn);
    // Several segments, some of which are reclaimed.
    let mut fill = |conn: &mut Conn| {
        for _ in 0..50 {
            conn.send(format!("put 0 0 60 20000\r\n{}\r\n", "x".repeat(20_000)));
            assert!(conn.reply().line().starts_with(b"INSERTED "));
            look(conn);
        }
    };
    fill(&mut conn);
    for id in 1..=40 {
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
    fill(&mut conn);
    assert!(number(&mut conn, "binlog-oldest-index") > 1, "some were reclaimed");
    // Another server on the same directory, one connection of which vanishes with a job.
    kill(server);
    let server = folder.serve(&["-f", "0", "-s", "65536"]);
    let mut conn = server.connect();
    look(&mut conn);
    let mut worker = server.connect();
    assert!(worker.ask("reserve").line().starts_with(b"RESERVED "));
    drop(worker);
    eventually("it is counted", || number(&mut conn, "job-disconnects") == 1);
    look(&mut conn);
}

/// Those of the whole process.
#[test]
fn bytes_of_bodies_and_of_memory() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let mut conn = server.connect();
    assert_eq!(number(&mut conn, "current-jobs-bytes"), 0);
    put(&mut conn, 1);
    conn.send(format!("put 0 0 60 50000\r\n{}\r\n", "x".repeat(50_000)));
    conn.expect("INSERTED 2\r\n");
    assert_eq!(number(&mut conn, "current-jobs-bytes"), 50_004);
    kill(server);
    let server = folder.serve(&[]);
    let mut conn = server.connect();
    assert_eq!(number(&mut conn, "current-jobs-bytes"), 50_004, "it is the same queue");
    assert_eq!(conn.ask("delete 2").line(), b"DELETED");
    assert_eq!(number(&mut conn, "current-jobs-bytes"), 4);
    // The kernel counts by the page and in its own time.
    let told = number(&mut conn, "memory-resident-bytes");
    let seen = resident(server.pid());
    assert!(told > seen / 2 && told < seen * 2, "{told} is about {seen}");
}

/// Also a server that nobody talks to syncs what it has written.
#[test]
fn an_idle_server_syncs() {
    for policy in [["-f", "50"], ["-f", "1000"]] {
        let folder = Folder::new();
        let server = folder.serve(&policy);
        let mut conn = server.connect();
        put(&mut conn, 1);
        // Nothing but this question, which writes nothing.
        eventually("it is synced", || number(&mut conn, "binlog-unsynced-bytes") == 0);
        assert_eq!(number(&mut conn, "binlog-pending-bytes"), 0);
        // That it was reserved nobody waits for; it is written and synced all the same.
        assert_eq!(conn.ask("reserve").line(), b"RESERVED 1 4");
        eventually("it is synced", || number(&mut conn, "binlog-unsynced-bytes") == 0);
    }
}

#[test]
fn without_syncing_what_is_written_is_all_there_is() {
    let folder = Folder::new();
    let server = folder.serve(&["-F"]);
    let mut conn = server.connect();
    put(&mut conn, 1);
    assert_eq!(number(&mut conn, "binlog-unsynced-bytes"), 0);
    assert_eq!(number(&mut conn, "binlog-pending-bytes"), 0);
}

/// Readers get their answers while others have theirs held back. That they do not wait for a sync
/// is shown by the simulation; here it is that they get what they should.
#[test]
fn readers_beside_writers() {
    const JOBS: u64 = 300;
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0"]);
    put(&mut server.connect(), 1);
    let mut writer = server.connect();
    writer.send("put 0 0 60 4\r\nbody\r\n".repeat(JOBS as usize));
    let mut reader = server.connect();
    reader.ask("watch empty");
    reader.ask("ignore default");
    for _ in 0..20 {
        reader.send("peek 1\r\nstats-job 1\r\nreserve-with-timeout 0\r\nstats\r\n");
        reader.expect("FOUND 1 4\r\nbody\r\n");
        assert_eq!(reader.reply().value("state"), Some("ready"));
        reader.expect("TIMED_OUT\r\n");
        assert_eq!(reader.reply().value("binlog-state"), Some("good"));
    }
    for id in 2..JOBS + 2 {
        writer.expect(format!("INSERTED {id}\r\n"));
    }
}
