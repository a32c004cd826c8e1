//! The server under test: the real hub, engine and binlog, on a fake disk and a told clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use beanstalk_protocol::{BinlogHealth, BinlogUse, Request};
use jq_engine::{ConnId, Engine, Flow, Nanos};
use jq_server::clock::Clock;
use jq_server::config::Config;
use jq_server::log::binlog::{Binlog, BinlogHandle, Options, ReplayError};
use jq_server::server::hub::{Batch, Gated, Hub, Queue};
use jq_server::server::outbuf::OutBuf;

use crate::disk::FakeDisk;
use crate::support::Reply;

/// Time passes by at least this between two operations, in nanoseconds. More than the hub adds for
/// the requests of a batch, so that its time is always that of the clock.
const STEP: u64 = 1000;

/// The time of the simulation, in nanoseconds; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Time(pub(crate) Arc<AtomicU64>);

impl Time {
    /// Lets so many nanoseconds pass, and a little more.
    pub(crate) fn pass(&self, nanos: u64) -> u64 {
        self.0.fetch_add(STEP + nanos, Ordering::Relaxed) + STEP + nanos
    }
}

/// What came of some requests.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The time of the first request; each further one comes a nanosecond later.
    pub(crate) at: u64,
    pub(crate) flow: Flow,
    pub(crate) out: OutBuf,
    pub(crate) gated: Gated,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) hub: Arc<Hub>,
    pub(crate) binlog: Arc<Binlog>,
    time: Time,
}

impl Server {
    /// Starts on what is on the disk.
    pub(crate) fn start(
        disk: &FakeDisk,
        options: Options,
        time: &Time,
        repair: bool,
    ) -> Result<Self, ReplayError> {
        let mut engine = Engine::new();
        let now = Nanos(time.pass(0));
        let disk = Arc::new(disk.clone());
        let (binlog, _) = Binlog::open(disk, options, &mut engine, now, repair, Box::new(|| {}))?;
        let log = Box::new(BinlogHandle(Arc::clone(&binlog)));
        let progress = Arc::clone(binlog.progress());
        let config = Config::from_args(["jq-server".into()]).expect("there are no wrong flags");
        let queue = Queue { engine, log, progress };
        let hub = Hub::new(&config, Clock::told(Arc::clone(&time.0)), queue, Box::new(|_| {}));
        Ok(Self { hub, binlog, time: time.clone() })
    }

    pub(crate) fn apply(&self, conn: ConnId, requests: Vec<Request>) -> Answers {
        let mut batch = Batch { requests: Vec::new(), ..Batch::default() };
        batch.requests.extend(requests.into_iter().zip(1..));
        let at = self.time.pass(0);
        let applied = self.hub.apply(conn, &mut batch);
        let outcome = batch.outcome;
        Answers { at, flow: applied.flow, out: outcome.out, gated: outcome.gated }
    }

    /// Lets what is due happen, and returns the time.
    pub(crate) fn tick(&self) -> u64 {
        loop {
            let now = self.time.pass(0);
            if self.hub.tick().is_none_or(|next| next.0 > now) {
                return now;
            }
        }
    }

    pub(crate) fn connect(&self) -> ConnId {
        self.hub.connect(Waker::noop().clone())
    }

    /// What the log tells of itself.
    pub(crate) fn log_use(&self) -> BinlogUse {
        *self.binlog.stats().own.expect("there is a log")
    }

    pub(crate) fn health(&self) -> BinlogHealth {
        self.log_use().health
    }
}

/// The replies in a buffer.
pub(crate) fn replies(out: &OutBuf) -> Vec<Reply> {
    let mut bytes = out.to_bytes();
    let replies = std::iter::from_fn(|| Reply::take(&mut bytes)).collect();
    assert!(bytes.is_empty(), "half a reply: {}", bytes.escape_ascii());
    replies
}
