//! The log of a server without one.

use beanstalk_protocol::{BinlogStats, JobId};
use jq_engine::{Change, Home, Record};

use crate::log::{Log, Position};

/// Keeps nothing.
#[derive(Debug)]
pub struct MemoryLog {
    /// What `binlog-max-size` says, in bytes.
    pub max_size: u64,
}

impl Log for MemoryLog {
    fn is_durable(&self) -> bool {
        false
    }

    fn append(&mut self, _: &Record<'_>, _: bool) -> Home {
        0
    }

    fn forget(&mut self, _: Home, _: usize) {}

    fn admits(&self, _: Change) -> bool {
        true
    }

    fn position(&self) -> Position {
        0
    }

    fn concern(&self, _: JobId) -> Position {
        0
    }

    fn file_number(&self, home: Home) -> u64 {
        u64::from(home)
    }

    fn stats(&self) -> BinlogStats {
        BinlogStats { max_size: self.max_size, ..BinlogStats::default() }
    }
}
