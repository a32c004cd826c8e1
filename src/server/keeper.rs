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

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::error;

use crate::log::Bell;
use crate::log::binlog::{Binlog, Failure, Flushed, Step, SyncPolicy};
use crate::server::hub::Hub;

/// Facts that nobody waits for are written within this time, if no sync comes before.
const LINGER: Duration = Duration::from_millis(50);

/// A sync that takes less than this may be waited for by whoever has the server to himself, in
/// microseconds.
const FAST_SYNC: u64 = 1000;

/// How often is tried what has failed for want of room, or for worse.
const RETRY: Duration = Duration::from_millis(500);

/// Facts recorded once more under one lock: bounds how long others wait.
const FACTS_PER_LOCK: usize = 64;

/// What the three hands share.
#[derive(Debug)]
pub(crate) struct Keeper {
    binlog: Arc<Binlog>,
    /// Wakes the keeper.
    bell: Arc<Bell>,
    /// Wakes the compactor.
    compact: Bell,
    /// Wakes the flusher.
    flush: Notify,
    /// Somebody waits for a commit.
    asked: AtomicBool,
    /// How long the last commit took, in microseconds.
    sync_micros: AtomicU64,
    /// Failures of commits that somebody else made.
    failures: Mutex<Vec<Failure>>,
    stopping: AtomicBool,
}

/// The threads of a keeper.
#[derive(Debug)]
pub(crate) struct Threads {
    keeper: Arc<Keeper>,
    handles: Vec<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn new(binlog: Arc<Binlog>, bell: Arc<Bell>) -> Arc<Self> {
        Arc::new(Self {
            binlog,
            bell,
            compact: Bell::default(),
            flush: Notify::new(),
            asked: AtomicBool::new(false),
            sync_micros: AtomicU64::new(0),
            failures: Mutex::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Somebody waits for what was appended, and if he is `alone`, nobody else has asked for anything
    /// for a long time.
    pub(crate) fn commit_soon(&self, alone: bool) {
        if self.binlog.policy() != SyncPolicy::Always {
            self.flush.notify_one();
        } else if !alone || !self.syncs_fast() || !self.commit_here() {
            self.ask();
        }
    }

    /// Whether a sync takes no longer than it would hurt to wait for.
    fn syncs_fast(&self) -> bool {
        self.sync_micros.load(Ordering::Relaxed) < FAST_SYNC
    }

    /// Commits on the thread that asks, which saves two changes of threads. Returns whether it could.
    fn commit_here(&self) -> bool {
        let start = Instant::now();
        match self.binlog.flush_if_free() {
            Ok(flushed) => {
                self.note_sync(start);
                flushed == Flushed::All
            }
            Err(failure) => {
                // It takes the hub's lock and more, which the keeper may wait for.
                self.failures.lock().expect("nobody panics while holding this lock").push(failure);
                false
            }
        }
    }

    fn note_sync(&self, start: Instant) {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.sync_micros.store(micros, Ordering::Relaxed);
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Writes what the connections of this turn have appended. Runs for ever.
    pub(crate) async fn flush_in_turn(self: Arc<Self>, hub: Arc<Hub>) {
        loop {
            self.flush.notified().await;
            match self.binlog.flush(false) {
                Ok(Flushed::All) => {}
                Ok(Flushed::NeedsSync) => self.ask(),
                Err(failure) => self.failed(&hub, &failure),
            }
        }
    }

    /// Gives up what is damaged, which a repair has left out, before anybody is served.
    pub(crate) fn finish_repair(&self, hub: &Hub) {
        let mut more = true;
        while more && self.binlog.needs().compact {
            more = self.compact_some(hub);
        }
    }

    /// Starts the threads.
    pub(crate) fn start(self: &Arc<Self>, hub: &Arc<Hub>) -> std::io::Result<Threads> {
        let spawn = |name: &str, run: fn(&Self, &Hub)| {
            let (keeper, hub) = (Arc::clone(self), Arc::clone(hub));
            thread::Builder::new().name(name.into()).spawn(move || run(&keeper, &hub))
        };
        let handles = vec![
            spawn("jq-binlog", Self::keep)?,
            spawn("jq-compact", Self::compact_in_background)?,
        ];
        Ok(Threads { keeper: Arc::clone(self), handles })
    }

    fn keep(&self, hub: &Hub) {
        let linger = match self.binlog.policy() {
            SyncPolicy::Every(interval) => interval,
            SyncPolicy::Always | SyncPolicy::Never => LINGER,
        };
        // When to look for what is to be synced. As long as facts come, the next look is set with the
        // last one, so that no fact has to wake this thread for that.
        let mut sync_at: Option<Instant> = None;
        // When what failed is to be tried again.
        let mut retry_at: Option<Instant> = None;
        while !self.stopping.load(Ordering::Acquire) {
            let asked = self.asked.swap(false, Ordering::SeqCst);
            if asked {
                let start = Instant::now();
                if let Err(failure) = self.binlog.flush(true) {
                    self.failed(hub, &failure);
                }
                self.note_sync(start);
                self.take_failures(hub);
            }
            let needs = self.binlog.needs_looking_again(asked || sync_at.is_some());
            let now = Instant::now();
            if needs.compact {
                self.compact.ring();
            }
            if asked || needs.sync {
                sync_at.get_or_insert(now + linger);
            }
            if sync_at.is_some_and(|at| at <= now) {
                sync_at = None;
                if needs.sync {
                    if let Err(failure) = self.binlog.sync() {
                        self.failed(hub, &failure);
                    }
                    sync_at = Some(Instant::now() + linger);
                    // Whoever waits to give a segment up looks again.
                    self.compact.ring();
                }
                continue;
            }
            if (needs.prepare || needs.recover) && retry_at.is_none_or(|at| at <= now) {
                let done = if needs.recover { self.recover(hub) } else { self.binlog.prepare() };
                retry_at = (!done).then_some(now + RETRY);
                continue;
            }
            let wake_at = [sync_at, retry_at].into_iter().flatten().min();
            self.bell.wait(wake_at.map(|at| at.saturating_duration_since(now)));
        }
        if self.binlog.needs().recover {
            // The last chance.
            self.recover(hub);
        }
        if let Err(failure) = self.binlog.close() {
            self.failed(hub, &failure);
        }
    }

    fn recover(&self, hub: &Hub) -> bool {
        let Some(facts) = self.binlog.recover() else { return false };
        for facts in facts.chunks(FACTS_PER_LOCK) {
            hub.record_again(facts);
        }
        true
    }

    fn compact_in_background(&self, hub: &Hub) {
        let mut more = false;
        while !self.stopping.load(Ordering::Acquire) {
            if !more {
                self.compact.wait(None);
            }
            more = self.compact_some(hub);
        }
    }

    /// Compacts a little. Returns whether there is more to do at once.
    fn compact_some(&self, hub: &Hub) -> bool {
        match self.binlog.compact() {
            Ok(Step::Idle) => false,
            Ok(Step::Again(facts)) => {
                for facts in facts.chunks(FACTS_PER_LOCK) {
                    hub.record_again(facts);
                    if let Err(failure) = self.binlog.flush(true) {
                        self.failed(hub, &failure);
                        return false;
                    }
                }
                true
            }
            Ok(Step::Await(position)) => {
                if let Err(failure) = self.binlog.sync() {
                    self.failed(hub, &failure);
                }
                self.binlog.is_durable(position)
            }
            Err(error) => {
                error!(%error, "cannot give up an old segment of the binlog");
                self.compact.wait(Some(RETRY));
                true
            }
        }
    }

    fn take_failures(&self, hub: &Hub) {
        let mut failures = self.failures.lock().expect("nobody panics while holding this lock");
        let failures = std::mem::take(&mut *failures);
        failures.iter().for_each(|failure| self.failed(hub, failure));
    }

    /// Takes back what the failure concerns, then has those told who wait.
    fn failed(&self, hub: &Hub, failure: &Failure) {
        hub.take_back(&failure.jobs);
        // Whoever had the hub's lock at that moment has given it back since.
        hub.take_back(&self.binlog.late());
        self.binlog.taken_back();
        self.bell.ring();
    }
}

impl Threads {
    /// Commits and syncs what is left, and ends the threads.
    pub(crate) fn stop(self) {
        self.keeper.stopping.store(true, Ordering::Release);
        self.keeper.bell.ring();
        self.keeper.compact.ring();
        for handle in self.handles {
            if handle.join().is_err() {
                error!("a thread of the binlog has panicked");
            }
        }
    }
}
