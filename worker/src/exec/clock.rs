//! The steps of ending a run: SIGTERM, SIGKILL, giving up.
//!
//! Owns: their order and times. Must not know: why a run is to end.

use super::keeper::PATIENCE;
use super::keepers::Process;
use std::time::Duration;
use tokio::time::Instant;

/// How long a keeper may take beyond its own patience to report that a run has ended.
const MARGIN: Duration = Duration::from_secs(5);

/// When to take which step. The caller waits until `next`, and then calls [`Clock::strike`].
pub(super) struct Clock {
    stage: Stage,
    grace: Duration,
    pub(super) next: Instant,
}

#[derive(PartialEq)]
enum Stage {
    Running,
    Asked,
    Killed,
}

impl Clock {
    /// Sends SIGTERM after `timeout`, and kills `grace` later. With no grace, it kills after
    /// `timeout`.
    pub(super) fn new(timeout: Duration, grace: Duration) -> Self {
        Self { stage: Stage::Running, grace, next: after(timeout) }
    }

    /// Takes the next step.
    pub(super) fn strike(&mut self, process: &mut Process) {
        match self.stage {
            Stage::Running if !self.grace.is_zero() => {
                process.term();
                self.stage = Stage::Asked;
                self.next = after(self.grace);
            }
            Stage::Running | Stage::Asked => self.kill(process),
            Stage::Killed => {
                process.give_up();
                self.next = after(PATIENCE + MARGIN);
            }
        }
    }

    /// Kills now, whatever the next step is.
    pub(super) fn kill(&mut self, process: &Process) {
        process.kill();
        self.stage = Stage::Killed;
        self.next = after(PATIENCE + MARGIN);
    }
}

/// The moment after this duration, which may be so far away that it never comes.
pub(super) fn after(duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + duration.min(FAR)
}
