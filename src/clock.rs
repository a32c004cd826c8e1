//! The only reader of the operating system's time.
//!
//! The clock is monotonic: setting the wall clock, or NTP stepping it, moves no deadline.

use std::time::{Duration, Instant};

use jq_engine::Nanos;

/// Time since the server started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The moment `at` in the terms of the timers of tokio; `None` if it is beyond what they hold.
    pub fn instant(&self, at: Nanos) -> Option<tokio::time::Instant> {
        self.start.checked_add(Duration::from_nanos(at.0)).map(tokio::time::Instant::from_std)
    }
}
