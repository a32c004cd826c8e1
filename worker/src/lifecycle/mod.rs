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
//!
//! This file has the way from the reserve to the attempt. `waiting` has the jobs that cannot be run yet,
//! `refused` those that never can, `together` those that came at once,
//! `attempts` the attempt, `settle` what is owed for a result, and `events`
//! counts and logs each way to leave the worker. `cancel` and `rerun` are what an operator can do with a job.

mod artifacts;
mod attempts;
mod cancel;
mod events;
mod follow;
mod held;
mod refused;
mod rerun;
mod same_id;
mod settle;
mod together;
mod waiting;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jq_client::{Connection, Job as QueuedJob};
use tracing::{Instrument, info, info_span};
use uuid::Uuid;

use crate::blame::{Evidence, Suspicion};
use crate::delivery::Deliveries;
use crate::destinations::Place;
use crate::ending::Ending;
use crate::given_back::GivenBack;
use crate::health::{Admission, Health};
use crate::job::{BadJob, Job};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::parked::{Parked, Parking};
use crate::retry;
use crate::room::{Permit, Room};
use crate::servers::Servers;
use crate::setup::CurrentSetup;
use crate::source::Source;
use crate::store::{Entry, Store};
use crate::table::{ActiveJob, Registration, Table};
use crate::tasks::Tasks;

use attempts::Attempts;
use events::{Event, Events};
use held::Held;
use same_id::Earlier;
use settle::{Kept, Settler};

pub use cancel::Cancel;
pub use rerun::{Rerun, previous};

/// What jobs need on their way.
#[derive(Debug)]
pub struct Needs {
    /// Handlers, and the worker's name.
    pub setup: CurrentSetup,
    /// Keeps results, and working directories.
    pub store: Arc<Store>,
    /// Jobs without a result.
    pub table: Arc<Table>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How many jobs there is room for.
    pub room: Arc<Room>,
    /// What of this machine does not work.
    pub health: Arc<Health>,
    /// Sends results.
    pub deliveries: Arc<Deliveries>,
    /// Where jobs come from, to find those again whose results are owed.
    pub servers: Arc<Servers>,
    /// Those that wait there until they can be run here.
    pub parking: Arc<Parking>,
    /// Runs what the end of the worker waits for.
    pub tasks: Tasks,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Lifecycle {
    setup: CurrentSetup,
    store: Arc<Store>,
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    room: Arc<Room>,
    health: Arc<Health>,
    deliveries: Arc<Deliveries>,
    tasks: Tasks,
    /// Jobs that are ready in a queue, and wait until they can be run here.
    parking: Arc<Parking>,
    /// Jobs that wait in the queue until nothing else runs here.
    suspects: Mutex<VecDeque<Parked>>,
    /// Held while a queue is searched for a job.
    searching: tokio::sync::Mutex<()>,
    /// Held while a job is queued anew.
    queueing: tokio::sync::Mutex<()>,
    given_back: Arc<GivenBack>,
    events: Events,
    settler: Arc<Settler>,
    attempts: Attempts,
}

impl Lifecycle {
    /// No job is on its way.
    pub fn new(needs: Needs) -> Self {
        let Needs {
            setup,
            store,
            table,
            metrics,
            room,
            health,
            deliveries,
            servers,
            parking,
            tasks,
        } = needs;
        let given_back: Arc<GivenBack> = Arc::default();
        let events = Events { metrics: Arc::clone(&metrics), table: Arc::clone(&table) };
        let settler = Arc::new(Settler {
            store: Arc::clone(&store),
            deliveries: Arc::clone(&deliveries),
            servers,
            room: Arc::clone(&room),
            metrics: Arc::clone(&metrics),
            given_back: Arc::clone(&given_back),
            health: Arc::clone(&health),
            events: events.clone(),
            tasks: tasks.clone(),
            following: Mutex::default(),
        });
        let attempts = Attempts {
            store: Arc::clone(&store),
            table: Arc::clone(&table),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            events: events.clone(),
            settler: Arc::clone(&settler),
        };
        Self {
            setup,
            store,
            table,
            metrics,
            room,
            health,
            deliveries,
            tasks,
            parking,
            suspects: Mutex::default(),
            searching: tokio::sync::Mutex::default(),
            queueing: tokio::sync::Mutex::default(),
            given_back,
            events,
            settler,
            attempts,
        }
    }

    /// Settles what is owed for a result that was kept before this start.
    pub fn settle(&self, entry: Arc<Entry>) {
        self.settler.settle(entry);
    }

    /// Deals with a job that was just reserved over this connection.
    async fn reserved(
        self: &Arc<Self>,
        source: Arc<Source>,
        connection: Connection,
        job: QueuedJob,
        permit: Permit,
    ) {
        let (queued_as, from) = (job.id, Arc::clone(&source));
        let (stopping, metrics) = (self.tasks.stopping(), Arc::clone(&self.metrics));
        match Lease::take(connection, source, job, stopping, metrics).await {
            Ok(lease) => self.read(lease, permit).await,
            Err(lost) => info_span!("job", server = from.name(), queued_as).in_scope(|| {
                self.events.lost(Ending::Unconfirmed, &lost, &Event::default());
            }),
        }
    }

    /// Counts its attempts, and reads its body.
    async fn read(self: &Arc<Self>, lease: Lease, permit: Permit) {
        let place = &lease.facts.place;
        let queued_as = place.job;
        let given_back = self.given_back.count(&place.server, queued_as);
        let earlier = lease.facts.earlier.saturating_sub(given_back);
        let kicked = lease.facts.kicked;
        match Job::parse(&lease.body) {
            Ok(job) => {
                let retries = self.retries(&job);
                let attempt = retry::attempt(earlier, kicked, retries);
                let span = info_span!("job", id = %job.id, r#type = %job.kind, attempt, queued_as);
                self.admit(lease, permit, job, attempt).instrument(span).await;
            }
            Err(bad) => {
                let attempt = retry::attempt(earlier, kicked, 0);
                let id = bad.id.map(|id| id.to_string());
                let span = info_span!("job", id, attempt, queued_as);
                self.refuse(lease, permit, *bad, attempt).instrument(span).await;
            }
        }
    }

    /// How often a job is tried again.
    fn retries(&self, job: &Job) -> u32 {
        let setup = self.setup.get();
        let of_handler = || setup.executor.handlers.get(&job.kind).map_or(0, |it| it.retry);
        job.retry.unwrap_or_else(of_handler)
    }

    /// Decides whether the job is run here and now.
    async fn admit(self: &Arc<Self>, mut lease: Lease, mut permit: Permit, job: Job, attempt: u32) {
        if let Some(entry) = self.done_before(&lease, job.id) {
            drop(permit);
            return self.settler.conclude(lease, entry).await;
        }
        if self.store.requests().is_cancelled(job.id, job.rerun_at) {
            return self.end_cancelled(lease, Some(permit), job.into(), attempt, None).await;
        }
        let setup = self.setup.get();
        let Some(handler) = setup.executor.handlers.get(&job.kind).cloned() else {
            let reason = format!("there is no handler of the type {}", job.kind);
            let Job { id, kind, result, callback, custom, .. } = job;
            let (id, kind) = (Some(id), Some(kind));
            let bad = BadJob { reason, id, kind, result, callback, custom };
            return self.refuse(lease, permit, bad, attempt).await;
        };
        match self.earlier(&mut lease, &job, handler.rerun).await {
            Ok(Earlier::Nothing) => {}
            Ok(Earlier::Here) => return self.park_second(lease, permit, job.id).await,
            Ok(Earlier::Answered(action)) => {
                drop(permit);
                return self.settler.answer(lease, job.id, action).await;
            }
            Ok(Earlier::Elsewhere(body)) => {
                let entry = self.adopt(&job, &lease.facts.place, &body);
                if let Some(entry) = entry {
                    drop(permit);
                    return self.take_over(lease, entry).await;
                }
            }
            Ok(Earlier::Other) => return self.refuse_other(lease, &job, attempt).await,
            Err(lost) => return self.events.lost(Ending::LostOnReturn, &lost, &Event::default()),
        }
        if let Some(target) = job.first_target() {
            let place = Place::of(&target.url);
            if !self.deliveries.destinations().admits(&place) {
                return self.park(lease, permit, &job, Ending::NoDestination).await;
            }
        }
        let probe = match self.health.admit(&job.kind) {
            Admission::Free => None,
            Admission::Probe(probe) => Some(probe),
            Admission::Paused => {
                self.events.record(Ending::NotTaken, &Event::default());
                // Its permit is held until it is back, or the next one would be it again.
                self.settler.let_go(lease, Ending::NotTaken, Duration::ZERO).await;
                return;
            }
        };
        if !permit.is_for(&job.kind) && !permit.claim(&job.kind, handler.demand()) {
            return self.park(lease, permit, &job, Ending::NoRoom).await;
        }
        let suspicion = self.suspicion(&lease, &job, setup.config.max_crashes);
        if suspicion == Suspicion::RunAlone && !permit.make_alone() {
            return self.suspect(lease, permit, &job).await;
        }
        let guilty = match suspicion {
            Suspicion::Guilty(why) => Some(why),
            Suspicion::None | Suspicion::RunAlone => None,
        };
        let place = lease.facts.place.clone();
        // The age is in whole seconds.
        let queued = || Timestamp::now().checked_sub(lease.facts.age).ok();
        let created = job.created_at.or_else(queued);
        let id = job.id;
        let mut active = ActiveJob::new(id, job.kind.clone(), attempt, Some(place), created);
        active.units = permit.units().to_vec();
        if let Some(waiting) = self.table.waiting(job.id).filter(|_| attempt > 1) {
            active.earlier = waiting.attempts;
        }
        let Some(active) = self.register(active) else {
            return self.park_second(lease, permit, id).await;
        };
        if self.store.requests().is_cancelled(id, job.rerun_at) {
            // In the moment before it could be found in the table.
            drop(active);
            return self.end_cancelled(lease, Some(permit), job.into(), attempt, None).await;
        }
        if attempt == 1 {
            self.metrics.waited(&job.kind, lease.facts.age.as_secs_f64());
        }
        self.attempts.run(Held { lease, permit, active, probe, job, handler, setup, guilty }).await;
    }

    /// Ends a job that another worker has run, whose result it has left in the shared store.
    async fn take_over(&self, mut lease: Lease, entry: Entry) {
        info!("another worker has done this job: it is not run again");
        let (id, entry) = (entry.id, Arc::new(entry));
        match self.settler.keep(&mut lease, &entry).await {
            Ok(Kept::WithLease) => {}
            Ok(Kept::WithoutLease) => return,
            Ok(Kept::Deleted) => return self.settler.settle(entry),
            Err(lost) => return self.events.lost(Ending::LostOnReturn, &lost, &Event::default()),
        }
        self.table.clear_waiting(id);
        self.events.record(Ending::Answered, &Event { id: Some(id), ..Event::default() });
        self.settler.conclude(lease, entry).await;
    }

    /// What speaks against a job. What was before it was buried for that and kicked does not count.
    fn suspicion(&self, lease: &Lease, job: &Job, max_crashes: u32) -> Suspicion {
        let facts = &lease.facts;
        let settled = facts.kicked.saturating_mul(max_crashes);
        let evidence = Evidence {
            own: self.store.crashes(job.id, facts.place.job),
            vanished: facts.vanished.saturating_sub(settled),
            is_exact: facts.counts_vanished,
        };
        evidence.judge(max_crashes)
    }

    /// `None`: a job of this id is active, or its result is on its way.
    fn register(&self, active: ActiveJob) -> Option<Registration> {
        if self.deliveries.is_active(active.id) { None } else { self.table.register(active) }
    }

    /// The result of this very job, if it was done before and is in the queue all the same: after a
    /// crash, or when its result could not be sent and it was kicked.
    fn done_before(&self, lease: &Lease, id: Uuid) -> Option<Arc<Entry>> {
        let (entry, done) = self.store.owed(id)?;
        let is_it = entry.place.as_ref() == Some(&lease.facts.place) && !done.dequeued;
        is_it.then(|| {
            info!("this job is done already: it is not run again");
            entry
        })
    }
}
