//! Results and their artifacts go to the store that workers share.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::{BACKOFF, Deliveries, Ended};
use crate::artifact::Artifact;
use crate::destinations::Place;
use crate::retry::{DeliveryRetry, Why, jitter};
use crate::shared::{SharedError, SharedStore};
use crate::store::{Entry, FoundArtifact, Step};

/// What a result tells of its artifacts.
#[derive(Deserialize)]
struct Listed {
    timestamp: Timestamp,
    #[serde(default)]
    artifacts: Vec<Artifact>,
}

impl Deliveries {
    /// Writes a result and what belongs to it to the shared store, again and again, and notes that it is there.
    pub(super) async fn put_away(&self, entry: &Arc<Entry>) -> Result<(), Ended> {
        let unstored = self.room.unstored();
        let written = self.try_to_put_away(entry).await;
        drop(unstored);
        if written.is_ok() {
            self.store.note(entry, Step::Stored);
        }
        written
    }

    async fn try_to_put_away(&self, entry: &Arc<Entry>) -> Result<(), Ended> {
        const WHAT: &str = "write the result to the shared store";
        let Some(shared) = self.sending().shared.clone() else {
            warn!(id = %entry.id, "there is no shared store any more: a result that was to go there does not");
            return Ok(());
        };
        let begun = Instant::now();
        let gives_way = self.late().contains(&(entry.id, entry.finished));
        let user = self.destinations.enter(Place::store(shared.name()), true);
        let mut attempt = 0;
        loop {
            let turn = tokio::select! {
                biased;
                turn = user.turn() => turn,
                () = self.room.closed() => return Err(Ended::Closing),
                () = sleep_until(begun + self.sending().within) => {
                    let why = user.trouble().unwrap_or_else(|| "it was not its turn".to_owned());
                    return Err(Ended::GivenUp(format!("cannot {WHAT}: {why}")));
                }
            };
            let sending = self.sending();
            // A reload may have changed what is shown to it.
            let shared = sending.shared.as_ref().unwrap_or(&shared);
            let error = match self.write(shared, entry, gives_way).await {
                Ok(()) => {
                    user.succeeded();
                    debug!("done: {WHAT}");
                    return Ok(());
                }
                Err(error) => error,
            };
            self.metrics.store_failures.inc();
            attempt += 1;
            if let SharedError::There(error) = &error {
                user.failed(error, None);
            }
            drop(turn);
            let policy = DeliveryRetry { backoff: BACKOFF, within: sending.within };
            drop(sending);
            let delay = policy.next(attempt, begun.elapsed(), Why::Transient, jitter());
            let Some(delay) = delay else {
                return Err(Ended::GivenUp(format!("cannot {WHAT}: {error}")));
            };
            if user.trouble().is_some() {
                debug!(%error, "cannot {WHAT}, which is in trouble");
                continue;
            }
            warn!(%error, retry_in = ?delay, "cannot {WHAT}");
            tokio::select! {
                () = sleep(delay) => {}
                () = self.room.closed() => return Err(Ended::Closing),
            }
        }
    }

    /// Artifacts first: whoever reads the result finds them.
    async fn write(
        &self,
        shared: &SharedStore,
        entry: &Arc<Entry>,
        gives_way: bool,
    ) -> Result<(), SharedError> {
        let listed: Option<Listed> = serde_json::from_str(entry.result.get()).ok();
        if let Some(Listed { timestamp, artifacts }) = listed {
            for (place, artifact) in artifacts.iter().enumerate() {
                let (store, of) = (Arc::clone(&self.store), Arc::clone(entry));
                let name = artifact.name.clone();
                let opened = spawn_blocking(move || store.open_artifact_of(&of, &name)).await;
                let opened = opened.map_err(|error| SharedError::Here(error.into()))?;
                match opened.map_err(SharedError::Here)? {
                    FoundArtifact::Open(open) => {
                        let key = (entry.id, timestamp, place);
                        shared.put_artifact(key, artifact, open.file).await?;
                    }
                    // Another worker's, whose result was taken from there; or there was no room for it.
                    FoundArtifact::Gone | FoundArtifact::Nothing => {}
                }
            }
        }
        shared.put_result(entry.id, entry.finished, entry.body(), gives_way).await
    }
}
