//! The jobs that are here now, and what happened lately.
//!
//! Owns: what can be said of a job while it has no result. Must not know: results, queues.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::exec::LiveLog;
use crate::job::JobType;
use crate::result::{Failure, JobResult, QueuePlace, Status, WorkerName};

/// Most jobs that are remembered as waiting for their next attempt.
const MAX_WAITING: usize = 10_000;

/// How many failures are remembered for the status page.
const RECENT: usize = 20;

/// A job that this worker has.
#[derive(Debug)]
pub struct Here {
    /// The job's.
    pub id: Uuid,
    /// The job's.
    pub kind: JobType,
    /// The first is 1.
    pub attempt: u32,
    /// Where it is queued.
    pub place: Option<QueuePlace>,
    /// When it was queued.
    pub created: Option<Timestamp>,
    /// When it came here.
    pub since: Timestamp,
    /// When its process was started.
    pub started: OnceLock<Timestamp>,
    /// What its process writes.
    pub log: Arc<LiveLog>,
    phase: AtomicU8,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Its input is fetched.
    Preparing = 0,
    /// Its process runs.
    Running = 1,
    /// Its result is on its way to the disk.
    Finishing = 2,
}

impl Here {
    /// A job that has just come.
    pub fn new(
        id: Uuid,
        kind: JobType,
        attempt: u32,
        place: Option<QueuePlace>,
        created: Option<Timestamp>,
    ) -> Self {
        Self {
            id,
            kind,
            attempt,
            place,
            created,
            since: Timestamp::now(),
            started: OnceLock::new(),
            log: Arc::new(LiveLog::new()),
            phase: AtomicU8::new(Phase::Preparing as u8),
        }
    }

    /// Notes how far it is.
    pub fn set_phase(&self, phase: Phase) {
        if phase == Phase::Running {
            let _ = self.started.set(Timestamp::now());
        }
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Preparing,
            1 => Phase::Running,
            _ => Phase::Finishing,
        }
    }

    /// What is said of it while it has no result.
    pub fn document(&self, worker: &WorkerName) -> JobResult {
        let status =
            if self.phase() == Phase::Preparing { Status::Accepted } else { Status::Running };
        JobResult {
            started: self.started.get().copied(),
            progress: self.log.progress(),
            ..JobResult::blank(
                self.id,
                Some(self.kind.clone()),
                status,
                worker.clone(),
                self.attempt,
                self.created,
                self.place.clone(),
            )
        }
    }
}

/// A job that is in the queue again.
#[derive(Debug, Clone)]
struct Waiting {
    document: JobResult,
    until: Timestamp,
}

/// A failure, for the status page.
#[derive(Debug, Clone, Serialize)]
pub struct Recent {
    /// When.
    pub timestamp: Timestamp,
    /// The job's, if it could be read.
    pub id: Option<Uuid>,
    /// The job's, if it could be read.
    #[serde(rename = "type")]
    pub kind: Option<JobType>,
    /// Which attempt.
    pub attempt: u32,
    /// Why.
    pub error: Failure,
}

#[derive(Debug, Default)]
struct State {
    here: HashMap<Uuid, Arc<Here>>,
    waiting: HashMap<Uuid, Waiting>,
    recent: VecDeque<Recent>,
}

/// The jobs that are here now, and what happened lately.
#[derive(Debug, Default)]
pub struct Table {
    state: Mutex<State>,
}

impl Table {
    /// Notes a job as here, until what is returned is dropped. `None`: it is here already.
    pub fn enter(self: &Arc<Self>, here: Here) -> Option<Guest> {
        let here = Arc::new(here);
        let mut state = self.state();
        if state.here.contains_key(&here.id) {
            return None;
        }
        state.here.insert(here.id, Arc::clone(&here));
        Some(Guest { table: Arc::clone(self), here })
    }

    /// A job that is here.
    pub fn get(&self, id: Uuid) -> Option<Arc<Here>> {
        self.state().here.get(&id).cloned()
    }

    /// All jobs that are here, the longest first.
    pub fn all(&self) -> Vec<Arc<Here>> {
        let mut all: Vec<_> = self.state().here.values().cloned().collect();
        all.sort_by_key(|here| here.since);
        all
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.state().here.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers a job that went back into the queue, for as long as it can be expected to be taken
    /// again: it is not unknown meanwhile.
    pub fn wait_for(&self, document: JobResult, until: Timestamp) {
        let mut state = self.state();
        if state.waiting.len() >= MAX_WAITING {
            let now = Timestamp::now();
            state.waiting.retain(|_, waiting| waiting.until > now);
        }
        if state.waiting.len() < MAX_WAITING {
            state.waiting.insert(document.id, Waiting { document, until });
        }
    }

    /// What is said of a job that is in the queue again.
    pub fn waiting(&self, id: Uuid) -> Option<JobResult> {
        let mut state = self.state();
        let waiting = state.waiting.get(&id)?;
        if waiting.until > Timestamp::now() {
            return Some(waiting.document.clone());
        }
        state.waiting.remove(&id);
        None
    }

    /// A job that was remembered is over.
    pub fn is_over(&self, id: Uuid) {
        self.state().waiting.remove(&id);
    }

    /// Remembers a failure.
    pub fn failed(&self, recent: Recent) {
        let mut state = self.state();
        state.recent.truncate(RECENT - 1);
        state.recent.push_front(recent);
    }

    /// The last failures, the newest first.
    pub fn recent(&self) -> Vec<Recent> {
        self.state().recent.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Maps are whole between two statements, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that is here, until dropped.
#[derive(Debug)]
pub struct Guest {
    table: Arc<Table>,
    here: Arc<Here>,
}

impl std::ops::Deref for Guest {
    type Target = Arc<Here>;

    fn deref(&self) -> &Arc<Here> {
        &self.here
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.here.log.finish();
        let mut state = self.table.state();
        state.here.remove(&self.here.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> WorkerName {
        WorkerName { id: "w".into(), version: "1".into() }
    }

    fn here(id: Uuid) -> Here {
        Here::new(id, "t".parse().unwrap(), 1, None, None)
    }

    #[test]
    fn a_job_is_here_once() {
        let table = Arc::new(Table::default());
        let id = Uuid::new_v4();
        let guest = table.enter(here(id)).unwrap();
        assert!(table.enter(here(id)).is_none());
        assert_eq!(table.get(id).unwrap().document(&worker()).status, Status::Accepted);
        guest.set_phase(Phase::Running);
        guest.log.set_progress(40.0);
        let document = table.get(id).unwrap().document(&worker());
        assert_eq!((document.status, document.progress), (Status::Running, Some(40.0)));
        assert!(document.started.is_some());
        drop(guest);
        assert!(table.get(id).is_none() && table.is_empty());
    }

    #[test]
    fn what_waits_is_remembered_for_a_while() {
        let table = Arc::new(Table::default());
        let id = Uuid::new_v4();
        let document = here(id).document(&worker());
        let soon = Timestamp::now() + std::time::Duration::from_secs(60);
        table.wait_for(document.clone(), soon);
        assert_eq!(table.waiting(id).unwrap().id, id);
        table.wait_for(document.clone(), Timestamp::UNIX_EPOCH);
        assert!(table.waiting(id).is_none());
        for _ in 0..2 * MAX_WAITING {
            table.wait_for(JobResult { id: Uuid::new_v4(), ..document.clone() }, soon);
        }
        assert_eq!(table.state().waiting.len(), MAX_WAITING);
    }

    #[test]
    fn the_last_failures() {
        let table = Table::default();
        for attempt in 0..50 {
            let error = Failure::new(crate::result::FailureKind::Input, "x");
            let timestamp = Timestamp::now();
            table.failed(Recent { timestamp, id: None, kind: None, attempt, error });
        }
        let recent = table.recent();
        assert_eq!((recent.len(), recent[0].attempt), (RECENT, 49));
    }
}
