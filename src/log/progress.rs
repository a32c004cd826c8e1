//! How far a log is committed, and who waits for it.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

use crate::log::Position;

/// Failures that are told apart. A reply that is held for longer has failed.
const REMEMBERED_FAILURES: usize = 1000;

/// What a log has committed. Shared by the log, which moves it, and the connections, whose replies
/// wait for it.
#[derive(Debug, Default)]
pub struct Progress {
    committed: AtomicU64,
    /// How often committing has failed.
    failures: AtomicU64,
    /// How far the log was committed at each of the last failures.
    failed_at: Mutex<VecDeque<Position>>,
    waiting: Mutex<Vec<(Position, Waker)>>,
}

/// Whether a reply may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// What it tells is committed.
    Open,
    /// Not yet.
    Held,
    /// It failed, so the reply must not leave.
    Failed,
}

impl Progress {
    /// Everything before this is committed.
    pub fn committed(&self) -> Position {
        self.committed.load(Ordering::Acquire)
    }

    /// A number that changes with each failure; for [`Progress::poll`].
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Whether a reply that needs `position` committed may leave. If it is held, `waker` is woken
    /// when that may have changed. `failures` is what [`Progress::failures`] was when the reply was
    /// made.
    pub fn poll(&self, position: Position, failures: u64, waker: &Waker) -> Gate {
        let gate = self.state(position, failures);
        if gate != Gate::Held {
            return gate;
        }
        let mut waiting = self.lock();
        // Once more, under the lock that whoever moves it takes afterwards.
        let gate = self.state(position, failures);
        if gate == Gate::Held {
            waiting.push((position, waker.clone()));
        }
        gate
    }

    fn state(&self, position: Position, failures: u64) -> Gate {
        // In this order: what was committed by recovering from a failure shows the failure too.
        let committed = self.committed();
        if self.failures() != failures && position > self.committed_at_failure(failures) {
            // Even if it is committed meanwhile: what was asked for may have been taken back.
            Gate::Failed
        } else if committed >= position {
            Gate::Open
        } else {
            Gate::Held
        }
    }

    /// How far the log was committed when it failed for the first time after so many failures; 0 if
    /// that is too many failures ago.
    fn committed_at_failure(&self, failures: u64) -> Position {
        let failed_at = self.failed_at.lock().expect("nobody panics while holding this lock");
        let since = usize::try_from(self.failures() - failures).unwrap_or(usize::MAX);
        let at = failed_at.len().checked_sub(since);
        at.and_then(|at| failed_at.get(at)).copied().unwrap_or(0)
    }

    /// Everything before `position` is committed.
    pub(crate) fn commit(&self, position: Position) {
        self.committed.fetch_max(position, Ordering::AcqRel);
        let committed = self.committed();
        let mut waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        let all = mem::take(&mut *waiting);
        let (ready, held) = all.into_iter().partition(|(position, _)| *position <= committed);
        *waiting = held;
        drop(waiting);
        wake(ready);
    }

    /// What comes after `committed` has failed.
    pub(crate) fn fail(&self, committed: Position) {
        {
            let mut failed_at =
                self.failed_at.lock().expect("nobody panics while holding this lock");
            if failed_at.len() == REMEMBERED_FAILURES {
                failed_at.pop_front();
            }
            failed_at.push_back(committed);
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        let all = mem::take(&mut *self.lock());
        wake(all);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Position, Waker)>> {
        self.waiting.lock().expect("nobody panics while holding this lock")
    }
}

fn wake(waiting: Vec<(Position, Waker)>) {
    waiting.into_iter().for_each(|(_, waker)| waker.wake());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_when_their_position_is_committed() {
        let progress = Progress::default();
        let poll = |position| progress.poll(position, 0, Waker::noop());
        assert_eq!((poll(0), poll(1), poll(10)), (Gate::Open, Gate::Held, Gate::Held));
        progress.commit(5);
        assert_eq!((poll(5), poll(6)), (Gate::Open, Gate::Held));
        assert_eq!(progress.lock().len(), 2, "the one who waits for 1 is woken");
    }

    #[test]
    fn what_failed_has_failed_even_if_it_is_committed_later() {
        let progress = Progress::default();
        progress.commit(5);
        progress.fail(5);
        assert_eq!(progress.poll(5, 0, Waker::noop()), Gate::Open);
        assert_eq!(progress.poll(6, 0, Waker::noop()), Gate::Failed);
        // A reply that was made after the failure waits for what comes.
        assert_eq!(progress.poll(6, 1, Waker::noop()), Gate::Held);
        progress.commit(6);
        assert_eq!(progress.poll(6, 0, Waker::noop()), Gate::Failed, "it comes late to ask");
        assert_eq!(progress.poll(6, 1, Waker::noop()), Gate::Open);
        progress.fail(6);
        assert_eq!(progress.poll(6, 0, Waker::noop()), Gate::Failed, "the first failure counts");
        assert_eq!(progress.poll(6, 1, Waker::noop()), Gate::Open);
        assert_eq!(progress.poll(7, 1, Waker::noop()), Gate::Failed);
    }

    #[test]
    fn what_was_committed_before_a_failure_may_be_told_of_later() {
        let progress = Progress::default();
        progress.fail(5);
        assert_eq!(progress.poll(5, 0, Waker::noop()), Gate::Held);
        progress.commit(5);
        assert_eq!(progress.poll(5, 0, Waker::noop()), Gate::Open);
    }
}
