//! Durable facts: what a log has to keep so that the queue can be restored.
//!
//! The engine reports each fact through [`Sink::record`](crate::Sink::record) when it becomes true.
//! Replaying all of them in that order with [`Engine::restore`](crate::Engine::restore) gives the
//! jobs, tubes and settings that the recording engine would have after its last client has gone. A
//! reserved job is therefore restored as ready. Which connection waits for a job, which ones use or
//! watch which tube, and how often each command was sent are not recorded.

use std::sync::Arc;

use beanstalk_protocol::{JobId, Priority, Seconds};

use crate::policy::Policy;
use crate::time::Nanos;

/// The segment of a log that holds a job's record.
///
/// The engine keeps one for each job and passes it back to the log; its meaning is up to the log.
/// It takes three bytes, because that is what a job has room for: segments can be told apart as
/// long as no more than 2^24 of them exist at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentRef([u8; 3]);

impl SegmentRef {
    const MASK: u64 = 0xFF_FFFF;

    /// Refers to the segment with this number by its lower 24 bits.
    #[inline]
    pub const fn of(number: u64) -> Self {
        let [low, middle, high, ..] = number.to_le_bytes();
        Self([low, middle, high])
    }

    /// The number of the segment, where `oldest` is the number of the oldest existing segment.
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
    /// A new job.
    Put(JobRecord<'a>),
    /// The current state of an existing job. It replaces all earlier records of the job, so that
    /// these can be reclaimed.
    Again(JobRecord<'a>),
    /// These properties of the job changed; the others stay.
    Update(JobUpdate),
    /// The job is in another tube from now on, with these properties.
    Moved {
        /// Name of the tube.
        tube: &'a str,
        /// The properties that can change.
        now: JobUpdate,
    },
    /// The job was reserved. A restored queue has it ready.
    Reserved(JobId),
    /// The job's time to run expired.
    TimedOut(JobId),
    /// The connection that had the job reserved vanished.
    Disconnected(JobId),
    /// The job was kicked, and is ready.
    Kicked(JobId),
    /// The job is gone.
    Delete(JobId),
    /// All jobs of this tube are gone, except for some.
    Cleared {
        /// Name of the tube.
        tube: &'a str,
        /// Those that were reserved, and stay with their holders.
        kept: JobIds<'a>,
    },
    /// The tube's settings from now on; they replace all earlier ones.
    Tube {
        /// Name of the tube.
        tube: &'a str,
        /// All of its settings.
        settings: TubeSettings<'a>,
    },
    /// The server's settings from now on; they replace all earlier ones.
    Server(ServerSettings),
}

/// Ids of jobs, as a log keeps them: each in 8 bytes, little-endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobIds<'a>(&'a [[u8; 8]]);

impl<'a> JobIds<'a> {
    /// These ids.
    pub fn new(ids: &'a [[u8; 8]]) -> Self {
        Self(ids)
    }

    /// The same ids as bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0.as_flattened()
    }

    /// The ids, in order.
    pub fn iter(self) -> impl Iterator<Item = JobId> {
        self.0.iter().map(|id| JobId::from_le_bytes(*id))
    }
}

/// What a fact is about. A later fact about the same subject may make an earlier one obsolete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A job.
    Job(JobId),
    /// All jobs of a tube.
    Jobs(&'a str),
    /// The settings of a tube.
    Tube(&'a str),
    /// The settings of the server.
    Server,
}

impl<'a> Record<'a> {
    /// What the record is about.
    #[inline]
    pub fn subject(&self) -> Subject<'a> {
        match self {
            Self::Put(job) | Self::Again(job) => Subject::Job(job.now.id),
            Self::Update(update) | Self::Moved { now: update, .. } => Subject::Job(update.id),
            Self::Reserved(id)
            | Self::TimedOut(id)
            | Self::Disconnected(id)
            | Self::Kicked(id)
            | Self::Delete(id) => Subject::Job(*id),
            Self::Cleared { tube, .. } => Subject::Jobs(tube),
            Self::Tube { tube, .. } => Subject::Tube(tube),
            Self::Server(_) => Subject::Server,
        }
    }

    /// The job, if the record describes it completely.
    #[inline]
    pub fn whole_job(&self) -> Option<&JobRecord<'a>> {
        match self {
            Self::Put(job) | Self::Again(job) => Some(job),
            _ => None,
        }
    }

    /// Whether a client may be waiting until the record is durable. That a job was reserved, timed
    /// out or lost its connection only changes a counter, and nobody was promised anything.
    #[inline]
    pub fn is_urgent(&self) -> bool {
        !matches!(self, Self::Reserved(_) | Self::TimedOut(_) | Self::Disconnected(_))
    }
}

/// The settings of a tube. A tube with settings other than the defaults continues to exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TubeSettings<'a> {
    /// If set, no job of the tube can be reserved until the pause ends.
    pub pause: Option<Pause>,
    /// The tube's policy, if it has one.
    pub policy: Option<Policy<&'a str>>,
}

impl TubeSettings<'_> {
    /// Whether all settings have their default.
    #[inline]
    pub fn is_default(&self) -> bool {
        let Self { pause, policy } = self;
        pause.is_none() && policy.is_none()
    }
}

/// A pause of a tube.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// The length of the pause as requested.
    pub seconds: Seconds,
    /// When it ends.
    pub until: Nanos,
}

/// The settings of the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// New jobs are refused.
    pub draining: bool,
}

impl ServerSettings {
    /// Whether all settings have their default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything that is kept of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRecord<'a> {
    /// Name of its tube.
    pub tube: &'a str,
    /// When the server received the line of its put.
    pub created: Nanos,
    /// Its time to run: how long it may be reserved.
    pub ttr: Seconds,
    /// The properties that [`Record::Update`] can change.
    pub now: JobUpdate,
    /// Its body.
    pub body: &'a [u8],
    /// The same body as a shared value, if the job has it as one: a log can keep it without
    /// copying.
    pub shared: Option<&'a Arc<Box<[u8]>>>,
}

/// The properties of a job that can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobUpdate {
    /// Id of the job.
    pub id: JobId,
    /// As last given by put, release, bury or [`Engine::act`](crate::Engine::act).
    pub priority: Priority,
    /// As last given by put, release or [`Engine::act`](crate::Engine::act).
    pub delay: Seconds,
    /// Its state.
    pub state: DurableState,
    /// Its counters.
    pub counters: JobCounters,
}

/// The state of a job that is not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DurableState {
    /// Waits to be reserved.
    Ready,
    /// Delayed until this moment.
    Delayed(Nanos),
    /// Buried. Of two jobs, the one with the smaller number was buried first.
    Buried(u64),
}

/// The counters of a job.
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

/// What a command is about to record, for [`Sink::admits`](crate::Sink::admits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new job.
    Put,
    /// This many records about existing jobs, or one about a tube.
    Existing(u64),
    /// A job moves to another tube.
    Move,
    /// A tube is cleared of this many jobs, and the record names this many others. A log that is full
    /// takes that if it takes no more than what the jobs are worth when each of them is deleted.
    Clear {
        /// Jobs that will be gone.
        jobs: u64,
        /// Ids in the record.
        kept: u64,
    },
    /// A job is deleted. A log that is full still takes that.
    Delete,
    /// What is set for a tube.
    Settings,
}
