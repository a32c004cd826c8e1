//! The artifacts that are sent before a result.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{BACKOFF, Deliveries, Ended, Sent};
use crate::artifact::ArtifactName;
use crate::destinations::Place;
use crate::job::Target;
use crate::outbound::{DeliverError, Outbound};
use crate::retry::jitter;
use crate::store::{Entry, FoundArtifact, OpenArtifact};

/// The digest of what is sent (RFC 9530).
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

impl Deliveries {
    /// Sends the artifacts that are to be sent. Returns why some of them never can be.
    pub(super) async fn send_artifacts(
        &self,
        entry: &Arc<Entry>,
        begun: Instant,
    ) -> Result<Option<String>, Ended> {
        let mut refused = None;
        for (name, target) in &entry.sends {
            let what = format!("send the artifact \"{name}\"");
            let user = self.destinations.enter(Place::of(&target.url), true);
            let send = || Sent::Artifact { entry, name, target };
            let failures = &self.metrics.publish_failures;
            match self.persist(&what, begun, failures, false, &user, send).await {
                Ok(()) => {}
                // Whatever else can be sent is.
                Err(Ended::Refused(error)) => {
                    refused.get_or_insert(error);
                }
                Err(ended) => return Err(ended),
            }
        }
        Ok(refused)
    }

    /// Opens an artifact of a result. It is tried for as long as sending it is, while this machine is short of
    /// something.
    pub(super) async fn open_artifact(
        &self,
        entry: &Arc<Entry>,
        name: &ArtifactName,
        begun: Instant,
    ) -> Result<OpenArtifact, Ended> {
        let cannot = |why: &dyn fmt::Display| format!("cannot send the artifact \"{name}\": {why}");
        let mut failures = 0;
        loop {
            let (store, kept, wanted) = (Arc::clone(&self.store), Arc::clone(entry), name.clone());
            let opened = spawn_blocking(move || store.open_artifact_of(&kept, &wanted)).await;
            let error = match opened.unwrap_or_else(|error| Err(error.into())) {
                Ok(FoundArtifact::Open(artifact)) => return Ok(artifact),
                Ok(FoundArtifact::Gone | FoundArtifact::Nothing) => {
                    return Err(Ended::Refused(cannot(&"it is not there any more")));
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(Ended::Refused(cannot(&error)));
                }
                Err(error) => error,
            };
            failures += 1;
            let delay = BACKOFF.delay(failures, jitter());
            if begun.elapsed() + delay > self.sending().within {
                return Err(Ended::GivenUp(cannot(&error)));
            }
            warn!(%error, retry_in = ?delay, "cannot read an artifact that is to be sent");
            tokio::select! {
                () = sleep(delay) => {}
                () = self.room.closed() => return Err(Ended::Closing),
            }
        }
    }
}

/// Sends an artifact once.
pub(super) async fn upload(
    outbound: &Outbound,
    target: &Target,
    opened: OpenArtifact,
) -> Result<(), DeliverError> {
    let OpenArtifact { artifact, file, .. } = opened;
    let mut headers = HeaderMap::new();
    let told = [(CONTENT_TYPE, &artifact.media_type), (REPR_DIGEST, &artifact.digest)];
    for (name, value) in told {
        // Neither has any character that a header cannot have.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    let (method, file) = (target.method, Arc::new(file));
    outbound.upload(method, &target.url, &file, artifact.bytes, headers).await
}
