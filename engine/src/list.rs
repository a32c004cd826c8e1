//! A list of jobs through the jobs themselves: it takes no memory of its own, and to join it at an
//! end or to leave it from anywhere costs the same however long it is.

use crate::arena::Ix;
use crate::job::{Jobs, NONE};

/// The two ends; [`NONE`] while it is empty. The rest is in the jobs' places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    pub(crate) first: Ix,
    pub(crate) last: Ix,
}

impl List {
    pub(crate) const EMPTY: Self = Self { first: NONE, last: NONE };

    /// The jobs in it, in order.
    pub(crate) fn all(self, jobs: &Jobs) -> impl Iterator<Item = Ix> {
        let some = |job: Ix| Some(job).filter(|job| *job != NONE);
        std::iter::successors(some(self.first), move |job| some(jobs[*job].next()))
    }

    /// `job` is the last now. Returns the one before it, for its place.
    pub(crate) fn push_back(&mut self, job: Ix, jobs: &mut Jobs) -> Ix {
        let previous = std::mem::replace(&mut self.last, job);
        match previous {
            NONE => self.first = job,
            _ => *jobs[previous].links().1 = job,
        }
        previous
    }

    /// `job` is the first now. Returns the one behind it, for its place.
    pub(crate) fn push_front(&mut self, job: Ix, jobs: &mut Jobs) -> Ix {
        let next = std::mem::replace(&mut self.first, job);
        match next {
            NONE => self.last = job,
            _ => *jobs[next].links().0 = job,
        }
        next
    }

    /// The job between these two leaves.
    pub(crate) fn remove(&mut self, previous: Ix, next: Ix, jobs: &mut Jobs) {
        if previous == NONE {
            self.first = next;
        }
        if next == NONE {
            self.last = previous;
        }
        unlink(previous, next, jobs);
    }
}

/// The job between these two leaves its list, whose ends stay if these are two jobs.
pub(crate) fn unlink(previous: Ix, next: Ix, jobs: &mut Jobs) {
    if previous != NONE {
        *jobs[previous].links().1 = next;
    }
    if next != NONE {
        *jobs[next].links().0 = previous;
    }
}
