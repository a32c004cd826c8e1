//! Whether to try again after a failure, and when.
//!
//! Every function here is pure: the caller says what failed, passes a random number, and acts on the
//! answer. [`jitter`] is the only source of such numbers outside of tests.
//!
//! Owns: delays and limits. Must not know: what is tried.

use std::time::Duration;

/// So often is tried what is unlikely to change.
const FEW: u32 = 4;

/// A delay that doubles with every failure. Half of it is random, so that what failed together (all
/// results, when a website goes down) does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest delay after the first failure.
    pub first: Duration,
    /// The longest delay after any failure.
    pub max: Duration,
}

impl Backoff {
    /// The delay after this many failures, counted from 1; 0 counts as 1. `jitter` is from 0 to 1
    /// and selects a point between half of the doubled delay and all of it.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        // 2^31 times any useful `first` exceeds any useful `max`.
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        whole / 2 + (whole / 2).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// A random number from 0 to 1, for [`Backoff::delay`] and the policies.
#[must_use]
pub fn jitter() -> f64 {
    fastrand::f64()
}

/// What is known about a failure when the next attempt is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The next attempt would fail in the same way.
    Permanent,
    /// The next attempt may succeed.
    Transient,
    /// The next attempt is unlikely to succeed. It was so for this number of attempts in a row.
    Unchanging(u32),
    /// The next attempt may succeed, but the other side wants none before this time has passed
    /// (`Retry-After`).
    Deferred(Duration),
}

/// The number of an attempt; the first is 1. `earlier` is how often the queue got the job back after an
/// attempt. A job that was buried and kicked has its retries anew. The queue does not say how many of
/// `earlier` were before that; a job is buried after its last retry, or, when there is no point in trying
/// again, before: then it has some retries more than it should.
#[must_use]
pub fn attempt(earlier: u32, kicked: u32, retries: u32) -> u32 {
    earlier.saturating_sub(kicked.saturating_mul(retries)).saturating_add(1)
}

/// How often a job is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRetry {
    /// Attempts after the first one.
    pub retries: u32,
    /// Delays between attempts.
    pub backoff: Backoff,
}

impl JobRetry {
    /// The delay before the next attempt. `attempt` is the one that failed; the first is 1. `None`:
    /// the job has failed for good.
    #[must_use]
    pub fn next(&self, attempt: u32, why: Why, jitter: f64) -> Option<Duration> {
        let delay = delay(&self.backoff, attempt, why, jitter)?;
        (attempt <= self.retries).then_some(delay)
    }
}

/// How long sending a result or a callback is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryRetry {
    /// Delays between attempts.
    pub backoff: Backoff,
    /// No attempt begins later than this after the first one.
    pub within: Duration,
}

impl DeliveryRetry {
    /// The delay before the next attempt. `attempt` is the one that failed; the first is 1.
    /// `elapsed` is the time since the first attempt began. `None`: sending is given up.
    #[must_use]
    pub fn next(&self, attempt: u32, elapsed: Duration, why: Why, jitter: f64) -> Option<Duration> {
        let delay = delay(&self.backoff, attempt, why, jitter)?;
        (elapsed.saturating_add(delay) <= self.within).then_some(delay)
    }
}

/// What the other side asks for counts even beyond the longest delay: a server that wants to be left
/// alone for an hour has a reason.
fn delay(backoff: &Backoff, attempt: u32, why: Why, jitter: f64) -> Option<Duration> {
    let delay = backoff.delay(attempt, jitter);
    match why {
        Why::Permanent => None,
        Why::Transient => Some(delay),
        Why::Unchanging(times) => (times < FEW).then_some(delay),
        Why::Deferred(least) => Some(delay.max(least)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_delay_doubles_up_to_the_longest_and_half_of_it_is_random() {
        let wholes = [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        for (failures, whole) in (0..).zip(wholes).chain([(u32::MAX, 300)]) {
            let whole = seconds(whole);
            let at = |jitter| BACKOFF.delay(failures, jitter);
            assert_eq!((at(0.0), at(1.0)), (whole / 2, whole), "{failures} failures");
            assert_eq!(at(0.5), whole / 4 * 3, "{failures} failures");
            assert_eq!((at(-1.0), at(7.0)), (whole / 2, whole), "{failures} failures");
        }
    }

    #[test]
    fn jitter_is_random_and_from_0_to_1() {
        let numbers: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)), "{numbers:?}");
        let bits: std::collections::HashSet<u64> = numbers.iter().map(|it| it.to_bits()).collect();
        assert!(bits.len() > 50, "hardly random: {} of 100", bits.len());
    }

    #[test]
    fn a_job_is_run_once_more_than_it_has_retries() {
        let policy = JobRetry { retries: 2, backoff: BACKOFF };
        let next = |attempt, why| policy.next(attempt, why, 1.0);
        assert_eq!(next(1, Why::Transient), Some(seconds(1)));
        assert_eq!(next(2, Why::Transient), Some(seconds(2)));
        assert_eq!(next(3, Why::Transient), None);
        assert_eq!(next(u32::MAX, Why::Transient), None);
        assert_eq!(next(1, Why::Permanent), None);
        assert_eq!(JobRetry { retries: 0, ..policy }.next(1, Why::Transient, 1.0), None);
    }

    #[test]
    fn a_kicked_job_has_its_retries_anew() {
        assert_eq!((attempt(0, 0, 2), attempt(2, 0, 2), attempt(u32::MAX, 0, 2)), (1, 3, u32::MAX));
        assert_eq!((attempt(2, 1, 2), attempt(4, 1, 2), attempt(4, 2, 2)), (1, 3, 1));
        assert_eq!((attempt(0, 1, 2), attempt(7, 0, 0), attempt(7, u32::MAX, 2)), (1, 8, 1));
    }

    #[test]
    fn sending_ends_when_the_next_attempt_would_be_too_late() {
        let policy = DeliveryRetry { backoff: BACKOFF, within: seconds(10) };
        let next = |elapsed, why| policy.next(3, seconds(elapsed), why, 1.0);
        assert_eq!(next(0, Why::Transient), Some(seconds(4)));
        assert_eq!(next(6, Why::Transient), Some(seconds(4)));
        assert_eq!(next(7, Why::Transient), None);
        assert_eq!(next(0, Why::Permanent), None);
        let long = policy.next(1, Duration::MAX, Why::Transient, 1.0);
        assert_eq!(long, None);
    }

    #[test]
    fn what_is_unlikely_to_change_is_tried_a_few_times() {
        let policy = DeliveryRetry { backoff: BACKOFF, within: seconds(86_400) };
        let next = |times| policy.next(9, Duration::ZERO, Why::Unchanging(times), 1.0);
        assert_eq!((next(1), next(3)), (Some(seconds(256)), Some(seconds(256))));
        assert_eq!((next(4), next(5)), (None, None));
    }

    #[test]
    fn the_other_side_can_ask_for_more_time_but_not_for_less() {
        let policy = DeliveryRetry { backoff: BACKOFF, within: seconds(86_400) };
        let next = |attempt, least| {
            policy.next(attempt, Duration::ZERO, Why::Deferred(seconds(least)), 0.0).unwrap()
        };
        assert_eq!(next(1, 3600), seconds(3600));
        assert_eq!(next(10, 1), seconds(150));
    }
}
