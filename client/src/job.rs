//! Arguments and results of commands.

use beanstalk_protocol::{DEFAULT_PRIORITY, JobId, Priority, Seconds};
use bytes::Bytes;

/// The default time to run in [`PutOptions`], in seconds.
pub const DEFAULT_TTR: Seconds = 60;

/// A job as received from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its body. A slice of the connection's buffer, not a copy: a small body that is kept for
    /// long holds on to some 16 KiB, unless it is copied.
    pub body: Bytes,
}

/// Options of a put.
///
/// ```
/// use jq_client::PutOptions;
///
/// let urgent_in_a_minute = PutOptions { priority: 0, delay: 60, ..PutOptions::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOptions {
    /// The job with the lowest value is reserved first. Default: [`DEFAULT_PRIORITY`].
    pub priority: Priority,
    /// Seconds until the job becomes ready. Default: 0.
    pub delay: Seconds,
    /// Time to run: seconds that a worker may hold the job without touching it. The server
    /// treats 0 as 1. Default: [`DEFAULT_TTR`].
    pub ttr: Seconds,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { priority: DEFAULT_PRIORITY, delay: 0, ttr: DEFAULT_TTR }
    }
}

/// Options of a release.
///
/// ```
/// use jq_client::ReleaseOptions;
///
/// let retry_in_ten_seconds = ReleaseOptions { delay: 10, ..ReleaseOptions::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseOptions {
    /// The new priority. Default: [`DEFAULT_PRIORITY`], whatever it was before; `stats-job` reports
    /// that.
    pub priority: Priority,
    /// Seconds until the job becomes ready. Default: 0.
    pub delay: Seconds,
}

impl Default for ReleaseOptions {
    fn default() -> Self {
        Self { priority: DEFAULT_PRIORITY, delay: 0 }
    }
}

/// Answer to a reserve. `J` is a [`Job`] of a [`Connection`](crate::Connection) or a
/// [`Lease`](crate::Lease) of a [`Client`](crate::Client).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Reservation<J = Job> {
    /// The job belongs to this connection until it is deleted, released or buried, its time to run
    /// is over, or the connection ends.
    Reserved(J),
    /// The timeout passed without a job.
    TimedOut,
    /// A job that this connection holds is in the last second of its time to run. Touch or finish
    /// it, then reserve again.
    DeadlineSoon,
}

impl<J> Reservation<J> {
    /// The job, if there is one.
    pub fn into_job(self) -> Option<J> {
        match self {
            Self::Reserved(job) => Some(job),
            Self::TimedOut | Self::DeadlineSoon => None,
        }
    }

    pub(crate) fn map<K>(self, convert: impl FnOnce(J) -> K) -> Reservation<K> {
        match self {
            Self::Reserved(job) => Reservation::Reserved(convert(job)),
            Self::TimedOut => Reservation::TimedOut,
            Self::DeadlineSoon => Reservation::DeadlineSoon,
        }
    }
}

/// Answer to a command about one job or tube.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "another worker may have the job by now"]
pub enum Outcome {
    /// The command took effect.
    Done,
    /// There is no such job or tube, or not in a state that allows the command. For a job that was
    /// reserved before: its time to run is over, and another worker may have it.
    NotFound,
}

impl Outcome {
    /// Whether the command took effect.
    pub fn is_done(self) -> bool {
        self == Self::Done
    }
}

/// Answer to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "another worker may have the job by now"]
pub enum Released {
    /// The job is ready, or will be after its delay.
    Released,
    /// The server had no memory to do so, and buried the job.
    Buried,
    /// This connection does not hold the job (any longer).
    NotFound,
}

/// Answer to an ignore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the last watched tube cannot be ignored"]
pub enum Ignored {
    /// The tube is no longer watched; this many others are.
    Watching(u64),
    /// It is the only watched tube, and stays watched.
    LastOne,
}
