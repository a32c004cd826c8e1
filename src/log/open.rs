//! From the flags to a queue that is ready to serve.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use jq_engine::Engine;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::Config;
use crate::log::binlog::{Binlog, BinlogHandle, Options, RealDisk, ReplayError};
use crate::log::directory::{Directory, DirectoryError};
use crate::log::v7::{self, V7Error};
use crate::log::{Bell, Log, MemoryLog, Progress};

/// A queue, and the log that keeps it.
#[derive(Debug)]
pub struct Opened {
    pub(crate) engine: Engine,
    pub(crate) log: Box<dyn Log>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) binlog: Option<OpenedBinlog>,
}

/// What a binlog needs besides.
#[derive(Debug)]
pub(crate) struct OpenedBinlog {
    pub(crate) binlog: Arc<Binlog>,
    /// Rung when the binlog needs something.
    pub(crate) bell: Arc<Bell>,
    /// What was damaged is to be given up before anybody is served.
    pub(crate) repaired: bool,
    /// Ours as long as we live.
    pub(crate) _directory: Directory,
}

/// The queue cannot be made again.
#[derive(Debug)]
pub enum OpenError {
    /// The directory cannot be used.
    Directory(DirectoryError),
    /// What is in it cannot be replayed.
    Replay(String, ReplayError),
    /// It is beanstalkd's, and cannot be made ours, or cannot be made beanstalkd's.
    TakeOver(String, V7Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => error.fmt(f),
            Self::Replay(dir, error) if error.is_repairable() => {
                write!(
                    f,
                    "{dir}: {error}. Nothing was changed. To serve what is sound, and have the rest \
                     copied aside, start once with --binlog-repair"
                )
            }
            Self::Replay(dir, error) => write!(f, "{dir}: {error}"),
            Self::TakeOver(dir, error) => write!(f, "{dir}: {error}"),
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
    /// A queue that is kept in memory only.
    fn in_memory(max_size: u64) -> Self {
        Self {
            engine: Engine::new(),
            log: Box::new(MemoryLog { max_size }),
            progress: Arc::default(),
            binlog: None,
        }
    }

    /// Opens what the flags name, and replays it.
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
        let bell = Arc::new(Bell::default());
        let ring = Arc::clone(&bell);
        let mut engine = Engine::new();
        let started = Instant::now();
        let (binlog, report) = Binlog::open(
            Arc::new(RealDisk::new(segments)),
            options,
            &mut engine,
            clock.now(),
            config.binlog_repair,
            Box::new(move || ring.ring()),
        )
        .map_err(|error| OpenError::Replay(name.clone(), error))?;
        info!(
            dir = name,
            jobs = engine.job_count(),
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
                "the binlog was damaged: at least as many records as places are lost; the damaged \
                 bytes are in files named damaged-*"
            );
        }
        let repaired = config.binlog_repair;
        Ok(Self {
            engine,
            log: Box::new(BinlogHandle(Arc::clone(&binlog))),
            progress: Arc::clone(binlog.progress()),
            binlog: Some(OpenedBinlog { binlog, bell, repaired, _directory: directory }),
        })
    }
}
