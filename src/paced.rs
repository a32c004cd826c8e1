//! Counts events of which each could be logged, and tells when one is to be: a flood of them must not
//! become a flood of lines.

use std::sync::atomic::{AtomicU64, Ordering};

use jq_engine::Nanos;

/// Time between two lines in the log.
const PAUSE_SECONDS: u32 = 1;

/// Events of a kind.
#[derive(Debug, Default)]
pub(crate) struct Paced {
    /// When the next line may be logged, as [`Nanos`].
    next: AtomicU64,
    /// The number of events since the last line.
    unlogged: AtomicU64,
    total: AtomicU64,
}

impl Paced {
    /// Counts an event. If a line is to be logged, returns how many it is about.
    pub(crate) fn count(&self, now: Nanos) -> Option<u64> {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        let after = now.after(PAUSE_SECONDS).0;
        // Of several threads, one logs.
        let logs = now.0 >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        logs.then(|| self.unlogged.swap(0, Ordering::Relaxed))
    }

    /// How many events there were.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_tells_of_all() {
        let events = Paced::default();
        let at = |millis: u64| Nanos(Nanos::from_secs(5).0 + millis * 1_000_000);
        let told: Vec<_> =
            [0, 1, 500, 999, 1000, 1001, 9000].map(|millis| events.count(at(millis))).into();
        assert_eq!(told, [Some(1), None, None, None, Some(4), None, Some(2)]);
        assert_eq!(events.total(), 7);
    }
}
