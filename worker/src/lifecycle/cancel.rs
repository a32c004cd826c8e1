//! Cancelling a job, wherever it is.
//!
//! ```text
//! known by its result         it is over: nothing changes
//! fetching, running           killed, and the result says so
//! its process has ended       its result stands; or if that is another attempt, there is none
//! waits in the queue          reserved, and ended there
//! not known                   looked for in the queue; if it is not found, ended when it comes
//! ```
//!
//! What is wanted is on the disk first. So a job that comes again after a crash is ended all the same; and one
//! that is on its way into the table while it is looked for finds that it is not wanted, or is found there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jq_client::JobId;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use super::Lifecycle;
use super::attempts::CANCELLED;
use super::events::Event;
use super::held::raw;
use super::settle::Kept;
use crate::ending::{Ending, Verdict};
use crate::job::{BadJob, Callback, Job, JobType, Target};
use crate::lease::Lease;
use crate::result::JobResult;
use crate::room::Permit;
use crate::search;
use crate::setup::Setup;
use crate::source::Source;
use crate::store::{Entry, Found, QueuedJob};
use crate::table::ActiveJob;

/// How long somebody who cancels a job waits for its result.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a job that is known to wait in the queue may be with somebody else before it counts as not found.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// Time between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// What became of a job that is to be cancelled.
#[derive(Debug, Clone)]
pub enum Cancel {
    /// It is over, as its result says.
    Over(Bytes),
    /// Its result has expired.
    Gone,
    /// It is here, and will be over.
    Ends,
    /// It was not found, and will be over when it comes.
    Comes,
    /// Neither: what is wanted cannot be remembered, for this reason.
    Unavailable(String),
}

/// What a job says of itself that its result needs, whether it is one or not.
pub(super) struct Told {
    id: Uuid,
    kind: Option<JobType>,
    result: Option<Target>,
    callback: Callback,
    custom: Option<Box<RawValue>>,
    notes: Vec<String>,
    job_digest: Option<String>,
    created: Option<Timestamp>,
}

impl From<Job> for Told {
    fn from(job: Job) -> Self {
        let job_digest = Some(job.digest());
        let Job { id, kind, result, callback, custom, notes, created_at, .. } = job;
        let (kind, created) = (Some(kind), created_at);
        Self { id, kind, result, callback, custom, notes, job_digest, created }
    }
}

impl Told {
    /// `None`: it has no id.
    pub(super) fn of_bad(bad: BadJob) -> Option<Self> {
        let BadJob { id, kind, result, callback, custom, .. } = bad;
        let (notes, job_digest, created) = (Vec::new(), None, None);
        Some(Self { id: id?, kind, result, callback, custom, notes, job_digest, created })
    }
}

/// How trying to end a job in the queue went.
enum Tried {
    /// It has been dealt with.
    Ended,
    /// Somebody has it, perhaps this worker; or the server cannot be asked.
    NotNow,
    /// It is not there.
    Gone,
}

impl Lifecycle {
    /// Cancels a job, and waits for its result as long as that may be soon.
    pub async fn cancel(self: &Arc<Self>, id: Uuid) -> Cancel {
        if !self.is_on_its_way(id) {
            match self.result_of(id).await {
                Ok(Found::Result(body)) => return Cancel::Over(body),
                Ok(Found::Expired) => return Cancel::Gone,
                Ok(Found::Nothing) => {}
                Err(why) => return Cancel::Unavailable(why),
            }
        }
        let (store, kept_for) = (Arc::clone(&self.store), self.setup.get().config.retention);
        let noted = spawn_blocking(move || store.requests().cancel(id, kept_for)).await;
        let noted = noted.map_err(|error| error.to_string());
        if let Err(error) = noted.and_then(|noted| noted.map_err(|error| error.to_string())) {
            // What is here can be ended all the same, if the worker lives that long.
            if !self.is_on_its_way(id) {
                return Cancel::Unavailable(error);
            }
            warn!(%id, error, "cannot note that the job is cancelled");
        }
        info!(%id, "to be cancelled");
        let (say, said) = oneshot::channel();
        let lifecycle = Arc::clone(self);
        // Whoever asked may not wait for it.
        self.tasks.spawn(async move {
            let _ = say.send(lifecycle.end_wherever(id).await);
        });
        said.await.unwrap_or(Cancel::Ends)
    }

    /// Whether a job has no result, or will get another one.
    fn is_on_its_way(&self, id: Uuid) -> bool {
        self.table.get(id).is_some() || self.table.waits_at(id).is_some()
    }

    async fn result_of(&self, id: Uuid) -> Result<Found, String> {
        let store = Arc::clone(&self.store);
        let found = spawn_blocking(move || store.find(id)).await;
        let cannot = |error: &dyn std::fmt::Display| format!("cannot read the result: {error}");
        found.map_err(|error| cannot(&error))?.map_err(|error| cannot(&error))
    }

    async fn end_wherever(self: &Arc<Self>, id: Uuid) -> Cancel {
        let begun = Instant::now();
        let mut has_searched = false;
        let mut stopping = self.tasks.stopping();
        loop {
            let is_here = self.table.get(id).map(|active| active.cancel.want()).is_some();
            if !is_here {
                let mut places = self.places(id);
                if places.is_empty() {
                    match self.result_of(id).await {
                        Ok(Found::Result(body)) => {
                            self.store.requests().forget(id);
                            return Cancel::Over(body);
                        }
                        // It is looked for after that: what was here a moment ago may be there now.
                        _ if !has_searched => {
                            has_searched = true;
                            places = self.search(id).await;
                        }
                        _ => return Cancel::Comes,
                    }
                }
                let mut is_elsewhere = false;
                for (source, number) in places {
                    match self.try_to_end(source, number, id).await {
                        Tried::Ended => {}
                        Tried::NotNow => is_elsewhere = true,
                        // Whatever was known of it is not true any more.
                        Tried::Gone => self.forget_place(id, number),
                    }
                }
                if is_elsewhere && begun.elapsed() > ELSEWHERE && self.table.get(id).is_none() {
                    return Cancel::Comes;
                }
            }
            if begun.elapsed() > PATIENCE {
                return Cancel::Ends;
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return Cancel::Ends,
            }
        }
    }

    /// Where a job is that went back to the queue, as far as that is known.
    fn places(&self, id: Uuid) -> Vec<(Arc<Source>, JobId)> {
        let waiting = self.table.waits_at(id);
        let named = |place: crate::result::QueuePlace| {
            Some((self.settler.servers.named(&place.server)?, place.job))
        };
        let mut places: Vec<_> =
            waiting.and_then(named).into_iter().chain(self.parking.places_of(id)).collect();
        let suspects = self.suspects();
        let suspects = suspects.iter().filter(|job| job.id == Some(id));
        places.extend(suspects.map(|job| (Arc::clone(&job.source), job.number)));
        places
    }

    fn forget_place(&self, id: Uuid, number: JobId) {
        if self.table.waits_at(id).is_some_and(|place| place.job == number) {
            self.table.clear_waiting(id);
        }
        self.parking.forget(id, number);
        self.suspects().retain(|job| job.id != Some(id) || job.number != number);
    }

    async fn search(&self, id: Uuid) -> Vec<(Arc<Source>, JobId)> {
        let mut found = Vec::new();
        for source in self.settler.servers.all() {
            // Beside others that wait for a search: there is no use in all of them at once.
            let _turn = self.searching.lock().await;
            let number = search::find(&source, |body| is_of(id, body)).await;
            if let Some(number) = number {
                found.push((source, number));
                break;
            }
        }
        found
    }

    /// Reserves a job that waits in the queue, and ends it.
    async fn try_to_end(self: &Arc<Self>, source: Arc<Source>, number: JobId, id: Uuid) -> Tried {
        let Ok(mut connection) = source.connection().await else { return Tried::NotNow };
        let is_it = |body: &[u8]| is_of(id, body);
        match connection.peek(number).await {
            Ok(Some(job)) if is_it(&job.body) => {}
            Ok(_) => {
                source.give(connection);
                return Tried::Gone;
            }
            Err(_) => return Tried::NotNow,
        }
        match connection.reserve_job(number).await {
            Ok(Some(job)) if is_it(&job.body) => {
                let (stopping, metrics) = (self.tasks.stopping(), Arc::clone(&self.metrics));
                let lease = Lease::take(connection, source, job, stopping, metrics).await;
                let Ok(lease) = lease else { return Tried::NotNow };
                let told = match Job::parse(&lease.body) {
                    Ok(job) => Some(job.into()),
                    Err(bad) => Told::of_bad(*bad),
                };
                let Some(told) = told else { return Tried::Gone };
                let lifecycle = Arc::clone(self);
                // Sending the result may take its time.
                let (ended, is_ended) = oneshot::channel();
                self.tasks.spawn(async move {
                    lifecycle.end_cancelled(lease, None, told, 1, Some(ended)).await;
                });
                let _ = is_ended.await;
                Tried::Ended
            }
            // Dropping the connection gives that job back.
            Ok(Some(_)) => Tried::Gone,
            Ok(None) => {
                source.give(connection);
                Tried::NotNow
            }
            Err(_) => Tried::NotNow,
        }
    }

    /// Ends a job that somebody has cancelled before it was run. `kept` is dropped when its result is on the
    /// disk, or will not be.
    pub(super) async fn end_cancelled(
        self: &Arc<Self>,
        mut lease: Lease,
        permit: Option<Permit>,
        told: Told,
        attempt: u32,
        kept: Option<oneshot::Sender<()>>,
    ) {
        let (id, kind) = (told.id, told.kind.clone());
        let active = match &kind {
            None => None,
            Some(kind) => {
                let active = ActiveJob::new(id, kind.clone(), attempt, None, None);
                match (self.register(active), permit) {
                    (Some(active), _) => Some(active),
                    (None, Some(permit)) => return self.park_second(lease, permit, id).await,
                    (None, None) => {
                        self.settler.let_go(lease, Ending::Duplicate, Duration::ZERO).await;
                        return;
                    }
                }
            }
        };
        let ending = Ending::Over(Verdict::Cancelled);
        let (entry, result) = self.cancelled(&lease, told, attempt);
        let entry = Arc::new(entry);
        let is_kept = match self.settler.keep(&mut lease, &entry).await {
            Err(lost) => {
                return self.events.lost(Ending::LostOnReturn, &lost, &Event::default());
            }
            Ok(is_kept) => is_kept,
        };
        self.forget_place(id, lease.facts.place.job);
        self.table.clear_waiting(id);
        self.store.forget_crashes(id, lease.facts.place.job);
        let (kind, failure) = (kind.as_ref(), result.error.as_ref());
        self.events
            .record(ending, &Event { id: Some(id), kind, attempt, failure, ..Event::default() });
        drop((active, kept));
        match is_kept {
            Kept::WithLease => self.settler.conclude(lease, entry).await,
            Kept::WithoutLease => {}
            Kept::Deleted => self.settler.settle(entry),
        }
    }

    /// The result of such a job.
    fn cancelled(&self, lease: &Lease, told: Told, attempt: u32) -> (Entry, JobResult) {
        let setup: &Setup = &self.setup.get();
        let verdict = Verdict::Cancelled;
        let row = verdict.consequences();
        // Nobody has looked at them yet.
        let may = |url: &Url| setup.outbound.check(url).is_ok();
        let facts = &lease.facts;
        let Told { id, kind, result, callback, custom, notes, job_digest, created } = told;
        let before = self.table.waiting(id);
        let (place, status) = (Some(facts.place.clone()), verdict.status().into());
        let queued = || Timestamp::now().checked_sub(facts.age).ok();
        let (created, name) = (created.or_else(queued), setup.name.clone());
        let blank = JobResult::blank(id, kind, status, name, attempt, created, place.clone());
        let result_document = JobResult {
            finished: Some(blank.timestamp),
            // What is known of those before is not lost.
            attempt: before.as_ref().map_or(attempt, |before| before.attempt.max(attempt)),
            attempts: before.map(|before| before.attempts).unwrap_or_default(),
            error: Ending::Over(verdict).failure(CANCELLED),
            notes,
            custom,
            job_digest,
            ..blank
        };
        let url = row.callback.and_then(|event| event.url(&callback));
        let is_kept = setup.config.token.is_some();
        let entry = Entry {
            id,
            place,
            status: verdict.status(),
            target: result.filter(|target| may(&target.url)),
            callback: url.filter(|url| may(url)).cloned(),
            finished: result_document.timestamp,
            result: raw(&result_document),
            then: Vec::new(),
            artifacts: None,
            sends: BTreeMap::new(),
            job: is_kept
                .then(|| QueuedJob::new(&lease.body, facts.priority, lease.ttr()))
                .flatten(),
        };
        (entry, result_document)
    }
}

/// Whether this is the body of the job of this id, whether it is a job or not.
pub(super) fn is_of(id: Uuid, body: &[u8]) -> bool {
    match Job::parse(body) {
        Ok(job) => job.id == id,
        Err(bad) => bad.id == Some(id),
    }
}
