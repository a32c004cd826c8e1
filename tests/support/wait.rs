//! Waiting for something to become true.

use std::thread;
use std::time::{Duration, Instant};

/// How long something that must happen may take before the test fails. Generous, since a test that
/// passes never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at while waiting for it.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it does not within [`PATIENCE`]; `what` says what was expected.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(condition), "within {PATIENCE:?}: {what}");
}

/// Whether `condition` holds within [`PATIENCE`].
pub(crate) fn comes_true(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(POLL_INTERVAL);
    }
    true
}
