//! Everything that a server shows of its queue.

use std::collections::BTreeMap;

use beanstalk_protocol::{Command, JobId, Request, TubeName};
use jq_engine::{CloseReason, ConnId, DurableState, JobCounters, JobRecord, JobUpdate};

use crate::job::SECOND;
use crate::model::{Pause, Policy, TUBES};
use crate::server::{Server, replies};
use crate::support::Reply;

/// Requests at once: few enough that all their replies are made at once, too.
const BATCH: usize = 8;

/// A job as `stats-job` and `peek` show it.
#[derive(Debug)]
pub(crate) struct JobSeen {
    stats: Reply,
    pub(crate) body: Vec<u8>,
    /// When, and when the server had last done what was due; in nanoseconds.
    pub(crate) at: u64,
    pub(crate) ticked: u64,
}

/// A tube's pause as `stats-tube` shows it.
#[derive(Debug)]
pub(crate) struct PauseSeen {
    /// How long it is and how much is left of it, in seconds.
    lasts: (u64, u64),
    at: u64,
    ticked: u64,
}

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) jobs: BTreeMap<JobId, JobSeen>,
    pub(crate) pauses: Vec<PauseSeen>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) draining: bool,
    /// The first buried job of each tube.
    pub(crate) first_buried: Vec<Option<JobId>>,
}

impl JobSeen {
    pub(crate) fn new(stats: Reply, body: Vec<u8>, at: u64, ticked: u64) -> Self {
        Self { stats, body, at, ticked }
    }

    /// A job that was restored, at this time.
    fn of(job: &JobRecord<'_>, at: u64) -> Self {
        let JobUpdate { id, priority, delay, state, counters } = job.now;
        let (state, until) = match state {
            DurableState::Ready => ("ready", at),
            DurableState::Delayed(until) => ("delayed", until.0),
            DurableState::Buried(_) => ("buried", at),
        };
        let JobCounters { reserves, timeouts, releases, buries, kicks, disconnects } = counters;
        let age = at.saturating_sub(job.created.0) / SECOND;
        let left = until.saturating_sub(at) / SECOND;
        let (tube, ttr) = (job.tube, job.ttr);
        let text = format!(
            "---\nid: {id}\ntube: {tube}\nstate: {state}\npri: {priority}\nage: {age}\n\
             delay: {delay}\nttr: {ttr}\ntime-left: {left}\nreserves: {reserves}\n\
             timeouts: {timeouts}\nreleases: {releases}\nburies: {buries}\nkicks: {kicks}\n\
             disconnects: {disconnects}\n"
        );
        let mut reply = format!("OK {}\r\n{text}\r\n", text.len()).into_bytes();
        let stats = Reply::take(&mut reply).expect("a whole reply");
        Self::new(stats, job.body.to_vec(), at, at)
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.stats.value(key).unwrap_or_else(|| panic!("no {key} in {}", self.stats))
    }

    pub(crate) fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or_else(|_| panic!("{key} is no number: {}", self.stats))
    }

    /// Whether the job is in this state.
    pub(crate) fn is(&self, state: &str) -> bool {
        self.text("state") == state
    }
}

impl PauseSeen {
    /// Whether this is what a pause looks like.
    pub(crate) fn shows(&self, (seconds, until): &Pause) -> bool {
        if *seconds == 0 || *until <= self.ticked {
            return self.lasts == (0, 0);
        }
        self.lasts == (u64::from(*seconds), until.saturating_sub(self.at) / 1_000_000_000)
    }
}

/// The number behind a reply's word.
pub(crate) fn number(reply: &Reply) -> Option<u64> {
    std::str::from_utf8(reply.line()).ok()?.split(' ').nth(1)?.parse().ok()
}

pub(crate) fn tube_name(tube: usize) -> TubeName {
    TubeName::new(TUBES[tube].as_bytes()).expect("these are names")
}

/// All jobs as they are before anything is due, as a server would show them that has none of it happen.
pub(crate) fn restored(server: &Server) -> BTreeMap<JobId, JobSeen> {
    server.hub.read(|engine, now| {
        let mut jobs = BTreeMap::new();
        engine.tell_all(|record| {
            if let Some(job) = record.whole_job() {
                jobs.insert(job.now.id, JobSeen::of(job, now.0));
            }
        });
        jobs
    })
}

/// Replies to commands, each with its time and that of the last tick before it.
fn ask(server: &Server, conn: ConnId, commands: Vec<Command>) -> Vec<(Reply, u64, u64)> {
    let mut answered = Vec::new();
    for commands in commands.chunks(BATCH) {
        let requests = commands.iter().cloned().map(Request::Command).collect();
        let answers = server.apply(conn, requests);
        let replies = replies(&answers.out);
        assert_eq!(replies.len(), commands.len(), "each command is answered");
        let timed = replies.into_iter().zip(answers.at..);
        answered.extend(timed.map(|(reply, at)| (reply, at, answers.at)));
    }
    answered
}

/// Looks at everything; the numbers of jobs are below `ids`.
pub(crate) fn observe(server: &Server, ids: JobId) -> Seen {
    let conn = server.connect();
    let both = |id| [Command::StatsJob(id), Command::Peek(id)];
    let mut asked = ask(server, conn, (1..ids).flat_map(both).collect()).into_iter();
    let mut jobs = BTreeMap::new();
    for id in 1..ids {
        let (Some((stats, at, ticked)), Some((peek, ..))) = (asked.next(), asked.next()) else {
            break;
        };
        match (stats.body(), peek.body()) {
            (Some(_), Some(body)) => {
                let body = body.to_vec();
                jobs.insert(id, JobSeen::new(stats, body, at, ticked));
            }
            (None, None) => {}
            _ => panic!("job {id} is there and is not: {stats}, {peek}"),
        }
    }
    // Before tubes are used, which makes them.
    let tubes = (0..TUBES.len()).map(|tube| Command::StatsTube(tube_name(tube))).collect();
    let pauses = ask(server, conn, tubes).into_iter().map(|(reply, at, ticked)| {
        let value = |key| reply.value(key).map_or(0, |value| value.parse().expect("a number"));
        PauseSeen { lasts: (value("pause"), value("pause-time-left")), at, ticked }
    });
    let pauses = pauses.collect();
    let buried =
        (0..TUBES.len()).flat_map(|tube| [Command::Use(tube_name(tube)), Command::PeekBuried]);
    let buried = ask(server, conn, buried.collect());
    let first_buried = buried.iter().skip(1).step_by(2).map(|(reply, ..)| number(reply)).collect();
    let stats = ask(server, conn, vec![Command::Stats]);
    let draining = stats[0].0.value("draining") == Some("true");
    server.hub.disconnect(conn, CloseReason::Quit);
    let policies = server.hub.read(|engine, _| {
        TUBES.iter().map(|tube| engine.policy(tube).cloned().unwrap_or_default()).collect()
    });
    Seen { jobs, pauses, policies, draining, first_buried }
}
