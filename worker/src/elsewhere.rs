//! What other workers have: results in the store that all share, and jobs that they run.
//!
//! Owns: in which order the store and the other workers are asked, how many questions there are at a time, and for
//! how long an answer that there is nothing counts. Must not know: HTTP from others, or how anybody is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;
use uuid::Uuid;

use crate::artifact::{Artifact, ArtifactName};
use crate::result::JobResult;
use crate::setup::Setup;
use crate::shared::{Known, time_of};
use crate::surface::document;
use crate::web::{ArtifactContent, FoundArtifact, LogStream, Lookup, Pieces};

/// Most jobs that are asked for at a time: their results are in memory meanwhile.
const MAX_ASKED: usize = 16;

/// How long a question waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// So long nobody is asked again for what nobody had.
const UNKNOWN: Duration = Duration::from_secs(1);

/// So many of these are remembered.
const MAX_UNKNOWN: usize = 10_000;

/// When it is worth to ask again for a result, in seconds.
const RETRY_AFTER: u32 = 1;

/// What a name of an artifact has in a URL as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// See the [module](self).
#[derive(Debug)]
pub struct Elsewhere {
    turns: Semaphore,
    unknown: Mutex<HashMap<Uuid, Instant>>,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { turns: Semaphore::new(MAX_ASKED), unknown: Mutex::default() }
    }
}

impl Elsewhere {
    /// What is known of a job of which this worker knows `here`, and does not have it.
    pub async fn lookup(&self, setup: &Setup, id: Uuid, here: Lookup) -> Lookup {
        if setup.shared.is_none() && setup.peers.is_none() {
            return here;
        }
        let is_unknown = matches!(here, Lookup::Unknown);
        if is_unknown && self.is_known_unknown(id) {
            return here;
        }
        let Ok(Ok(_turn)) = timeout(TURN, self.turns.acquire()).await else {
            return unless_known(here, "too many jobs of other workers are asked for");
        };
        let mut problem = None;
        if let Some(shared) = &setup.shared {
            match shared.result(id).await {
                Ok(Some(body)) if is_later(&body, &here) => {
                    return done(body, setup.config.retention);
                }
                Ok(_) => {}
                Err(error) => {
                    warn!(%id, %error, "cannot look for a result in the shared store");
                    problem = Some("the shared store cannot be asked at present");
                }
            }
        }
        if let Some(peers) = setup.peers.as_ref().filter(|_| !matches!(here, Lookup::Done(_))) {
            match peers.lookup(id).await {
                Some(Known::Pending(body)) if !matches!(here, Lookup::Pending { .. }) => {
                    return Lookup::Pending { body, retry_after: RETRY_AFTER };
                }
                Some(Known::Done(body)) if is_later(&body, &here) => {
                    return done(body, setup.config.retention);
                }
                _ => {}
            }
        }
        match problem {
            Some(problem) => unless_known(here, problem),
            None => {
                if is_unknown {
                    self.remember(id);
                }
                here
            }
        }
    }

    /// An artifact of which this worker knows `here`.
    pub async fn artifact(
        &self,
        setup: &Setup,
        id: Uuid,
        name: &ArtifactName,
        here: FoundArtifact,
    ) -> FoundArtifact {
        let is_nowhere = setup.shared.is_none() && setup.peers.is_none();
        if is_nowhere || matches!(here, FoundArtifact::Here(_)) || self.is_known_unknown(id) {
            return here;
        }
        let Lookup::Done(found) = self.lookup(setup, id, Lookup::Unknown).await else {
            return here;
        };
        let Ok(result) = serde_json::from_slice::<JobResult>(&found.body) else { return here };
        let listed = result.artifacts.into_iter().enumerate();
        let Some((place, artifact)) = listed.into_iter().find(|(_, it)| it.name == *name) else {
            return here;
        };
        let key = (id, result.timestamp, place);
        if let Some(shared) = &setup.shared {
            match shared.has_artifact(key, &artifact).await {
                Ok(true) => {
                    let shared = Arc::clone(shared);
                    let read = move |range| shared.read_artifact(key, range);
                    return content(artifact, result.timestamp, read);
                }
                Ok(false) => {}
                Err(error) => {
                    warn!(%id, %error, "cannot look for an artifact in the shared store");
                    let why = "the shared store cannot be asked at present";
                    return FoundArtifact::Unavailable(why.to_owned());
                }
            }
        }
        if let Some(peers) = &setup.peers {
            let path = utf8_percent_encode(name.as_str(), PLAIN).to_string();
            // That they have it is known when they are asked for what is wanted.
            let peers = Arc::clone(peers);
            let read = move |range: std::ops::Range<u64>| -> Pieces {
                let asked = async move {
                    let gone = || std::io::Error::other("no worker has the artifact any more");
                    match peers.artifact(id, &path, range).await {
                        Some(pieces) => pieces,
                        None => Box::pin(futures_util::stream::iter([Err(gone())])),
                    }
                };
                Box::pin(futures_util::StreamExt::flatten(futures_util::stream::once(asked)))
            };
            return content(artifact, result.timestamp, read);
        }
        here
    }

    /// The output of a job that another worker runs.
    pub async fn log(&self, setup: &Setup, id: Uuid, after: Option<u64>) -> Option<LogStream> {
        let peers = setup.peers.as_ref()?;
        let _turn = timeout(TURN, self.turns.acquire()).await.ok()?.ok()?;
        peers.log(id, after).await
    }

    fn is_known_unknown(&self, id: Uuid) -> bool {
        self.unknown().get(&id).is_some_and(|since| since.elapsed() < UNKNOWN)
    }

    fn remember(&self, id: Uuid) {
        let mut unknown = self.unknown();
        if unknown.len() >= MAX_UNKNOWN {
            unknown.retain(|_, since| since.elapsed() < UNKNOWN);
        }
        if unknown.len() < MAX_UNKNOWN {
            unknown.insert(id, Instant::now());
        }
    }

    fn unknown(&self) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
        // It is whole between two statements, whoever panicked.
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn content(
    artifact: Artifact,
    modified: Timestamp,
    read: impl FnOnce(std::ops::Range<u64>) -> Pieces + Send + 'static,
) -> FoundArtifact {
    FoundArtifact::Here(ArtifactContent { artifact, modified, read: Box::new(read) })
}

/// Whether a result is to be told in the place of what is here.
fn is_later(body: &[u8], here: &Lookup) -> bool {
    let then = match here {
        Lookup::Done(document) => time_of(&document.body),
        Lookup::Pending { body, .. } => time_of(body),
        _ => None,
    };
    then.is_none_or(|then| time_of(body).is_some_and(|time| time > then))
}

/// A result, unless its time is over.
fn done(body: Bytes, retention: Duration) -> Lookup {
    let end = time_of(&body).and_then(|time| time.checked_add(retention).ok());
    if end.is_some_and(|end| end <= Timestamp::now()) {
        return Lookup::Gone;
    }
    Lookup::Done(document(body))
}

fn unless_known(here: Lookup, why: &str) -> Lookup {
    match here {
        Lookup::Unknown | Lookup::Gone => Lookup::Unreachable(why.to_owned()),
        here => here,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(time: Timestamp) -> Bytes {
        format!("{{\"timestamp\":\"{time}\"}}").into()
    }

    #[test]
    fn a_result_has_its_time() {
        let (now, hour) = (Timestamp::now(), Duration::from_secs(3600));
        let done = |age: Duration| done(result(now - age), hour);
        assert!(matches!(done(Duration::ZERO), Lookup::Done(_)));
        assert!(matches!(done(hour / 2), Lookup::Done(_)));
        assert!(matches!(done(hour), Lookup::Gone));
    }

    #[test]
    fn the_later_result_counts() {
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::now());
        let here = |time| Lookup::Done(document(result(time)));
        assert!(is_later(&result(second), &here(first)));
        assert!(!is_later(&result(first), &here(second)));
        assert!(!is_later(&result(first), &here(first)), "it is the same");
        assert!(is_later(&result(first), &Lookup::Unknown));
        assert!(!is_later(b"{}", &here(first)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_has_is_remembered_for_a_second() {
        let elsewhere = Elsewhere::default();
        let ids: Vec<_> = (0..=MAX_UNKNOWN as u128).map(Uuid::from_u128).collect();
        ids.iter().for_each(|id| elsewhere.remember(*id));
        assert!(elsewhere.is_known_unknown(ids[0]));
        assert!(!elsewhere.is_known_unknown(ids[MAX_UNKNOWN]), "only so many are");
        tokio::time::advance(UNKNOWN).await;
        assert!(!elsewhere.is_known_unknown(ids[0]));
        elsewhere.remember(ids[MAX_UNKNOWN]);
        assert!(elsewhere.is_known_unknown(ids[MAX_UNKNOWN]));
        assert_eq!(elsewhere.unknown().len(), 1);
    }
}
