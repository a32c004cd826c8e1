//! How far a log is committed, and who waits for it.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

use crate::log::Position;

/// What a log has committed. Shared by the log, which moves it, and the connections, whose replies
/// wait for it.
#[derive(Debug, Default)]
pub struct Progress {
    committed: AtomicU64,
    /// How often committing has failed.
    failures: AtomicU64,
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
        // In this order: what is committed after a failure is committed all the same.
        let failed = self.failures() != failures;
        if self.committed() >= position {
            Gate::Open
        } else if failed {
            Gate::Failed
        } else {
            Gate::Held
        }
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

    /// What is not committed has failed.
    pub(crate) fn fail(&self) {
        self.failures.fetch_add(1, Ordering::AcqRel);
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
    fn what_failed_and_was_committed_later_is_committed() {
        let progress = Progress::default();
        progress.commit(5);
        progress.fail();
        assert_eq!(progress.poll(5, 0, Waker::noop()), Gate::Open);
        assert_eq!(progress.poll(6, 0, Waker::noop()), Gate::Failed);
        // A reply that was made after the failure waits for what comes.
        assert_eq!(progress.poll(6, 1, Waker::noop()), Gate::Held);
        progress.commit(6);
        assert_eq!(progress.poll(6, 0, Waker::noop()), Gate::Open);
    }
}
