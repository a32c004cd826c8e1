//! A list of jobs, linked through the jobs themselves. It takes no memory of its own. Joining it at
//! an end and leaving it from anywhere take constant time.

use crate::arena::Ix;
use crate::job::{Jobs, NONE};

/// The two ends; [`NONE`] while the list is empty. The links are in the jobs' places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    pub(crate) first: Ix,
    pub(crate) last: Ix,
}

impl List {
    pub(crate) const EMPTY: Self = Self { first: NONE, last: NONE };

    /// The jobs in the list, in order.
    pub(crate) fn all(self, jobs: &Jobs) -> impl Iterator<Item = Ix> {
        let some = |job: Ix| Some(job).filter(|job| *job != NONE);
        std::iter::successors(some(self.first), move |job| some(jobs[*job].next()))
    }

    /// Appends `job`. Returns the job before it, for its place.
    pub(crate) fn push_back(&mut self, job: Ix, jobs: &mut Jobs) -> Ix {
        let previous = std::mem::replace(&mut self.last, job);
        match previous {
            NONE => self.first = job,
            _ => *jobs[previous].links().1 = job,
        }
        previous
    }

    /// Prepends `job`. Returns the job after it, for its place.
    pub(crate) fn push_front(&mut self, job: Ix, jobs: &mut Jobs) -> Ix {
        let next = std::mem::replace(&mut self.first, job);
        match next {
            NONE => self.last = job,
            _ => *jobs[next].links().0 = job,
        }
        next
    }

    /// Takes out the first job, whose neighbour is not told. For a list that is only emptied.
    pub(crate) fn take_first(&mut self, jobs: &Jobs) -> Option<Ix> {
        let job = Some(self.first).filter(|job| *job != NONE)?;
        self.first = jobs[job].next();
        Some(job)
    }

    /// Removes the job between these two.
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

/// Unlinks the job between these two. The ends of its list do not change if both are jobs.
pub(crate) fn unlink(previous: Ix, next: Ix, jobs: &mut Jobs) {
    if previous != NONE {
        *jobs[previous].links().1 = next;
    }
    if next != NONE {
        *jobs[next].links().0 = previous;
    }
}
