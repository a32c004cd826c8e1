//! From the flags to a queue that is ready to be served.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jq_engine::Engine;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::Config;
use crate::log::binlog::driver::BinlogDriver;
use crate::log::binlog::{Binlog, BinlogHandle, Disk, Options, RealDisk, ReplayError, Report};
use crate::log::directory::{Directory, DirectoryError};
use crate::log::memory::MemoryDriver;
use crate::log::v7::{self, V7Error};
use crate::log::{Bell, Log, LogDriver, MemoryLog};

/// A queue, and the log that keeps it.
#[derive(Debug)]
pub struct Opened {
    /// The queue.
    pub engine: Engine,
    /// The part of its log that is used under the hub's lock.
    pub log: Box<dyn Log>,
    /// The part of its log that works outside the hub's lock.
    pub driver: Arc<dyn LogDriver>,
}

/// A queue with its binlog, for simulations, which run the steps of its driver themselves.
#[derive(Debug)]
pub struct OpenedBinlog {
    /// The queue and its log.
    pub opened: Opened,
    /// The binlog.
    pub binlog: Arc<Binlog>,
    /// The same as in `opened`.
    pub driver: Arc<BinlogDriver>,
    /// What the replay found.
    pub report: Report,
}

/// The queue cannot be restored.
#[derive(Debug)]
pub enum OpenError {
    /// The directory cannot be used.
    Directory(DirectoryError),
    /// Its contents cannot be replayed.
    Replay(String, ReplayError),
    /// Its contents cannot be imported from beanstalkd's format, or exported to it.
    TakeOver(String, V7Error),
    /// There is nothing of ours in this directory.
    Nothing(PathBuf),
    /// What was asked for cannot be written.
    Output(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => error.fmt(f),
            Self::Replay(dir, error) if error.is_incomplete() => {
                write!(
                    f,
                    "{dir}: {error}. Nothing was changed. If there is a copy of that file as it was, put \
                     it back. To serve the jobs that are left, start once with --binlog-repair"
                )
            }
            Self::Replay(dir, error) if error.is_repairable() => {
                write!(
                    f,
                    "{dir}: {error}. Nothing was changed. To serve what is intact, and keep a copy \
                     of the rest, start once with --binlog-repair"
                )
            }
            Self::Replay(dir, error) => write!(f, "{dir}: {error}"),
            Self::TakeOver(dir, error) => write!(f, "{dir}: {error}"),
            Self::Nothing(dir) => write!(f, "{}: there is no jq-binlog", dir.display()),
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<DirectoryError> for OpenError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

impl Opened {
    /// An empty queue that is kept in memory only. `max_size` is the value of `binlog-max-size` in
    /// `stats`, in bytes.
    pub fn in_memory(max_size: u64) -> Self {
        Self {
            engine: Engine::new(),
            log: Box::new(MemoryLog { max_size }),
            driver: Arc::new(MemoryDriver::default()),
        }
    }

    /// Opens the log that the flags select, and replays it. Only this function decides which log is
    /// used.
    pub fn open(config: &Config, clock: &Clock) -> Result<Self, OpenError> {
        let Some(dir) = &config.binlog else {
            return Ok(Self::in_memory(config.binlog_size));
        };
        let directory = Directory::lock(dir)?;
        v7::import(&directory, config.binlog_size, clock.now(), config.binlog_repair)
            .map_err(|error| OpenError::TakeOver(dir.display().to_string(), error))?;
        let segments = directory.segments()?;
        let name = segments.display().to_string();
        let options = Options::new(config.sync_policy, config.binlog_size);
        let started = Instant::now();
        let disk = Arc::new(RealDisk::new(segments));
        let repair = config.binlog_repair;
        let OpenedBinlog { opened, binlog, report, .. } =
            OpenedBinlog::open(disk, options, clock, repair, Some(directory))
                .map_err(|error| OpenError::Replay(name.clone(), error))?;
        info!(
            dir = name,
            jobs = opened.engine.job_count(),
            records = report.records,
            segments = report.segments,
            bytes = report.bytes,
            live_bytes = binlog.live_bytes(),
            millis = started.elapsed().as_millis() as u64,
            "replayed the binlog"
        );
        if report.damaged > 0 {
            warn!(
                places = report.damaged,
                bytes = report.damaged_bytes,
                "the binlog was damaged: at least one record is lost for each damaged place; the \
                 damaged bytes are in files named damaged-*"
            );
        }
        Ok(opened)
    }
}

impl OpenedBinlog {
    /// Opens the binlog on this disk, and replays it. The `directory` stays locked until the driver
    /// is stopped.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        clock: &Clock,
        repair: bool,
        directory: Option<Directory>,
    ) -> Result<Self, ReplayError> {
        let bell = Arc::new(Bell::default());
        let ring = Arc::clone(&bell);
        let mut engine = Engine::new();
        let ring = Box::new(move || ring.ring());
        let (binlog, report) = Binlog::open(disk, options, &mut engine, clock.now(), repair, ring)?;
        let log = Box::new(BinlogHandle::new(&binlog));
        let driver = BinlogDriver::new(Arc::clone(&binlog), clock.clone(), bell, repair, directory);
        let opened = Opened { engine, log, driver: Arc::clone(&driver) as Arc<dyn LogDriver> };
        Ok(Self { opened, binlog, driver, report })
    }
}
