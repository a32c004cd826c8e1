//! The jobs with uncommitted records: a table for any log that commits in batches.
//!
//! A record waits in memory until a writer takes it, together with all others. It is in flight
//! until the writer reports that it is committed.
//!
//! If there is no memory for another job in the table, all jobs count as ones with a record: then whoever
//! looks at any waits for the log as well, and nothing is told too early.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use beanstalk_protocol::JobId;
use jq_engine::growth;

use crate::log::Position;

/// Hashes job ids. They count up and are assigned by the server, so a cheap hash is safe.
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

/// The jobs with records that are not committed.
#[derive(Debug, Default)]
pub struct Uncommitted {
    /// Jobs with a record that the writer has not taken.
    waiting: IdSet,
    /// Jobs with a record that the writer has taken but not committed.
    in_flight: IdSet,
    /// New jobs that are not committed, with the ends of their records, in order.
    fresh: VecDeque<(Position, JobId)>,
    /// Whether there is a record about any number of jobs that the writer has not taken, or has
    /// taken but not committed.
    all_waiting: bool,
    all_in_flight: bool,
}

/// How far a job's records have got.
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
    /// Adds a job, a record of which was appended.
    #[inline]
    pub fn add(&mut self, job: JobId) {
        if self.waiting.len() == self.waiting.capacity() && !self.has_grown() {
            return;
        }
        self.waiting.insert(job);
    }

    /// Makes room for more jobs that wait, if there is memory for it. A table that grows once more doubles.
    #[cold]
    fn has_grown(&mut self) -> bool {
        let has_grown = !self.all_waiting && self.waiting.try_reserve(1).is_ok();
        self.all_waiting |= !has_grown;
        has_grown
    }

    /// A record about any number of jobs was appended: until it is committed, each job counts as one
    /// with a record.
    pub fn add_all(&mut self) {
        self.all_waiting = true;
    }

    /// Adds a new job, whose record ends at `position`.
    pub fn add_fresh(&mut self, job: JobId, position: Position) {
        growth::push_back(&mut self.fresh, (position, job));
    }

    fn stage(&self, job: JobId) -> Stage {
        if self.all_waiting || self.waiting.contains(&job) {
            Stage::Waiting
        } else if self.all_in_flight || self.in_flight.contains(&job) {
            Stage::InFlight
        } else {
            Stage::Committed
        }
    }

    /// What must be committed before a client may learn anything about this job; 0 if nothing.
    /// `position` is the end of what was appended, `taken` the end of what the writer has taken.
    pub fn concern(&self, job: JobId, position: Position, taken: Position) -> Position {
        match self.stage(job) {
            Stage::Waiting => position,
            Stage::InFlight => taken,
            Stage::Committed => 0,
        }
    }

    /// Notes that the writer has taken everything.
    pub fn take(&mut self) {
        self.all_in_flight |= std::mem::take(&mut self.all_waiting);
        if self.in_flight.is_empty() {
            std::mem::swap(&mut self.in_flight, &mut self.waiting);
        } else if !self.all_in_flight && self.in_flight.try_reserve(self.waiting.len()).is_ok() {
            self.in_flight.extend(self.waiting.drain());
        } else {
            self.all_in_flight = true;
            self.waiting.clear();
        }
    }

    /// Notes that everything up to `position` is committed. `all`: that is everything that the
    /// writer has taken.
    pub fn commit(&mut self, position: Position, all: bool) {
        while self.fresh.front().is_some_and(|(end, _)| *end <= position) {
            self.fresh.pop_front();
        }
        if all {
            self.in_flight.clear();
            self.all_in_flight = false;
        }
    }

    /// Takes the new jobs out of the table.
    pub fn take_fresh(&mut self) -> Vec<JobId> {
        self.fresh.drain(..).map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_waits_for_a_record_about_any_number_of_them() {
        let mut jobs = Uncommitted::default();
        jobs.add_all();
        assert_eq!(jobs.stage(7), Stage::Waiting);
        jobs.take();
        assert_eq!((jobs.stage(7), jobs.concern(7, 30, 20)), (Stage::InFlight, 20));
        jobs.add_all();
        assert_eq!(jobs.concern(7, 30, 20), 30);
        jobs.commit(20, true);
        assert_eq!(jobs.stage(7), Stage::Waiting);
        jobs.take();
        jobs.commit(25, false);
        assert_eq!(jobs.stage(7), Stage::InFlight);
        jobs.commit(30, true);
        assert_eq!(jobs.stage(7), Stage::Committed);
    }

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
        // Taken once more while the first is in flight: neither is forgotten.
        jobs.take();
        jobs.commit(10, false);
        assert_eq!(jobs.stage(7), Stage::InFlight);
        jobs.commit(15, true);
        assert_eq!(jobs.stage(7), Stage::Committed);
        assert_eq!(jobs.take_fresh(), [8]);
        assert!(jobs.take_fresh().is_empty(), "they are returned once");
    }
}
