//! How a binlog is to be kept.

use std::time::Duration;

/// When what was written is synced to the disk, and with it: what an answer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// `-f 0`. Before anybody is told: it survives the loss of power.
    Always,
    /// `-f MS`. So often. It survives the end of the process at once, the loss of power after that
    /// time.
    Every(Duration),
    /// `-F`. When the system sees fit. It survives the end of the process.
    Never,
}

impl SyncPolicy {
    /// Whether anything is ever synced.
    pub(crate) fn syncs(self) -> bool {
        self != Self::Never
    }
}

/// How a binlog is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When to sync.
    pub policy: SyncPolicy,
    /// A segment ends before it gets longer than this, unless by a single record, in bytes.
    pub segment_size: u64,
    /// What `binlog-max-size` says in the stats, in bytes.
    pub shown_size: u64,
    /// A body of at least so many bytes is stored in a file of its own before its put is carried out.
    pub store_from: usize,
}

/// From this many bytes on, to copy a body to a segment would make others wait.
const STORE_FROM: usize = 1 << 20;

/// Segments shorter than this would be all headers, in bytes.
const MIN_SEGMENT: u64 = 64 * 1024;

impl Options {
    /// For segments of `size` bytes, or somewhat more if that is next to nothing.
    pub fn new(policy: SyncPolicy, size: u64) -> Self {
        Self {
            policy,
            segment_size: size.max(MIN_SEGMENT),
            shown_size: size,
            store_from: STORE_FROM,
        }
    }

    /// The room that is set aside ahead of what is written, in bytes.
    pub(crate) fn ahead(&self) -> u64 {
        (self.segment_size / 8).clamp(4096, 4 << 20)
    }

    /// What is kept back for when the disk is full, beside the room to delete every job, in bytes.
    pub(crate) fn reserve(&self) -> u64 {
        self.segment_size / 4
    }

    /// As much more is kept back at a time, for jobs that come, in bytes.
    pub(crate) fn more_reserve(&self) -> u64 {
        (self.ahead() / 4).max(4096)
    }
}
