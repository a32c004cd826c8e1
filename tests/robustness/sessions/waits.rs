//! How long somebody waited, each time.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Powers of two of microseconds, the last for all that is longer.
const CLASSES: usize = 24;

/// A distribution.
#[derive(Debug, Default, Clone)]
pub(super) struct Waits {
    classes: [u64; CLASSES],
    longest: Duration,
}

impl Waits {
    pub(super) fn record(&mut self, wait: Duration) {
        let class = (u128::BITS - wait.as_micros().leading_zeros()) as usize;
        self.classes[class.min(CLASSES - 1)] += 1;
        self.longest = self.longest.max(wait);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.classes.iter_mut().zip(other.classes).for_each(|(here, there)| *here += there);
        self.longest = self.longest.max(other.longest);
    }

    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.classes.iter().sum();
        write!(f, "{total} waits, the longest {:?}; ", self.longest)?;
        let mut left = total;
        for (class, count) in self.classes.iter().enumerate().filter(|(_, count)| **count > 0) {
            left -= count;
            write!(f, "{count} < {:?}", Duration::from_micros(1 << class))?;
            write!(f, "{}", if left > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// A clock that stands still while a thread waits for a processor.
pub(super) struct Stopwatch {
    /// Of each of the threads concerned, the kernel's word on that.
    delays: Vec<File>,
}

impl Stopwatch {
    /// For the thread that calls, and all of a process: any may have what another waits for. Without the
    /// kernel's word it is an ordinary clock.
    pub(super) fn new(pid: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let paths = threads.map(|thread| thread.path().join("schedstat"));
        let own = PathBuf::from("/proc/thread-self/schedstat");
        let delays = paths.chain([own]).filter_map(|path| File::open(path).ok()).collect();
        Self { delays }
    }

    /// How long `action` takes.
    pub(super) fn time<T>(&self, action: impl FnOnce() -> T) -> (T, Duration) {
        let (began, delays) = (Instant::now(), self.delays());
        let result = action();
        let elapsed = began.elapsed();
        // Of a thread that has ended nothing is told.
        (result, elapsed.saturating_sub(self.delays().saturating_sub(delays)))
    }

    fn delays(&self) -> Duration {
        self.delays.iter().map(delay).sum()
    }
}

/// The second of three numbers: nanoseconds.
fn delay(file: &File) -> Duration {
    let mut text = [0; 128];
    let len = file.read_at(&mut text, 0).unwrap_or(0);
    let text = std::str::from_utf8(&text[..len]).unwrap_or("");
    let delay = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(delay.unwrap_or(0))
}
