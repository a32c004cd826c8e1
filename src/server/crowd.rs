//! The maximum number of connections.
//!
//! A connection beyond it is accepted, told `OUT_OF_MEMORY` and closed at once. If it were left to wait in
//! the kernel's queue, its client would take it for connected and wait for its first reply, for as long
//! as all others stay. If it were closed without a word, some client libraries would connect again at
//! once, for ever. The word is the reply to whatever the client asks first: an error that it knows.

use std::collections::VecDeque;
use std::time::Duration;

use jq_engine::Nanos;
use tokio::time::Instant;
use tracing::warn;

use crate::paced::Paced;

/// How long a new connection that is one too many waits for another to close. A client may close one and open the
/// next before the thread of the first has noticed.
const GRACE: Duration = Duration::from_millis(2);

/// How many of them wait at the same time. Others wait in the kernel's queue.
const MOST_WAITING: usize = 64;

/// How many connections there may be, and how many were refused.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: usize,
    refused: Paced,
}

impl Crowd {
    /// `None`: as many as the system allows.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self { most: most.unwrap_or(usize::MAX), refused: Paced::default() }
    }

    /// How many there may be, if there is a limit.
    pub(crate) fn most(&self) -> Option<usize> {
        Some(self.most).filter(|most| *most < usize::MAX)
    }

    /// Whether there are as many connections as there may be.
    pub(crate) fn is_full(&self, connections: usize) -> bool {
        connections >= self.most
    }

    /// A connection is closed, because it is one too many.
    pub(crate) fn refused(&self, now: Nanos) {
        if let Some(refused) = self.refused.count(now) {
            let most = self.most;
            warn!(most, refused, "closed a new connection: see --max-connections");
        }
    }

    /// How many connections were refused since the start.
    pub(crate) fn total(&self) -> u64 {
        self.refused.total()
    }
}

/// New connections, until they are let in or refused.
#[derive(Debug)]
pub(crate) struct Waiting<S>(VecDeque<(Instant, S)>);

/// What becomes of one that waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<S> {
    /// There is room.
    LetIn(S),
    /// There was none in time.
    Refuse(S),
}

impl<S> Waiting<S> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// One more is there.
    pub(crate) fn push(&mut self, stream: S) {
        self.0.push_back((Instant::now() + GRACE, stream));
    }

    /// Whether no more may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MOST_WAITING
    }

    /// When the first of them is refused, unless there is room before.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.0.front().map(|(until, _)| *until)
    }

    /// The next of which it is known what becomes of it: whoever came first is the first.
    pub(crate) fn next(&mut self, is_full: bool) -> Option<Verdict<S>> {
        let until = self.until()?;
        if is_full && Instant::now() < until {
            return None;
        }
        let (_, stream) = self.0.pop_front()?;
        Some(if is_full { Verdict::Refuse(stream) } else { Verdict::LetIn(stream) })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_let_in_as_soon_as_there_is_room() {
        let mut waiting = Waiting::new();
        waiting.push(1);
        assert_eq!(waiting.next(false), Some(Verdict::LetIn(1)));
        assert_eq!(waiting.next(false), None);
        waiting.push(2);
        waiting.push(3);
        assert_eq!(waiting.next(true), None);
        advance(GRACE / 2).await;
        assert_eq!(waiting.next(true), None);
        assert_eq!(waiting.next(false), Some(Verdict::LetIn(2)));
        assert_eq!(waiting.next(true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_the_same_time_and_no_more() {
        let mut waiting = Waiting::new();
        let begin = Instant::now();
        assert_eq!(waiting.until(), None);
        waiting.push(1);
        advance(GRACE / 2).await;
        waiting.push(2);
        assert_eq!(waiting.until(), Some(begin + GRACE));
        advance(GRACE / 2).await;
        assert_eq!(waiting.next(true), Some(Verdict::Refuse(1)));
        assert_eq!(waiting.next(true), None);
        advance(GRACE / 2).await;
        assert_eq!(waiting.next(true), Some(Verdict::Refuse(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn not_all_wait_at_once() {
        let mut waiting = Waiting::new();
        (0..MOST_WAITING).for_each(|number| waiting.push(number));
        assert!(waiting.is_full());
        advance(GRACE).await;
        assert_eq!(waiting.next(true), Some(Verdict::Refuse(0)));
        assert!(!waiting.is_full());
    }
}
