//! What the engine tells its log about jobs: a log that remembers that, and passes everything on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use beanstalk_protocol::{BinlogStats, JobId};
use jq_engine::{Change, JobUpdate, Record, SegmentRef};
use jq_server::log::{Appended, Log, Position};

use crate::model::TUBES;

/// A fact that somebody may be promised. That a job was put is known from the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    Changed(JobUpdate),
    /// It is in this tube now.
    Moved(usize, JobUpdate),
    Kicked(JobId),
    Gone(JobId),
    /// All that nobody has are gone from this tube.
    Cleared(usize),
}

impl Fact {
    fn of(record: &Record<'_>) -> Option<Self> {
        let number = |name: &str| TUBES.iter().position(|tube| *tube == name);
        Some(match record {
            Record::Update(now) => Self::Changed(*now),
            Record::Moved { tube, now } => Self::Moved(number(tube)?, *now),
            Record::Kicked(id) => Self::Kicked(*id),
            Record::Delete(id) => Self::Gone(*id),
            Record::Cleared { tube, .. } => Self::Cleared(number(tube)?),
            _ => return None,
        })
    }

    /// The job, if it is about one.
    pub(crate) fn job(&self) -> Option<JobId> {
        match self {
            Self::Changed(now) | Self::Moved(_, now) => Some(now.id),
            Self::Kicked(id) | Self::Gone(id) => Some(*id),
            Self::Cleared(_) => None,
        }
    }
}

/// The facts that nobody has looked at, the oldest first; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts(Arc<Mutex<VecDeque<Fact>>>);

impl Facts {
    pub(crate) fn take(&self) -> VecDeque<Fact> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics while holding it"))
    }

    /// The same log, whose facts come here, too.
    pub(crate) fn overhear(&self, log: Box<dyn Log>) -> Box<dyn Log> {
        Box::new(Overheard { log, facts: self.clone() })
    }
}

#[derive(Debug)]
struct Overheard {
    log: Box<dyn Log>,
    facts: Facts,
}

impl Log for Overheard {
    fn is_durable(&self) -> bool {
        self.log.is_durable()
    }

    fn append(&mut self, record: &Record<'_>, urgent: bool) -> Appended {
        let mut facts = self.facts.0.lock().expect("nobody panics while holding it");
        facts.extend(Fact::of(record));
        drop(facts);
        self.log.append(record, urgent)
    }

    fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize) {
        self.log.forget(segment, job, bytes);
    }

    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        self.log.resize(segment, before, after);
    }

    fn admits(&self, change: Change) -> bool {
        self.log.admits(change)
    }

    fn concern(&self, job: JobId) -> Position {
        self.log.concern(job)
    }

    fn segment_number(&self, segment: SegmentRef) -> u64 {
        self.log.segment_number(segment)
    }

    fn stats(&self) -> BinlogStats {
        self.log.stats()
    }
}
