//! The server under test: the real hub, engine, binlog and driver, on a fake disk and a told clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use beanstalk_protocol::{BinlogHealth, BinlogUse, JobId, Request};
use jq_engine::{ConnId, Engine, Flow, Sink};
use jq_server::clock::Clock;
use jq_server::config::Config;
use jq_server::log::binlog::driver::{BinlogDriver, Compaction, Flusher, Syncer, Turn};
use jq_server::log::binlog::stager::Stager;
use jq_server::log::binlog::{Binlog, Options, ReplayError};
use jq_server::log::{Gated, LoggedQueue, OpenedBinlog};
use jq_server::server::hub::{Batch, Hub};
use jq_server::server::outbuf::OutBuf;

use crate::disk::FakeDisk;
use crate::facts::Facts;
use crate::model::Policy;
use crate::observe::tube_name;
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
    pub(crate) driver: Arc<BinlogDriver>,
    pub(crate) queue: Watched,
    pub(crate) hands: Hands,
    /// What the engine has told the log.
    pub(crate) facts: Facts,
    time: Time,
}

/// The state of the driver's hands between their turns.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    pub(crate) flusher: Flusher,
    pub(crate) syncer: Syncer,
    pub(crate) compaction: Compaction,
    pub(crate) stager: Stager,
}

impl Hands {
    pub(crate) fn are_busy(&self) -> bool {
        let Self { flusher, syncer, compaction, stager } = self;
        flusher.is_busy() || syncer.is_busy() || compaction.is_busy() || stager.is_busy()
    }
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    Flusher,
    Syncer,
    Compactor,
    Stager,
}

/// The hub as the driver sees it. Remembers which jobs it had taken back.
#[derive(Debug)]
pub(crate) struct Watched {
    hub: Arc<Hub>,
    taken_back: Mutex<Vec<JobId>>,
}

impl Watched {
    /// The jobs that were taken back since this was last asked.
    pub(crate) fn taken_back(&self) -> Vec<JobId> {
        std::mem::take(&mut *self.taken_back.lock().expect("nobody panics while holding it"))
    }
}

impl LoggedQueue for Watched {
    fn change(&self, change: &mut dyn FnMut(&mut Engine, &mut dyn Sink)) -> Gated {
        LoggedQueue::change(&*self.hub, change)
    }

    fn take_back(&self, jobs: &[JobId]) {
        self.hub.take_back(jobs);
        self.taken_back.lock().expect("nobody panics while holding it").extend(jobs);
    }
}

impl Server {
    /// Starts on what is on the disk.
    pub(crate) fn start(
        disk: &FakeDisk,
        options: Options,
        time: &Time,
        repair: bool,
    ) -> Result<Self, ReplayError> {
        time.pass(0);
        let clock = Clock::told(Arc::clone(&time.0));
        let disk = Arc::new(disk.clone());
        let OpenedBinlog { mut opened, binlog, driver, .. } =
            OpenedBinlog::open(disk, options, &clock, repair, None)?;
        let config = Config::from_args(["jq-server", "-z100000"].map(Into::into))
            .expect("there are no wrong flags");
        let facts = Facts::default();
        opened.log = facts.overhear(opened.log);
        let hub = Hub::new(&config, clock, opened);
        let queue = Watched { hub: Arc::clone(&hub), taken_back: Mutex::default() };
        let (hands, time) = (Hands::default(), time.clone());
        Ok(Self { hub, binlog, driver, queue, hands, facts, time })
    }

    /// Has one of the hands take a turn.
    pub(crate) fn turn(&mut self, hand: Hand) -> Turn {
        let Self { driver, queue, hands, .. } = self;
        match hand {
            Hand::Flusher => driver.flush(&mut hands.flusher, queue),
            Hand::Syncer => driver.sync(&mut hands.syncer, queue),
            Hand::Compactor => driver.compact(&mut hands.compaction, queue),
            Hand::Stager => driver.stage_some(&mut hands.stager),
        }
    }

    /// Whether a hand was called since this was last asked.
    pub(crate) fn is_called(&self, hand: Hand) -> bool {
        match hand {
            Hand::Flusher => self.driver.flusher_is_called(),
            Hand::Syncer => self.driver.syncer_is_called(),
            Hand::Compactor => self.driver.compactor_is_called(),
            Hand::Stager => self.driver.stager_is_called(),
        }
    }

    pub(crate) fn apply(&self, conn: ConnId, requests: Vec<Request>) -> Answers {
        let mut batch = Batch { requests: Vec::new(), ..Batch::default() };
        batch.requests.extend(requests.into_iter().zip(1..));
        let at = self.time.pass(0);
        let applied = self.hub.apply(conn, &mut batch);
        let outcome = batch.outcome;
        Answers { at, flow: applied.flow, out: outcome.out, gated: outcome.gated }
    }

    /// Refuses new jobs from now on, or takes them again.
    pub(crate) fn drain(&self, draining: bool) {
        self.hub.change(|engine, mut sink, _| engine.set_draining(draining, &mut sink));
    }

    /// Sets the policy of a tube. Returns false if the log does not take that.
    pub(crate) fn rule(&self, tube: usize, policy: &Policy) -> bool {
        let tube = tube_name(tube);
        let set = self.hub.change(|engine, mut sink, now| {
            engine.set_policy(now, &tube, Some(policy.clone()), &mut sink)
        });
        set.0.is_ok()
    }

    /// Lets what is due happen, and returns the time.
    pub(crate) fn tick(&self) -> u64 {
        loop {
            let (now, is_done) = self.tick_once();
            if is_done {
                return now;
            }
        }
    }

    /// Lets some of what is due happen. Returns the time, and whether that was all.
    pub(crate) fn tick_once(&self) -> (u64, bool) {
        let now = self.time.pass(0);
        (now, self.hub.tick().is_none_or(|next| next.0 > now))
    }

    /// Whether something may be due at the time of the next request.
    pub(crate) fn is_due_soon(&self) -> bool {
        let soon = self.time.0.load(Ordering::Relaxed) + 2 * STEP;
        self.hub.read(|engine, _| engine.next_deadline()).is_some_and(|at| at.0 <= soon)
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
