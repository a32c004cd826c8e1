//! Jobs that nobody takes in time.

use std::collections::VecDeque;

use beanstalk_protocol::Seconds;
use hashbrown::HashMap;

use crate::arena::Ix;
use crate::engine::Engine;
use crate::record::{Change, DurableState, Record};
use crate::sink::Sink;
use crate::time::Nanos;

/// When the log takes nothing more, it is asked again after this many seconds.
const TRY_AGAIN: Seconds = 1;

/// Entries that count no longer are dropped when they are more than those that do, and than this.
const STALE: usize = 1024;

/// The ready jobs of a tube, in the order in which they became ready. Takes 43 to 87 bytes for each: 24 in
/// the queue, which may be half empty, and 17 in the map, which may be so too.
#[derive(Debug)]
pub(super) struct Expiry {
    seconds: Seconds,
    /// Sorted by `at`, since the time is the same for all jobs.
    queue: VecDeque<Entry>,
    /// The entry that counts for a job, by its number.
    current: HashMap<Ix, u64>,
    next: u64,
    /// Nothing is due before.
    not_before: Nanos,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Nanos,
    job: Ix,
    number: u64,
}

impl Expiry {
    pub(super) fn new(seconds: Seconds) -> Self {
        Self {
            seconds,
            queue: VecDeque::new(),
            current: HashMap::new(),
            next: 0,
            not_before: Nanos::default(),
        }
    }

    /// The same jobs with another time.
    pub(super) fn with(mut self, seconds: Seconds) -> Self {
        let before = std::mem::replace(&mut self.seconds, seconds);
        if before != seconds {
            for entry in &mut self.queue {
                let since = entry.at.0.saturating_sub(Nanos::default().after(before).0);
                entry.at = Nanos(since).after(seconds);
            }
        }
        self
    }

    /// The job has been ready since then, which is not before any other's moment.
    pub(super) fn begin(&mut self, since: Nanos, job: Ix) {
        let number = self.next;
        self.next += 1;
        self.current.insert(job, number);
        self.queue.push_back(Entry { at: since.after(self.seconds), job, number });
        if self.queue.len() > 2 * self.current.len() + STALE {
            let current = &self.current;
            self.queue.retain(|entry| current.get(&entry.job) == Some(&entry.number));
        }
    }

    /// The job is ready, unless that is known already.
    pub(super) fn adopt(&mut self, now: Nanos, job: Ix) {
        if !self.current.contains_key(&job) {
            self.begin(now, job);
        }
    }

    /// The job is no longer ready.
    pub(super) fn end(&mut self, job: Ix) {
        self.current.remove(&job);
        // An empty queue has no deadline, however long its stale entries would have.
        if self.current.is_empty() {
            self.clear();
        }
    }

    /// No job is ready any more.
    pub(super) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.current = HashMap::new();
    }

    /// When the next job may expire, or before.
    pub(super) fn deadline(&self) -> Nanos {
        self.queue.front().map_or(Nanos::NEVER, |entry| entry.at.max(self.not_before))
    }

    /// Takes the next entry that is due. The job if it counts; otherwise the step was to drop it.
    pub(super) fn due(&mut self, due: Nanos) -> Option<Option<Ix>> {
        let entry = *self.queue.front().filter(|_| self.deadline() <= due)?;
        let counts = self.current.get(&entry.job) == Some(&entry.number);
        if !counts {
            self.queue.pop_front();
        }
        Some(counts.then_some(entry.job))
    }

    fn wait_until(&mut self, moment: Nanos) {
        self.not_before = moment;
    }
}

impl Engine {
    /// The job was ready for too long. It leaves the tube, or stays until the log takes that.
    pub(super) fn expire(&mut self, now: Nanos, job: Option<Ix>, sink: &mut impl Sink) {
        let Some(ix) = job else { return };
        let tube = self.jobs[ix].tube;
        let state = &mut self.tubes[tube];
        let Some(ruled) = &mut state.ruled else { return };
        let dead_letter = ruled.policy.dead_letter.clone();
        let dead_letter = dead_letter.filter(|name| *name != state.name);
        let change = if dead_letter.is_some() { Change::Move } else { Change::Delete };
        if !sink.admits(change) {
            if let Some(expiry) = &mut ruled.expiry {
                expiry.wait_until(now.after(TRY_AGAIN));
            }
            return;
        }
        self.count_ruling(tube, |counts| counts.expired += 1);
        match dead_letter {
            Some(name) => {
                self.detach(ix);
                let to = self.tubes.find_or_create(name);
                self.relocate(now, ix, to, DurableState::Ready, sink);
            }
            None => {
                sink.record(Record::Delete(self.jobs[ix].id));
                self.remove_job(ix, sink);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/policies.md says what a job costs.
    #[test]
    fn a_job_takes_an_entry_here_and_there() {
        assert_eq!((size_of::<Entry>(), size_of::<(Ix, u64)>()), (24, 16));
    }
}
