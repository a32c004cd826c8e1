//! The jobs that this worker has now, those that wait for a retry, and the last failures.
//!
//! Owns: what is known of a job while it has no result. Must not know: queues, or where results are.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::exec::LiveLog;
use crate::job::JobType;
use crate::result::{AttemptMade, Failure, JobResult, QueuePlace, Status, WorkerName};
use crate::room::Units;

/// Most jobs that are remembered while they wait for their next attempt.
const MAX_WAITING: usize = 10_000;

/// Time between two looks for the same job in the queue.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Most failures that are remembered for the status page.
const MAX_FAILURES: usize = 20;

/// A job that this worker has reserved and whose attempt is not over.
#[derive(Debug)]
pub struct ActiveJob {
    /// The job's.
    pub id: Uuid,
    /// The job's.
    pub kind: JobType,
    /// The first is 1.
    pub attempt: u32,
    /// Where it is queued. `None`: it comes from a file.
    pub place: Option<QueuePlace>,
    /// When it was queued.
    pub created: Option<Timestamp>,
    /// When this worker reserved it.
    pub since: Timestamp,
    /// When its process was started.
    pub started: OnceLock<Timestamp>,
    /// The attempts before this one, as far as this worker knows them.
    pub earlier: Vec<AttemptMade>,
    /// What it has for itself.
    pub units: Vec<Units>,
    /// What its process writes.
    pub log: Arc<LiveLog>,
    /// Whether somebody wants it to be cancelled.
    pub cancel: Cancel,
    phase: AtomicU8,
}

/// Word that a job is to be cancelled.
#[derive(Debug, Default)]
pub struct Cancel {
    is_wanted: AtomicBool,
    wanted: Notify,
}

impl Cancel {
    /// Gives it. It cannot be taken back.
    pub fn want(&self) {
        self.is_wanted.store(true, Ordering::SeqCst);
        self.wanted.notify_one();
    }

    /// Whether it was given.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }

    /// Waits until it is given. For one at a time: whoever deals with the job.
    pub async fn wanted(&self) {
        while !self.is_wanted() {
            self.wanted.notified().await;
        }
    }
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

impl ActiveJob {
    /// A job that was just reserved.
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
            earlier: Vec::new(),
            units: Vec::new(),
            log: Arc::new(LiveLog::new()),
            cancel: Cancel::default(),
            phase: AtomicU8::new(Phase::Preparing as u8),
        }
    }

    /// Notes how far it is. The first [`Phase::Running`] also sets `started`.
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

    /// The document served for it while it has no result.
    pub fn document(&self, worker: &WorkerName) -> JobResult {
        let status =
            if self.phase() == Phase::Preparing { Status::Accepted } else { Status::Running };
        JobResult {
            started: self.started.get().copied(),
            progress: self.log.progress(),
            attempts: self.earlier.clone(),
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

/// A job that went back to the queue, to be tried again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    /// It is not unknown here until then.
    pub until: Timestamp,
    /// What is served for it.
    pub document: JobResult,
    /// When the queue was last asked whether the job is there still.
    #[serde(skip)]
    pub looked: Option<Instant>,
}

/// A failure, for the status page.
#[derive(Debug, Clone, Serialize)]
pub struct FailedAttempt {
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
    active: HashMap<Uuid, Arc<ActiveJob>>,
    waiting: HashMap<Uuid, Waiting>,
    failures: VecDeque<FailedAttempt>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Table {
    state: Mutex<State>,
}

impl Table {
    /// Lists a job as active until the registration is dropped. `None`: a job of this id is active
    /// already.
    pub fn register(self: &Arc<Self>, job: ActiveJob) -> Option<Registration> {
        let job = Arc::new(job);
        let mut state = self.state();
        if state.active.contains_key(&job.id) {
            return None;
        }
        state.active.insert(job.id, Arc::clone(&job));
        Some(Registration { table: Arc::clone(self), job })
    }

    /// The active job of this id.
    pub fn get(&self, id: Uuid) -> Option<Arc<ActiveJob>> {
        self.state().active.get(&id).cloned()
    }

    /// All active jobs, oldest first.
    pub fn all(&self) -> Vec<Arc<ActiveJob>> {
        let mut all: Vec<_> = self.state().active.values().cloned().collect();
        all.sort_by_key(|job| job.since);
        all
    }

    /// How many jobs are active.
    pub fn len(&self) -> usize {
        self.state().active.len()
    }

    /// Whether no job is active.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers a job that went back to the queue, until the time at which somebody must have taken
    /// it again: till then it is not unknown here. Beyond 10,000 it is not remembered.
    pub fn set_waiting(&self, document: JobResult, until: Timestamp) {
        let mut state = self.state();
        if state.waiting.len() >= MAX_WAITING {
            let now = Timestamp::now();
            state.waiting.retain(|_, waiting| waiting.until > now);
        }
        if state.waiting.len() < MAX_WAITING {
            let waiting = Waiting { document, until, looked: None };
            state.waiting.insert(waiting.document.id, waiting);
        }
    }

    /// The document served for a job that went back to the queue.
    pub fn waiting(&self, id: Uuid) -> Option<JobResult> {
        let mut state = self.state();
        let waiting = state.waiting.get(&id)?;
        if waiting.until > Timestamp::now() {
            return Some(waiting.document.clone());
        }
        state.waiting.remove(&id);
        None
    }

    /// Where a job that went back to the queue is.
    pub fn waits_at(&self, id: Uuid) -> Option<QueuePlace> {
        let state = self.state();
        let waiting = state.waiting.get(&id)?;
        let place = waiting.document.queue.as_ref()?;
        (waiting.until > Timestamp::now()).then(|| place.clone())
    }

    /// All jobs that went back to the queue and are not unknown yet.
    pub fn all_waiting(&self) -> Vec<Waiting> {
        let now = Timestamp::now();
        let state = self.state();
        state.waiting.values().filter(|waiting| waiting.until > now).cloned().collect()
    }

    /// Where a job that went back to the queue is to be looked for, if nobody has looked in the last
    /// second: it may have been deleted there.
    pub fn to_be_looked_for(&self, id: Uuid) -> Option<QueuePlace> {
        let mut state = self.state();
        let waiting = state.waiting.get_mut(&id)?;
        if waiting.looked.is_some_and(|looked| looked.elapsed() < BETWEEN_LOOKS) {
            return None;
        }
        waiting.looked = Some(Instant::now());
        waiting.document.queue.clone()
    }

    /// Forgets a job that went back to the queue: it has a result now.
    pub fn clear_waiting(&self, id: Uuid) {
        self.state().waiting.remove(&id);
    }

    /// Adds a failure to the last ones.
    pub fn push_failure(&self, failed: FailedAttempt) {
        let mut state = self.state();
        state.failures.truncate(MAX_FAILURES - 1);
        state.failures.push_front(failed);
    }

    /// The last failures, newest first.
    pub fn last_failures(&self) -> Vec<FailedAttempt> {
        self.state().failures.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Maps are whole between two statements, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a job listed as active. Dropping it takes the job off the list and ends its log.
#[derive(Debug)]
pub struct Registration {
    table: Arc<Table>,
    job: Arc<ActiveJob>,
}

impl std::ops::Deref for Registration {
    type Target = Arc<ActiveJob>;

    fn deref(&self) -> &Arc<ActiveJob> {
        &self.job
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.job.log.finish();
        let mut state = self.table.state();
        state.active.remove(&self.job.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> WorkerName {
        WorkerName { id: "w".into(), version: "1".into() }
    }

    fn job(id: Uuid) -> ActiveJob {
        ActiveJob::new(id, "t".parse().unwrap(), 1, None, None)
    }

    #[test]
    fn a_job_is_active_once() {
        let table = Arc::new(Table::default());
        let id = Uuid::new_v4();
        let registration = table.register(job(id)).unwrap();
        assert!(table.register(job(id)).is_none());
        assert_eq!(table.get(id).unwrap().document(&worker()).status, Status::Accepted);
        registration.set_phase(Phase::Running);
        registration.log.set_progress(40.0);
        let document = table.get(id).unwrap().document(&worker());
        assert_eq!((document.status, document.progress), (Status::Running, Some(40.0)));
        assert!(document.started.is_some());
        drop(registration);
        assert!(table.get(id).is_none() && table.is_empty());
    }

    #[test]
    fn what_waits_is_remembered_for_a_while() {
        let table = Arc::new(Table::default());
        let id = Uuid::new_v4();
        let document = job(id).document(&worker());
        let soon = Timestamp::now() + std::time::Duration::from_secs(60);
        table.set_waiting(document.clone(), soon);
        assert_eq!(table.waiting(id).unwrap().id, id);
        assert_eq!(table.all_waiting().len(), 1);
        let place = QueuePlace { job: 7, tube: "t".into(), server: "s".into() };
        let queued = JobResult { queue: Some(place.clone()), ..document.clone() };
        table.set_waiting(queued, soon);
        assert_eq!(table.waits_at(id).as_ref(), Some(&place));
        assert_eq!(table.to_be_looked_for(id), Some(place));
        assert_eq!(table.to_be_looked_for(id), None, "not so soon again");
        table.set_waiting(document.clone(), Timestamp::UNIX_EPOCH);
        assert!(table.all_waiting().is_empty() && table.waits_at(id).is_none());
        assert!(table.waiting(id).is_none());
        for _ in 0..2 * MAX_WAITING {
            table.set_waiting(JobResult { id: Uuid::new_v4(), ..document.clone() }, soon);
        }
        assert_eq!(table.state().waiting.len(), MAX_WAITING);
    }

    #[test]
    fn the_last_failures() {
        let table = Table::default();
        for attempt in 0..50 {
            let error = Failure::new(crate::result::FailureKind::Input, "x");
            let timestamp = Timestamp::now();
            table.push_failure(FailedAttempt { timestamp, id: None, kind: None, attempt, error });
        }
        let failures = table.last_failures();
        assert_eq!((failures.len(), failures[0].attempt), (MAX_FAILURES, 49));
    }
}
