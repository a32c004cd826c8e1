//! How far a log is committed, and which replies wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::task::Waker;
use std::time::Duration;

use jq_engine::{Histogram, growth};
use tokio::sync::Notify;

use crate::log::Position;

/// The number of failures that are remembered. A reply that is held over more failures than this
/// has failed.
const REMEMBERED_FAILURES: usize = 1000;

/// So many who wait are looked at under one lock.
const WOKEN_AT_ONCE: usize = 4096;

/// What a log has committed. Shared by the log, which advances it, and the connections, whose
/// replies wait for it.
#[derive(Debug, Default)]
pub struct Progress {
    committed: AtomicU64,
    /// How often a commit has failed.
    failures: AtomicU64,
    /// How far the log was committed at each of the last failures.
    failed_at: Mutex<VecDeque<Position>>,
    waiting: Mutex<Waiting>,
    /// Why the right to write the log is lost.
    lost: OnceLock<String>,
    /// Notified when `lost` is set.
    losing: Notify,
    /// How long the disk took to keep what was written, each time.
    syncs: Mutex<Histogram>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How often wakers were removed.
    round: u64,
    wakers: VecDeque<(Position, Waker)>,
}

/// What must be committed before replies may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gated {
    /// Everything before this position; 0 if nothing.
    position: Position,
    /// [`Progress::failures`] when the first of the replies was made.
    failures: u64,
}

impl Gated {
    /// Adds everything before `position`, for a reply that was made after this many failures.
    pub(crate) fn raise(&mut self, position: Position, failures: u64) {
        if self.position == 0 {
            self.failures = failures;
        }
        self.position = self.position.max(position);
    }

    /// Both together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        if other.is_needed() {
            self.raise(other.position, other.failures);
        }
        self
    }

    /// Whether anything must be committed.
    pub fn is_needed(self) -> bool {
        self.position > 0
    }
}

/// Whether a reply may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// What it reports is committed.
    Open,
    /// What it reports is not committed yet.
    Held,
    /// What it reports could not be committed, so the reply must not leave.
    Failed,
    /// The log was lost: no reply may leave, and the fate of what was not committed is unknown.
    Lost,
}

/// Remembers what a caller of [`Progress::poll`] waits for, so that its waker is registered once,
/// however often it polls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place(Option<(Position, u64)>);

impl Progress {
    /// The position up to which everything is committed.
    pub fn committed(&self) -> Position {
        self.committed.load(Ordering::Acquire)
    }

    /// The number of failures so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Whether a reply that needs this committed may leave. If it is held, `waker` is woken when
    /// that may have changed. Each caller has a `place` of its own, and passes the same one each
    /// time.
    pub fn poll(&self, gated: Gated, place: &mut Place, waker: &Waker) -> Gate {
        let gate = self.state(gated);
        if gate != Gate::Held {
            return gate;
        }
        let mut waiting = self.lock();
        // Check once more under the lock: whoever advances the progress takes the lock afterwards.
        let gate = self.state(gated);
        let here = Some((gated.position, waiting.round));
        if gate == Gate::Held && place.0 != here {
            place.0 = here;
            growth::push_back(&mut waiting.wakers, (gated.position, waker.clone()));
        }
        gate
    }

    fn state(&self, Gated { position, failures }: Gated) -> Gate {
        if self.is_lost() {
            return Gate::Lost;
        }
        // In this order: a reader that sees what was committed after a failure must see the failure
        // too.
        let committed = self.committed();
        if self.failures() != failures && position > self.committed_at_failure(failures) {
            // Even if it is committed by now: the change may have been undone.
            Gate::Failed
        } else if committed >= position {
            Gate::Open
        } else {
            Gate::Held
        }
    }

    /// How far the log was committed at the next failure after this many; 0 if that is too many
    /// failures ago.
    fn committed_at_failure(&self, failures: u64) -> Position {
        let failed_at = self.failed_at.lock().expect("nobody panics while holding this lock");
        let since = usize::try_from(self.failures() - failures).unwrap_or(usize::MAX);
        let at = failed_at.len().checked_sub(since);
        at.and_then(|at| failed_at.get(at)).copied().unwrap_or(0)
    }

    /// Reports that everything before `position` is committed.
    pub fn commit(&self, position: Position) {
        self.committed.fetch_max(position, Ordering::AcqRel);
        self.wake(self.committed());
    }

    /// Reports that everything after `committed` has failed.
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
        self.wake(Position::MAX);
    }

    /// Reports that the right to write the log is lost for good. `why` is a sentence for people.
    /// From now on no reply leaves, whether it waits for the log or not; the fate of what was not
    /// committed is unknown. Only the first call has an effect.
    pub fn lose(&self, why: &str) {
        if self.lost.set(why.to_owned()).is_ok() {
            self.losing.notify_waiters();
            self.wake(Position::MAX);
        }
    }

    /// Whether the log was lost: see [`Progress::lose`].
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Waits until the log is lost, which may never happen, and returns the reason.
    pub async fn lost(&self) -> &str {
        loop {
            let losing = self.losing.notified();
            if let Some(why) = self.lost.get() {
                return why;
            }
            losing.await;
        }
    }

    /// Counts that the disk took so long to keep what was written.
    pub fn count_sync(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.syncs.lock().expect("nobody panics while holding this lock").add(nanos);
    }

    /// How long the disk took to keep what was written, each time since the server started.
    pub fn syncs(&self) -> Histogram {
        *self.syncs.lock().expect("nobody panics while holding this lock")
    }

    /// Number of those who wait for a commit.
    pub fn waiting(&self) -> usize {
        self.lock().wakers.len()
    }

    /// Wakes those who wait for something up to `position`: some at a time, so that neither the others nor
    /// the memory for many at once are waited for.
    fn wake(&self, position: Position) {
        let mut waiting = self.lock();
        let mut left = waiting.wakers.len();
        if left == 0 {
            return;
        }
        waiting.round += 1;
        let mut ready = Vec::with_capacity(left.min(WOKEN_AT_ONCE));
        loop {
            // Whoever comes meanwhile goes behind them, and has seen what is new. Another may wake, too.
            left = left.min(waiting.wakers.len());
            for _ in 0..left.min(WOKEN_AT_ONCE) {
                left -= 1;
                match waiting.wakers.pop_front() {
                    Some((end, waker)) if end <= position => ready.push(waker),
                    Some(held) => waiting.wakers.push_back(held),
                    None => {}
                }
            }
            if waiting.wakers.is_empty() && waiting.wakers.capacity() > WOKEN_AT_ONCE {
                waiting.wakers = VecDeque::new();
            }
            drop(waiting);
            ready.drain(..).for_each(Waker::wake);
            if left == 0 {
                return;
            }
            waiting = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while holding this lock")
    }
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
        assert_eq!(progress.lock().wakers.len(), 2, "the waiter for position 1 is woken");
    }

    #[test]
    fn what_failed_has_failed_even_if_it_is_committed_later() {
        let progress = Progress::default();
        progress.commit(5);
        progress.fail(5);
        assert_eq!(ask(&progress, 5, 0), Gate::Open);
        assert_eq!(ask(&progress, 6, 0), Gate::Failed);
        // A reply that was made after the failure waits for the next commit.
        assert_eq!(ask(&progress, 6, 1), Gate::Held);
        progress.commit(6);
        assert_eq!(ask(&progress, 6, 0), Gate::Failed, "asking late does not help");
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
        // A caller that is woken for another reason waits again.
        progress.fail(5);
        assert_eq!(progress.lock().wakers.len(), 0);
        let again = Gated { position: 9, failures: 1 };
        assert_eq!(progress.poll(again, &mut other, Waker::noop()), Gate::Held);
        assert_eq!(progress.lock().wakers.len(), 1);
    }

    /// More than are looked at under one lock.
    #[test]
    fn all_of_many_are_woken_once() {
        struct Counts(AtomicU64);
        impl std::task::Wake for Counts {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let many = 5 * WOKEN_AT_ONCE as u64 / 2;
        let counts = std::sync::Arc::new(Counts(AtomicU64::new(0)));
        let waker = Waker::from(std::sync::Arc::clone(&counts));
        let progress = Progress::default();
        for number in 0..2 * many {
            let gated = Gated { position: 1 + number % 2, failures: 0 };
            assert_eq!(progress.poll(gated, &mut Place::default(), &waker), Gate::Held);
        }
        for (position, woken) in [(1, many), (1, many), (2, 2 * many)] {
            progress.commit(position);
            assert_eq!(counts.0.load(Ordering::Relaxed), woken);
            assert_eq!(progress.waiting() as u64, 2 * many - woken);
        }
        assert!(progress.lock().wakers.capacity() < WOKEN_AT_ONCE, "the memory goes");
    }

    #[test]
    fn nothing_leaves_once_the_log_is_lost() {
        let progress = Progress::default();
        progress.commit(5);
        assert_eq!((ask(&progress, 5, 0), ask(&progress, 6, 0)), (Gate::Open, Gate::Held));
        progress.lose("another server leads");
        progress.lose("a second reason");
        assert_eq!((ask(&progress, 5, 0), ask(&progress, 6, 0)), (Gate::Lost, Gate::Lost));
        assert!(progress.lock().wakers.is_empty(), "all waiters are woken");
        let mut cx = std::task::Context::from_waker(Waker::noop());
        let lost = std::pin::pin!(progress.lost()).poll(&mut cx);
        assert_eq!(lost, std::task::Poll::Ready("another server leads"));
    }
}
