//! What is owed for a result: its way to the disk, to where it goes, and its job out of the queue.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::{count, lost_job, released};
use crate::delivery::{self, Delivery};
use crate::ending::{Ending, QueueAction};
use crate::job::Job;
use crate::lease::{Lease, Lost};
use crate::metrics::Outcome;
use crate::result::{Failure, FailureKind, FinalStatus, JobResult};
use crate::retry::{Backoff, jitter};
use crate::room::Permit;
use crate::store::{Entry, Step};
use crate::table::{FailedAttempt, Registration};
use crate::worker::Worker;

/// Delays between attempts to write a result to the disk.
const KEEP: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30) };

/// Delays between looks for the job of a result that is done, while its server is down or somebody
/// else has the job.
const SETTLE: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };

/// Puts the result on the disk, and then sees to what is owed for it.
pub(super) async fn keep(
    worker: &Arc<Worker>,
    mut lease: Lease,
    permit: Permit,
    active: Registration,
    job: &Job,
    result: JobResult,
    status: FinalStatus,
) {
    let event = Ending::of(status).consequences().callback;
    let callback = event.and_then(|event| event.url(&job.callback));
    let refused = result.error.as_ref().is_some_and(|it| it.kind == FailureKind::Publish);
    let entry = Arc::new(Entry {
        id: job.id,
        place: result.queue.clone(),
        status,
        // Where it must not go, it is not even tried.
        target: job.result.clone().filter(|_| !refused),
        callback: callback.cloned().filter(|_| !refused),
        finished: result.timestamp,
        result: raw(&result),
    });
    if let Err(lost) = to_disk(worker, &mut lease, &entry).await {
        if is_owed(worker, &entry) {
            return lost_when_done(worker, entry, &lost);
        }
        return lost_job(worker, &active, &lost);
    }
    worker.table.clear_waiting(job.id);
    let outcome = Outcome::Over(status);
    match &result.error {
        None => {
            worker.metrics.ended(Some(&active.kind), outcome, None);
            debug!(wall_ms = result.usage.map(|usage| usage.wall_ms), "successful");
        }
        Some(failure) => {
            let kind = failure.kind.as_str();
            warn!(error = failure.message, kind, status = result.status.as_str(), "over");
            count(worker, &active, failure, outcome);
        }
    }
    // From here on there is a result to be seen, and room for another job.
    drop(active);
    drop(permit);
    conclude(worker, lease, entry).await;
}

pub(super) fn raw(result: &JobResult) -> Box<serde_json::value::RawValue> {
    serde_json::value::to_raw_value(result).expect("a result has no keys that are not text")
}

/// As often as it takes: the process is not run again because a disk is full.
pub(super) async fn to_disk(
    worker: &Arc<Worker>,
    lease: &mut Lease,
    entry: &Arc<Entry>,
) -> Result<(), Lost> {
    lease.confirm().await?;
    let mut failures = 0;
    loop {
        let mut kept = std::pin::pin!(worker.store.keep(Arc::clone(entry)));
        let result = match lease.keep_while(&mut kept).await {
            Ok(result) => result,
            Err(lost) => {
                // It may be on the disk all the same; then it counts.
                let _ = kept.await;
                return Err(lost);
            }
        };
        match result {
            Ok(()) => return Ok(()),
            Err(error) => {
                failures += 1;
                let delay = KEEP.delay(failures, jitter());
                error!(%error, retry_in = ?delay, "cannot write the result to the disk");
                lease.keep_while(sleep(delay)).await?;
            }
        }
    }
}

/// Has the result sent, and then the job taken out of the queue.
pub(super) async fn conclude(worker: &Arc<Worker>, mut lease: Lease, entry: Arc<Entry>) {
    let ended = match lease.keep_while(delivery::deliver(worker, &entry)).await {
        Err(lost) => Err(lost),
        Ok(Delivery::There) => take_out(lease, &entry).await,
        Ok(Delivery::UnderWay) => Err(Lost::Stopping),
        Ok(Delivery::GivenUp(reason)) => {
            error!(reason, "gave up; the job is buried, and sent again when it is kicked");
            worker.table.push_failure(FailedAttempt {
                timestamp: Timestamp::now(),
                id: Some(entry.id),
                kind: None,
                attempt: 0,
                error: Failure::new(FailureKind::Publish, reason),
            });
            let buried = lease.bury().await;
            // What must not be sent is not owed; all else stays so.
            if buried.is_ok() && worker.store.done(&entry).published {
                worker.store.note(&entry, Step::Dequeued);
            }
            return released(worker, buried);
        }
    };
    match ended {
        Ok(()) => {
            worker.store.note(&entry, Step::Dequeued);
            if let Some(place) = &entry.place {
                worker.given_back.forget(&place.server, place.job);
            }
        }
        Err(lost) => lost_when_done(worker, entry, &lost),
    }
}

/// Whether the result is on the disk, and not settled.
pub(super) fn is_owed(worker: &Worker, entry: &Arc<Entry>) -> bool {
    worker.store.owed(entry.id).is_some_and(|(current, _)| Arc::ptr_eq(&current, entry))
}

pub(super) fn lost_when_done(worker: &Arc<Worker>, entry: Arc<Entry>, lost: &Lost) {
    if matches!(lost, Lost::Stopping) {
        // The next start sees to it.
        return;
    }
    worker.metrics.leases_lost.inc();
    warn!(%lost, "the job was lost after it was done; its result counts");
    settle(worker, entry);
}

async fn take_out(lease: Lease, entry: &Entry) -> Result<(), Lost> {
    match Ending::of(entry.status).consequences().queue {
        QueueAction::Delete => lease.delete().await,
        _ => lease.bury().await,
    }
}

/// Sees to what is owed for a result whose job nobody here has: after a crash, or a lost lease. Looks
/// again later when the server cannot be reached, or somebody else has the job.
pub fn settle(worker: &Arc<Worker>, entry: Arc<Entry>) {
    look_for_job(worker, entry, 1);
}

fn look_for_job(worker: &Arc<Worker>, entry: Arc<Entry>, number: u32) {
    let task = Arc::clone(worker);
    let span = info_span!("job", id = %entry.id);
    let look = async move {
        if is_settled(&task, &entry).await {
            return;
        }
        // A worker that stops does not wait for this.
        tokio::spawn(async move {
            sleep(SETTLE.delay(number, jitter())).await;
            if !task.room.is_closed() {
                look_for_job(&task, entry, number.saturating_add(1));
            }
        });
    };
    worker.spawn(look.instrument(span));
}

/// Whether there is nothing to look for any more.
async fn is_settled(worker: &Arc<Worker>, entry: &Arc<Entry>) -> bool {
    let Some((current, done)) = worker.store.owed(entry.id) else { return true };
    if !Arc::ptr_eq(&current, entry) {
        return true;
    }
    let found = if done.dequeued { Found::Gone } else { reclaim(worker, entry).await };
    let is_over = match found {
        Found::Ours(lease) => {
            info!("took the job again, to end it; it is not run again");
            conclude(worker, *lease, Arc::clone(entry)).await;
            return true;
        }
        Found::Gone => true,
        Found::NotNow => false,
    };
    // If it comes again, or is kicked, it is recognised by what is owed.
    let delivery = delivery::deliver(worker, entry).await;
    is_over || delivery != Delivery::There
}

/// What became of the job of a result.
enum Found {
    /// It is reserved here again.
    Ours(Box<Lease>),
    /// The server does not have it any more, which is noted.
    Gone,
    /// Somebody else has it, or the server cannot be asked.
    NotNow,
}

/// Reserves the job of a result again, if nobody has it.
async fn reclaim(worker: &Arc<Worker>, entry: &Entry) -> Found {
    match try_reclaim(worker, entry).await {
        Some(Found::Gone) => {
            worker.store.note(entry, Step::Dequeued);
            Found::Gone
        }
        found => found.unwrap_or(Found::NotNow),
    }
}

/// `None`: the server cannot be asked.
async fn try_reclaim(worker: &Arc<Worker>, entry: &Entry) -> Option<Found> {
    let place = entry.place.as_ref()?;
    let source = worker.server(&place.server)?;
    let mut connection = source.connection().await.ok()?;
    // Servers that lost their jobs begin to count again.
    let is_ours = |body: &[u8]| match Job::parse(body) {
        Ok(job) => job.id == entry.id,
        Err(bad) => bad.id == Some(entry.id),
    };
    if !connection.peek(place.job).await.ok()?.is_some_and(|job| is_ours(&job.body)) {
        source.give(connection);
        return Some(Found::Gone);
    }
    match connection.reserve_job(place.job).await.ok()? {
        // It was deleted in between, and its number given away: dropping gives that job back.
        Some(job) if !is_ours(&job.body) => Some(Found::Gone),
        Some(job) => {
            let (stopping, metrics) = (worker.stopping(), Arc::clone(&worker.metrics));
            let lease = Lease::take(connection, source, job, stopping, metrics).await.ok()?;
            Some(Found::Ours(Box::new(lease)))
        }
        None => {
            source.give(connection);
            Some(Found::NotNow)
        }
    }
}
