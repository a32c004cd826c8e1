//! Where durable facts go.
//!
//! The engine tells facts, in order; a [`Log`] takes them and says by its [`Progress`] how far they
//! are committed. What that means is the log's to say: written, on the disk, or one day acknowledged
//! by other machines. Replies wait for it (see the hub), so nobody is told what a crash can take
//! back.

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
pub use self::uncommitted::Uncommitted;

/// A place in the log: so many bytes have been appended before it since the server started. It says
/// nothing about files.
pub type Position = u64;

/// Where a fact went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// The segment that will have it.
    pub segment: SegmentRef,
    /// The end of the log behind it: what is to be committed before anybody may be told of it.
    pub position: Position,
}

/// A log as the engine sees it. All of its calls come under the hub's lock, so none may do I/O. What
/// works beside it is a [`LogDriver`].
pub trait Log: fmt::Debug + Send {
    /// Whether anything is kept at all.
    fn is_durable(&self) -> bool;

    /// Appends a fact. `urgent` says that somebody waits for it; other facts may lie in memory for
    /// some milliseconds.
    fn append(&mut self, record: &Record<'_>, urgent: bool) -> Appended;

    /// A job's record in this segment is needed no more; its tube's name and its body have so many
    /// bytes.
    fn forget(&mut self, segment: SegmentRef, bytes: usize);

    /// Whether a change can be taken on.
    fn admits(&self, change: Change) -> bool;

    /// What must be committed before anything about this job may be told; 0 if nothing.
    fn concern(&self, job: JobId) -> Position;

    /// The number of a segment.
    fn segment_number(&self, segment: SegmentRef) -> u64;

    /// For `stats`.
    fn stats(&self) -> BinlogStats;
}
