//! How a job leaves this worker, and all that follows from it.
//!
//! [`Ending::consequences`] is the one table: what the result says, what happens to the queued job,
//! which callback announces it, what is counted, and what is logged. Whoever adds an ending adds a row.
//!
//! Owns: the table. Must not know: how any of it is done.

use tracing::Level;
use url::Url;

use crate::job::Callback;
use crate::metrics::{Counted, Outcome};
use crate::result::{Failure, FailureKind, FinalStatus, Status};

/// How a job leaves this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is over, and has a result.
    Over(Verdict),
    /// It failed, and is tried again.
    Retried,
    /// There is no room for its type.
    NoRoom,
    /// Its result could not be sent at present.
    NoDestination,
    /// It is run alone, and other jobs run now.
    Suspected,
    /// A job of the same id is here.
    Duplicate,
    /// The same job was done before, and its result is here.
    Answered,
    /// This machine could not do its part.
    Unable,
    /// Jobs of its type cannot be run on this machine at present.
    NotTaken,
    /// This worker stops before the job is over.
    Interrupted,
    /// It was reserved, but the queue did not confirm it.
    Unconfirmed,
    /// Its lease was lost before there was a result.
    Lost,
    /// Its lease was lost when there was a result.
    LostWithResult,
    /// Its lease was lost before the queue confirmed that it went back or was buried.
    LostOnReturn,
    /// It has a result, and sending that was given up.
    Unpublished,
}

/// How a job is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its process succeeded.
    Successful,
    /// It failed, and is not tried again.
    Failed,
    /// The worker has died so often while it ran that it is not run again.
    Crashed,
    /// It expired before it was run.
    Expired,
    /// Its result or callback has a URL that nothing must be sent to. It was not run. Those of its
    /// URLs that are allowed are told.
    Forbidden,
    /// It is not a job, or of a type that has no handler here.
    Refused,
    /// Somebody has cancelled it, or deleted it from the queue while it ran.
    Cancelled,
}

/// What happens to the queued job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// It is deleted.
    Delete,
    /// It is buried, for somebody to look at.
    Bury,
    /// It goes back to the queue, usually with a delay.
    Release,
    /// It goes back to the queue at once, and the queue counts nothing.
    Return,
    /// Nothing: it is not this worker's any more, or it goes back as the connection closes.
    None,
}

/// What a callback announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackEvent {
    /// The job succeeded.
    Successful,
    /// The job failed or was dismissed.
    Failed,
    /// The job was cancelled.
    Cancelled,
}

impl CallbackEvent {
    /// The `type` of the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Successful => "job.successful",
            Self::Failed => "job.failed",
            Self::Cancelled => "job.cancelled",
        }
    }

    /// Where the event is sent, if anywhere.
    pub fn url(self, callback: &Callback) -> Option<&Url> {
        match self {
            Self::Successful => callback.success.as_ref(),
            // Whoever waits for a success learns that there is none.
            Self::Failed | Self::Cancelled => callback.failed.as_ref(),
        }
    }
}

/// Which failures an ending has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// None: it is not a failure.
    None,
    /// Always of this kind.
    Always(FailureKind),
    /// Of whichever kind the attempt failed with.
    OfAttempt,
}

/// What follows from an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consequences {
    /// What the document at the job's URL says from then on. `None`: this ending does not change it.
    pub status: Option<Status>,
    /// Where the failure comes from, if it is one: `error.kind` in the document, the metrics, the log
    /// and on the page.
    pub cause: Cause,
    /// What happens to the queued job. If a result is sent, this follows when it has arrived.
    pub queue: QueueAction,
    /// Whether the result is sent to where the job wants it.
    pub is_sent: bool,
    /// Which callback is called when the result has arrived.
    pub callback: Option<CallbackEvent>,
    /// As what `jq_worker_jobs_total` counts it.
    pub outcome: Option<Outcome>,
    /// Whether that is counted under the job's type. Otherwise under `unknown`: the types of jobs that
    /// are refused are whatever a stranger writes.
    pub counts_type: bool,
    /// Which other counter grows.
    pub counter: Option<Counted>,
    /// Whether the page shows it among the last failures.
    pub on_page: bool,
    /// At which level it is logged.
    pub level: Level,
    /// What is logged.
    pub message: &'static str,
}

/// The base of rows: nothing follows.
const NOTHING: Consequences = Consequences {
    status: None,
    cause: Cause::None,
    queue: QueueAction::None,
    is_sent: false,
    callback: None,
    outcome: None,
    counts_type: false,
    counter: None,
    on_page: false,
    level: Level::DEBUG,
    message: "",
};

/// The base of rows for a job that is over.
const fn over(verdict: Verdict, cause: Cause) -> Consequences {
    let status = verdict.status();
    let (document, queue, callback) = match status {
        FinalStatus::Successful => {
            (Status::Successful, QueueAction::Delete, CallbackEvent::Successful)
        }
        FinalStatus::Failed => (Status::Failed, QueueAction::Bury, CallbackEvent::Failed),
        FinalStatus::Dismissed => (Status::Dismissed, QueueAction::Delete, CallbackEvent::Failed),
        FinalStatus::Cancelled => {
            (Status::Cancelled, QueueAction::Delete, CallbackEvent::Cancelled)
        }
    };
    Consequences {
        status: Some(document),
        cause,
        queue,
        is_sent: true,
        callback: Some(callback),
        outcome: Some(Outcome::Over(status)),
        counts_type: true,
        on_page: true,
        level: Level::WARN,
        message: "over",
        ..NOTHING
    }
}

/// The base of rows for a job that the queue gave to somebody else.
const LOST: Consequences = Consequences {
    cause: Cause::Always(FailureKind::LeaseLost),
    counter: Some(Counted::LeasesLost),
    level: Level::WARN,
    ..NOTHING
};

impl Ending {
    /// The table.
    pub const fn consequences(self) -> Consequences {
        use Cause::{Always, OfAttempt};
        match self {
            Self::Over(Verdict::Successful) => Consequences {
                on_page: false,
                level: Level::DEBUG,
                message: "successful",
                ..over(Verdict::Successful, Cause::None)
            },
            Self::Over(Verdict::Failed) => over(Verdict::Failed, OfAttempt),
            Self::Over(Verdict::Crashed) => Consequences {
                level: Level::ERROR,
                message: "workers die while it runs: not run again; the job is buried",
                ..over(Verdict::Crashed, Always(FailureKind::Crashed))
            },
            Self::Over(Verdict::Expired) => over(Verdict::Expired, Always(FailureKind::Input)),
            Self::Over(Verdict::Forbidden) => {
                over(Verdict::Forbidden, Always(FailureKind::Publish))
            }
            Self::Over(Verdict::Refused) => Consequences {
                counts_type: false,
                counter: Some(Counted::Refused),
                message: "refused; the job is buried",
                ..over(Verdict::Refused, Always(FailureKind::Input))
            },
            Self::Over(Verdict::Cancelled) => Consequences {
                on_page: false,
                message: "cancelled",
                ..over(Verdict::Cancelled, Always(FailureKind::Cancelled))
            },
            Self::Retried => Consequences {
                status: Some(Status::Accepted),
                cause: OfAttempt,
                queue: QueueAction::Release,
                outcome: Some(Outcome::Retried),
                counts_type: true,
                on_page: true,
                level: Level::WARN,
                message: "failed; it will be tried again",
                ..NOTHING
            },
            Self::NoRoom => Consequences {
                queue: QueueAction::Return,
                counter: Some(Counted::GivenBack),
                message: "no room for its type: given back",
                ..NOTHING
            },
            Self::NoDestination => Consequences {
                queue: QueueAction::Return,
                counter: Some(Counted::GivenBack),
                message: "its result could not be sent at present: given back",
                ..NOTHING
            },
            Self::Suspected => Consequences {
                queue: QueueAction::Return,
                counter: Some(Counted::GivenBack),
                level: Level::INFO,
                message: "a worker died while it ran: given back, to be run while nothing else runs",
                ..NOTHING
            },
            Self::Duplicate => Consequences {
                queue: QueueAction::Return,
                counter: Some(Counted::GivenBack),
                message: "a job of the same id is here: given back",
                ..NOTHING
            },
            Self::Answered => Consequences {
                queue: QueueAction::Delete,
                level: Level::INFO,
                message: "the same job was done before: answered by its result, not run again",
                ..NOTHING
            },
            Self::Unable => Consequences {
                status: Some(Status::Accepted),
                cause: OfAttempt,
                queue: QueueAction::Return,
                outcome: Some(Outcome::Returned),
                counts_type: true,
                on_page: true,
                level: Level::WARN,
                message: "this machine could not run it: back to the queue, not counted",
                ..NOTHING
            },
            Self::NotTaken => Consequences {
                queue: QueueAction::Return,
                counter: Some(Counted::GivenBack),
                message: "its type is paused on this machine: back to the queue, not counted",
                ..NOTHING
            },
            Self::Interrupted => Consequences {
                level: Level::INFO,
                message: "the worker stops: the job goes back to the queue",
                ..NOTHING
            },
            Self::Unconfirmed => {
                Consequences { message: "a job that was just reserved was lost", ..LOST }
            }
            Self::Lost => Consequences {
                outcome: Some(Outcome::Lost),
                counts_type: true,
                on_page: true,
                message: "the job was lost: its processes were killed, nothing is published",
                ..LOST
            },
            Self::LostWithResult => Consequences {
                message: "the job was lost after its result was kept; the result counts",
                ..LOST
            },
            Self::LostOnReturn => {
                Consequences { message: "the job was lost before it could be given back", ..LOST }
            }
            Self::Unpublished => Consequences {
                cause: Always(FailureKind::Publish),
                queue: QueueAction::Bury,
                on_page: true,
                level: Level::ERROR,
                message: "gave up sending the result; the job is buried; kick it to try again",
                ..NOTHING
            },
        }
    }

    /// The failure of an ending that always has the same kind. `None`: it has none, or the attempt's.
    pub fn failure(self, message: impl ToString) -> Option<Failure> {
        match self.consequences().cause {
            Cause::Always(kind) => Some(Failure::new(kind, message)),
            Cause::None | Cause::OfAttempt => None,
        }
    }
}

impl Verdict {
    /// What the result says.
    pub const fn status(self) -> FinalStatus {
        match self {
            Self::Successful => FinalStatus::Successful,
            Self::Failed | Self::Crashed | Self::Forbidden | Self::Refused => FinalStatus::Failed,
            Self::Expired => FinalStatus::Dismissed,
            Self::Cancelled => FinalStatus::Cancelled,
        }
    }

    /// Whether the job was tried.
    pub const fn is_of_attempt(self) -> bool {
        matches!(self, Self::Successful | Self::Failed)
    }

    /// The verdict on a job whose result has this status, as far as it matters after a restart.
    pub const fn of(status: FinalStatus) -> Self {
        match status {
            FinalStatus::Successful => Self::Successful,
            FinalStatus::Failed => Self::Failed,
            FinalStatus::Dismissed => Self::Expired,
            FinalStatus::Cancelled => Self::Cancelled,
        }
    }

    /// The row of the table.
    pub const fn consequences(self) -> Consequences {
        Ending::Over(self).consequences()
    }
}

#[cfg(test)]
mod tests;
