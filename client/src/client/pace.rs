//! How often to dial: delays that grow and differ, and when to give up.

use std::time::Duration;

use tokio::time::Instant;

use super::ClientOptions;

/// What is remembered of failures. An attempt counts as failed until something was answered over
/// its connection; so a server that accepts and closes at once is not dialled in a tight loop.
#[derive(Debug)]
pub(super) struct Pace {
    first_delay: Duration,
    max_delay: Duration,
    give_up_after: Option<Duration>,
    /// Attempts since anything was answered.
    attempts: u32,
    /// When the next attempt may be made.
    not_before: Option<Instant>,
    /// When the operation that runs began to be in trouble.
    failing_since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Self {
            first_delay: options.first_delay,
            max_delay: options.max_delay,
            give_up_after: options.give_up_after,
            attempts: 0,
            not_before: None,
            failing_since: None,
        }
    }

    /// An operation begins, with all its patience.
    pub(super) fn begin(&mut self) {
        self.failing_since = None;
    }

    /// When the next attempt may be made; `None` is at once.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// An attempt is made. `jitter`, from 0 to 1, spreads the clients of a server that restarts.
    pub(super) fn attempt(&mut self, now: Instant, jitter: f64) {
        let doubled = 2u32.saturating_pow(self.attempts);
        let longest = self.give_up_after.map_or(self.max_delay, |limit| limit.min(self.max_delay));
        let delay = self.first_delay.saturating_mul(doubled).min(longest);
        self.not_before = Some(now + delay.mul_f64(0.5 + 0.5 * jitter));
        self.attempts = self.attempts.saturating_add(1);
        self.failing_since.get_or_insert(now);
    }

    /// Something was answered.
    pub(super) fn succeed(&mut self) {
        self.attempts = 0;
        self.not_before = None;
        self.failing_since = None;
    }

    /// A connection that stood for `age` was lost. One that stood for long was fine, though perhaps
    /// nothing was answered over it, as happens to a reserve in a quiet tube.
    pub(super) fn lose(&mut self, age: Duration) {
        if age >= self.max_delay {
            self.succeed();
        }
    }

    /// Whether the operation that runs should fail now, rather than make the next attempt.
    pub(super) fn is_exhausted(&self, now: Instant) -> bool {
        let (Some(limit), Some(since)) = (self.give_up_after, self.failing_since) else {
            return false;
        };
        let next = self.not_before.map_or(now, |at| at.max(now));
        next.duration_since(since) >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(give_up_after: Option<Duration>) -> Pace {
        Pace::new(&ClientOptions {
            first_delay: 100 * MS,
            max_delay: 1000 * MS,
            give_up_after,
            ..ClientOptions::default()
        })
    }

    #[test]
    fn delays_double_up_to_the_limit() {
        let mut pace = pace(None);
        let now = Instant::now();
        assert_eq!(pace.not_before(), None);
        for expected in [100, 200, 400, 800, 1000, 1000] {
            pace.attempt(now, 1.0);
            assert_eq!(pace.not_before(), Some(now + expected * MS));
        }
        for _ in 0..100 {
            pace.attempt(now, 0.0);
        }
        assert_eq!(pace.not_before(), Some(now + 500 * MS));
        assert!(!pace.is_exhausted(now + 1_000_000 * MS));
    }

    #[test]
    fn an_answer_or_a_long_life_starts_again() {
        let now = Instant::now();
        let mut pace = pace(None);
        for _ in 0..5 {
            pace.attempt(now, 1.0);
        }
        pace.lose(999 * MS);
        assert_eq!(pace.not_before(), Some(now + 1000 * MS));
        pace.lose(1000 * MS);
        assert_eq!(pace.not_before(), None);
        pace.attempt(now, 1.0);
        assert_eq!(pace.not_before(), Some(now + 100 * MS));
        pace.succeed();
        assert_eq!(pace.not_before(), None);
    }

    #[test]
    fn gives_up_before_an_attempt_that_comes_too_late() {
        let now = Instant::now();
        let mut pace = pace(Some(250 * MS));
        pace.begin();
        pace.attempt(now, 1.0);
        assert!(!pace.is_exhausted(now));
        pace.attempt(now + 100 * MS, 1.0);
        assert!(pace.is_exhausted(now + 100 * MS), "the next one would be at 300 ms");
        // The next operation has its patience, and waits no longer than that for its first attempt.
        pace.begin();
        assert!(!pace.is_exhausted(now + 100 * MS));
        pace.attempt(now + 300 * MS, 1.0);
        assert_eq!(pace.not_before(), Some(now + 550 * MS));
    }
}
