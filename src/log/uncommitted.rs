//! The jobs that somebody may have to wait for: a table for any log that is committed in batches.
//!
//! A record waits in memory until a writer takes it, together with all others; it is in flight until
//! the writer says that it is committed.

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
pub struct Uncommitted {
    /// Those with a record that the writer has not taken.
    waiting: IdSet,
    /// Those with one that it has, and has not committed.
    in_flight: IdSet,
    /// New jobs, in order.
    fresh: VecDeque<(Position, JobId)>,
}

/// How far a job's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All are committed.
    Committed,
    /// The writer has them.
    InFlight,
    /// The writer has not taken all of them.
    Waiting,
}

impl Uncommitted {
    /// A record of this job was appended.
    pub fn add(&mut self, job: JobId) {
        self.waiting.insert(job);
    }

    /// The job is new, and its record ends at `position`.
    pub fn add_fresh(&mut self, job: JobId, position: Position) {
        self.fresh.push_back((position, job));
    }

    fn stage(&self, job: JobId) -> Stage {
        if self.waiting.contains(&job) {
            Stage::Waiting
        } else if self.in_flight.contains(&job) {
            Stage::InFlight
        } else {
            Stage::Committed
        }
    }

    /// What must be committed before anything about this job may be told, 0 if nothing: `position`
    /// is the end of what was appended, `taken` of what the writer has taken.
    pub fn concern(&self, job: JobId, position: Position, taken: Position) -> Position {
        match self.stage(job) {
            Stage::Waiting => position,
            Stage::InFlight => taken,
            Stage::Committed => 0,
        }
    }

    /// The writer has taken everything.
    pub fn take(&mut self) {
        if self.in_flight.is_empty() {
            std::mem::swap(&mut self.in_flight, &mut self.waiting);
        } else {
            self.in_flight.extend(self.waiting.drain());
        }
    }

    /// Everything up to `position` is committed; `all` if that is all that the writer has taken.
    pub fn commit(&mut self, position: Position, all: bool) {
        while self.fresh.front().is_some_and(|(end, _)| *end <= position) {
            self.fresh.pop_front();
        }
        if all {
            self.in_flight.clear();
        }
    }

    /// The new jobs. They are not asked for again.
    pub fn take_fresh(&mut self) -> Vec<JobId> {
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
        assert_eq!((jobs.stage(7), jobs.stage(9)), (Stage::InFlight, Stage::Committed));
        jobs.add(7);
        assert_eq!(jobs.stage(7), Stage::Waiting);
        // Taken once more while the first is on its way: neither is forgotten.
        jobs.take();
        jobs.commit(10, false);
        assert_eq!(jobs.stage(7), Stage::InFlight);
        jobs.commit(15, true);
        assert_eq!(jobs.stage(7), Stage::Committed);
        assert_eq!(jobs.take_fresh(), [8]);
        assert!(jobs.take_fresh().is_empty(), "they are not asked for again");
    }
}
