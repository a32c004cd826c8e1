//! The log of a server that keeps its jobs in memory only.

use std::io;
use std::sync::Arc;

use beanstalk_protocol::{BinlogStats, JobId};
use jq_engine::{Change, Record, SegmentRef};

use crate::log::{Appended, Log, LogDriver, LoggedQueue, Position, Progress};

/// A log that keeps nothing.
#[derive(Debug)]
pub struct MemoryLog {
    /// The value of `binlog-max-size` in `stats`, in bytes.
    pub max_size: u64,
}

impl Log for MemoryLog {
    fn is_durable(&self) -> bool {
        false
    }

    fn append(&mut self, _: &Record<'_>, _: bool) -> Appended {
        Appended::default()
    }

    fn forget(&mut self, _: SegmentRef, _: JobId, _: usize) {}

    fn resize(&mut self, _: SegmentRef, _: usize, _: usize) {}

    fn admits(&self, _: Change) -> bool {
        true
    }

    fn concern(&self, _: JobId) -> Position {
        0
    }

    fn segment_number(&self, segment: SegmentRef) -> u64 {
        segment.number(0)
    }

    fn stats(&self) -> BinlogStats {
        BinlogStats { max_size: self.max_size, ..BinlogStats::default() }
    }
}

/// The driver of a log that keeps nothing: it has nothing to do.
#[derive(Debug, Default)]
pub(crate) struct MemoryDriver {
    progress: Arc<Progress>,
}

impl LogDriver for MemoryDriver {
    fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    fn commit_soon(&self, _: bool) {}

    fn start(self: Arc<Self>, _: Arc<dyn LoggedQueue>) -> io::Result<()> {
        Ok(())
    }

    fn stop(&self) {}
}
