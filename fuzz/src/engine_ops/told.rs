//! Answers, kept.

use beanstalk_protocol::{JobId, JobListing, JobState, Reply, ServerStats, URGENT_PRIORITY};
use jq_engine::{Answer, Body, ConnId, Sink};

/// An answer that owns what it says.
#[derive(Debug)]
pub(super) enum Told {
    Reply(Reply<Vec<u8>>),
    Server(Box<ServerStats>),
    Job { id: JobId, tube: String, state: JobState, urgent: bool, disconnects: u32 },
    Tube(TubeView),
    Tubes(Vec<String>),
    Batch(Vec<(JobId, Vec<u8>)>),
    Jobs(JobListing),
}

/// What `stats-tube` tells.
#[derive(Debug)]
pub(super) struct TubeView {
    pub(super) name: String,
    pub(super) jobs: JobTally,
    pub(super) using: u64,
    pub(super) watching: u64,
    pub(super) waiting: u64,
    pub(super) is_paused: bool,
}

/// How many jobs are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct JobTally {
    pub(super) urgent: u64,
    pub(super) ready: u64,
    pub(super) reserved: u64,
    pub(super) delayed: u64,
    pub(super) buried: u64,
}

impl JobTally {
    pub(super) fn of(stats: &ServerStats) -> Self {
        Self {
            urgent: stats.urgent,
            ready: stats.ready,
            reserved: stats.reserved,
            delayed: stats.delayed,
            buried: stats.buried,
        }
    }

    pub(super) fn all(&self) -> u64 {
        self.ready + self.reserved + self.delayed + self.buried
    }

    pub(super) fn count(&mut self, state: JobState, urgent: bool) {
        match state {
            JobState::Ready => {
                self.ready += 1;
                self.urgent += u64::from(urgent);
            }
            JobState::Reserved => self.reserved += 1,
            JobState::Delayed => self.delayed += 1,
            JobState::Buried => self.buried += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.urgent += other.urgent;
        self.ready += other.ready;
        self.reserved += other.reserved;
        self.delayed += other.delayed;
        self.buried += other.buried;
    }
}

/// Keeps what is said to whom, in order.
#[derive(Debug, Default)]
pub(super) struct Answers(pub(super) Vec<(ConnId, Told)>);

impl Sink for Answers {
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>) {
        let told = match answer {
            Answer::Reply(reply) => {
                Told::Reply(reply.map_body(|body: &Body| body.as_ref().to_vec()))
            }
            Answer::ServerStats(stats) => Told::Server(stats),
            Answer::JobStats(stats) => Told::Job {
                id: stats.id,
                tube: stats.tube.to_owned(),
                state: stats.state,
                urgent: stats.priority < URGENT_PRIORITY,
                disconnects: stats.disconnects,
            },
            Answer::TubeStats(stats) => Told::Tube(TubeView {
                name: stats.name.to_owned(),
                jobs: JobTally {
                    urgent: stats.urgent,
                    ready: stats.ready,
                    reserved: stats.reserved,
                    delayed: stats.delayed,
                    buried: stats.buried,
                },
                using: stats.using,
                watching: stats.watching,
                waiting: stats.waiting,
                is_paused: stats.pause > 0,
            }),
            Answer::Batch(batch) => {
                let (mut said, mut jobs) = (0, Vec::new());
                batch.for_each(|reply| match reply {
                    Reply::Batch(count) => said = count,
                    Reply::Reserved(id, body) => jobs.push((id, body.as_ref().to_vec())),
                    reply => panic!("{reply:?} in a batch"),
                });
                assert_eq!(said, jobs.len() as u64);
                Told::Batch(jobs)
            }
            Answer::Jobs(listing) => Told::Jobs(listing),
            Answer::Tubes(names) => {
                let mut told = Vec::new();
                names.for_each(|name| told.push(name.to_owned()));
                Told::Tubes(told)
            }
        };
        self.0.push((conn, told));
    }
}
