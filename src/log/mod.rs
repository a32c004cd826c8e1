//! Logs of durable facts.
//!
//! The engine reports facts in order. A [`Log`] takes them, and its [`Progress`] says how far they
//! are committed. What "committed" means depends on the log: written, on disk, or one day
//! acknowledged by other machines. Replies wait for it (see the hub), so that no client is told of
//! anything that a crash can undo.

mod backup;
mod bell;
pub mod binlog;
pub mod codec;
mod directory;
mod driver;
mod dump;
mod memory;
mod open;
mod progress;
mod staging;
mod uncommitted;
pub mod v7;

use std::fmt;

use beanstalk_protocol::{BinlogStats, JobId};
use jq_engine::{Change, Record, SegmentRef};

pub use self::backup::{BackedUp, backup};
pub(crate) use self::bell::Bell;
pub use self::directory::{Directory, DirectoryError};
pub use self::driver::{LogDriver, LoggedQueue};
pub use self::dump::{Checked, check, dump};
pub use self::memory::MemoryLog;
pub use self::open::{OpenError, Opened, OpenedBinlog};
pub use self::progress::{Gate, Gated, Place, Progress};
pub use self::staging::{Order, Staging};
pub use self::uncommitted::Uncommitted;

/// A position in the log: the number of bytes appended before it since the server started. It is
/// unrelated to files.
pub type Position = u64;

/// Where a fact was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// The segment that will hold it.
    pub segment: SegmentRef,
    /// The end of the log after the fact: everything up to here must be committed before any client
    /// may learn of the fact.
    pub position: Position,
}

/// A log as the engine sees it. All functions are called under the hub's lock, so none may do I/O.
/// That is the work of a [`LogDriver`].
pub trait Log: fmt::Debug + Send {
    /// Whether the log keeps anything.
    fn is_durable(&self) -> bool;

    /// Appends a fact. `urgent`: a client may be waiting for it. Other facts may stay in memory for
    /// some milliseconds.
    fn append(&mut self, record: &Record<'_>, urgent: bool) -> Appended;

    /// The record of this job in this segment is no longer needed. `bytes` is the length of its
    /// tube's name and its body together.
    fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize);

    /// A job whose record is in this segment was moved, which changes how many bytes its tube's
    /// name and its body have together.
    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize);

    /// Whether there is room to record a change.
    fn admits(&self, change: Change) -> bool;

    /// What must be committed before anything about this job may be told; 0 if nothing.
    fn concern(&self, job: JobId) -> Position;

    /// The number of a segment.
    fn segment_number(&self, segment: SegmentRef) -> u64;

    /// The log's part of `stats`.
    fn stats(&self) -> BinlogStats;
}
