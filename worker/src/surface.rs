//! What a worker says of itself over HTTP.
//!
//! Owns: the answers to [`web`]'s questions. Must not know: anything of HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};
use uuid::Uuid;

use crate::artifact::ArtifactName;
use crate::destinations::Destinations;
use crate::elsewhere::Elsewhere;
use crate::exec::{LogEvent as Piece, LogReader};
use crate::health::Health;
use crate::job::{Job, JobType};
use crate::lifecycle::{Cancel, Lifecycle, Rerun, previous};
use crate::metrics::{Metrics, Outcome};
use crate::parked::Parking;
use crate::readiness::{Readiness, Reason};
use crate::result::{FinalStatus, Previous, entity_tag};
use crate::room::Room;
use crate::servers::Servers;
use crate::setup::CurrentSetup;
use crate::store::{self, Found, OpenArtifact, Store};
use crate::table::Table;
use crate::web::{
    self, ArtifactContent, Cancelled, Control, Document, FailureStatus, FoundArtifact, Later,
    LogEvent, LogStream, Lookup, ResourceStatus, RunStatus, ServerStatus, State, Status,
    TypeStatus,
};

/// When it is worth to ask again for a result, in seconds.
const RETRY_AFTER: u32 = 1;

/// Most jobs that queues are asked for at a time.
const MAX_LOOKS: usize = 4;

/// How long a queue may take to say whether it has a job.
const LOOK: Duration = Duration::from_secs(1);

/// The parts of a worker that are shown over HTTP.
#[derive(Debug)]
pub struct Shown {
    /// Handlers, tubes and the worker's name.
    pub setup: CurrentSetup,
    /// Results.
    pub store: Arc<Store>,
    /// Jobs without a result.
    pub table: Arc<Table>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Whether jobs are taken, which an operator can change.
    pub room: Arc<Room>,
    /// Where they are taken from.
    pub servers: Arc<Servers>,
    /// Jobs that wait there until they can be run here.
    pub parking: Arc<Parking>,
    /// What of this machine does not work.
    pub health: Arc<Health>,
    /// Where results go.
    pub destinations: Arc<Destinations>,
    /// What an operator can do with a job.
    pub lifecycle: Arc<Lifecycle>,
}

/// A worker as it is seen over HTTP.
#[derive(Debug)]
pub struct Surface {
    shown: Shown,
    started: Timestamp,
    /// Looks in queues for jobs that wait there.
    looks: Semaphore,
    /// What other workers have.
    elsewhere: Elsewhere,
    halt: watch::Sender<bool>,
}

impl Surface {
    /// The surface of a worker that starts now. `halt` becomes true when an operator wants it to
    /// finish and exit.
    pub fn new(shown: Shown, halt: watch::Sender<bool>) -> Self {
        Self {
            shown,
            started: Timestamp::now(),
            looks: Semaphore::new(MAX_LOOKS),
            elsewhere: Elsewhere::default(),
            halt,
        }
    }

    /// Why no jobs, or not all, are taken, if so.
    fn reasons(&self) -> Vec<Reason> {
        let readiness = Readiness {
            room: Arc::clone(&self.shown.room),
            servers: Arc::clone(&self.shown.servers),
            health: Arc::clone(&self.shown.health),
            destinations: Arc::clone(&self.shown.destinations),
        };
        readiness.reasons()
    }

    /// What jobs have for themselves, and how many wait for it.
    fn resources(&self) -> Vec<ResourceStatus> {
        let (setup, waiting) = (self.shown.setup.get(), self.shown.parking.counts());
        let needs = |kind: &JobType, name: &str| {
            let handler = setup.executor.handlers.get(kind);
            handler.is_some_and(|handler| handler.needs.iter().any(|need| need.name == name))
        };
        let resources = setup.config.resources.iter().map(|(name, total)| ResourceStatus {
            name: name.clone(),
            total: *total as usize,
            in_use: self.shown.room.in_use(name),
            waiting: waiting.iter().filter(|(kind, _)| needs(kind, name)).map(|it| it.1).sum(),
        });
        resources.collect()
    }

    fn state(&self) -> State {
        let reasons = self.reasons();
        if reasons.contains(&Reason::Draining) {
            State::Draining
        } else if reasons.contains(&Reason::Held) {
            State::Holding
        } else if reasons.iter().any(Reason::is_blocking) {
            State::Waiting
        } else {
            State::Running
        }
    }

    /// Forgets a job that waits for its next attempt if the queue does not have it any more. When the queue
    /// does not answer, or is asked a lot, the job counts as being there.
    async fn look_for(&self, id: Uuid) {
        let Ok(_look) = self.looks.try_acquire() else { return };
        let Some(place) = self.shown.table.to_be_looked_for(id) else { return };
        let Some(source) = self.shown.servers.named(&place.server) else { return };
        let has_job =
            source.has_job(place.job, |body| Job::parse(body).is_ok_and(|it| it.id == id));
        if let Ok(Ok(false)) = timeout(LOOK, has_job).await {
            info!(%id, queued_as = place.job, "the job was deleted from the queue");
            self.shown.table.clear_waiting(id);
            // If it was to be run again, its earlier result is what there is.
            self.shown.store.requests().forget(id);
        }
    }

    /// What was the result of a job before it was queued anew, until there is a new one.
    async fn previous_of(&self, id: Uuid) -> Option<Previous> {
        if !self.shown.store.requests().is_rerun(id) {
            return None;
        }
        let Ok(Found::Result(body)) = self.find(id).await else { return None };
        previous(&body)
    }

    async fn find(&self, id: Uuid) -> std::io::Result<Found> {
        let store = Arc::clone(&self.shown.store);
        // Reading a file may have to wait for a disk.
        tokio::task::spawn_blocking(move || store.find(id))
            .await
            .unwrap_or_else(|error| Err(error.into()))
    }

    async fn pending(&self, id: Uuid) -> Option<Lookup> {
        let setup = self.shown.setup.get();
        let active = self.shown.table.get(id).map(|active| active.document(&setup.name));
        let mut document = active.or_else(|| self.shown.table.waiting(id))?;
        document.previous = self.previous_of(id).await;
        Some(Lookup::Pending { body: document.to_json(), retry_after: RETRY_AFTER })
    }
}

impl web::Worker for Surface {
    async fn lookup(&self, id: Uuid) -> Lookup {
        let here = self.lookup_here(id).await;
        // What runs here is known best here, and so is a result that is on its way to the shared store.
        if self.shown.table.get(id).is_some() || self.shown.store.owed(id).is_some() {
            return here;
        }
        self.elsewhere.lookup(&self.shown.setup.get(), id, here).await
    }

    async fn lookup_here(&self, id: Uuid) -> Lookup {
        if self.shown.table.get(id).is_none() {
            self.look_for(id).await;
        }
        // A job that is kicked, or run again, goes before its result of before.
        if let Some(pending) = self.pending(id).await {
            return pending;
        }
        match self.find(id).await {
            Ok(Found::Result(body)) => Lookup::Done(document(body)),
            Ok(Found::Expired) => Lookup::Gone,
            // It may have come meanwhile.
            Ok(Found::Nothing) => self.pending(id).await.unwrap_or(Lookup::Unknown),
            Err(error) => {
                warn!(%id, %error, "cannot read a result");
                Lookup::Unknown
            }
        }
    }

    async fn previous(&self, id: Uuid) -> Lookup {
        if self.previous_of(id).await.is_none() {
            return Lookup::Unknown;
        }
        match self.find(id).await {
            Ok(Found::Result(body)) => Lookup::Done(document(body)),
            _ => Lookup::Unknown,
        }
    }

    async fn cancel(&self, id: Uuid) -> Cancelled {
        match self.shown.lifecycle.cancel(id).await {
            Cancel::Over(body) => match status_of(&body) {
                FinalStatus::Cancelled => Cancelled::Done(document(body)),
                status => Cancelled::Over(status),
            },
            Cancel::Gone => Cancelled::Gone,
            Cancel::Ends => Cancelled::Accepted(Later::Ends),
            Cancel::Comes => Cancelled::Accepted(Later::Comes),
            Cancel::Unavailable(why) => Cancelled::Unavailable(why),
        }
    }

    async fn rerun(&self, id: Uuid) -> web::Rerun {
        match self.shown.lifecycle.run_again(id).await {
            Rerun::Queued(document) => web::Rerun::Queued(document.to_json()),
            Rerun::Not(why) => web::Rerun::Not(why),
            Rerun::Unknown => web::Rerun::Unknown,
            Rerun::Gone => web::Rerun::Gone,
            Rerun::Unavailable(why) => web::Rerun::Unavailable(why),
        }
    }

    async fn artifact(&self, id: Uuid, name: &ArtifactName) -> FoundArtifact {
        let here = self.artifact_here(id, name).await;
        if self.shown.table.get(id).is_some() || self.shown.store.owed(id).is_some() {
            return here;
        }
        self.elsewhere.artifact(&self.shown.setup.get(), id, name, here).await
    }

    async fn log_elsewhere(&self, id: Uuid, after: Option<u64>) -> Option<LogStream> {
        self.elsewhere.log(&self.shown.setup.get(), id, after).await
    }

    async fn artifact_here(&self, id: Uuid, name: &ArtifactName) -> FoundArtifact {
        let (store, wanted) = (Arc::clone(&self.shown.store), name.clone());
        // Whatever becomes of the job now: it is of the result that there is.
        let found = spawn_blocking(move || store.open_artifact(id, wanted.as_str())).await;
        match found {
            Ok(Ok(store::FoundArtifact::Open(OpenArtifact { artifact, file, modified }))) => {
                FoundArtifact::Here(ArtifactContent::in_file(artifact, modified, file))
            }
            Ok(Ok(store::FoundArtifact::Gone)) => FoundArtifact::Gone,
            Ok(Ok(store::FoundArtifact::Nothing)) => FoundArtifact::Unknown,
            Ok(Err(error)) => {
                warn!(%id, %name, %error, "cannot read an artifact");
                FoundArtifact::Unavailable("the artifact cannot be read at present".to_owned())
            }
            Err(_) => FoundArtifact::Unknown,
        }
    }

    fn log(&self, id: Uuid) -> Option<LogStream> {
        Some(follow(self.shown.table.get(id)?.log.reader()))
    }

    fn log_after(&self, id: Uuid, seq: u64) -> Option<LogStream> {
        Some(follow(self.shown.table.get(id)?.log.reader_from(seq)))
    }

    async fn status(&self) -> Status {
        let Shown { store, table, metrics, servers, .. } = &self.shown;
        let setup = self.shown.setup.get();
        let running = table.all();
        let tubes: Vec<String> = setup.config.tubes.iter().map(ToString::to_string).collect();
        let servers = servers.all().into_iter().map(|source| {
            let link = source.link();
            ServerStatus {
                address: source.name().to_owned(),
                tubes: tubes.clone(),
                connected: link.connected,
                error: link.error,
            }
        });
        let mut kinds: Vec<_> =
            setup.executor.handlers.iter().filter_map(|(kind, _)| kind.cloned()).collect();
        if kinds.is_empty() {
            kinds = metrics.types();
        }
        let types = kinds.into_iter().map(|kind| {
            let count = |status| metrics.count(&kind, Outcome::Over(status));
            let limit = setup.executor.handlers.get(&kind).map_or(0, |it| it.concurrency);
            TypeStatus {
                running: running.iter().filter(|active| active.kind == kind).count(),
                concurrency: if limit == 0 { setup.config.concurrency } else { limit },
                successful: count(FinalStatus::Successful),
                failed: count(FinalStatus::Failed) + count(FinalStatus::Dismissed),
                retried: metrics.count(&kind, Outcome::Retried),
                name: kind.to_string(),
            }
        });
        let failures = table.last_failures().into_iter().map(|recent| FailureStatus {
            id: recent.id,
            job_type: recent.kind.map(|kind| kind.to_string()),
            at: recent.timestamp,
            kind: recent.error.kind.as_str().to_owned(),
            message: recent.error.message,
        });
        Status {
            worker: setup.name.id.clone(),
            version: setup.name.version.clone(),
            state: self.state(),
            reasons: self.reasons().iter().map(Reason::to_string).collect(),
            started: self.started,
            concurrency: setup.config.concurrency,
            unpublished: store.owing() as u64,
            servers: servers.collect(),
            running: running
                .iter()
                .map(|active| RunStatus {
                    id: active.id,
                    job_type: active.kind.to_string(),
                    attempt: active.attempt,
                    started: active.started.get().copied().unwrap_or(active.since),
                    progress: active.log.progress(),
                })
                .collect(),
            types: types.collect(),
            resources: self.resources(),
            failures: failures.collect(),
        }
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.reasons();
        if !reasons.iter().any(Reason::is_blocking) {
            Ok(())
        } else {
            Err(reasons.iter().map(Reason::to_string).collect())
        }
    }

    fn metrics(&self) -> String {
        let Shown { metrics, servers, store, .. } = &self.shown;
        metrics.servers_connected.set(servers.connected() as i64);
        metrics.spool.set(store.owing() as i64);
        metrics.artifact_bytes.set(i64::try_from(store.artifacts_total()).unwrap_or(i64::MAX));
        metrics.set_reasons(&self.reasons());
        metrics.set_resources(&self.resources());
        metrics.text()
    }

    fn command(&self, command: Control) {
        info!(?command, "asked over HTTP");
        match command {
            Control::Hold => self.shown.room.set_held(true),
            Control::Unhold => self.shown.room.set_held(false),
            Control::Halt => {
                self.halt.send_replace(true);
            }
        }
    }
}

/// What a job writes, as it comes.
fn follow(reader: LogReader) -> LogStream {
    Box::pin(stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        let event = match reader.next().await {
            Some(Piece::Output { seq, stream, text, skipped }) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                LogEvent::Output { seq, stream: stream.name(), text, skipped }
            }
            Some(Piece::Progress(percent)) => LogEvent::Progress(percent),
            None => return Some((LogEvent::End, None)),
        };
        Some((event, Some(reader)))
    }))
}

/// What a result says. One that cannot be read says that the job is over.
fn status_of(body: &[u8]) -> FinalStatus {
    #[derive(Deserialize)]
    struct Told {
        status: FinalStatus,
    }
    serde_json::from_slice::<Told>(body).map_or(FinalStatus::Failed, |told| told.status)
}

pub(crate) fn document(body: Bytes) -> Document {
    #[derive(Deserialize)]
    struct Dated {
        timestamp: Timestamp,
    }
    // We wrote it: it has a timestamp.
    let modified = serde_json::from_slice::<Dated>(&body).map(|dated| dated.timestamp);
    let etag = entity_tag(&body);
    Document { modified: modified.unwrap_or(Timestamp::UNIX_EPOCH), etag, body }
}
