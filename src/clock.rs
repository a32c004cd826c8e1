//! The only place that reads the operating system's clocks.
//!
//! The clock is monotonic: when the wall clock is set, or stepped by NTP, no deadline moves while
//! the server runs. It starts at the wall clock's time, which is read once, so that the deadlines
//! in a log keep their meaning after a restart. Only dates that others have written, those of certificates,
//! are compared with the wall clock itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jq_engine::Nanos;

/// Time since 1970, if the wall clock was right when the server started.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Nanos,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// The time since the start.
    System(Instant),
    /// The time is set from outside.
    Told(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        // A wall clock before 1970 was never set.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: nanos(since), source: Source::System(Instant::now()) }
    }

    /// A clock that shows the nanoseconds stored in `now`, for simulations.
    pub fn told(now: Arc<AtomicU64>) -> Self {
        Self { started: Nanos(now.load(Ordering::Relaxed)), source: Source::Told(now) }
    }

    /// The current time.
    pub fn now(&self) -> Nanos {
        match &self.source {
            Source::System(start) => Nanos(self.started.0.saturating_add(nanos(start.elapsed()).0)),
            Source::Told(now) => Nanos(now.load(Ordering::Relaxed)),
        }
    }

    /// When it started.
    pub fn started(&self) -> Nanos {
        self.started
    }

    /// The moment `at` for tokio's timers; `None` if it is out of their range, or if the time is
    /// set from outside.
    pub fn instant(&self, at: Nanos) -> Option<tokio::time::Instant> {
        let Source::System(start) = &self.source else { return None };
        let after = Duration::from_nanos(at.0.saturating_sub(self.started.0));
        start.checked_add(after).map(tokio::time::Instant::from_std)
    }
}

/// What the wall clock says now, in seconds since 1970: for dates that others have written, such as those of
/// certificates.
pub fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How long `work` takes: for what is only counted, since it is the system's time in simulations too.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
