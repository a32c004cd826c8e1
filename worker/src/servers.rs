//! The servers that jobs come from, each with the loop that reserves from it.
//!
//! Owns: which servers these are now. Must not know: what happens to a job.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jq_client::{ConnectOptions, TubeName};
use tokio::sync::Mutex as Turn;
use tokio::task::AbortHandle;

use crate::metrics::Metrics;
use crate::room::Room;
use crate::source::{self, Source, Taker};

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Servers {
    entries: Mutex<Vec<(Arc<Source>, AbortHandle)>>,
}

impl Servers {
    /// Takes jobs from these servers from now on, and from no others. `taker` is given every job. A server
    /// without jobs is asked again after `idle_check`, in whole seconds.
    pub fn fetch_from(
        &self,
        servers: impl ExactSizeIterator<Item = ConnectOptions>,
        tubes: &[TubeName],
        room: &Arc<Room>,
        metrics: &Arc<Metrics>,
        idle_check: Duration,
        taker: impl Taker,
    ) {
        let mut entries = self.entries();
        for (_, fetching) in entries.drain(..) {
            fetching.abort();
        }
        let turn = (servers.len() > 1).then(|| Arc::new(Turn::new(())));
        for connect in servers {
            let source = Arc::new(Source::new(connect, tubes.to_vec()));
            let fetching = source::fetch(
                Arc::clone(&source),
                Arc::clone(room),
                turn.clone(),
                u32::try_from(idle_check.as_secs()).unwrap_or(u32::MAX),
                Arc::clone(metrics),
                taker.clone(),
            );
            entries.push((source, tokio::spawn(fetching).abort_handle()));
        }
    }

    /// Reserves no more jobs. The servers stay known.
    pub fn stop_fetching(&self) {
        for (_, fetching) in self.entries().iter() {
            fetching.abort();
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Source>> {
        self.entries().iter().map(|(source, _)| Arc::clone(source)).collect()
    }

    /// The server of this name.
    pub fn named(&self, name: &str) -> Option<Arc<Source>> {
        self.all().into_iter().find(|source| source.name() == name)
    }

    /// How many can be reached.
    pub fn connected(&self) -> usize {
        self.all().iter().filter(|source| source.link().connected).count()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<(Arc<Source>, AbortHandle)>> {
        // It is whole between two statements, whoever panicked.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
