//! Runs the binlog: commits what is appended, syncs it in time, and reclaims old segments.
//!
//! The work is split among four *hands*, so that none waits unnecessarily. Without `-f 0`, the
//! *flusher*, a task among the connections, writes when they have had their turn: one write for all
//! of them, without another thread. The *syncer* is a thread that does what takes time: each sync,
//! and so each commit under `-f 0`. The *compactor* is another thread, because neither of the
//! others should wait while old segments are read. The *stager* is a thread that stores large bodies
//! before their puts are carried out (`stager.rs`).
//!
//! Under `-f 0`, if one client has had the server to itself for a long time, the thread of its
//! connection does the syncs, as long as they are fast: handing them to the syncer and back would
//! add a tenth to their time. Another client that arrives may have to wait for one such sync, once.
//!
//! The work of a hand is divided into *turns*. Between turns it holds no lock, and what it has
//! still to do is in a value of its own. The threads here only take turns and wait. The simulation
//! in `tests/sim` takes the same turns, in an order chosen by a seed.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use beanstalk_protocol::JobId;
use jq_engine::Nanos;
use tokio::sync::Notify;
use tracing::error;

use crate::clock::Clock;
use crate::log::binlog::stager::{Desk, Stager};
use crate::log::binlog::{Binlog, Fact, Failure, Flushed, Step, SyncPolicy, lock};
use crate::log::{Bell, Directory, LogDriver, LoggedQueue, Order, Progress};

/// Facts that nobody waits for are written within this time, unless a sync comes first.
const LINGER: Duration = Duration::from_millis(50);

/// A sync that takes less than this may be done on the thread of a client that has the server to
/// itself.
const FAST_SYNC: Duration = Duration::from_millis(1);

/// The interval between retries after a failure, such as a full disk.
const RETRY: Duration = Duration::from_millis(500);

/// Facts recorded once more under one lock: bounds how long others wait.
const FACTS_PER_LOCK: usize = 64;

/// A binlog with the hands that run it.
#[derive(Debug)]
pub struct BinlogDriver {
    binlog: Arc<Binlog>,
    clock: Clock,
    /// Wakes the syncer.
    bell: Arc<Bell>,
    /// Wakes the compactor.
    compact: Bell,
    /// Large bodies to be stored.
    desk: Desk,
    /// Wakes the flusher.
    flush: Arc<Notify>,
    /// Whether a commit was requested.
    asked: AtomicBool,
    /// How long the last commit took, in nanoseconds.
    last_sync: AtomicU64,
    /// Failures of commits on threads of connections.
    failures: Mutex<Vec<Failure>>,
    stopping: AtomicBool,
    /// Whether damaged segments are to be reclaimed before any client is served.
    repaired: bool,
    /// The lock on the directory, held until everything is stopped.
    directory: Mutex<Option<Directory>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a hand does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Its next turn, at once.
    Again,
    /// Nothing, until it is called, or until this moment comes.
    Wait(Option<Nanos>),
}

/// What a hand has still to do about failures that it met.
#[derive(Debug, Default)]
struct Failures(VecDeque<Failing>);

#[derive(Debug)]
enum Failing {
    /// Take back these jobs, and those that came too late to be among them.
    TakeBack(Failure),
    /// Report the failure to the replies that wait.
    Tell,
}

/// The state of the flusher between its turns.
#[derive(Debug, Default)]
pub struct Flusher {
    failures: Failures,
}

/// The state of the syncer between its turns.
#[derive(Debug, Default)]
pub struct Syncer {
    failures: Failures,
    /// Facts to be recorded once more, after a recovery.
    recovered: VecDeque<Fact>,
    /// When to check whether something is to be synced. As long as facts arrive, each check sets
    /// the time of the next, so that no fact has to wake this thread.
    sync_at: Option<Nanos>,
    /// When to retry what failed.
    retry_at: Option<Nanos>,
}

/// The state of the compactor between its turns.
#[derive(Debug, Default)]
pub struct Compaction {
    failures: Failures,
    /// Facts to be recorded once more.
    facts: VecDeque<Fact>,
}

impl Failures {
    fn meet(&mut self, failure: Failure) {
        self.0.push_back(Failing::TakeBack(failure));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does a part of the work; returns whether there was any.
    fn go_on(&mut self, driver: &BinlogDriver, queue: &dyn LoggedQueue) -> bool {
        match self.0.pop_front() {
            None => return false,
            Some(Failing::TakeBack(failure)) => {
                queue.take_back(&failure.jobs);
                // Whoever held the hub's lock at the moment of the failure has released it since.
                queue.take_back(&driver.binlog.late());
                self.0.push_front(Failing::Tell);
            }
            Some(Failing::Tell) => {
                driver.binlog.taken_back();
                driver.bell.ring();
            }
        }
        true
    }
}

impl Syncer {
    /// Whether it has work in progress. What a recovery has left to be recorded once more may be left
    /// to the next server: it is on the disk.
    pub fn is_busy(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl Compaction {
    /// Whether it has work in progress.
    pub fn is_busy(&self) -> bool {
        !self.failures.is_empty() || !self.facts.is_empty()
    }
}

impl Flusher {
    /// Whether it has work in progress.
    pub fn is_busy(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl BinlogDriver {
    /// The driver of a binlog whose bell is `bell`. With `repaired`, damaged segments are reclaimed
    /// before any client is served. The `directory`, if given, stays locked until everything is
    /// stopped.
    pub(crate) fn new(
        binlog: Arc<Binlog>,
        clock: Clock,
        bell: Arc<Bell>,
        repaired: bool,
        directory: Option<Directory>,
    ) -> Arc<Self> {
        let flush = Arc::new(Notify::new());
        let missed = Arc::clone(&flush);
        binlog.on_free(Box::new(move || missed.notify_one()));
        Arc::new(Self {
            binlog,
            clock,
            bell,
            compact: Bell::default(),
            desk: Desk::default(),
            flush,
            asked: AtomicBool::new(false),
            last_sync: AtomicU64::new(0),
            failures: Mutex::default(),
            stopping: AtomicBool::new(false),
            repaired,
            directory: Mutex::new(directory),
            threads: Mutex::default(),
        })
    }

    /// Whether the syncer was called since the last call of this function.
    pub fn syncer_is_called(&self) -> bool {
        self.bell.is_rung()
    }

    /// Whether the compactor was called since the last call of this function.
    pub fn compactor_is_called(&self) -> bool {
        self.compact.is_rung()
    }

    /// Whether the stager was called since the last call of this function.
    pub fn stager_is_called(&self) -> bool {
        self.desk.bell.is_rung()
    }

    pub(crate) fn binlog(&self) -> &Binlog {
        &self.binlog
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Whether the flusher was called since the last call of this function.
    pub fn flusher_is_called(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(self.flush.notified()).poll(&mut cx).is_ready()
    }

    /// Whether syncs are fast enough to wait for one.
    fn syncs_fast(&self) -> bool {
        u128::from(self.last_sync.load(Ordering::Relaxed)) < FAST_SYNC.as_nanos()
    }

    /// Commits on the calling thread, which saves two thread switches. Returns whether it could.
    fn commit_here(&self) -> bool {
        let start = self.clock.now();
        match self.binlog.flush_if_free() {
            Ok(flushed) => {
                self.note_sync(start);
                flushed == Flushed::All
            }
            Err(failure) => {
                // Handling it takes the hub's lock and more, which the syncer can wait for.
                lock(&self.failures).push(failure);
                false
            }
        }
    }

    fn note_sync(&self, start: Nanos) {
        self.last_sync.store(self.clock.now().0.saturating_sub(start.0), Ordering::Relaxed);
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// A turn of the flusher: writes what the connections of this turn have appended.
    pub fn flush(&self, flusher: &mut Flusher, queue: &dyn LoggedQueue) -> Turn {
        if flusher.failures.go_on(self, queue) {
            return Turn::Again;
        }
        match self.binlog.flush(false) {
            Ok(Flushed::All | Flushed::Later) => {}
            Ok(Flushed::NeedsSync) => self.ask(),
            Err(failure) => flusher.failures.meet(failure),
        }
        if flusher.is_busy() { Turn::Again } else { Turn::Wait(None) }
    }

    /// A turn of the syncer.
    pub fn sync(&self, syncer: &mut Syncer, queue: &dyn LoggedQueue) -> Turn {
        if syncer.failures.go_on(self, queue) {
            return Turn::Again;
        }
        // On a full disk it would take room that is for deletes.
        if !syncer.recovered.is_empty() && !self.binlog.is_full() {
            record_again(&mut syncer.recovered, FACTS_PER_LOCK, queue);
            return Turn::Again;
        }
        let now = self.clock.now();
        let linger = match self.binlog.policy() {
            SyncPolicy::Every(interval) => interval,
            SyncPolicy::Always | SyncPolicy::Never => LINGER,
        };
        if self.asked.swap(false, Ordering::SeqCst) {
            if let Err(failure) = self.binlog.flush(true) {
                syncer.failures.meet(failure);
            }
            self.note_sync(now);
            let failures = std::mem::take(&mut *lock(&self.failures));
            failures.into_iter().for_each(|failure| syncer.failures.meet(failure));
            syncer.sync_at.get_or_insert(now.later(linger));
            if !syncer.failures.is_empty() {
                return Turn::Again;
            }
        }
        let needs = self.binlog.needs_looking_again(syncer.sync_at.is_some());
        let now = self.clock.now();
        if needs.compact {
            self.compact.ring();
        }
        if needs.remove {
            self.desk.bell.ring();
        }
        if needs.sync {
            syncer.sync_at.get_or_insert(now.later(linger));
        }
        if syncer.sync_at.is_some_and(|at| at <= now) {
            syncer.sync_at = None;
            if needs.sync {
                if let Err(failure) = self.binlog.sync() {
                    syncer.failures.meet(failure);
                }
                syncer.sync_at = Some(self.clock.now().later(linger));
                // The compactor may have been waiting for this sync.
                self.compact.ring();
            }
            self.binlog.note();
            return Turn::Again;
        }
        // Another hand may have done it since; then there is nothing to retry.
        syncer.retry_at = syncer.retry_at.filter(|at| *at > now);
        if (needs.prepare || needs.recover) && syncer.retry_at.is_none() {
            let done = if needs.recover { self.recover(syncer) } else { self.binlog.prepare() };
            syncer.retry_at = (!done).then_some(now.later(RETRY));
            return Turn::Again;
        }
        Turn::Wait([syncer.sync_at, syncer.retry_at].into_iter().flatten().min())
    }

    fn recover(&self, syncer: &mut Syncer) -> bool {
        let facts = self.binlog.recover();
        let done = facts.is_some();
        syncer.recovered.extend(facts.into_iter().flatten());
        done
    }

    /// A turn of the compactor: a little at a time.
    pub fn compact(&self, compaction: &mut Compaction, queue: &dyn LoggedQueue) -> Turn {
        if compaction.failures.go_on(self, queue) {
            return Turn::Again;
        }
        if !compaction.facts.is_empty() && self.binlog.gives_up_compacting() {
            compaction.facts.clear();
        }
        if !compaction.facts.is_empty() {
            // On a full disk, whether there is room is asked again before each of them.
            let count = if self.binlog.is_full() { 1 } else { FACTS_PER_LOCK };
            record_again(&mut compaction.facts, count, queue);
            if let Err(failure) = self.binlog.flush(true) {
                compaction.facts.clear();
                compaction.failures.meet(failure);
            }
            return Turn::Again;
        }
        match self.binlog.compact() {
            Ok(Step::Idle) => Turn::Wait(None),
            Ok(Step::Again(facts)) => {
                compaction.facts.extend(facts);
                Turn::Again
            }
            Ok(Step::Await(position)) => {
                if let Err(failure) = self.binlog.sync() {
                    compaction.failures.meet(failure);
                    return Turn::Again;
                }
                if self.binlog.is_durable(position) { Turn::Again } else { Turn::Wait(None) }
            }
            Err(error) => {
                error!(%error, "cannot reclaim an old segment of the binlog");
                Turn::Wait(Some(self.clock.now().later(RETRY)))
            }
        }
    }

    /// Makes a hand take turns until it is to stop and has no work in progress.
    fn run<H: Default>(
        &self,
        bell: &Bell,
        mut turn: impl FnMut(&mut H) -> Turn,
        is_busy: impl Fn(&H) -> bool,
    ) {
        let mut hand = H::default();
        while !self.stopping.load(Ordering::Acquire) || is_busy(&hand) {
            if let Turn::Wait(until) = turn(&mut hand) {
                let now = self.clock.now();
                bell.wait(until.map(|at| Duration::from_nanos(at.0.saturating_sub(now.0))));
            }
        }
    }

    fn run_syncer(&self, queue: &dyn LoggedQueue) {
        self.run(&self.bell, |syncer| self.sync(syncer, queue), Syncer::is_busy);
        self.close(queue);
    }

    /// The last turn: commits and syncs what is left. Nothing may be appended later. Returns
    /// whether everything is on disk, or at least written under `-F`.
    pub fn close(&self, queue: &dyn LoggedQueue) -> bool {
        let mut syncer = Syncer::default();
        if self.binlog.needs().recover {
            // The last chance.
            self.recover(&mut syncer);
        }
        match self.binlog.close() {
            Ok(()) => !self.binlog.needs().recover,
            Err(failure) => {
                syncer.failures.meet(failure);
                while syncer.failures.go_on(self, queue) {}
                false
            }
        }
    }

    fn run_compactor(&self, queue: &dyn LoggedQueue) {
        self.run(&self.compact, |hand| self.compact(hand, queue), Compaction::is_busy);
    }

    fn run_stager(&self, _: &dyn LoggedQueue) {
        self.run(&self.desk.bell, |hand| self.stage_some(hand), Stager::is_busy);
    }

    /// Takes the flusher's turns whenever it is called. Never returns.
    async fn run_flusher(self: Arc<Self>, queue: Arc<dyn LoggedQueue>) {
        let mut flusher = Flusher::default();
        loop {
            self.flush.notified().await;
            while self.flush(&mut flusher, &*queue) == Turn::Again {}
        }
    }

    /// Reclaims the damaged segments after a repair, before any client is served.
    pub fn finish_repair(&self, queue: &dyn LoggedQueue) {
        let mut compaction = Compaction::default();
        while compaction.is_busy() || self.binlog.needs().compact {
            if self.compact(&mut compaction, queue) != Turn::Again {
                return;
            }
        }
    }
}

impl LogDriver for BinlogDriver {
    fn progress(&self) -> &Arc<Progress> {
        self.binlog.progress()
    }

    fn commit_soon(&self, alone: bool) {
        if self.binlog.policy() != SyncPolicy::Always {
            self.flush.notify_one();
        } else if !alone || !self.syncs_fast() || !self.commit_here() {
            self.ask();
        }
    }

    fn stages_from(&self) -> Option<usize> {
        Some(self.binlog.stores_from())
    }

    fn stage(&self, order: Order) {
        self.desk.leave(order);
    }

    fn put_ended(&self, job: JobId) {
        if self.binlog.put_ended(job) {
            self.desk.bell.ring();
        }
    }

    fn start(self: Arc<Self>, queue: Arc<dyn LoggedQueue>) -> io::Result<()> {
        if self.repaired {
            self.finish_repair(&*queue);
        }
        let spawn = |name: &str, run: fn(&Self, &dyn LoggedQueue)| {
            let (driver, queue) = (Arc::clone(&self), Arc::clone(&queue));
            thread::Builder::new().name(name.into()).spawn(move || run(&driver, &*queue))
        };
        lock(&self.threads).extend([
            spawn("jq-binlog", Self::run_syncer)?,
            spawn("jq-compact", Self::run_compactor)?,
            spawn("jq-bodies", Self::run_stager)?,
        ]);
        tokio::spawn(Arc::clone(&self).run_flusher(queue));
        Ok(())
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.bell.ring();
        self.compact.ring();
        self.desk.bell.ring();
        for handle in lock(&self.threads).drain(..) {
            if handle.join().is_err() {
                error!("a thread of the binlog has panicked");
            }
        }
        // What the last sync has made unneeded.
        self.binlog.remove_bodies();
        // From here on, another server may take the directory.
        drop(lock(&self.directory).take());
    }
}

/// Records some facts once more, `most` of them, as far as they still hold.
fn record_again(facts: &mut VecDeque<Fact>, most: usize, queue: &dyn LoggedQueue) {
    queue.change(&mut |engine, sink| {
        for _ in 0..most {
            let Some(fact) = facts.pop_front() else { break };
            if let Some(rest) = fact.record_again(engine, sink) {
                facts.push_front(rest);
                break;
            }
        }
    });
}
