//! The log, in memory.

use std::sync::Arc;

use jq_engine::Engine;
use jq_server::log::binlog::Binlog;

use self::memory::MemoryDisk;
use crate::{BATCH, TIMES};

#[path = "../../support/log.rs"]
mod memory;

/// A log that is written.
#[derive(Debug)]
pub struct Appending(Arc<Binlog>);

impl Appending {
    /// An empty log.
    pub fn new() -> Self {
        Self(memory::open(MemoryDisk::forgetful()).0)
    }

    /// Records puts, in batches.
    #[must_use]
    pub fn run(self) -> Self {
        for batch in 0..u64::from(TIMES) / BATCH as u64 {
            let first = 1 + batch * BATCH as u64;
            memory::write(&self.0, first..first + BATCH as u64);
        }
        self
    }
}

impl Default for Appending {
    fn default() -> Self {
        Self::new()
    }
}

/// A log that is read.
#[derive(Debug)]
pub struct Replaying(Arc<MemoryDisk>);

impl Replaying {
    /// A log of puts.
    pub fn new() -> Self {
        let disk = MemoryDisk::new();
        let (binlog, _) = memory::open(Arc::clone(&disk));
        memory::write(&binlog, 1..=u64::from(TIMES));
        binlog.close().expect("this disk does not fail");
        Self(disk)
    }

    /// Makes the queue again. It is returned, so that giving it up does not count.
    pub fn run(self) -> (Arc<Binlog>, Engine) {
        memory::open(self.0)
    }
}

impl Default for Replaying {
    fn default() -> Self {
        Self::new()
    }
}
