//! Who keeps the binlog: commits what is appended, syncs it in time, and gives old segments up.
//!
//! Three hands, so that none waits for what it need not wait for. Without `-f 0`, a *flusher* among
//! the connections writes when they have had their turn: one write for all of them, and no other
//! thread in between. The *keeper* is a thread that does what takes time: each sync, and with it
//! each commit under `-f 0`. The *compactor* is another, since neither shall wait for old segments
//! to be read.
//!
//! Under `-f 0`, a client that has had the server to itself for a long time waits for its syncs on
//! the spot, as long as they are fast: to hand them to the keeper and back would take a tenth of
//! their time. Somebody else who comes then waits for one of them, once.
//!
//! What a hand does is cut into *turns*, between which it holds no lock and keeps what it has yet to
//! do in a value of its own. The threads here do nothing but take turns and wait; the simulation in
//! `tests/sim` takes the same turns in any order that a seed decides.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jq_engine::Nanos;
use tokio::sync::Notify;
use tracing::error;

use crate::clock::Clock;
use crate::log::binlog::{Binlog, Fact, Failure, Flushed, Step, SyncPolicy};
use crate::log::{Bell, Directory, LogDriver, LoggedQueue, Progress};

/// Facts that nobody waits for are written within this time, if no sync comes before.
const LINGER: Duration = Duration::from_millis(50);

/// A sync that takes less than this may be waited for by whoever has the server to himself.
const FAST_SYNC: Duration = Duration::from_millis(1);

/// How often is tried what has failed for want of room, or for worse.
const RETRY: Duration = Duration::from_millis(500);

/// Facts recorded once more under one lock: bounds how long others wait.
const FACTS_PER_LOCK: usize = 64;

/// A binlog with those who keep it.
#[derive(Debug)]
pub struct BinlogDriver {
    binlog: Arc<Binlog>,
    clock: Clock,
    /// Wakes the keeper.
    bell: Arc<Bell>,
    /// Wakes the compactor.
    compact: Bell,
    /// Wakes the flusher.
    flush: Notify,
    /// Somebody waits for a commit.
    asked: AtomicBool,
    /// How long the last commit took, in nanoseconds.
    last_sync: AtomicU64,
    /// Failures of commits that somebody else made.
    failures: Mutex<Vec<Failure>>,
    stopping: AtomicBool,
    /// What was damaged is to be given up before anybody is served.
    repaired: bool,
    /// Ours until all is stopped.
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

/// What a hand has yet to do about failures that it met.
#[derive(Debug, Default)]
struct Failures(VecDeque<Failing>);

#[derive(Debug)]
enum Failing {
    /// These jobs are to be taken back, and what came too late to be among them.
    TakeBack(Failure),
    /// Who waits is to be told.
    Tell,
}

/// What the flusher keeps between its turns.
#[derive(Debug, Default)]
pub struct Flusher {
    failures: Failures,
}

/// What the keeper keeps between its turns.
#[derive(Debug, Default)]
pub struct Keeper {
    failures: Failures,
    /// To be recorded once more, after a recovery.
    recovered: VecDeque<Fact>,
    /// When to look for what is to be synced. As long as facts come, the next look is set with the
    /// last one, so that no fact has to wake this thread for that.
    sync_at: Option<Nanos>,
    /// When what failed is to be tried again.
    retry_at: Option<Nanos>,
}

/// What the compactor keeps between its turns.
#[derive(Debug, Default)]
pub struct Compaction {
    failures: Failures,
    /// To be recorded once more.
    facts: VecDeque<Fact>,
}

impl Failures {
    fn meet(&mut self, failure: Failure) {
        self.0.push_back(Failing::TakeBack(failure));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does a part of what is to be done; returns whether there was anything.
    fn go_on(&mut self, driver: &BinlogDriver, queue: &dyn LoggedQueue) -> bool {
        match self.0.pop_front() {
            None => return false,
            Some(Failing::TakeBack(failure)) => {
                queue.take_back(&failure.jobs);
                // Whoever had the hub's lock at that moment has given it back since.
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

impl Keeper {
    /// Whether it is in the midst of something.
    pub fn is_busy(&self) -> bool {
        !self.failures.is_empty() || !self.recovered.is_empty()
    }
}

impl Compaction {
    /// Whether it is in the midst of something.
    pub fn is_busy(&self) -> bool {
        !self.failures.is_empty() || !self.facts.is_empty()
    }
}

impl Flusher {
    /// Whether it is in the midst of something.
    pub fn is_busy(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl BinlogDriver {
    /// Of a binlog whose bell is `bell`. With `repaired`, damaged segments are given up before
    /// anybody is served. The `directory`, if it is locked, stays so until all is stopped.
    pub(crate) fn new(
        binlog: Arc<Binlog>,
        clock: Clock,
        bell: Arc<Bell>,
        repaired: bool,
        directory: Option<Directory>,
    ) -> Arc<Self> {
        Arc::new(Self {
            binlog,
            clock,
            bell,
            compact: Bell::default(),
            flush: Notify::new(),
            asked: AtomicBool::new(false),
            last_sync: AtomicU64::new(0),
            failures: Mutex::default(),
            stopping: AtomicBool::new(false),
            repaired,
            directory: Mutex::new(directory),
            threads: Mutex::default(),
        })
    }

    /// Whether the keeper was called since this was last asked.
    pub fn keeper_is_called(&self) -> bool {
        self.bell.is_rung()
    }

    /// Whether the compactor was called since this was last asked.
    pub fn compactor_is_called(&self) -> bool {
        self.compact.is_rung()
    }

    /// Whether the flusher was called since this was last asked.
    pub fn flusher_is_called(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(self.flush.notified()).poll(&mut cx).is_ready()
    }

    /// Whether a sync takes no longer than it would hurt to wait for.
    fn syncs_fast(&self) -> bool {
        u128::from(self.last_sync.load(Ordering::Relaxed)) < FAST_SYNC.as_nanos()
    }

    /// Commits on the thread that asks, which saves two changes of threads. Returns whether it could.
    fn commit_here(&self) -> bool {
        let start = self.clock.now();
        match self.binlog.flush_if_free() {
            Ok(flushed) => {
                self.note_sync(start);
                flushed == Flushed::All
            }
            Err(failure) => {
                // It takes the hub's lock and more, which the keeper may wait for.
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
            Ok(Flushed::All) => {}
            Ok(Flushed::NeedsSync) => self.ask(),
            Err(failure) => flusher.failures.meet(failure),
        }
        if flusher.is_busy() { Turn::Again } else { Turn::Wait(None) }
    }

    /// A turn of the keeper.
    pub fn keep(&self, keeper: &mut Keeper, queue: &dyn LoggedQueue) -> Turn {
        if keeper.failures.go_on(self, queue) {
            return Turn::Again;
        }
        if !keeper.recovered.is_empty() {
            record_again(&mut keeper.recovered, queue);
            return Turn::Again;
        }
        let now = self.clock.now();
        let linger = match self.binlog.policy() {
            SyncPolicy::Every(interval) => interval,
            SyncPolicy::Always | SyncPolicy::Never => LINGER,
        };
        if self.asked.swap(false, Ordering::SeqCst) {
            if let Err(failure) = self.binlog.flush(true) {
                keeper.failures.meet(failure);
            }
            self.note_sync(now);
            let failures = std::mem::take(&mut *lock(&self.failures));
            failures.into_iter().for_each(|failure| keeper.failures.meet(failure));
            keeper.sync_at.get_or_insert(now.later(linger));
            if !keeper.failures.is_empty() {
                return Turn::Again;
            }
        }
        let needs = self.binlog.needs_looking_again(keeper.sync_at.is_some());
        let now = self.clock.now();
        if needs.compact {
            self.compact.ring();
        }
        if needs.sync {
            keeper.sync_at.get_or_insert(now.later(linger));
        }
        if keeper.sync_at.is_some_and(|at| at <= now) {
            keeper.sync_at = None;
            if needs.sync {
                if let Err(failure) = self.binlog.sync() {
                    keeper.failures.meet(failure);
                }
                keeper.sync_at = Some(self.clock.now().later(linger));
                // Whoever waits to give a segment up looks again.
                self.compact.ring();
            }
            self.binlog.note();
            return Turn::Again;
        }
        // Somebody else may have done it since; then there is nothing to wait for.
        keeper.retry_at = keeper.retry_at.filter(|at| *at > now);
        if (needs.prepare || needs.recover) && keeper.retry_at.is_none() {
            let done = if needs.recover { self.recover(keeper) } else { self.binlog.prepare() };
            keeper.retry_at = (!done).then_some(now.later(RETRY));
            return Turn::Again;
        }
        Turn::Wait([keeper.sync_at, keeper.retry_at].into_iter().flatten().min())
    }

    fn recover(&self, keeper: &mut Keeper) -> bool {
        let facts = self.binlog.recover();
        let done = facts.is_some();
        keeper.recovered.extend(facts.into_iter().flatten());
        done
    }

    /// A turn of the compactor: a little at a time.
    pub fn compact(&self, compaction: &mut Compaction, queue: &dyn LoggedQueue) -> Turn {
        if compaction.failures.go_on(self, queue) {
            return Turn::Again;
        }
        if !compaction.facts.is_empty() {
            record_again(&mut compaction.facts, queue);
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
                error!(%error, "cannot give up an old segment of the binlog");
                Turn::Wait(Some(self.clock.now().later(RETRY)))
            }
        }
    }

    /// Has a hand take turns until it is to stop and is in the midst of nothing.
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

    fn run_keeper(&self, queue: &dyn LoggedQueue) {
        self.run(&self.bell, |keeper| self.keep(keeper, queue), Keeper::is_busy);
        self.close(queue);
    }

    /// The last turn: commits and syncs what is left. Nothing may be appended later. Returns whether
    /// all of it could be.
    pub fn close(&self, queue: &dyn LoggedQueue) -> bool {
        let mut keeper = Keeper::default();
        if self.binlog.needs().recover {
            // The last chance.
            self.recover(&mut keeper);
            while !keeper.recovered.is_empty() {
                record_again(&mut keeper.recovered, queue);
            }
        }
        match self.binlog.close() {
            Ok(()) => !self.binlog.needs().recover,
            Err(failure) => {
                keeper.failures.meet(failure);
                while keeper.failures.go_on(self, queue) {}
                false
            }
        }
    }

    fn run_compactor(&self, queue: &dyn LoggedQueue) {
        self.run(&self.compact, |hand| self.compact(hand, queue), Compaction::is_busy);
    }

    /// Takes the flusher's turns whenever it is called. Runs for ever.
    async fn run_flusher(self: Arc<Self>, queue: Arc<dyn LoggedQueue>) {
        let mut flusher = Flusher::default();
        loop {
            self.flush.notified().await;
            while self.flush(&mut flusher, &*queue) == Turn::Again {}
        }
    }

    /// Gives up what is damaged, which a repair has left out, before anybody is served.
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

    fn start(self: Arc<Self>, queue: Arc<dyn LoggedQueue>) -> io::Result<()> {
        if self.repaired {
            self.finish_repair(&*queue);
        }
        let spawn = |name: &str, run: fn(&Self, &dyn LoggedQueue)| {
            let (driver, queue) = (Arc::clone(&self), Arc::clone(&queue));
            thread::Builder::new().name(name.into()).spawn(move || run(&driver, &*queue))
        };
        lock(&self.threads).extend([
            spawn("jq-binlog", Self::run_keeper)?,
            spawn("jq-compact", Self::run_compactor)?,
        ]);
        tokio::spawn(Arc::clone(&self).run_flusher(queue));
        Ok(())
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.bell.ring();
        self.compact.ring();
        for handle in lock(&self.threads).drain(..) {
            if handle.join().is_err() {
                error!("a thread of the binlog has panicked");
            }
        }
        // It is another server's to take from here on.
        drop(lock(&self.directory).take());
    }
}

/// Records some facts once more, as far as they are true.
fn record_again(facts: &mut VecDeque<Fact>, queue: &dyn LoggedQueue) {
    let count = facts.len().min(FACTS_PER_LOCK);
    queue.change(&mut |engine, sink| {
        facts.drain(..count).for_each(|fact| fact.record_again(engine, sink));
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding this lock")
}
