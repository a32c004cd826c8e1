//! How far a log is committed, and who waits for it.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::task::Waker;

use tokio::sync::Notify;

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
    waiting: Mutex<Waiting>,
    /// Why the log may not be written any more.
    lost: OnceLock<String>,
    /// Notified when `lost` is set.
    losing: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How often somebody was taken out.
    round: u64,
    wakers: Vec<(Position, Waker)>,
}

/// What must be committed before replies may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gated {
    /// Everything before this; 0 if nothing.
    position: Position,
    /// [`Progress::failures`] when the first of the replies was made.
    failures: u64,
}

impl Gated {
    /// Everything before `position`, too, of which was told after so many failures.
    pub(crate) fn raise(&mut self, position: Position, failures: u64) {
        if self.position == 0 {
            self.failures = failures;
        }
        self.position = self.position.max(position);
    }

    /// Whether anything must be committed.
    pub fn is_needed(self) -> bool {
        self.position > 0
    }
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
    /// The log was lost: nothing may leave, and nobody knows what becomes of it.
    Lost,
}

/// Where somebody waits, so that they wait there once however often they ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place(Option<(Position, u64)>);

impl Progress {
    /// Everything before this is committed.
    pub fn committed(&self) -> Position {
        self.committed.load(Ordering::Acquire)
    }

    /// A number that changes with each failure.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Whether a reply may leave that needs this committed. If it is held, `waker` is woken when that
    /// may have changed; `place` is the asker's own, and the same each time.
    pub fn poll(&self, gated: Gated, place: &mut Place, waker: &Waker) -> Gate {
        let gate = self.state(gated);
        if gate != Gate::Held {
            return gate;
        }
        let mut waiting = self.lock();
        // Once more, under the lock that whoever moves it takes afterwards.
        let gate = self.state(gated);
        let here = Some((gated.position, waiting.round));
        if gate == Gate::Held && place.0 != here {
            place.0 = here;
            waiting.wakers.push((gated.position, waker.clone()));
        }
        gate
    }

    fn state(&self, Gated { position, failures }: Gated) -> Gate {
        if self.is_lost() {
            return Gate::Lost;
        }
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
    pub fn commit(&self, position: Position) {
        self.committed.fetch_max(position, Ordering::AcqRel);
        let committed = self.committed();
        let mut waiting = self.lock();
        if waiting.wakers.is_empty() {
            return;
        }
        waiting.round += 1;
        let all = mem::take(&mut waiting.wakers);
        let (ready, held) = all.into_iter().partition(|(position, _)| *position <= committed);
        waiting.wakers = held;
        drop(waiting);
        wake(ready);
    }

    /// What comes after `committed` has failed.
    pub fn fail(&self, committed: Position) {
        {
            let mut failed_at =
                self.failed_at.lock().expect("nobody panics while holding this lock");
            if failed_at.len() == REMEMBERED_FAILURES {
                failed_at.pop_front();
            }
            failed_at.push_back(committed);
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        self.wake_all();
    }

    /// The right to write the log is lost, for good, and this is why: a sentence for people. From now
    /// on no reply leaves, neither one that waits nor any other; what becomes of what was not
    /// committed is not known. Only the first call counts.
    pub fn lose(&self, why: &str) {
        if self.lost.set(why.to_owned()).is_ok() {
            self.losing.notify_waiters();
            self.wake_all();
        }
    }

    /// Whether the log was lost: see [`Progress::lose`].
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Waits until the log is lost, which may be never, and tells why.
    pub async fn lost(&self) -> &str {
        loop {
            let losing = self.losing.notified();
            if let Some(why) = self.lost.get() {
                return why;
            }
            losing.await;
        }
    }

    fn wake_all(&self) {
        let mut waiting = self.lock();
        waiting.round += 1;
        let all = mem::take(&mut waiting.wakers);
        drop(waiting);
        wake(all);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while holding this lock")
    }
}

fn wake(waiting: Vec<(Position, Waker)>) {
    waiting.into_iter().for_each(|(_, waker)| waker.wake());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(progress: &Progress, position: Position, failures: u64) -> Gate {
        progress.poll(Gated { position, failures }, &mut Place::default(), Waker::noop())
    }

    #[test]
    fn replies_leave_when_their_position_is_committed() {
        let progress = Progress::default();
        let poll = |position| ask(&progress, position, 0);
        assert_eq!((poll(0), poll(1), poll(10)), (Gate::Open, Gate::Held, Gate::Held));
        progress.commit(5);
        assert_eq!((poll(5), poll(6)), (Gate::Open, Gate::Held));
        assert_eq!(progress.lock().wakers.len(), 2, "the one who waits for 1 is woken");
    }

    #[test]
    fn what_failed_has_failed_even_if_it_is_committed_later() {
        let progress = Progress::default();
        progress.commit(5);
        progress.fail(5);
        assert_eq!(ask(&progress, 5, 0), Gate::Open);
        assert_eq!(ask(&progress, 6, 0), Gate::Failed);
        // A reply that was made after the failure waits for what comes.
        assert_eq!(ask(&progress, 6, 1), Gate::Held);
        progress.commit(6);
        assert_eq!(ask(&progress, 6, 0), Gate::Failed, "it comes late to ask");
        assert_eq!(ask(&progress, 6, 1), Gate::Open);
        progress.fail(6);
        assert_eq!(ask(&progress, 6, 0), Gate::Failed, "the first failure counts");
        assert_eq!(ask(&progress, 6, 1), Gate::Open);
        assert_eq!(ask(&progress, 7, 1), Gate::Failed);
    }

    #[test]
    fn what_was_committed_before_a_failure_may_be_told_of_later() {
        let progress = Progress::default();
        progress.fail(5);
        assert_eq!(ask(&progress, 5, 0), Gate::Held);
        progress.commit(5);
        assert_eq!(ask(&progress, 5, 0), Gate::Open);
    }

    #[test]
    fn whoever_asks_often_waits_once() {
        let progress = Progress::default();
        let (mut one, mut other) = (Place::default(), Place::default());
        let ask = |place: &mut Place, position| {
            progress.poll(Gated { position, failures: 0 }, place, Waker::noop())
        };
        for _ in 0..10 {
            assert_eq!((ask(&mut one, 5), ask(&mut other, 7)), (Gate::Held, Gate::Held));
        }
        assert_eq!(progress.lock().wakers.len(), 2);
        progress.commit(5);
        assert_eq!(progress.lock().wakers.len(), 1);
        // Whoever is woken for something else waits anew.
        progress.fail(5);
        assert_eq!(progress.lock().wakers.len(), 0);
        let again = Gated { position: 9, failures: 1 };
        assert_eq!(progress.poll(again, &mut other, Waker::noop()), Gate::Held);
        assert_eq!(progress.lock().wakers.len(), 1);
    }

    #[test]
    fn nothing_leaves_once_the_log_is_lost() {
        let progress = Progress::default();
        progress.commit(5);
        assert_eq!((ask(&progress, 5, 0), ask(&progress, 6, 0)), (Gate::Open, Gate::Held));
        progress.lose("another server leads");
        progress.lose("a second reason");
        assert_eq!((ask(&progress, 5, 0), ask(&progress, 6, 0)), (Gate::Lost, Gate::Lost));
        assert!(progress.lock().wakers.is_empty(), "who waited is woken");
        let mut cx = std::task::Context::from_waker(Waker::noop());
        let lost = std::pin::pin!(progress.lost()).poll(&mut cx);
        assert_eq!(lost, std::task::Poll::Ready("another server leads"));
    }
}
