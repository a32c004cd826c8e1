//! What is owed for a result: it goes to the disk, then to where the job wants it, and then the job
//! leaves the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{Instrument, error, info, info_span, warn};
use uuid::Uuid;

use crate::delivery::{Deliveries, Delivery};
use crate::ending::{Ending, QueueAction, Verdict};
use crate::fault::Part;
use crate::given_back::GivenBack;
use crate::health::Health;
use crate::job::Job;
use crate::lease::{Lease, Lost};
use crate::metrics::Metrics;
use crate::retry::{Backoff, jitter};
use crate::room::Room;
use crate::servers::Servers;
use crate::store::{Entry, Step, Store};
use crate::tasks::Tasks;

use super::events::{Event, Events};
use super::follow::UnderWay;

/// Delays between attempts to write a result to the disk.
pub(super) const KEEP: Backoff =
    Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30) };

/// Delays between looks for the queued job of a result, while its server cannot be reached or another
/// worker has the job.
pub(super) const SETTLE: Backoff =
    Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };

/// Settles what is owed for results.
#[derive(Debug)]
pub(super) struct Settler {
    pub(super) store: Arc<Store>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) servers: Arc<Servers>,
    pub(super) room: Arc<Room>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) given_back: Arc<GivenBack>,
    pub(super) health: Arc<Health>,
    pub(super) events: Events,
    pub(super) tasks: Tasks,
    pub(super) following: UnderWay,
}

/// A result is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// And the job is held still.
    WithLease,
    /// But the lease was lost meanwhile. What is owed is being settled without it.
    WithoutLease,
    /// But the job was deleted from the queue. What is owed is to be settled without it.
    Deleted,
}

/// What became of the queued job of a result.
enum Found {
    /// It is reserved here again.
    Ours(Box<Lease>),
    /// The server does not have it any more, which is noted.
    Gone,
    /// Another worker has it, or the server cannot be asked.
    NotNow,
}

impl Settler {
    /// Puts a result on the disk. It is tried as often as it takes: a process is not run again because
    /// a disk is full.
    ///
    /// # Errors
    ///
    /// The lease was lost before the result was on the disk. Nothing is owed then.
    pub(super) async fn keep(
        self: &Arc<Self>,
        lease: &mut Lease,
        entry: &Arc<Entry>,
    ) -> Result<Kept, Lost> {
        let Err(lost) = self.to_disk(lease, entry).await else { return Ok(Kept::WithLease) };
        if matches!(lost, Lost::Deleted) {
            // Nobody else has it, so this is all that there will ever be.
            return self.to_disk_alone(entry).await.map(|()| Kept::Deleted);
        }
        let owed = self.store.owed(entry.id);
        if owed.is_none_or(|(current, _)| !Arc::ptr_eq(&current, entry)) {
            return Err(lost);
        }
        self.settle_without(Arc::clone(entry), &lost);
        Ok(Kept::WithoutLease)
    }

    async fn to_disk(&self, lease: &mut Lease, entry: &Arc<Entry>) -> Result<(), Lost> {
        lease.confirm().await?;
        let mut failures = 0;
        loop {
            let mut kept = std::pin::pin!(self.store.keep(Arc::clone(entry)));
            let result = match lease.keep_while(&mut kept).await {
                Ok(result) => result,
                Err(lost) => {
                    // It may be on the disk all the same; then it counts.
                    let _ = kept.await;
                    return Err(lost);
                }
            };
            let Err(error) = result else {
                self.health.proved(&Part::StateDirectory);
                return Ok(());
            };
            failures += 1;
            lease.keep_while(self.until_disk_may_work(&error, failures)).await?;
        }
    }

    /// As [`to_disk`](Self::to_disk), for a job that is not in the queue any more.
    async fn to_disk_alone(&self, entry: &Arc<Entry>) -> Result<(), Lost> {
        let mut stopping = self.tasks.stopping();
        let mut failures = 0;
        loop {
            // It may be there already.
            let is_kept = self.store.owed(entry.id).is_some_and(|(it, _)| Arc::ptr_eq(&it, entry));
            let result = if is_kept { Ok(()) } else { self.store.keep(Arc::clone(entry)).await };
            let Err(error) = result else {
                self.health.proved(&Part::StateDirectory);
                return Ok(());
            };
            failures += 1;
            tokio::select! {
                () = self.until_disk_may_work(&error, failures) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return Err(Lost::Stopping),
            }
        }
    }

    /// Says that a result could not be written, and waits until it is worth trying again.
    async fn until_disk_may_work(&self, error: &std::io::Error, failures: u32) {
        let delay = KEEP.delay(failures, jitter());
        error!(%error, retry_in = ?delay, "cannot write the result to the disk");
        let message = format!("cannot write a result: {error}");
        self.health.report(Part::StateDirectory, message);
        tokio::select! {
            () = sleep(delay) => {}
            () = self.health.until_works(&Part::StateDirectory) => {}
        }
    }

    /// Has the result sent, and then the job taken out of the queue.
    pub(super) async fn conclude(self: &Arc<Self>, mut lease: Lease, entry: Arc<Entry>) {
        let ended = match lease.keep_while(self.deliveries.deliver(&entry)).await {
            Err(lost) => Err(lost),
            Ok(Delivery::There) => match lease.keep_while(self.follow(&entry)).await {
                Err(lost) => Err(lost),
                Ok(false) => Err(Lost::Stopping),
                Ok(true) => {
                    let action = Verdict::of(entry.status).consequences().queue;
                    lease.end(action, Duration::ZERO).await
                }
            },
            Ok(Delivery::UnderWay) => Err(Lost::Stopping),
            Ok(Delivery::GivenUp(reason)) => return self.give_up(lease, &entry, &reason).await,
        };
        match ended {
            Ok(()) => {
                self.store.note(&entry, Step::Dequeued);
                if let Some(place) = &entry.place {
                    self.given_back.forget(&place.server, place.job);
                }
            }
            Err(lost) => self.settle_without(entry, &lost),
        }
    }

    /// Ends a job that the result of its id answers, once that is where it belongs.
    pub(super) async fn answer(self: &Arc<Self>, mut lease: Lease, id: Uuid, action: QueueAction) {
        if let Some((entry, done)) = self.store.owed(id)
            && !done.is_delivered()
        {
            match lease.keep_while(self.deliveries.deliver(&entry)).await {
                Ok(Delivery::There) => {}
                Ok(Delivery::UnderWay) => return,
                Ok(Delivery::GivenUp(reason)) => return self.give_up(lease, &entry, &reason).await,
                Err(lost) => {
                    return self.events.lost(Ending::LostOnReturn, &lost, &Event::default());
                }
            }
        }
        self.events.record(Ending::Answered, &Event { id: Some(id), ..Event::default() });
        if let Err(lost) = lease.end(action, Duration::ZERO).await {
            self.events.lost(Ending::LostOnReturn, &lost, &Event::default());
        }
    }

    async fn give_up(&self, lease: Lease, entry: &Entry, reason: &str) {
        let ending = Ending::Unpublished;
        let failure = ending.failure(reason);
        let (id, failure) = (Some(entry.id), failure.as_ref());
        self.events.record(ending, &Event { id, failure, ..Event::default() });
        let is_buried = self.let_go(lease, ending, Duration::ZERO).await;
        // What must not be sent is not owed; all else stays so.
        if is_buried && self.store.done(entry).is_delivered() {
            self.store.note(entry, Step::Dequeued);
        } else {
            self.store.note(entry, Step::GivenUp);
        }
    }

    /// Does with the queued job as an ending says. Returns whether the queue confirmed it.
    pub(super) async fn let_go(&self, lease: Lease, ending: Ending, delay: Duration) -> bool {
        let ended = lease.end(ending.consequences().queue, delay).await;
        if let Err(lost) = &ended {
            self.events.lost(Ending::LostOnReturn, lost, &Event::default());
        }
        ended.is_ok()
    }

    /// The lease of a job with a result was lost.
    fn settle_without(self: &Arc<Self>, entry: Arc<Entry>, lost: &Lost) {
        if !matches!(lost, Lost::Deleted) {
            self.events.lost(Ending::LostWithResult, lost, &Event::default());
        }
        // A worker that stops leaves it to its next start.
        if !matches!(lost, Lost::Stopping) {
            self.settle(entry);
        }
    }

    /// Settles what is owed for a result whose job this worker does not hold: after a crash, or a lost
    /// lease. Looks again later when the server cannot be reached or another worker has the job.
    pub(super) fn settle(self: &Arc<Self>, entry: Arc<Entry>) {
        self.deliveries.note_late(&entry);
        self.look_for_job(entry, 1);
    }

    fn look_for_job(self: &Arc<Self>, entry: Arc<Entry>, number: u32) {
        let settler = Arc::clone(self);
        let span = info_span!("job", id = %entry.id);
        let look = async move {
            if settler.is_settled(&entry).await {
                return;
            }
            // A worker that stops does not wait for this.
            tokio::spawn(async move {
                sleep(SETTLE.delay(number, jitter())).await;
                if !settler.room.is_closed() {
                    settler.look_for_job(entry, number.saturating_add(1));
                }
            });
        };
        self.tasks.spawn(look.instrument(span));
    }

    /// Whether there is nothing to look for any more.
    async fn is_settled(self: &Arc<Self>, entry: &Arc<Entry>) -> bool {
        let Some((current, done)) = self.store.owed(entry.id) else { return true };
        if !Arc::ptr_eq(&current, entry) {
            return true;
        }
        if done.given_up {
            return self.is_given_up(entry).await;
        }
        let found = if done.dequeued { Found::Gone } else { self.reclaim(entry).await };
        let is_over = match found {
            Found::Ours(lease) => {
                info!("reserved the job again, to end it; it is not run again");
                self.conclude(*lease, Arc::clone(entry)).await;
                return true;
            }
            Found::Gone => true,
            Found::NotNow => false,
        };
        // If it comes again, or is kicked, it is recognised by what is owed.
        let delivery = self.deliveries.deliver(entry).await;
        if matches!(delivery, Delivery::GivenUp(_)) {
            self.store.note(entry, Step::GivenUp);
            return self.is_given_up(entry).await;
        }
        if delivery == Delivery::There
            && let Err(why) = self.follow_now(entry).await
        {
            warn!(why, "cannot queue the jobs that follow");
            return false;
        }
        is_over || delivery != Delivery::There
    }

    /// Deals with a result that was given up. Its job is buried, and waits for somebody to kick it. If
    /// it is gone, nobody can, and nothing is owed any more.
    async fn is_given_up(&self, entry: &Entry) -> bool {
        match self.is_queued(entry).await {
            Some(true) => true,
            Some(false) => {
                info!("the result could not be sent, and its job is gone: it is not sent any more");
                let steps = [
                    Step::Published,
                    Step::Stored,
                    Step::CalledBack,
                    Step::Followed,
                    Step::Dequeued,
                ];
                for step in steps {
                    self.store.note(entry, step);
                }
                true
            }
            None => false,
        }
    }

    /// Whether the job of a result is in the queue. `None`: the server cannot be asked.
    async fn is_queued(&self, entry: &Entry) -> Option<bool> {
        let Some(place) = entry.place.as_ref() else { return Some(false) };
        let source = self.servers.named(&place.server)?;
        let mut connection = source.connection().await.ok()?;
        let job = connection.peek(place.job).await.ok()?;
        source.give(connection);
        Some(job.is_some_and(|job| is_of(entry, &job.body)))
    }

    /// Reserves the job of a result again, if nobody has it.
    async fn reclaim(&self, entry: &Entry) -> Found {
        let found = self.try_reclaim(entry).await.unwrap_or(Found::NotNow);
        if matches!(found, Found::Gone) {
            self.store.note(entry, Step::Dequeued);
        }
        found
    }

    /// `None`: the server cannot be asked.
    async fn try_reclaim(&self, entry: &Entry) -> Option<Found> {
        let place = entry.place.as_ref()?;
        let source = self.servers.named(&place.server)?;
        let mut connection = source.connection().await.ok()?;
        let is_ours = |body: &[u8]| is_of(entry, body);
        if !connection.peek(place.job).await.ok()?.is_some_and(|job| is_ours(&job.body)) {
            source.give(connection);
            return Some(Found::Gone);
        }
        match connection.reserve_job(place.job).await.ok()? {
            // It was deleted in between, and its number given to another job, which goes back as the
            // connection is dropped.
            Some(job) if !is_ours(&job.body) => Some(Found::Gone),
            Some(job) => {
                let (stopping, metrics) = (self.tasks.stopping(), Arc::clone(&self.metrics));
                let lease = Lease::take(connection, source, job, stopping, metrics).await.ok()?;
                Some(Found::Ours(Box::new(lease)))
            }
            None => {
                source.give(connection);
                Some(Found::NotNow)
            }
        }
    }
}

/// Whether this is the body of the job that the result is of. A server that lost its jobs gives out the
/// same numbers again.
fn is_of(entry: &Entry, body: &[u8]) -> bool {
    match Job::parse(body) {
        Ok(job) => job.id == entry.id,
        Err(bad) => bad.id == Some(entry.id),
    }
}
