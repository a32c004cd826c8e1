//! The jobs that somebody may have to wait for.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use beanstalk_protocol::JobId;

use crate::log::Position;

/// The ids of jobs, which count up and need no hashing against malice.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only ids are hashed");
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

type IdSet = HashSet<JobId, BuildHasherDefault<IdHasher>>;

/// Which jobs have records that are not committed.
#[derive(Debug, Default)]
pub(crate) struct Uncommitted {
    /// Those with a record that the writer has not taken.
    waiting: IdSet,
    /// Those with one that it has.
    flying: IdSet,
    /// New jobs, in order.
    fresh: VecDeque<(Position, JobId)>,
}

/// How far a job's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// All are committed.
    Committed,
    /// The writer has them.
    Flying,
    /// The writer has not taken all of them.
    Waiting,
}

impl Uncommitted {
    /// A record of this job was appended.
    pub(crate) fn add(&mut self, job: JobId) {
        self.waiting.insert(job);
    }

    /// The job is new, and its record ends at `position`.
    pub(crate) fn add_fresh(&mut self, job: JobId, position: Position) {
        self.fresh.push_back((position, job));
    }

    pub(crate) fn stage(&self, job: JobId) -> Stage {
        if self.waiting.contains(&job) {
            Stage::Waiting
        } else if self.flying.contains(&job) {
            Stage::Flying
        } else {
            Stage::Committed
        }
    }

    /// The writer has taken everything.
    pub(crate) fn take(&mut self) {
        if self.flying.is_empty() {
            std::mem::swap(&mut self.flying, &mut self.waiting);
        } else {
            self.flying.extend(self.waiting.drain());
        }
    }

    /// Everything up to `position` is committed; `all` if that is all that the writer has taken.
    pub(crate) fn commit(&mut self, position: Position, all: bool) {
        while self.fresh.front().is_some_and(|(end, _)| *end <= position) {
            self.fresh.pop_front();
        }
        if all {
            self.flying.clear();
        }
    }

    /// The new jobs. They are not asked for again.
    pub(crate) fn take_fresh(&mut self) -> Vec<JobId> {
        self.fresh.drain(..).map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_until_its_last_record_is_committed() {
        let mut jobs = Uncommitted::default();
        jobs.add(7);
        jobs.add_fresh(7, 10);
        jobs.add_fresh(8, 20);
        jobs.take();
        assert_eq!((jobs.stage(7), jobs.stage(9)), (Stage::Flying, Stage::Committed));
        jobs.add(7);
        assert_eq!(jobs.stage(7), Stage::Waiting);
        // Taken once more while the first is on its way: neither is forgotten.
        jobs.take();
        jobs.commit(10, false);
        assert_eq!(jobs.stage(7), Stage::Flying);
        jobs.commit(15, true);
        assert_eq!(jobs.stage(7), Stage::Committed);
        assert_eq!(jobs.take_fresh(), [8]);
        assert!(jobs.take_fresh().is_empty(), "they are not asked for again");
    }
}
