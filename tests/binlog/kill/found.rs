//! What is there after a restart.

use std::collections::BTreeMap;

use crate::kill::number;
use crate::support::{Conn, Reply};

/// Where a job is. Not reserved, as nobody is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Ready,
    Delayed,
    Buried,
}

/// What must be known of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) place: Place,
    pub(super) pri: u32,
    pub(super) releases: u32,
    pub(super) buries: u32,
    pub(super) kicks: u32,
}

/// A job as the server has it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) tube: String,
    pub(super) body: String,
    pub(super) state: State,
}

/// Everything that the server has.
pub(super) struct Found {
    /// By their ids.
    pub(super) jobs: BTreeMap<u64, Job>,
    /// No job has a larger id.
    pub(super) largest: u64,
}

/// Asks for all jobs; somebody was told of `known` as an id.
pub(super) fn find_all(conn: &mut Conn, known: u64) -> Found {
    const BATCH: usize = 100;
    conn.send("put 0 0 60 5\r\nprobe\r\n");
    let probe = number(&conn.reply(), "INSERTED ");
    assert!(probe > known, "the id {probe} is used again: {known} was known");
    assert_eq!(conn.ask(format!("delete {probe}")).line(), b"DELETED");
    let mut jobs = BTreeMap::new();
    let ids: Vec<u64> = (1..=probe).collect();
    for ids in ids.chunks(BATCH) {
        let commands = ids.iter().map(|id| format!("peek {id}\r\nstats-job {id}\r\n"));
        conn.send(commands.collect::<String>());
        for id in ids {
            let (peek, stats) = (conn.reply(), conn.reply());
            if peek.line() == b"NOT_FOUND" {
                assert_eq!(stats.line(), b"NOT_FOUND");
                continue;
            }
            assert_eq!(number(&peek, "FOUND "), *id);
            jobs.insert(*id, job(&peek, &stats));
        }
    }
    let all = conn.ask("stats");
    let states = ["ready", "delayed", "buried", "reserved"];
    let counts = states.map(|state| {
        let count = all.value(&format!("current-jobs-{state}"));
        count.and_then(|count| count.parse::<usize>().ok()).expect("it is a number")
    });
    assert_eq!(counts.iter().sum::<usize>(), jobs.len(), "no job has another number");
    Found { jobs, largest: probe }
}

fn job(peek: &Reply, stats: &Reply) -> Job {
    let value = |key| stats.value(key).unwrap_or_else(|| panic!("{key} in {stats}"));
    let number = |key| value(key).parse().unwrap_or_else(|_| panic!("{key} in {stats}"));
    let body = peek.body().expect("a job has a body");
    Job {
        tube: value("tube").trim_matches('"').to_owned(),
        body: String::from_utf8(body.to_vec()).expect("it is text"),
        state: State {
            place: match value("state") {
                "ready" => Place::Ready,
                "delayed" => Place::Delayed,
                "buried" => Place::Buried,
                other => panic!("{other}, though nobody is connected"),
            },
            pri: number("pri"),
            releases: number("releases"),
            buries: number("buries"),
            kicks: number("kicks"),
        },
    }
}
