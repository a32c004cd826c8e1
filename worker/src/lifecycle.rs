//! A job's way through the worker, from the reserve to the delete.
//!
//! ```text
//! reserved -> read -> room of its type? -> attempt -> on the disk -> published -> deleted
//!                |           |               |                        (or buried)
//!              buried    given back       released, to be tried again
//! ```
//!
//! The lease is kept all the way. When it is lost before the result is on the disk, everything is
//! killed and nothing is published: another worker may have the job. When it is lost after that,
//! the result is published all the same, as it is after a crash, since nobody can take back that
//! the process ran; and the job, if it comes here again, is not run again.

mod owed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jq_client::{Connection, Job as QueuedJob};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{Instrument, debug, info, info_span, warn};
use uuid::Uuid;

use crate::config::Handler;
use crate::ending::Ending;
use crate::executor::Attempt;
use crate::job::{BadJob, Job};
use crate::lease::{Lease, Lost};
use crate::metrics::Outcome;
use crate::parked::Parked;
use crate::result::{Failure, FailureKind, FinalStatus, JobResult, Status};
use crate::retry::{Backoff, JobRetry, Why, jitter};
use crate::room::Permit;
use crate::source::Source;
use crate::store::{Entry, remove_tree};
use crate::table::{ActiveJob, FailedAttempt, Phase, Registration};
use crate::worker::{Setup, Worker};
use owed::{conclude, is_owed, keep, lost_when_done, raw, to_disk};

pub use owed::settle;

/// A job that is here twice waits for the first to be over.
const TWICE: Duration = Duration::from_secs(5);

/// A job of a type without room is given back for so long at first. It doubles each time. When there is
/// room here, it is asked for before that.
const NO_ROOM: Backoff = Backoff { first: Duration::from_secs(30), max: Duration::from_secs(600) };

/// When very many jobs were given back for want of room, the next look for others takes so long: a
/// backlog of one type costs little, and what is behind it is found all the same.
const CROWDED: Duration = Duration::from_millis(5);

/// A job that went back into the queue is not unknown here for so much longer than its delay.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Deals with a job that has just been reserved.
pub async fn begin(
    worker: &Arc<Worker>,
    source: Arc<Source>,
    connection: Connection,
    job: QueuedJob,
    permit: Permit,
) {
    let number = job.id;
    let (stopping, metrics) = (worker.stopping(), Arc::clone(&worker.metrics));
    let server = source.name().to_owned();
    match Lease::take(connection, source, job, stopping, metrics).await {
        Ok(lease) => handle(worker, lease, permit).await,
        Err(lost) => {
            worker.metrics.leases_lost.inc();
            warn!(server, queued_as = number, %lost, "lost a job that was just reserved");
        }
    }
}

/// Reserves a job again that was given back for want of room, now that there is some, and deals with
/// it, unless somebody else has it.
pub async fn take_again(worker: &Arc<Worker>, parked: Parked, permit: Permit) {
    let Parked { source, number, id } = parked;
    let Ok(mut connection) = source.connection().await else { return };
    match connection.reserve_job(number).await {
        // Servers that lost their jobs begin to count again: dropping the connection gives it back.
        Ok(Some(job)) if !Job::parse(&job.body).is_ok_and(|job| job.id == id) => {}
        Ok(Some(job)) => begin(worker, source, connection, job, permit).await,
        Ok(None) => source.give(connection),
        Err(_) => {}
    }
}

async fn handle(worker: &Arc<Worker>, lease: Lease, permit: Permit) {
    let place = &lease.facts.place;
    let given_back = worker.given_back.count(&place.server, place.job);
    let number = lease.facts.earlier.saturating_sub(given_back).saturating_add(1);
    let queued_as = place.job;
    match Job::parse(&lease.body) {
        Ok(job) => {
            let span =
                info_span!("job", id = %job.id, r#type = %job.kind, attempt = number, queued_as);
            with_job(worker, lease, permit, job, number).instrument(span).await;
        }
        Err(bad) => {
            let id = bad.id.map(|id| id.to_string());
            let span = info_span!("job", id, attempt = number, queued_as);
            refuse(worker, lease, permit, number, *bad).instrument(span).await;
        }
    }
}

/// The result of this very job, if it was done before and is in the queue all the same: after a crash,
/// or when its result could not be sent and it was kicked.
fn done_before(worker: &Worker, lease: &Lease, id: Uuid) -> Option<Arc<Entry>> {
    let (entry, done) = worker.store.owed(id)?;
    let is_it = entry.place.as_ref() == Some(&lease.facts.place) && !done.dequeued;
    is_it.then(|| {
        info!("this job is done already: it is not run again");
        entry
    })
}

async fn give_back_twin(worker: &Worker, lease: Lease) {
    let place = &lease.facts.place;
    worker.given_back.add(&place.server, place.job);
    worker.metrics.given_back.inc();
    debug!("a job of the same id is here: given back");
    released(worker, lease.release(TWICE).await);
}

async fn with_job(worker: &Arc<Worker>, lease: Lease, mut permit: Permit, job: Job, number: u32) {
    let place = lease.facts.place.clone();
    if let Some(entry) = done_before(worker, &lease, job.id) {
        drop(permit);
        return conclude(worker, lease, entry).await;
    }
    let setup = worker.setup();
    let Some(handler) = setup.executor.handlers.get(&job.kind).cloned() else {
        let reason = format!("there is no handler of the type {}", job.kind);
        let bad = BadJob { reason, id: Some(job.id), kind: Some(job.kind), result: job.result };
        return refuse(worker, lease, permit, number, bad).await;
    };
    if !permit.is_for(&job.kind) && !permit.claim(&job.kind, handler.concurrency) {
        let times = worker.given_back.add(&place.server, place.job);
        worker.metrics.given_back.inc();
        debug!("no room for its type: given back");
        let parked = Parked { source: lease.source(), number: place.job, id: job.id };
        released(worker, lease.release(NO_ROOM.delay(times, jitter())).await);
        worker.parking.park(&job.kind, parked);
        worker.unpark();
        if worker.parking.is_crowded() {
            // There is no hurry to find more of them. The permit is held meanwhile, but no job.
            sleep(CROWDED).await;
        }
        return;
    }
    let created = job.created_at.or_else(|| {
        // Of an age of whole seconds.
        Timestamp::now().checked_sub(lease.facts.age).ok()
    });
    let active = ActiveJob::new(job.id, job.kind.clone(), number, Some(place.clone()), created);
    let active =
        if worker.deliveries.is_active(job.id) { None } else { worker.table.register(active) };
    let Some(active) = active else { return give_back_twin(worker, lease).await };
    if number == 1 {
        worker.metrics.waited(&job.kind, lease.facts.age.as_secs_f64());
    }
    attempt(worker, &setup, lease, permit, active, &job, &handler).await;
}

async fn attempt(
    worker: &Arc<Worker>,
    setup: &Setup,
    mut lease: Lease,
    permit: Permit,
    active: Registration,
    job: &Job,
    handler: &Handler,
) {
    let running = worker.metrics.running(&job.kind);
    let result = |attempt: Attempt, status| {
        let status = Ending::of(status).consequences().status.unwrap_or(Status::Failed);
        attempt.into_result(active.document(&setup.name), status, job.custom.clone())
    };
    let attempt = match before(setup, job) {
        Some((status, failure)) => {
            let attempt = Attempt { failure: Some(failure), ..Attempt::default() };
            let result = result(attempt, status);
            return keep(worker, lease, permit, active, job, result, status).await;
        }
        None => run(worker, setup, &mut lease, &active, job, handler).await,
    };
    drop(running);
    let attempt = match attempt {
        Ok(attempt) => attempt,
        Err(lost) => return lost_job(worker, &active, &lost),
    };
    worker.metrics.left_behind.inc_by(attempt.left_behind.into());
    if let Some(usage) = &attempt.usage {
        worker.metrics.ran(&job.kind, Duration::from_millis(usage.wall_ms).as_secs_f64());
    }
    active.set_phase(Phase::Finishing);
    let Some(failure) = &attempt.failure else {
        let result = result(attempt, FinalStatus::Successful);
        return keep(worker, lease, permit, active, job, result, FinalStatus::Successful).await;
    };
    let policy = JobRetry {
        retries: job.retry.unwrap_or(handler.retry),
        backoff: Backoff { first: setup.config.retry_delay, max: setup.config.max_retry_delay },
    };
    let why = if attempt.again { Why::Transient } else { Why::Permanent };
    if let Some(delay) = policy.next(active.attempt, why, jitter()) {
        drop(permit);
        return retry(worker, setup, lease, active, failure.clone(), delay).await;
    }
    let result = result(attempt, FinalStatus::Failed);
    keep(worker, lease, permit, active, job, result, FinalStatus::Failed).await;
}

/// Why a job is not even tried.
fn before(setup: &Setup, job: &Job) -> Option<(FinalStatus, Failure)> {
    if let Some(expires) = job.expires_at
        && expires <= Timestamp::now()
    {
        let message = format!("nobody wants the result since {expires}");
        return Some((FinalStatus::Dismissed, Failure::new(FailureKind::Input, message)));
    }
    // Rather now than after hours of computing.
    let outbound = &setup.executor.outbound;
    let places = [
        ("result", job.result.as_ref().map(|target| &target.url)),
        ("callback.successUri", job.callback.success.as_ref()),
        ("callback.failedUri", job.callback.failed.as_ref()),
    ];
    for (name, url) in places {
        if let Some(Err(refused)) = url.map(|url| outbound.check(url)) {
            let failure = Failure::new(FailureKind::Publish, format!("{name:?}: {refused}"));
            return Some((FinalStatus::Failed, failure));
        }
    }
    None
}

/// Runs the process, and keeps the job meanwhile.
async fn run(
    worker: &Arc<Worker>,
    setup: &Setup,
    lease: &mut Lease,
    active: &ActiveJob,
    job: &Job,
    handler: &Handler,
) -> Result<Attempt, Lost> {
    let directory = match handler.needs_directory(job).then(|| worker.store.work_directory()) {
        None => None,
        Some(Ok(directory)) => Some(directory),
        Some(Err(error)) => {
            let message = format!("cannot make a working directory: {error}");
            let failure = Some(Failure::new(FailureKind::System, message));
            return Ok(Attempt { failure, again: true, ..Attempt::default() });
        }
    };
    let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
    let cancelled = async {
        // Nobody says it: the sender is dropped.
        let _ = cancelled.await;
    };
    let attempt = {
        let attempt = setup.executor.attempt(job, handler, active, directory.as_deref(), cancelled);
        let mut attempt = std::pin::pin!(attempt);
        match lease.keep_while(&mut attempt).await {
            Ok(attempt) => Ok(attempt),
            Err(lost) => {
                drop(cancel);
                attempt.await;
                Err(lost)
            }
        }
    };
    if let Some(directory) = directory {
        let cleared = lease.keep_while(clear(worker, directory)).await;
        return cleared.and(attempt);
    }
    attempt
}

/// Gives a working directory back. A job can leave millions of files in it.
async fn clear(worker: &Worker, directory: PathBuf) {
    if worker.store.take_back(&directory) {
        return;
    }
    let path = directory.clone();
    if let Ok(Err(error)) = spawn_blocking(move || remove_tree(&path)).await {
        warn!(path = %directory.display(), %error, "cannot remove a working directory");
    }
}

async fn retry(
    worker: &Arc<Worker>,
    setup: &Setup,
    lease: Lease,
    active: Registration,
    failure: Failure,
    delay: Duration,
) {
    warn!(
        error = failure.message,
        kind = failure.kind.as_str(),
        retry_in = ?delay,
        "failed; it will be tried again"
    );
    count(worker, &active, &failure, Outcome::Retried);
    let document = JobResult {
        status: Status::Accepted,
        error: Some(failure),
        progress: None,
        ..active.document(&setup.name)
    };
    if let Ok(until) = Timestamp::now().checked_add(delay + REMEMBERED) {
        worker.table.set_waiting(document, until);
    }
    // It may be reserved again before this returns, and must not find itself listed.
    drop(active);
    released(worker, lease.release(delay).await);
}

fn count(worker: &Worker, active: &ActiveJob, failure: &Failure, outcome: Outcome) {
    worker.metrics.ended(Some(&active.kind), outcome, Some(failure.kind));
    worker.table.push_failure(FailedAttempt {
        timestamp: Timestamp::now(),
        id: Some(active.id),
        kind: Some(active.kind.clone()),
        attempt: active.attempt,
        error: failure.clone(),
    });
}

/// Buries what is no job, and says so to whoever waits for its result.
async fn refuse(worker: &Arc<Worker>, mut lease: Lease, permit: Permit, number: u32, bad: BadJob) {
    if let Some(entry) = bad.id.and_then(|id| done_before(worker, &lease, id)) {
        drop(permit);
        return conclude(worker, lease, entry).await;
    }
    let active = match &bad {
        BadJob { id: Some(id), .. } if worker.deliveries.is_active(*id) => {
            return give_back_twin(worker, lease).await;
        }
        BadJob { id: Some(id), kind: Some(kind), .. } => {
            let active = ActiveJob::new(*id, kind.clone(), number, None, None);
            match worker.table.register(active) {
                None => return give_back_twin(worker, lease).await,
                active => active,
            }
        }
        _ => None,
    };
    worker.metrics.refused.inc();
    warn!(reason = bad.reason, "refused; the job is buried");
    let BadJob { reason, id, kind, result: target } = bad;
    let failure = Failure::new(FailureKind::Input, reason);
    worker.metrics.ended(None, Outcome::Over(FinalStatus::Failed), Some(failure.kind));
    worker.table.push_failure(FailedAttempt {
        timestamp: Timestamp::now(),
        id,
        kind: kind.clone(),
        attempt: number,
        error: failure.clone(),
    });
    let setup = worker.setup();
    let allowed = |target: &crate::job::Target| setup.executor.outbound.check(&target.url).is_ok();
    let Some((id, target)) = id.zip(target.filter(allowed)) else {
        return released(worker, lease.bury().await);
    };
    let place = Some(lease.facts.place.clone());
    let created = Timestamp::now().checked_sub(lease.facts.age).ok();
    let name = setup.name.clone();
    let blank = JobResult::blank(id, kind, Status::Failed, name, number, created, place.clone());
    let result = JobResult { finished: Some(blank.timestamp), error: Some(failure), ..blank };
    let entry = Arc::new(Entry {
        id,
        place,
        status: FinalStatus::Failed,
        target: Some(target),
        callback: None,
        finished: result.timestamp,
        result: raw(&result),
    });
    match to_disk(worker, &mut lease, &entry).await {
        Ok(()) => {
            // However long the sending takes, there is room for another job.
            drop((active, permit));
            conclude(worker, lease, entry).await;
        }
        Err(lost) if is_owed(worker, &entry) => lost_when_done(worker, entry, &lost),
        Err(lost) => released(worker, Err(lost)),
    }
}

fn lost_job(worker: &Worker, active: &ActiveJob, lost: &Lost) {
    if matches!(lost, Lost::Stopping) {
        info!("the worker stops: the job goes back to the queue");
        return;
    }
    worker.metrics.leases_lost.inc();
    warn!(%lost, "the job was lost: what ran was killed, nothing is published");
    let failure = Failure::new(FailureKind::LeaseLost, lost);
    count(worker, active, &failure, Outcome::Lost);
}

fn released(worker: &Worker, released: Result<(), Lost>) {
    if let Err(lost) = released
        && !matches!(lost, Lost::Stopping)
    {
        worker.metrics.leases_lost.inc();
        warn!(%lost, "the job was lost before it could be given back");
    }
}
