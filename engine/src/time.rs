//! Time as the engine sees it: a number that its caller passes in.

use std::time::Duration;

use beanstalk_protocol::Seconds;

/// Nanoseconds since an origin that the caller chooses. Successive calls of the engine must not go
/// back in time.
///
/// 64 bits last for 584 years. A sum beyond that saturates, and gives a deadline that never comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

const PER_SECOND: u64 = 1_000_000_000;

impl Nanos {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// This many whole seconds after the origin.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(PER_SECOND))
    }

    /// The moment this many seconds later.
    #[must_use]
    pub fn after(self, seconds: Seconds) -> Self {
        Self(self.0.saturating_add(u64::from(seconds) * PER_SECOND))
    }

    /// The moment `time` later.
    #[must_use]
    pub fn later(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The moment this many seconds earlier, but not before the origin.
    #[must_use]
    pub fn before(self, seconds: Seconds) -> Self {
        Self(self.0.saturating_sub(u64::from(seconds) * PER_SECOND))
    }

    /// Whole seconds since `earlier`, rounded down; 0 if `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_stay_within_their_range() {
        let start = Nanos::from_secs(5);
        assert_eq!(start.after(3), Nanos::from_secs(8));
        assert_eq!(start.before(3), Nanos::from_secs(2));
        assert_eq!(start.before(6), Nanos(0));
        assert_eq!(start.later(Duration::from_millis(1500)), Nanos(6_500_000_000));
        assert_eq!(start.later(Duration::MAX), Nanos::NEVER);
        assert_eq!(Nanos(u64::MAX - 1).after(1), Nanos::NEVER);
        assert_eq!(Nanos::from_secs(u64::MAX), Nanos::NEVER);
    }

    #[test]
    fn seconds_are_rounded_down() {
        let start = Nanos::from_secs(5);
        assert_eq!(Nanos(start.0 + 1_999_999_999).seconds_since(start), 1);
        assert_eq!(start.after(2).seconds_since(start), 2);
        assert_eq!(start.seconds_since(start.after(2)), 0);
    }
}
