//! What a restart keeps.

use nix::sys::signal::Signal;

use crate::support::folder::{Folder, kill, stop};
use crate::support::{Conn, Server, eventually};

/// Policies under which all of this holds: it is about the end of the process, not about the loss of
/// power.
const POLICIES: [&[&str]; 3] = [&["-f", "0"], &["-f", "50"], &["-F"]];

/// Puts a job, and returns its id.
fn put(conn: &mut Conn, pri: u32, delay: u32, ttr: u32, body: &str) -> u64 {
    conn.send(format!("put {pri} {delay} {ttr} {}\r\n{body}\r\n", body.len()));
    let reply = conn.reply();
    let line = std::str::from_utf8(reply.line()).expect("it is text");
    let id = line.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{line}"));
    id.parse().expect("it is a number")
}

/// Asserts that `stats-job` says this.
fn assert_job(conn: &mut Conn, id: u64, wanted: &[(&str, &str)]) {
    let stats = conn.ask(format!("stats-job {id}"));
    for (key, value) in wanted {
        assert_eq!(stats.value(key), Some(*value), "{key} of {id} in {stats}");
    }
}

/// A value of stats that is a number.
fn number(conn: &mut Conn, line: &str, key: &str) -> u64 {
    let stats = conn.ask(line);
    let value = stats.value(key).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{key} is a number in {stats}"))
}

/// Waits until everything is written, also what nobody waits for.
fn settle(conn: &mut Conn) {
    eventually("all is written", || number(conn, "stats", "binlog-unsynced-bytes") == 0);
}

/// Runs `before`, ends the server in both ways, and runs `after` on what is there then.
fn restarted<T>(before: impl Fn(&mut Conn) -> T, after: impl Fn(&mut Conn, &T)) {
    for policy in POLICIES {
        for end in [|server| drop(stop(server)), kill as fn(Server)] {
            let folder = Folder::new();
            let server = folder.serve(policy);
            let mut conn = server.connect();
            let made = before(&mut conn);
            settle(&mut conn);
            end(server);
            let server = folder.serve(policy);
            after(&mut server.connect(), &made);
            // And once more, from what the second one left.
            end(server);
            let server = folder.serve(policy);
            after(&mut server.connect(), &made);
        }
    }
}

#[test]
fn jobs_in_every_state() {
    let body = "any\0byte\r\nat all";
    restarted(
        |conn| {
            assert_eq!(conn.ask("use here").line(), b"USING here");
            let ready = put(conn, 7, 0, 11, body);
            let delayed = put(conn, 8, 1000, 12, "");
            let buried = put(conn, 9, 0, 13, "b");
            let reserved = put(conn, 10, 0, 14, "r");
            let released = put(conn, 11, 0, 15, "x");
            for id in [buried, reserved, released] {
                assert_eq!(
                    conn.ask(format!("reserve-job {id}")).line(),
                    format!("RESERVED {id} 1").as_bytes()
                );
            }
            assert_eq!(conn.ask(format!("bury {buried} 90")).line(), b"BURIED");
            assert_eq!(conn.ask(format!("release {released} 91 2000")).line(), b"RELEASED");
            [ready, delayed, buried, reserved, released]
        },
        |conn, [ready, delayed, buried, reserved, released]| {
            conn.send(format!("peek {ready}\r\n"));
            conn.expect(format!("FOUND {ready} {}\r\n{body}\r\n", body.len()));
            let tube = ("tube", "\"here\"");
            assert_job(conn, *ready, &[tube, ("state", "ready"), ("pri", "7"), ("ttr", "11")]);
            assert_job(conn, *delayed, &[tube, ("state", "delayed"), ("delay", "1000")]);
            assert_job(conn, *delayed, &[("pri", "8"), ("ttr", "12"), ("reserves", "0")]);
            assert_job(conn, *buried, &[tube, ("state", "buried"), ("pri", "90"), ("buries", "1")]);
            assert_job(conn, *reserved, &[tube, ("state", "ready"), ("pri", "10")]);
            assert_job(conn, *reserved, &[("ttr", "14"), ("reserves", "1")]);
            assert_job(conn, *released, &[tube, ("state", "delayed"), ("pri", "91")]);
            assert_job(conn, *released, &[("delay", "2000"), ("releases", "1")]);
        },
    );
}

#[test]
fn the_priority_of_a_release_without_delay() {
    restarted(
        |conn| {
            let first = put(conn, 1, 0, 60, "a");
            let second = put(conn, 2, 0, 60, "b");
            assert_eq!(conn.ask("reserve").line(), format!("RESERVED {first} 1").as_bytes());
            assert_eq!(conn.ask(format!("release {first} 3 0")).line(), b"RELEASED");
            [first, second]
        },
        |conn, [first, second]| {
            assert_job(conn, *first, &[("pri", "3"), ("state", "ready"), ("releases", "1")]);
            let next = conn.ask("peek-ready");
            assert_eq!(next.line(), format!("FOUND {second} 1").as_bytes());
        },
    );
}

#[test]
fn every_counter() {
    restarted(
        |conn| {
            let id = put(conn, 0, 0, 1, "x");
            assert_eq!(conn.ask("reserve").line(), format!("RESERVED {id} 1").as_bytes());
            // One second later it is taken away, and given again.
            assert_eq!(conn.ask("reserve-with-timeout 5").line(), b"DEADLINE_SOON");
            eventually("it times out", || {
                conn.ask(format!("stats-job {id}")).value("timeouts") == Some("1")
            });
            for _ in 0..2 {
                assert_eq!(conn.ask("reserve").line(), format!("RESERVED {id} 1").as_bytes());
                assert_eq!(conn.ask(format!("release {id} 0 0")).line(), b"RELEASED");
            }
            for _ in 0..3 {
                assert_eq!(conn.ask("reserve").line(), format!("RESERVED {id} 1").as_bytes());
                assert_eq!(conn.ask(format!("bury {id} 0")).line(), b"BURIED");
                assert_eq!(conn.ask("kick 1").line(), b"KICKED 1");
            }
            assert_eq!(conn.ask("reserve").line(), format!("RESERVED {id} 1").as_bytes());
            assert_eq!(conn.ask(format!("release {id} 0 1000")).line(), b"RELEASED");
            assert_eq!(conn.ask(format!("kick-job {id}")).line(), b"KICKED");
            id
        },
        |conn, id| {
            assert_job(conn, *id, &[("reserves", "7"), ("timeouts", "1"), ("releases", "3")]);
            assert_job(conn, *id, &[("buries", "3"), ("kicks", "4"), ("state", "ready")]);
        },
    );
}

/// They are served in the order of burial, which is not that of their ids.
#[test]
fn buried_jobs_in_their_order() {
    restarted(
        |conn| {
            let ids = [(); 4].map(|()| put(conn, 0, 0, 60, "x"));
            let order = [2, 0, 3, 1].map(|at| ids[at]);
            for id in order {
                conn.ask(format!("reserve-job {id}"));
                assert_eq!(conn.ask(format!("bury {id} 0")).line(), b"BURIED");
            }
            order
        },
        |conn, order| {
            let next = conn.ask("peek-buried");
            assert_eq!(next.line(), format!("FOUND {} 1", order[0]).as_bytes());
        },
    );
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    let ids = [(); 4].map(|()| put(&mut conn, 0, 0, 60, "x"));
    let order = [3, 1, 2, 0].map(|at| ids[at]);
    for id in order {
        conn.ask(format!("reserve-job {id}"));
        assert_eq!(conn.ask(format!("bury {id} 0")).line(), b"BURIED");
    }
    kill(server);
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    for id in order {
        assert_eq!(conn.ask("peek-buried").line(), format!("FOUND {id} 1").as_bytes());
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
}

/// So many are kicked in steps, and the reply comes when all of that is written.
#[test]
fn a_kick_of_many_jobs() {
    const JOBS: usize = 2500;
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    conn.send("put 0 0 60 1\r\nx\r\n".repeat(JOBS));
    conn.send("reserve\r\n".repeat(JOBS));
    for _ in 0..2 * JOBS {
        conn.reply();
    }
    let buries: String = (1..=JOBS).map(|id| format!("bury {id} 0\r\n")).collect();
    conn.send(buries);
    for _ in 0..JOBS {
        assert_eq!(conn.reply().line(), b"BURIED");
    }
    let mut worker = server.connect();
    worker.send("reserve\r\n");
    // What comes behind it waits for it.
    conn.send(format!("kick {}\r\nstats-tube default\r\n", JOBS - 1));
    assert_eq!(conn.reply().line(), format!("KICKED {}", JOBS - 1).as_bytes());
    assert_eq!(conn.reply().value("current-jobs-buried"), Some("1"));
    assert_eq!(worker.reply().line(), b"RESERVED 1 1");
    kill(server);
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    let counts = ["ready", "buried"].map(|state| format!("current-jobs-{state}"));
    assert_eq!(counts.map(|key| number(&mut conn, "stats", &key)), [JOBS as u64 - 1, 1]);
    assert_job(&mut conn, 2, &[("state", "ready"), ("kicks", "1"), ("buries", "1")]);
}

/// A delay goes on while no server runs; and age and what is left of it go on from where they were.
#[test]
fn times() {
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    let soon = put(&mut conn, 0, 1, 60, "soon");
    let late = put(&mut conn, 0, 1000, 60, "late");
    assert_eq!(conn.ask("pause-tube paused 900").line(), b"NOT_FOUND");
    conn.ask("use paused");
    assert_eq!(conn.ask("pause-tube paused 900").line(), b"PAUSED");
    let stats = format!("stats-job {late}");
    eventually("two seconds pass", || number(&mut conn, &stats, "age") >= 2);
    let left = number(&mut conn, &stats, "time-left");
    let pause = number(&mut conn, "stats-tube paused", "pause-time-left");
    kill(server);
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    assert_job(&mut conn, soon, &[("state", "ready"), ("delay", "1")]);
    assert_job(&mut conn, late, &[("state", "delayed"), ("delay", "1000")]);
    assert!(number(&mut conn, &stats, "age") >= 2, "it is not younger");
    // Within what a slow machine may take to start a server.
    let close = |now: u64, before: u64| now <= before && now + 60 > before;
    assert!(close(number(&mut conn, &stats, "time-left"), left), "of the delay");
    assert_eq!(number(&mut conn, "stats-tube paused", "pause"), 900);
    let now = number(&mut conn, "stats-tube paused", "pause-time-left");
    assert!(close(now, pause), "of the pause: {now} after {pause}");
}

#[test]
fn the_next_id_of_an_empty_queue() {
    restarted(
        |conn| {
            let mut last = 0;
            for _ in 0..3 {
                last = put(conn, 0, 0, 60, "x");
                assert_eq!(conn.ask(format!("delete {last}")).line(), b"DELETED");
            }
            last
        },
        |conn, last| {
            let id = put(conn, 0, 0, 60, "x");
            assert!(id > *last, "{id} after {last}");
            assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        },
    );
}

#[test]
fn a_drain() {
    const PUT: &str = "put 0 0 60 1\r\nx\r\n";
    let folder = Folder::new();
    let draining = |server: &Server, value: &str| {
        let mut conn = server.connect();
        eventually("the stats show it", || conn.ask("stats").value("draining") == Some(value));
        settle(&mut conn);
    };
    let server = folder.serve(&["-f", "0"]);
    server.signal(Signal::SIGUSR1);
    draining(&server, "true");
    kill(server);
    let server = folder.serve(&["-f", "0"]);
    let mut conn = server.connect();
    conn.send(PUT);
    conn.expect("DRAINING\r\n");
    draining(&server, "true");
    server.signal(Signal::SIGUSR2);
    draining(&server, "false");
    conn.send(PUT);
    assert!(conn.reply().line().starts_with(b"INSERTED"));
    kill(server);
    let server = folder.serve(&["-f", "0"]);
    draining(&server, "false");
    let mut conn = server.connect();
    conn.send(PUT);
    assert!(conn.reply().line().starts_with(b"INSERTED"));
}

#[test]
fn a_job_larger_than_the_new_limit() {
    let folder = Folder::new();
    let body = "L".repeat(50_000);
    let server = folder.serve(&["-f", "0"]);
    let id = put(&mut server.connect(), 0, 0, 60, &body);
    kill(server);
    let server = folder.serve(&["-f", "0", "-z", "10"]);
    let mut conn = server.connect();
    conn.send("reserve\r\n");
    conn.expect(format!("RESERVED {id} 50000\r\n{body}\r\n"));
    assert_eq!(conn.ask(format!("release {id} 0 0")).line(), b"RELEASED");
    conn.send(format!("put 0 0 60 11\r\n{}\r\n", "y".repeat(11)));
    conn.expect("JOB_TOO_BIG\r\n");
}

#[test]
fn moved_jobs_and_cleared_tubes() {
    restarted(
        |conn| {
            let moved = put(conn, 7, 0, 60, "m");
            let delayed = put(conn, 8, 1000, 60, "d");
            for id in [moved, delayed] {
                assert_eq!(conn.ask(format!("move {id} there")).line(), b"MOVED");
            }
            assert_eq!(conn.ask("use cleared").line(), b"USING cleared");
            let held = put(conn, 0, 0, 60, "h");
            // So many that they are freed in steps, and the server may be gone before.
            conn.send("put 1 0 60 1\r\ng\r\n".repeat(3000));
            let gone = held + 1..held + 3001;
            gone.clone().for_each(|id| conn.expect(format!("INSERTED {id}\r\n")));
            let line = format!("RESERVED {held} 1");
            assert_eq!(conn.ask(format!("reserve-job {held}")).line(), line.as_bytes());
            assert_eq!(conn.ask("clear-tube cleared").line(), b"CLEARED 3000");
            let later = put(conn, 2, 0, 60, "l");
            (moved, delayed, held, gone, later)
        },
        |conn, (moved, delayed, held, gone, later)| {
            let there = ("tube", "\"there\"");
            assert_job(conn, *moved, &[there, ("state", "ready"), ("pri", "7")]);
            assert_job(conn, *delayed, &[there, ("state", "delayed"), ("delay", "1000")]);
            for id in [held, later] {
                assert_job(conn, *id, &[("tube", "\"cleared\""), ("state", "ready")]);
            }
            for id in [gone.start, gone.start + 1500, gone.end - 1] {
                assert_eq!(conn.ask(format!("peek {id}")).line(), b"NOT_FOUND");
            }
            let ready = ["current-jobs-ready", "current-jobs-delayed"];
            assert_eq!(ready.map(|key| number(conn, "stats", key)), [3, 1]);
        },
    );
}
