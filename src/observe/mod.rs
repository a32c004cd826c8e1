//! What the server knows about itself over time: snapshots of all tubes, their history, what happens
//! now, and the metrics.
//!
//! Owns: the sampler, which is the only one that goes through all tubes ([`sampler`]), and what is made
//! of its snapshots, off the hub's lock. Must not know: who asks, and over what. It runs where its
//! caller runs it, which is the thread that serves HTTP, so nothing here holds up the queue but the
//! short looks of the sampler. Without a caller there is no observatory, and nothing is observed.

mod events;
mod history;
pub mod metrics;
mod process;
mod sampler;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use jiff::Timestamp;
use jq_api::server::{History as HistoryDocument, Reason, ServerEvent, ServerState};
use jq_engine::Nanos;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::sleep;

pub use self::events::{Event, KEPT, MAX_LISTED};
pub use self::history::{COARSE, FINE, MAX_TUBES};
pub use self::sampler::LOOKS;
pub use self::snapshot::{Position, Snapshot, TubePage, TubeRow, age};

use self::events::Events;
use self::history::History;
use self::metrics::{Compat, Exposition};
use self::sampler::Sampler;
use crate::server::hub::Hub;

/// A snapshot that is younger than this, in seconds, is as good as a new one.
const FRESH: u32 = 1;

/// How often a sample is taken while somebody follows the events.
const FOLLOWED: Duration = Duration::from_secs(1);

/// What the server is doing, and why it does not do all of its work.
pub type Standing = (ServerState, Vec<Reason>);

/// Finds that out for a hub, whose numbers are in the snapshot.
pub type StandingOf = fn(&Hub, &Snapshot) -> Standing;

/// What is chosen by the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum number of tubes with metrics of their own.
    pub max_tubes: usize,
    /// The exporters whose names are served too.
    pub compat: Vec<Compat>,
}

/// Observes a queue.
#[derive(Debug)]
pub struct Observatory {
    hub: Arc<Hub>,
    options: Options,
    standing_of: StandingOf,
    /// The names of all reasons that `standing_of` can have.
    reasons: &'static [&'static str],
    sampler: AsyncMutex<Sampler>,
    told: Mutex<Standing>,
    history: Mutex<History>,
    events: Events,
    /// Notified when somebody begins to follow the events.
    followed: Notify,
}

impl Observatory {
    /// Begins to observe. [`Observatory::run`] must be run.
    pub fn new(
        hub: &Arc<Hub>,
        options: Options,
        standing_of: StandingOf,
        reasons: &'static [&'static str],
    ) -> Arc<Self> {
        hub.change(|engine, _, now| engine.observe(now, options.max_tubes));
        Arc::new(Self {
            hub: Arc::clone(hub),
            options,
            standing_of,
            reasons,
            sampler: AsyncMutex::new(Sampler::new(Arc::clone(hub))),
            told: Mutex::new((ServerState::Running, Vec::new())),
            history: Mutex::default(),
            events: Events::new(),
            followed: Notify::new(),
        })
    }

    /// Takes a sample whenever one is due: for the history, and for those who follow. Never returns.
    pub async fn run(&self) {
        loop {
            self.snapshot(0).await;
            let now = self.hub.clock().now();
            let due = lock(&self.history).due(now);
            let due = Duration::from_nanos(due.0.saturating_sub(now.0));
            let pause = if self.events.are_followed() { due.min(FOLLOWED) } else { due };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.followed.notified() => {}
            }
        }
    }

    /// A snapshot that is a second old at most. Whoever asks while one is taken waits for it.
    pub async fn fresh(&self) -> Arc<Snapshot> {
        self.snapshot(FRESH).await
    }

    /// A snapshot that is so many seconds old at most, and everything that follows from a new one.
    async fn snapshot(&self, fresh: u32) -> Arc<Snapshot> {
        let mut sampler = self.sampler.lock().await;
        let last = Arc::clone(sampler.last());
        let now = self.hub.clock().now();
        if last.at > Nanos(0) && now < last.at.after(fresh) {
            return last;
        }
        let snapshot = Arc::clone(sampler.sample().await);
        self.tell_standing(&snapshot);
        self.events.send_counts(&last, &snapshot);
        let mut history = lock(&self.history);
        if history.is_due(snapshot.at) {
            history.add(&snapshot);
        }
        snapshot
    }

    fn tell_standing(&self, snapshot: &Snapshot) {
        let standing = (self.standing_of)(&self.hub, snapshot);
        let mut told = lock(&self.told);
        if *told != standing {
            told.clone_from(&standing);
            self.events.send(standing_event(snapshot.at, standing));
        }
    }

    /// The last snapshot, however old it is.
    pub async fn last(&self) -> Arc<Snapshot> {
        Arc::clone(self.sampler.lock().await.last())
    }

    /// The history of a tube, or of all together, with a point every [`FINE`] or every [`COARSE`]
    /// seconds; `None` if the tube has none.
    pub fn history(&self, tube: Option<&str>, step: u32) -> Option<HistoryDocument> {
        lock(&self.history).document(tube, step)
    }

    /// The tubes that have a history.
    pub fn remembered(&self) -> Vec<String> {
        lock(&self.history).tubes().map(str::to_owned).collect()
    }

    /// What happens from now on. The first event says what the server is doing.
    pub async fn follow(&self) -> impl Stream<Item = Event> + Send + use<> {
        let snapshot = self.fresh().await;
        let first = standing_event(snapshot.at, lock(&self.told).clone());
        let events = self.events.follow(first);
        self.followed.notify_one();
        events
    }

    /// All metrics, as OpenMetrics text.
    pub async fn metrics(&self) -> String {
        let snapshot = self.fresh().await;
        let standing = (self.standing_of)(&self.hub, &snapshot);
        Exposition::new(&self.hub, &snapshot, &self.options, self.reasons, &standing).text()
    }
}

fn standing_event(at: Nanos, (state, reasons): Standing) -> Event {
    Event::server(&ServerEvent { at: timestamp(at), state, reasons })
}

/// A moment; the last one that there is, if it is beyond that.
fn timestamp(at: Nanos) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or(Timestamp::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
