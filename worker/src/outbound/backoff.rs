//! How long to wait before trying again.

use std::time::Duration;

/// A pause that doubles with every failure, half of it random: what failed together (everything,
/// when a website goes down) does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause after the first failure.
    pub first: Duration,
    /// The longest pause ever, unless the other side asks for a longer one.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

impl Backoff {
    /// The pause after this many failures, counted from 1; 0 is taken as 1. At least half of what
    /// the doubling has come to, at most all of it.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        // 2^31 times anything of use is beyond any `max` of use.
        let doublings = attempt.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        whole / 2 + (whole / 2).mul_f64(fastrand::f64())
    }

    /// As [`Backoff::delay`], and at least what the other side asked for with `Retry-After`, even
    /// beyond `max`: who asks us to stay away for an hour knows why.
    #[must_use]
    pub fn delay_at_least(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        self.delay(attempt).max(retry_after.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };

    #[test]
    fn the_pause_doubles_up_to_the_longest_and_half_of_it_is_random() {
        let wholes = [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        let attempts = (0..).zip(wholes).chain([(u32::MAX, 300)]);
        for (attempt, whole) in attempts {
            let (low, high) = (Duration::from_secs(whole) / 2, Duration::from_secs(whole));
            for _ in 0..100 {
                let delay = BACKOFF.delay(attempt);
                assert!((low..=high).contains(&delay), "attempt {attempt}: {delay:?}");
            }
        }
        let spread = (0..100).map(|_| BACKOFF.delay(20)).collect::<std::collections::HashSet<_>>();
        assert!(spread.len() > 50, "hardly random: {} of 100", spread.len());
    }

    #[test]
    fn the_other_side_can_ask_for_more_and_not_for_less() {
        let hour = Duration::from_secs(3600);
        assert_eq!(BACKOFF.delay_at_least(1, Some(hour)), hour);
        assert!(BACKOFF.delay_at_least(10, Some(Duration::from_secs(1))) >= BACKOFF.max / 2 / 2);
        assert!(BACKOFF.delay_at_least(1, None) <= BACKOFF.first);
    }
}
