//! Commands: what a client can ask for, and how a request is encoded on the wire.

use bytes::BufMut;

use crate::stats::JobState;
use crate::types::{JobId, Priority, Seconds, TubeName};

/// The line of a `put`. The body of `size` bytes and a CRLF follow it on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutHeader {
    /// The job with the lowest value is reserved first.
    pub priority: Priority,
    /// Seconds until the job becomes ready.
    pub delay: Seconds,
    /// Seconds that a worker may hold the job. 0 leaves it to the server, which
    /// makes it 1, or what is set for the tube.
    pub ttr: Seconds,
    /// Bytes of the body, without its CRLF.
    pub size: u32,
}

/// Every command of the protocol except `put`, which is a [`PutHeader`] and a body.
///
/// The extensions are commands that beanstalkd does not know: it answers `UNKNOWN_COMMAND` and goes
/// on. A line has at most [`MAX_LINE`](crate::MAX_LINE) bytes, which [`Command::Move`] and
/// [`Command::ListJobs`] exceed with the longest names and large numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make later puts of this connection go to the tube.
    Use(TubeName),
    /// Reserve the next ready job of the watched tubes, waiting for one if necessary.
    Reserve,
    /// Like [`Command::Reserve`], waiting for at most this many seconds. `None` waits forever,
    /// which only the 1.12 dialect can ask for.
    ReserveWithTimeout(Option<Seconds>),
    /// Reserve this job, unless it is already reserved.
    ReserveJob(JobId),
    /// Delete the job.
    Delete(JobId),
    /// Give a reserved job back, with a new priority, and ready after `delay` seconds.
    Release {
        /// The job.
        id: JobId,
        /// Its new priority.
        priority: Priority,
        /// Seconds until it becomes ready.
        delay: Seconds,
    },
    /// Bury a reserved job: set it aside until it is kicked.
    Bury {
        /// The job.
        id: JobId,
        /// Its new priority.
        priority: Priority,
    },
    /// Restart the time to run of a reserved job.
    Touch(JobId),
    /// Watch this tube: reserve from it too.
    Watch(TubeName),
    /// Stop watching this tube.
    Ignore(TubeName),
    /// Show the job.
    Peek(JobId),
    /// Show the next ready job of the used tube.
    PeekReady,
    /// Show the delayed job of the used tube that becomes ready first.
    PeekDelayed,
    /// Show the job of the used tube that was buried first.
    PeekBuried,
    /// Make at most this many buried jobs of the used tube ready or, if none is buried, delayed
    /// ones.
    Kick(u32),
    /// Make this buried or delayed job ready.
    KickJob(JobId),
    /// Statistics of the server.
    Stats,
    /// Statistics of a job.
    StatsJob(JobId),
    /// Statistics of a tube.
    StatsTube(TubeName),
    /// Names of all tubes.
    ListTubes,
    /// Name of the used tube.
    ListTubeUsed,
    /// Names of the watched tubes.
    ListTubesWatched,
    /// Let no job of the tube be reserved for this many seconds; 0 ends a pause.
    PauseTube(TubeName, Seconds),
    /// Reserve up to `max` ready jobs of the watched tubes, at least one, waiting for it for at most
    /// `timeout` seconds. An extension.
    BatchReserve {
        /// At least 1.
        max: u32,
        /// Seconds.
        timeout: Seconds,
    },
    /// Remove all jobs of the tube, except for reserved ones. An extension.
    ClearTube(TubeName),
    /// One page of the jobs of a tube. An extension.
    ListJobs(Box<JobQuery>),
    /// Move a job to another tube. An extension.
    Move(Box<JobMove>),
    /// Close the connection.
    Quit,
}

/// The arguments of [`Command::ListJobs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobQuery {
    /// `None`: the used tube.
    pub tube: Option<TubeName>,
    /// `None`: any state.
    pub state: Option<JobState>,
    /// 0 for the first page; for others, [`JobListing::next`](crate::JobListing::next) of the page
    /// before.
    pub cursor: u32,
    /// Maximum number of jobs.
    pub count: u32,
}

/// The arguments of [`Command::Move`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobMove {
    /// The job.
    pub id: JobId,
    /// Where it goes.
    pub to: TubeName,
}

// Commands are moved from place to place. The arguments of rare ones are in boxes.
const _: () = assert!(size_of::<Command>() == 24);

impl PutHeader {
    /// Appends the command line. The caller adds the body and its CRLF.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(b"put");
        for number in [self.priority, self.delay, self.ttr, self.size] {
            put_argument(out, u64::from(number));
        }
        out.put_slice(b"\r\n");
    }
}

impl Command {
    /// Its word on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Use(_) => "use",
            Self::Reserve => "reserve",
            Self::ReserveWithTimeout(_) => "reserve-with-timeout",
            Self::ReserveJob(_) => "reserve-job",
            Self::Delete(_) => "delete",
            Self::Release { .. } => "release",
            Self::Bury { .. } => "bury",
            Self::Touch(_) => "touch",
            Self::Watch(_) => "watch",
            Self::Ignore(_) => "ignore",
            Self::Peek(_) => "peek",
            Self::PeekReady => "peek-ready",
            Self::PeekDelayed => "peek-delayed",
            Self::PeekBuried => "peek-buried",
            Self::Kick(_) => "kick",
            Self::KickJob(_) => "kick-job",
            Self::Stats => "stats",
            Self::StatsJob(_) => "stats-job",
            Self::StatsTube(_) => "stats-tube",
            Self::ListTubes => "list-tubes",
            Self::ListTubeUsed => "list-tube-used",
            Self::ListTubesWatched => "list-tubes-watched",
            Self::PauseTube(..) => "pause-tube",
            Self::BatchReserve { .. } => "batch-reserve",
            Self::ClearTube(_) => "clear-tube",
            Self::ListJobs(_) => "list-jobs",
            Self::Move(_) => "move",
            Self::Quit => "quit",
        }
    }

    /// Appends the command line as a client sends it.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(self.name().as_bytes());
        match self {
            Self::Use(tube)
            | Self::Watch(tube)
            | Self::Ignore(tube)
            | Self::StatsTube(tube)
            | Self::ClearTube(tube) => put_word(out, tube.as_bytes()),
            Self::ReserveWithTimeout(Some(seconds)) => put_argument(out, u64::from(*seconds)),
            Self::ReserveWithTimeout(None) => put_word(out, b"-1"),
            Self::ReserveJob(id)
            | Self::Delete(id)
            | Self::Touch(id)
            | Self::Peek(id)
            | Self::KickJob(id)
            | Self::StatsJob(id) => put_argument(out, *id),
            Self::Release { id, priority, delay } => {
                put_argument(out, *id);
                put_argument(out, u64::from(*priority));
                put_argument(out, u64::from(*delay));
            }
            Self::Bury { id, priority } => {
                put_argument(out, *id);
                put_argument(out, u64::from(*priority));
            }
            Self::Kick(bound) => put_argument(out, u64::from(*bound)),
            Self::PauseTube(tube, seconds) => {
                put_word(out, tube.as_bytes());
                put_argument(out, u64::from(*seconds));
            }
            Self::BatchReserve { max, timeout } => {
                put_argument(out, u64::from(*max));
                put_argument(out, u64::from(*timeout));
            }
            Self::ListJobs(query) => {
                let JobQuery { tube, state, cursor, count } = &**query;
                put_word(out, tube.as_ref().map_or(b"-", TubeName::as_bytes));
                put_word(out, state.map_or("any", JobState::as_str).as_bytes());
                put_argument(out, u64::from(*cursor));
                put_argument(out, u64::from(*count));
            }
            Self::Move(job) => {
                put_argument(out, job.id);
                put_word(out, job.to.as_bytes());
            }
            Self::Reserve
            | Self::PeekReady
            | Self::PeekDelayed
            | Self::PeekBuried
            | Self::Stats
            | Self::ListTubes
            | Self::ListTubeUsed
            | Self::ListTubesWatched
            | Self::Quit => {}
        }
        out.put_slice(b"\r\n");
    }
}

/// A space and an argument.
fn put_word(out: &mut impl BufMut, word: &[u8]) {
    out.put_u8(b' ');
    out.put_slice(word);
}

/// A space and the number in decimal.
pub(crate) fn put_argument(out: &mut impl BufMut, number: u64) {
    out.put_u8(b' ');
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}
