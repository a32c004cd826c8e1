//! What is served over HTTP from the first moment: before a worker has its state directory, that it waits
//! for it, and then the worker's [`Surface`].
//!
//! Owns: which of the two it is. Must not know: how the directory is opened.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::artifact::ArtifactName;
use crate::fault::Part;
use crate::metrics::Metrics;
use crate::readiness::Reason;
use crate::result::WorkerName;
use crate::store::{Found, Results};
use crate::surface::{Surface, document};
use crate::web::{
    self, Cancelled, Control, FoundArtifact, LogStream, Lookup, Rerun, State, Status,
};

/// Why nothing is done with a job.
const NOT_YET: &str = "the worker cannot use its state directory at present";

/// See the [module](self).
#[derive(Debug)]
pub struct Front {
    name: WorkerName,
    results: PathBuf,
    /// What there is, once somebody has asked.
    looked: Arc<Mutex<Option<Arc<Results>>>>,
    concurrency: usize,
    started: Timestamp,
    halt: watch::Sender<bool>,
    held: watch::Sender<bool>,
    /// Why the directory cannot be used.
    problem: Mutex<String>,
    worker: OnceLock<Surface>,
}

impl Front {
    /// Of a worker of this name that waits for this state directory. `halt` becomes true when an operator
    /// wants it to exit.
    pub fn new(
        name: WorkerName,
        results: PathBuf,
        concurrency: usize,
        halt: watch::Sender<bool>,
    ) -> Self {
        Self {
            name,
            results,
            looked: Arc::default(),
            concurrency,
            started: Timestamp::now(),
            halt,
            held: watch::Sender::new(false),
            problem: Mutex::new("it was not opened yet".to_owned()),
            worker: OnceLock::new(),
        }
    }

    /// Says why the directory cannot be used.
    pub fn set_problem(&self, problem: String) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// The worker has its directory. Returns whether it was asked to take no jobs meanwhile.
    pub fn set_worker(&self, surface: Surface) -> bool {
        // It is set once.
        let _ = self.worker.set(surface);
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.held.borrow()
    }

    /// Whether it is to take no jobs when it has its directory.
    pub fn set_held(&self, held: bool) {
        self.held.send_replace(held);
    }

    fn reasons(&self) -> Vec<Reason> {
        let message = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = Reason::Fault { part: Part::StateDirectory, message, is_blocking: true };
        let held = self.held.borrow().then_some(Reason::Held);
        held.into_iter().chain([fault]).collect()
    }
}

/// What there is in the directory. Looking takes a while, so it is done once.
fn look(dir: &Path, looked: &Mutex<Option<Arc<Results>>>) -> std::io::Result<Arc<Results>> {
    let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
    match &*looked {
        Some(results) => Ok(Arc::clone(results)),
        None => Ok(Arc::clone(looked.insert(Arc::new(Results::look(dir)?)))),
    }
}

impl web::Worker for Front {
    async fn lookup(&self, id: Uuid) -> Lookup {
        if let Some(worker) = self.worker.get() {
            return worker.lookup(id).await;
        }
        let (dir, looked) = (self.results.clone(), Arc::clone(&self.looked));
        let found = tokio::task::spawn_blocking(move || look(&dir, &looked)?.find(id)).await;
        match found {
            Ok(Ok(Found::Result(body))) => Lookup::Done(document(body)),
            Ok(Ok(Found::Expired)) => Lookup::Gone,
            // It may be in the journal.
            _ => Lookup::Unavailable,
        }
    }

    async fn lookup_here(&self, id: Uuid) -> Lookup {
        match self.worker.get() {
            Some(worker) => worker.lookup_here(id).await,
            None => self.lookup(id).await,
        }
    }

    async fn artifact_here(&self, id: Uuid, name: &ArtifactName) -> FoundArtifact {
        match self.worker.get() {
            Some(worker) => worker.artifact_here(id, name).await,
            None => FoundArtifact::Unavailable(NOT_YET.to_owned()),
        }
    }

    async fn log_elsewhere(&self, id: Uuid, after: Option<u64>) -> Option<LogStream> {
        self.worker.get()?.log_elsewhere(id, after).await
    }

    async fn previous(&self, id: Uuid) -> Lookup {
        match self.worker.get() {
            Some(worker) => worker.previous(id).await,
            None => Lookup::Unavailable,
        }
    }

    async fn cancel(&self, id: Uuid) -> Cancelled {
        match self.worker.get() {
            Some(worker) => worker.cancel(id).await,
            None => Cancelled::Unavailable(NOT_YET.to_owned()),
        }
    }

    async fn rerun(&self, id: Uuid) -> Rerun {
        match self.worker.get() {
            Some(worker) => worker.rerun(id).await,
            None => Rerun::Unavailable(NOT_YET.to_owned()),
        }
    }

    async fn artifact(&self, id: Uuid, name: &ArtifactName) -> FoundArtifact {
        match self.worker.get() {
            Some(worker) => worker.artifact(id, name).await,
            None => FoundArtifact::Unavailable(NOT_YET.to_owned()),
        }
    }

    fn log(&self, id: Uuid) -> Option<LogStream> {
        self.worker.get()?.log(id)
    }

    fn log_after(&self, id: Uuid, seq: u64) -> Option<LogStream> {
        self.worker.get()?.log_after(id, seq)
    }

    async fn status(&self) -> Status {
        if let Some(worker) = self.worker.get() {
            return worker.status().await;
        }
        Status {
            worker: self.name.id.clone(),
            version: self.name.version.clone(),
            state: State::Waiting,
            reasons: self.reasons().iter().map(Reason::to_string).collect(),
            started: self.started,
            concurrency: self.concurrency,
            unpublished: 0,
            servers: Vec::new(),
            running: Vec::new(),
            types: Vec::new(),
            resources: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        match self.worker.get() {
            Some(worker) => worker.ready(),
            None => Err(self.reasons().iter().map(Reason::to_string).collect()),
        }
    }

    fn metrics(&self) -> String {
        match self.worker.get() {
            Some(worker) => worker.metrics(),
            None => {
                let metrics = Metrics::default();
                metrics.set_reasons(&self.reasons());
                metrics.text()
            }
        }
    }

    fn command(&self, command: Control) {
        match (self.worker.get(), command) {
            (Some(worker), command) => worker.command(command),
            (None, Control::Hold) => self.set_held(true),
            (None, Control::Unhold) => self.set_held(false),
            (None, Control::Halt) => {
                self.halt.send_replace(true);
            }
        }
    }
}
