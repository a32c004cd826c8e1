//! A disk that is full: what is refused, what goes on, and that it recovers by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::small_disk::{SIZE, SmallDisk};
use crate::support::folder::{flags, kill};
use crate::support::{Conn, Server, eventually};

/// Of each job's body, in bytes.
const BODY: usize = 1000;

const POLICIES: [&str; 2] = ["-f0", "-f50"];

/// What clients were told.
#[derive(Default)]
struct Told {
    /// Jobs that were taken.
    there: BTreeMap<u64, String>,
    /// Jobs that were deleted.
    deleted: BTreeSet<u64>,
    /// Bodies that were refused.
    refused: BTreeSet<String>,
    /// Bodies of which nobody knows: put in one go with others that failed.
    unknown: BTreeSet<String>,
    puts: usize,
}

impl Told {
    fn next_body(&mut self) -> String {
        self.puts += 1;
        format!("{:0BODY$}", self.puts)
    }

    /// Takes note of the answer to the put of this job. Returns whether it was taken.
    fn answer(&mut self, line: &[u8], body: String, pipelined: bool) -> bool {
        let line = std::str::from_utf8(line).expect("it is text");
        if let Some(id) = line.strip_prefix("INSERTED ") {
            self.there.insert(id.parse().expect("it is a number"), body);
            return true;
        }
        match line {
            "INTERNAL_ERROR" if pipelined => self.unknown.insert(body),
            "OUT_OF_MEMORY" | "INTERNAL_ERROR" => self.refused.insert(body),
            _ => panic!("{line}"),
        };
        false
    }

    fn put(&mut self, conn: &mut Conn) -> bool {
        let body = self.next_body();
        conn.send(format!("put 0 0 600 {BODY}\r\n{body}\r\n"));
        self.answer(conn.reply().line(), body, false)
    }

    /// Puts jobs until one is refused.
    fn fill(&mut self, conn: &mut Conn) {
        for _ in 0..2 * SIZE / BODY {
            if !self.put(conn) {
                return;
            }
        }
        panic!("the disk is full");
    }

    /// Deletes a job, as soon as that is possible.
    fn delete(&mut self, conn: &mut Conn, id: u64) {
        let line = format!("delete {id}");
        let mut failed = false;
        eventually("it can be deleted", || {
            let reply = conn.ask(&line);
            match reply.line() {
                b"DELETED" => true,
                // It may have been done all the same.
                b"NOT_FOUND" if failed => true,
                b"INTERNAL_ERROR" => {
                    failed = true;
                    false
                }
                _ => panic!("{line}: {reply}"),
            }
        });
        self.there.remove(&id);
        self.deleted.insert(id);
    }

    /// Asserts that a server has exactly what it should.
    fn check(&self, server: &Server) {
        let mut conn = server.connect();
        let mut found = 0;
        for id in 1..=self.puts as u64 {
            let reply = conn.ask(format!("peek {id}"));
            let body = reply.body().map(|body| String::from_utf8_lossy(body).into_owned());
            found += usize::from(body.is_some());
            match (self.there.get(&id), body) {
                (Some(wanted), body) => assert_eq!(body.as_ref(), Some(wanted), "job {id}"),
                (None, Some(body)) => {
                    assert!(!self.deleted.contains(&id), "job {id} was deleted");
                    assert!(!self.refused.contains(&body), "job {id} was refused");
                    assert!(self.unknown.contains(&body), "job {id} was put by somebody");
                }
                (None, None) => {}
            }
        }
        let stats = conn.ask("stats");
        let states = ["ready", "delayed", "buried"];
        let counts = states.map(|state| {
            let count = stats.value(&format!("current-jobs-{state}"));
            count.and_then(|count| count.parse::<usize>().ok()).expect("it is a number")
        });
        assert_eq!(counts.iter().sum::<usize>(), found, "no job has another number");
    }
}

fn serve(folder: &Path, policy: &str) -> Server {
    Server::jq(&flags(folder, &[policy, "-s", "262144"]))
}

fn await_state(conn: &mut Conn, state: &str) {
    eventually(&format!("the log is {state}"), || {
        conn.ask("stats").value("binlog-state") == Some(state)
    });
}

#[test]
fn jobs_are_deleted_to_make_room() {
    for policy in POLICIES {
        let Some(disk) = SmallDisk::mount() else { return };
        let folder = disk.folder();
        let server = serve(&folder, policy);
        let mut conn = server.connect();
        let mut told = Told::default();
        fill(&mut told, &mut conn);
        let stats = conn.ask("stats");
        assert!(stats.value("binlog-error").is_some_and(|it| it.contains("No space")), "{stats}");
        assert!(!told.put(&mut conn));

        // What concerns the jobs that there are goes on.
        let ids: Vec<u64> = told.there.keys().copied().collect();
        let words = |line: &str| match line.split(' ').next() {
            Some("reserve-job") => "RESERVED",
            Some("release") => "RELEASED",
            Some("bury") => "BURIED",
            Some("kick-job") => "KICKED",
            Some("peek") => "FOUND",
            _ => "OK",
        };
        for id in &ids[..4] {
            for line in [
                format!("reserve-job {id}"),
                format!("release {id} 5 0"),
                format!("reserve-job {id}"),
                format!("bury {id} 6"),
                format!("kick-job {id}"),
                format!("peek {id}"),
                format!("stats-job {id}"),
            ] {
                let reply = conn.ask(&line);
                assert!(reply.line().starts_with(words(&line).as_bytes()), "{line}: {reply}");
            }
        }
        assert!(!told.put(&mut conn), "there still is no room");
        for id in &ids[..ids.len() / 2] {
            told.delete(&mut conn, *id);
        }
        eventually("jobs are accepted again", || told.put(&mut conn));
        await_state(&mut conn, "good");
        for _ in 0..300 {
            assert!(told.put(&mut conn), "there is room enough");
        }
        let log = server.output();
        assert_eq!(log.matches("new jobs are refused").count(), 1, "{log}");
        assert_eq!(log.matches("new jobs are accepted").count(), 1, "{log}");
        kill(server);
        told.check(&serve(&folder, policy));
    }
}

/// A million deletes may take too long for somebody whose disk is full: one command will do.
#[test]
fn a_tube_is_cleared_to_make_room() {
    for policy in POLICIES {
        let Some(disk) = SmallDisk::mount() else { return };
        let folder = disk.folder();
        let server = serve(&folder, policy);
        let mut conn = server.connect();
        let mut told = Told::default();
        fill(&mut told, &mut conn);
        let kept = *told.there.keys().next().expect("there are jobs");
        let line = format!("RESERVED {kept} {BODY}");
        assert_eq!(conn.ask(format!("reserve-job {kept}")).line(), line.as_bytes());
        let others = told.there.len() - 1;
        let cleared = conn.ask("clear-tube default");
        assert_eq!(cleared.line(), format!("CLEARED {others}").as_bytes());
        told.there.retain(|id, _| {
            if *id != kept {
                told.deleted.insert(*id);
            }
            *id == kept
        });
        eventually("jobs are accepted again", || told.put(&mut conn));
        await_state(&mut conn, "good");
        kill(server);
        told.check(&serve(&folder, policy));
    }
}

#[test]
fn somebody_else_makes_room() {
    for policy in POLICIES {
        let Some(disk) = SmallDisk::mount() else { return };
        let folder = disk.folder();
        let filler = disk.fill(SIZE / 2);
        let server = serve(&folder, policy);
        let mut conn = server.connect();
        let mut told = Told::default();
        fill(&mut told, &mut conn);
        for _ in 0..10 {
            assert!(!told.put(&mut conn));
        }
        fs::remove_file(filler).expect("it is there");
        eventually("jobs are accepted again", || told.put(&mut conn));
        for _ in 0..300 {
            assert!(told.put(&mut conn), "there is room enough");
        }
        told.fill(&mut conn);
        kill(server);
        // Also a server that starts on a full disk has it all; and gets on when there is room.
        let server = serve(&folder, policy);
        told.check(&server);
    }
}

/// More at once than the room that is set aside: writing fails, and nobody is told otherwise.
#[test]
fn many_at_once() {
    const CLIENTS: usize = 4;
    const PIPELINED: usize = 100;
    for policy in POLICIES {
        let Some(disk) = SmallDisk::mount() else { return };
        let folder = disk.folder();
        let filler = disk.fill(SIZE / 2);
        let server = serve(&folder, policy);
        let mut told = Told::default();
        let mut conns: Vec<Conn> = (0..CLIENTS).map(|_| server.connect()).collect();
        let mut refused = 0;
        for _ in 0..2 * SIZE / BODY / CLIENTS / PIPELINED {
            let mut bodies = Vec::new();
            for conn in &mut conns {
                let these: Vec<String> = (0..PIPELINED).map(|_| told.next_body()).collect();
                let puts = these.iter().map(|body| format!("put 0 0 600 {BODY}\r\n{body}\r\n"));
                conn.send(puts.collect::<String>());
                bodies.push(these);
            }
            for (conn, bodies) in conns.iter_mut().zip(bodies) {
                for body in bodies {
                    refused += usize::from(!told.answer(conn.reply().line(), body, true));
                }
            }
        }
        assert!(refused > 0, "the disk is full");
        let conn = &mut conns[0];
        assert_ne!(conn.ask("stats").value("binlog-state"), Some("good"));
        let first = *told.there.keys().next().expect("some were taken");
        assert_eq!(
            conn.ask(format!("peek {first}")).line(),
            format!("FOUND {first} {BODY}").as_bytes()
        );
        fs::remove_file(filler).expect("it is there");
        eventually("jobs are accepted again", || told.put(conn));
        await_state(conn, "good");
        told.delete(conn, first);
        kill(server);
        told.check(&serve(&folder, policy));
    }
}

/// Whatever else has used up the room that was kept back, every job can be deleted, and then there is
/// room again.
#[test]
fn every_job_can_be_deleted() {
    for policy in POLICIES {
        for restart in [false, true] {
            let Some(disk) = SmallDisk::mount() else { return };
            let folder = disk.folder();
            let serve = || Server::jq(&flags(&folder, &[policy, "-s", "65536"]));
            let mut server = serve();
            let mut conn = server.connect();
            let mut told = Told::default();
            fill(&mut told, &mut conn);
            let ids: Vec<u64> = told.there.keys().copied().collect();
            exhaust(&mut conn, &ids);
            if restart {
                kill(server);
                server = serve();
                conn = server.connect();
                exhaust(&mut conn, &ids);
            }
            // Every second one first: no segment is free of jobs for long.
            let (even, odd): (Vec<u64>, Vec<u64>) = ids.iter().partition(|id| *id % 2 == 0);
            for id in even.into_iter().chain(odd) {
                let reply = conn.ask(format!("delete {id}"));
                assert_eq!(reply.line(), b"DELETED", "{policy}: job {id} of {}", ids.len());
                told.there.remove(&id);
                told.deleted.insert(id);
            }
            eventually("jobs are taken again", || told.put(&mut conn));
            await_state(&mut conn, "good");
            for _ in 0..300 {
                assert!(told.put(&mut conn), "there is room enough");
            }
            kill(server);
            told.check(&serve());
        }
    }
}

/// Puts jobs until the log is full. The first put that is refused need not be the last: if its record
/// did not fit, what was written of it is given back, and there may be room again.
fn fill(told: &mut Told, conn: &mut Conn) {
    eventually("the log is full", || {
        told.fill(conn);
        conn.ask("stats").value("binlog-state") == Some("full")
    });
}

/// Does all that clients can do to jobs on a full disk, until each of it is refused, or takes no room.
fn exhaust(conn: &mut Conn, ids: &[u64]) {
    let refused = b"INTERNAL_ERROR";
    let round = |conn: &mut Conn, lines: &[String]| -> bool {
        let replies: Vec<_> = lines.iter().map(|line| conn.ask(line)).collect();
        replies.iter().any(|reply| reply.line() == refused)
    };
    // More than any room that is kept back can take.
    const ROUNDS: u64 = 20_000;
    let first = ids[0];
    let releases = [format!("reserve-job {first}"), format!("release {first} 5 0")];
    assert!((0..ROUNDS).any(|_| round(conn, &releases)), "releases are refused some time");
    // Right after a restart there is room, so that the disk may only be full now.
    await_state(conn, "full");
    assert!((0..ROUNDS).any(|_| round(conn, &releases)), "releases are refused some time");
    let pause = ["pause-tube default 0".to_owned()];
    assert!((0..ROUNDS).any(|_| round(conn, &pause)), "pauses are refused some time");
    assert!(round(conn, &[format!("bury {first} 3")]), "so are others");
    // Reserving and touching is not refused, and may take nothing of the rest. A segment that is
    // reclaimed meanwhile makes some room, which is used up as well.
    for id in ids {
        let release = |conn: &mut Conn| {
            round(conn, &[format!("reserve-job {id}"), format!("touch {id}")]);
            round(conn, &[format!("release {id} 5 0")])
        };
        assert!((0..ROUNDS).any(|_| release(conn)), "the rest is for deletes");
    }
    for _ in 0..1000 {
        round(conn, &["kick 1".to_owned(), format!("kick-job {first}")]);
    }
}
