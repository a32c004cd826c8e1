//! Durable facts: what a log has to keep so that the queue can be made again.
//!
//! The engine tells each of them through [`Sink::record`](crate::Sink::record) when it becomes true,
//! in an order in which they may be told again: [`Engine::restore`](crate::Engine::restore) of all
//! of them gives the jobs, tubes and settings of the engine that told them, after its last client has
//! gone. A reserved job is therefore recorded as ready. Who waits for which job, who uses or watches
//! which tube, and how often each command was given, is not kept.

use std::sync::Arc;

use beanstalk_protocol::{JobId, Priority, Seconds};

use crate::time::Nanos;

/// The segment of a log that holds a job's record.
///
/// The engine keeps one for each job and gives it back to the log; what it means is the log's
/// business. It takes three bytes, because that is what a job has room for: segments are told apart
/// as long as no more than 2^24 of them exist at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentRef([u8; 3]);

impl SegmentRef {
    const MASK: u64 = 0xFF_FFFF;

    /// Refers to the segment of this number by its lower 24 bits.
    #[inline]
    pub const fn of(number: u64) -> Self {
        let [low, middle, high, ..] = number.to_le_bytes();
        Self([low, middle, high])
    }

    /// The number of the segment; the oldest one that there is has the number `oldest`.
    #[inline]
    pub const fn number(self, oldest: u64) -> u64 {
        let [low, middle, high] = self.0;
        let bits = u32::from_le_bytes([low, middle, high, 0]) as u64;
        oldest + (bits.wrapping_sub(oldest) & Self::MASK)
    }
}

/// A fact that outlives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// There is this new job.
    Put(JobRecord<'a>),
    /// There is this job, in this state, whatever was said of it before: it is told once more,
    /// because what was said is to be forgotten.
    Again(JobRecord<'a>),
    /// The job has these properties now; its others stay.
    Update(JobUpdate),
    /// The job was reserved: it is ready, should the queue be made again.
    Reserved(JobId),
    /// The time to run of the job ran out.
    TimedOut(JobId),
    /// The connection that had the job reserved vanished.
    Disconnected(JobId),
    /// The job was kicked, and is ready.
    Kicked(JobId),
    /// The job is gone.
    Delete(JobId),
    /// The tube has these settings now, and no others.
    Tube {
        /// Which tube.
        tube: &'a str,
        /// All that is set.
        settings: TubeSettings,
    },
    /// The server has these settings now, and no others.
    Server(ServerSettings),
}

/// What a fact is about. A later fact about the same subject may make an earlier one needless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A job.
    Job(JobId),
    /// The settings of a tube.
    Tube(&'a str),
    /// The settings of the server.
    Server,
}

impl<'a> Record<'a> {
    /// What it is about.
    #[inline]
    pub fn subject(&self) -> Subject<'a> {
        match self {
            Self::Put(job) | Self::Again(job) => Subject::Job(job.now.id),
            Self::Update(update) => Subject::Job(update.id),
            Self::Reserved(id)
            | Self::TimedOut(id)
            | Self::Disconnected(id)
            | Self::Kicked(id)
            | Self::Delete(id) => Subject::Job(*id),
            Self::Tube { tube, .. } => Subject::Tube(tube),
            Self::Server(_) => Subject::Server,
        }
    }

    /// The job, if the record says all there is to know of it.
    #[inline]
    pub fn whole_job(&self) -> Option<&JobRecord<'a>> {
        match self {
            Self::Put(job) | Self::Again(job) => Some(job),
            _ => None,
        }
    }

    /// Whether somebody may wait for it. That a job was reserved, timed out or lost its connection
    /// changes how often that happened to it, and promises nothing to anybody.
    #[inline]
    pub fn is_urgent(&self) -> bool {
        !matches!(self, Self::Reserved(_) | Self::TimedOut(_) | Self::Disconnected(_))
    }
}

/// What is set for a tube. A tube exists as long as anything is set for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TubeSettings {
    /// Nothing is reserved from the tube meanwhile.
    pub pause: Option<Pause>,
}

impl TubeSettings {
    /// Whether nothing is set.
    #[inline]
    pub fn is_default(&self) -> bool {
        let Self { pause } = self;
        pause.is_none()
    }
}

/// A pause of a tube.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long it was to last.
    pub seconds: Seconds,
    /// When it ends.
    pub until: Nanos,
}

/// What is set for the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// New jobs are refused.
    pub draining: bool,
}

impl ServerSettings {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// All that is to be kept of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRecord<'a> {
    /// Where it is.
    pub tube: &'a str,
    /// When its put began.
    pub created: Nanos,
    /// How long it may be reserved.
    pub ttr: Seconds,
    /// What [`Record::Update`] may change.
    pub now: JobUpdate,
    /// Its bytes.
    pub body: &'a [u8],
    /// The same once more, if the job shares it: a log can keep it without a copy.
    pub shared: Option<&'a Arc<Box<[u8]>>>,
}

/// What can change in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobUpdate {
    /// Which job.
    pub id: JobId,
    /// As last given by put, release or bury.
    pub priority: Priority,
    /// As last given by put or release.
    pub delay: Seconds,
    /// Where in its tube it is.
    pub state: DurableState,
    /// How often things happened to it.
    pub counters: JobCounters,
}

/// The state of a job that is reserved by nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DurableState {
    /// Waits to be reserved.
    Ready,
    /// Waits until its delay is over, then.
    Delayed(Nanos),
    /// Set aside. Of two jobs the one with the smaller number was buried first.
    Buried(u64),
}

/// How often things happened to a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the keys of `stats-job`.
pub struct JobCounters {
    pub reserves: u32,
    pub timeouts: u32,
    pub releases: u32,
    pub buries: u32,
    pub kicks: u32,
    pub disconnects: u32,
}

/// What a command would record, for [`Sink::admits`](crate::Sink::admits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new job.
    Put,
    /// So many records about jobs that there are.
    Existing(u64),
}
