//! The rate of reserves.

use crate::arena::Ix;
use crate::engine::Engine;
use crate::time::Nanos;

/// Nanoseconds in a thousand seconds: a rate is in thousandths per second.
const THOUSAND_SECONDS: u64 = 1_000_000_000_000;

/// A bucket of reserves. It holds as many as there may be in one second, at least one: so after a
/// pause a second's reserves come at once, and never more.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Time that one reserve takes of the bucket.
    each: u64,
    /// Size of the bucket, as time.
    burst: u64,
    /// The bucket is full at this moment; in the past: it is full.
    full_at: Nanos,
    /// When there is a reserve again, if there is none now.
    until: Nanos,
}

impl Throttle {
    pub(super) fn new(rate: u32) -> Self {
        let each = THOUSAND_SECONDS / u64::from(rate.max(1));
        let burst = each.max(THOUSAND_SECONDS / 1000);
        Self { each, burst, full_at: Nanos::default(), until: Nanos::NEVER }
    }

    /// The same bucket with another rate. As many reserves are missing in it as were, or all.
    pub(super) fn with(self, now: Nanos, rate: u32) -> Self {
        let mut bucket = Self::new(rate);
        let missing = u128::from(self.full_at.0.saturating_sub(now.0)) * u128::from(bucket.each);
        let missing = (missing / u128::from(self.each)).min(u128::from(bucket.burst)) as u64;
        bucket.full_at = Nanos(now.0.saturating_add(missing));
        bucket.refill(now);
        bucket
    }

    /// When there is a reserve again; [`Nanos::NEVER`] if there is one.
    pub(super) fn deadline(&self) -> Nanos {
        self.until
    }

    /// Takes a reserve.
    fn take(&mut self, now: Nanos) {
        self.full_at = Nanos(self.full_at.max(now).0.saturating_add(self.each));
        self.refill(now);
    }

    /// Looks whether there is a reserve now.
    pub(super) fn refill(&mut self, now: Nanos) {
        // What is missing must leave room for one more.
        let next = Nanos((self.full_at.0.saturating_add(self.each)).saturating_sub(self.burst));
        self.until = if next > now { next } else { Nanos::NEVER };
    }
}

impl Engine {
    /// A job of this tube was reserved.
    #[cold]
    #[inline(never)]
    pub(crate) fn ruled_reserved(&mut self, now: Nanos, tube: Ix) {
        let state = &mut self.tubes[tube];
        let Some(throttle) = state.ruled.as_mut().and_then(|ruled| ruled.throttle.as_mut()) else {
            return;
        };
        throttle.take(now);
        state.has_changed();
        self.schedule_tube(tube);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments, in milliseconds, at which reserves are possible when they are taken as soon as
    /// they are.
    fn moments(rate: u32, count: usize) -> Vec<u64> {
        let mut throttle = Throttle::new(rate);
        let mut now = Nanos(THOUSAND_SECONDS);
        (0..count)
            .map(|_| {
                if throttle.deadline() != Nanos::NEVER {
                    now = now.max(throttle.deadline());
                }
                throttle.take(now);
                (now.0 - THOUSAND_SECONDS) / 1_000_000
            })
            .collect()
    }

    /// In milliseconds: how long the next reserve takes after so many at one rate, when that is then
    /// another one.
    fn wait_after(reserves: u32, rate: u32, other: u32) -> u64 {
        let now = Nanos(THOUSAND_SECONDS);
        let mut throttle = Throttle::new(rate);
        (0..reserves).for_each(|_| throttle.take(now));
        let until = throttle.with(now, other).deadline();
        if until == Nanos::NEVER { 0 } else { (until.0 - now.0) / 1_000_000 }
    }

    #[test]
    fn what_was_taken_counts_at_another_rate() {
        // Nothing waits for what the rate was before.
        assert_eq!(wait_after(1, 1, 1_000_000), 0);
        assert_eq!(wait_after(1000, 1_000_000, 1000), 1000);
        // Nor is there one more because it is another rate.
        assert_eq!(wait_after(4, 4000, 4000), 250);
        assert_eq!(wait_after(4, 4000, 8000), 0);
        assert_eq!(wait_after(4, 4000, 2000), 500);
        assert_eq!(wait_after(1, 4000, 1), 1_000_000);
        assert_eq!(wait_after(0, 4000, 1), 0);
    }

    #[test]
    fn a_second_at_once_and_then_evenly() {
        assert_eq!(moments(4000, 8), [0, 0, 0, 0, 250, 500, 750, 1000]);
        assert_eq!(moments(1000, 4), [0, 1000, 2000, 3000]);
        assert_eq!(moments(500, 3), [0, 2000, 4000]);
        assert_eq!(moments(1, 2), [0, 1_000_000]);
    }
}
