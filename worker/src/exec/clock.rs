//! The steps in which a run is ended: asked, killed, given up.
//!
//! Owned here: their order and times. Not known here: why a run is to end.

use super::keeper::PATIENCE;
use super::keepers::Process;
use std::time::Duration;
use tokio::time::Instant;

/// How long a keeper may take beyond its own patience to say that a run has ended.
const MARGIN: Duration = Duration::from_secs(5);

/// When a run is told what. The caller waits until `next`, and then calls [`Clock::strike`].
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
    /// Asks after `timeout`, kills `grace` later; without grace it does not ask.
    pub(super) fn new(timeout: Duration, grace: Duration) -> Self {
        Self { stage: Stage::Running, grace, next: after(timeout) }
    }

    /// It is time for the next step.
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

    /// Kills now, whatever the time.
    pub(super) fn kill(&mut self, process: &Process) {
        process.kill();
        self.stage = Stage::Killed;
        self.next = after(PATIENCE + MARGIN);
    }
}

/// A moment that may be so far away that it never comes.
pub(super) fn after(duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + duration.min(FAR)
}
