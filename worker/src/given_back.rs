//! How often something was done to jobs that was no attempt at them.
//!
//! The queue counts it all the same: a job that a [look](crate::look) sets aside is released as for a retry, and
//! a connection that was lost vanished. So they are subtracted from its number when attempts and crashes are
//! counted.
//!
//! Owns: the counts. Must not know: why a job was given back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most jobs that are remembered. Beyond it, releases count as attempts.
const MAX_JOBS: usize = 100_000;

/// See the [module](self). Jobs are known by their server and number.
#[derive(Debug, Default)]
pub struct GivenBack {
    counts: Mutex<HashMap<(String, u64), u32>>,
}

impl GivenBack {
    /// Notes that the job was given back. Returns how often it was, now included.
    pub fn add(&self, server: &str, job: u64) -> u32 {
        let mut counts = self.counts();
        if counts.len() >= MAX_JOBS {
            // Most of them are gone or another worker's by now. Nobody says which.
            counts.clear();
        }
        let count = counts.entry((server.to_owned(), job)).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// How often the job was given back.
    pub fn count(&self, server: &str, job: u64) -> u32 {
        let counts = self.counts();
        if counts.is_empty() {
            return 0;
        }
        counts.get(&(server.to_owned(), job)).copied().unwrap_or(0)
    }

    /// Forgets a job that is over.
    pub fn forget(&self, server: &str, job: u64) {
        let mut counts = self.counts();
        if !counts.is_empty() {
            counts.remove(&(server.to_owned(), job));
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<(String, u64), u32>> {
        // It is whole between two statements, whoever panicked.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_counted_until_it_is_over() {
        let given_back = GivenBack::default();
        assert_eq!(given_back.count("s", 1), 0);
        assert_eq!((given_back.add("s", 1), given_back.add("s", 1)), (1, 2));
        assert_eq!((given_back.count("s", 1), given_back.count("other", 1)), (2, 0));
        given_back.forget("s", 1);
        assert_eq!(given_back.count("s", 1), 0);
    }

    #[test]
    fn it_is_bounded() {
        let given_back = GivenBack::default();
        for job in 0..=MAX_JOBS as u64 {
            given_back.add("s", job);
        }
        assert!(given_back.counts().len() <= MAX_JOBS);
        assert_eq!(given_back.count("s", MAX_JOBS as u64), 1);
    }
}
