//! Makes changes fail: all from one on, as in a crash, or only that one.

use std::cell::Cell;
use std::io;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Every change is made.
    Nothing,
    /// This many changes are made, and then none.
    Crash(usize),
    /// This many changes are made, one fails, and all others are made.
    Failure(usize),
}

thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan::Nothing) };
}

/// Called before each change.
pub(in super::super) fn point() -> io::Result<()> {
    let (next, result) = match PLAN.get() {
        Plan::Nothing => (Plan::Nothing, Ok(())),
        Plan::Crash(0) => (Plan::Crash(0), Err(io::Error::other("crashed"))),
        Plan::Crash(left) => (Plan::Crash(left - 1), Ok(())),
        Plan::Failure(0) => (Plan::Nothing, Err(io::Error::other("failed"))),
        Plan::Failure(left) => (Plan::Failure(left - 1), Ok(())),
    };
    PLAN.set(next);
    result
}

/// Runs something in which only the first changes are made. Returns whether it finished without a
/// crash.
pub(super) fn after<T>(changes: usize, run: impl FnOnce() -> T) -> (T, bool) {
    PLAN.set(Plan::Crash(changes));
    let result = run();
    (result, PLAN.replace(Plan::Nothing) != Plan::Crash(0))
}

/// Runs something in which one change fails. Returns whether it finished without that failure.
pub(super) fn failing<T>(change: usize, run: impl FnOnce() -> T) -> (T, bool) {
    PLAN.set(Plan::Failure(change));
    let result = run();
    (result, PLAN.replace(Plan::Nothing) != Plan::Nothing)
}
