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
//! This file has the way from the reserve to the attempt. `together` is for jobs that came
//! at once. `attempts` has the attempt, `settle` what
//! is owed for a result, and `events` counts and logs each way to leave the worker.

mod attempts;
mod events;
mod held;
mod same_id;
mod settle;
mod together;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jq_client::{Connection, Job as QueuedJob};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{Instrument, info, info_span};
use url::Url;
use uuid::Uuid;

use crate::blame::{Evidence, Suspicion};
use crate::delivery::Deliveries;
use crate::destinations::Place;
use crate::ending::{Ending, Verdict};
use crate::given_back::GivenBack;
use crate::health::{Admission, Health, Wanted};
use crate::job::{BadJob, Job};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::parked::{Candidate, Parked, Parking};
use crate::result::{JobResult, Status};
use crate::retry::{self, Backoff, jitter};
use crate::room::{Demand, Permit, Room};
use crate::servers::Servers;
use crate::setup::{CurrentSetup, Setup};
use crate::source::{Source, Taker};
use crate::store::{Entry, Found, Store};
use crate::table::{ActiveJob, Registration, Table};
use crate::tasks::Tasks;

use attempts::Attempts;
use events::{Event, Events};
use held::{Held, raw};
use same_id::Earlier;
use settle::{Kept, Settler};

/// A job of the same id as one that is here comes back after so long at first. It doubles each time.
const DUPLICATE: Backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_secs(300) };

/// A job of a type without room is given back for so long at first. It doubles each time. When there is
/// room here, it is asked for before that.
const NO_ROOM: Backoff = Backoff { first: Duration::from_secs(30), max: Duration::from_secs(600) };

/// A job that is to run alone is given back for so long to a queue that would take anything else for a
/// crash. It doubles each time. When it can run here, it is asked for before that.
const SET_ASIDE: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(60) };

/// When very many jobs were given back for want of room, the next look for others takes so long: a
/// backlog of one type costs little, and what is behind it is found all the same.
const CROWDED: Duration = Duration::from_millis(5);

/// How often it is looked whether a destination in trouble may be tried with a job.
const LOOK: Duration = Duration::from_secs(1);

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
    /// Jobs that wait in the queue for room of their type here.
    parking: Parking,
    /// Jobs that wait in the queue for the destination of their results.
    bound: Parking<Place>,
    /// Jobs in the queue that can be run here while others cannot.
    chosen: Parking,
    /// Jobs that wait in the queue until nothing else runs here.
    suspects: Mutex<VecDeque<Parked>>,
    given_back: Arc<GivenBack>,
    events: Events,
    settler: Arc<Settler>,
    attempts: Attempts,
}

impl Lifecycle {
    /// No job is on its way.
    pub fn new(needs: Needs) -> Self {
        let Needs { setup, store, table, metrics, room, health, deliveries, servers, tasks } =
            needs;
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
        });
        let attempts = Attempts {
            store: Arc::clone(&store),
            table: Arc::clone(&table),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            events: events.clone(),
            settler: Arc::clone(&settler),
        };
        let (parking, bound, chosen) = (Parking::default(), Parking::default(), Parking::default());
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
            bound,
            chosen,
            suspects: Mutex::default(),
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

    /// Whenever a job is over: takes those again that were waiting for it. As long as it is polled.
    pub async fn keep_unparking(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.room.freed() => {}
                // A destination may be tried again as time passes.
                () = sleep(LOOK), if !self.bound.is_empty() => {}
            }
            self.run_suspect();
            self.unpark();
        }
    }

    /// Takes the next job again that is to run alone, if nothing else runs.
    fn run_suspect(self: &Arc<Self>) {
        let mut suspects = self.suspects();
        self.room.set_draining(!suspects.is_empty());
        if suspects.is_empty() {
            return;
        }
        let Some(permit) = self.room.take_alone() else { return };
        if let Some(suspect) = suspects.pop_front() {
            let lifecycle = Arc::clone(self);
            self.tasks.spawn(async move { lifecycle.take_again(suspect, permit).await });
        }
    }

    fn suspects(&self) -> MutexGuard<'_, VecDeque<Parked>> {
        // It is whole between two statements, whoever panicked.
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes jobs again that were given back for want of room, as far as there is room now.
    fn unpark(self: &Arc<Self>) {
        let setup = self.setup.get();
        // What a job needs that has waited longer is left for it, or small needs would starve a large
        // one.
        let mut spoken_for: Vec<&str> = Vec::new();
        self.unpark_from(&self.parking, &setup, &mut spoken_for);
        self.unpark_from(&self.chosen, &setup, &mut spoken_for);
        for place in self.bound.keys() {
            for _ in 0..self.deliveries.destinations().space(&place) {
                let Some(permit) = self.room.take() else { return };
                let Some(parked) = self.bound.next(&place) else { break };
                let lifecycle = Arc::clone(self);
                self.tasks.spawn(async move { lifecycle.take_again(parked, permit).await });
            }
        }
    }

    fn unpark_from<'s>(
        self: &Arc<Self>,
        parking: &Parking,
        setup: &'s Setup,
        spoken_for: &mut Vec<&'s str>,
    ) {
        for kind in parking.keys() {
            if self.health.wants(&kind) == Wanted::None {
                continue;
            }
            let handler = setup.executor.handlers.get(&kind);
            let demand = handler.map_or(Demand::default(), |handler| handler.demand());
            if demand.needs.iter().any(|need| spoken_for.contains(&need.name.as_str())) {
                continue;
            }
            loop {
                let Some(permit) = self.room.take_for(&kind, demand) else {
                    if self.room.lacks(demand.needs) {
                        spoken_for.extend(demand.needs.iter().map(|need| need.name.as_str()));
                    }
                    break;
                };
                let Some(parked) = parking.next(&kind) else { break };
                let lifecycle = Arc::clone(self);
                // When another worker has it, its permit goes, and the next one is tried.
                self.tasks.spawn(async move { lifecycle.take_again(parked, permit).await });
            }
        }
    }

    /// Reserves a job again that was given back for want of room, and deals with it, unless another
    /// worker has it.
    async fn take_again(self: &Arc<Self>, parked: Parked, permit: Permit) {
        let Parked { source, number, id } = parked;
        let Ok(mut connection) = source.connection().await else { return };
        // A buried job can be reserved by its number too; but it is over.
        match connection.stats_job(number).await {
            Ok(Some(stats)) if matches!(stats.get("state"), Some("ready" | "delayed")) => {}
            Ok(_) => return source.give(connection),
            Err(_) => return,
        }
        match connection.reserve_job(number).await {
            // A server that lost its jobs gives out the same numbers again. Dropping the connection
            // gives that job back.
            Ok(Some(job)) if !Job::parse(&job.body).is_ok_and(|job| job.id == id) => {}
            Ok(Some(job)) => self.reserved(source, connection, job, permit).await,
            Ok(None) => source.give(connection),
            Err(_) => {}
        }
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
            Ok(Earlier::Here) => return self.give_back_duplicate(lease).await,
            Ok(Earlier::Answered(action)) => {
                drop(permit);
                return self.settler.answer(lease, job.id, action).await;
            }
            Ok(Earlier::Other) => return self.refuse_other(lease, &job, attempt).await,
            Err(lost) => return self.events.lost(Ending::LostOnReturn, &lost, &Event::default()),
        }
        if let Some(target) = &job.result {
            let place = Place::of(&target.url);
            if !self.deliveries.destinations().admits(&place) {
                return self.set_aside(lease, &job, place).await;
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
            self.park(lease, &job).await;
            if self.parking.is_crowded() {
                // There is no hurry to find more of them. The permit is held meanwhile, but no job.
                sleep(CROWDED).await;
            }
            return;
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
        let mut active = ActiveJob::new(job.id, job.kind.clone(), attempt, Some(place), created);
        active.units = permit.units().to_vec();
        if let Some(waiting) = self.table.waiting(job.id).filter(|_| attempt > 1) {
            active.earlier = waiting.attempts;
        }
        let Some(active) = self.register(active) else {
            return self.give_back_duplicate(lease).await;
        };
        if attempt == 1 {
            self.metrics.waited(&job.kind, lease.facts.age.as_secs_f64());
        }
        self.attempts.run(Held { lease, permit, active, probe, job, handler, setup, guilty }).await;
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

    /// Gives a job back that is to run alone, takes no more jobs, and takes this one again when the others
    /// are over. It is not held meanwhile: if the worker died, it would be counted against it.
    async fn suspect(self: &Arc<Self>, lease: Lease, permit: Permit, job: &Job) {
        let suspect = Parked { source: lease.source(), number: lease.facts.place.job, id: job.id };
        {
            let mut suspects = self.suspects();
            suspects.push_back(suspect);
            self.room.set_draining(true);
        }
        if lease.facts.counts_vanished {
            // It is ready for others at once, and counts neither as an attempt nor as a crash.
            self.events.record(Ending::Suspected, &Event::default());
            lease.quit().await;
        } else {
            let delay = |times| SET_ASIDE.delay(times, jitter());
            self.give_back(lease, Ending::Suspected, delay).await;
        }
        // Until here something runs, so it is not taken again before it is back.
        drop(permit);
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

    async fn give_back_duplicate(&self, lease: Lease) {
        self.give_back(lease, Ending::Duplicate, |times| DUPLICATE.delay(times, jitter())).await;
    }

    /// Gives a job back for want of room, and remembers to take it again.
    async fn park(self: &Arc<Self>, lease: Lease, job: &Job) {
        let parked = Parked { source: lease.source(), number: lease.facts.place.job, id: job.id };
        self.give_back(lease, Ending::NoRoom, |times| NO_ROOM.delay(times, jitter())).await;
        self.parking.park(&job.kind, parked);
        self.unpark();
    }

    /// Gives a job back whose result could not be sent, and remembers to take it again.
    async fn set_aside(self: &Arc<Self>, lease: Lease, job: &Job, place: Place) {
        let parked = Parked { source: lease.source(), number: lease.facts.place.job, id: job.id };
        let delay = |times| NO_ROOM.delay(times, jitter());
        self.give_back(lease, Ending::NoDestination, delay).await;
        self.bound.park(&place, parked);
    }

    /// Gives a job back that was not run. `delay` is told how often that has happened to it.
    async fn give_back(&self, lease: Lease, ending: Ending, delay: impl FnOnce(u32) -> Duration) {
        let place = &lease.facts.place;
        let times = self.given_back.add(&place.server, place.job);
        self.events.record(ending, &Event::default());
        self.settler.let_go(lease, ending, delay(times)).await;
    }

    /// Buries a job whose id is another's. The document at its URL is that one's, so nothing is kept or sent.
    async fn refuse_other(&self, lease: Lease, job: &Job, attempt: u32) {
        let ending = Ending::Over(Verdict::Refused);
        let why = "a job of the same id and other content was done here before: give it another id";
        let (kind, failure) = (Some(&job.kind), ending.failure(why));
        let event = Event { id: Some(job.id), kind, attempt, ..Event::default() };
        self.events.record(ending, &Event { failure: failure.as_ref(), ..event });
        self.settler.let_go(lease, ending, Duration::ZERO).await;
    }

    /// Buries what is not a job. If its id can be read, a result says so: it is served, and sent to
    /// where the job wanted it, as far as that can be read and is allowed.
    async fn refuse(self: &Arc<Self>, mut lease: Lease, permit: Permit, bad: BadJob, attempt: u32) {
        if let Some(entry) = bad.id.and_then(|id| self.done_before(&lease, id)) {
            drop(permit);
            return self.settler.conclude(lease, entry).await;
        }
        let active = match &bad {
            BadJob { id: Some(id), kind: Some(kind), .. } => {
                let active = ActiveJob::new(*id, kind.clone(), attempt, None, None);
                let Some(active) = self.register(active) else {
                    return self.give_back_duplicate(lease).await;
                };
                Some(active)
            }
            BadJob { id: Some(id), .. } if self.deliveries.is_active(*id) => {
                return self.give_back_duplicate(lease).await;
            }
            _ => None,
        };
        let ending = Ending::Over(Verdict::Refused);
        let failure = ending.failure(&bad.reason);
        let (kind, failure) = (bad.kind.as_ref(), failure.as_ref());
        let event = Event { id: bad.id, kind, attempt, failure, ..Event::default() };
        self.events.record(ending, &event);
        let entry = match bad.id {
            // Whoever waits for that one has it.
            Some(id) if self.has_succeeded(id).await => None,
            Some(id) if self.is_of_another(id, &lease.facts.place) => None,
            _ => refusal(&self.setup.get(), &lease, bad, attempt),
        };
        let Some(entry) = entry else {
            self.settler.let_go(lease, ending, Duration::ZERO).await;
            return;
        };
        let entry = Arc::new(entry);
        match self.settler.keep(&mut lease, &entry).await {
            Ok(Kept::WithLease) => {
                // However long the sending takes, there is room for another job.
                drop((active, permit));
                self.settler.conclude(lease, entry).await;
            }
            Ok(Kept::WithoutLease) => {}
            Err(lost) => self.events.lost(Ending::LostOnReturn, &lost, &Event::default()),
        }
    }

    /// Whether there is a result of success under this id.
    async fn has_succeeded(&self, id: Uuid) -> bool {
        #[derive(Deserialize)]
        struct Told {
            status: Status,
        }
        let store = Arc::clone(&self.store);
        let found = spawn_blocking(move || store.find(id)).await;
        let Ok(Ok(Found::Result(body))) = found else { return false };
        let told = serde_json::from_slice::<Told>(&body);
        told.is_ok_and(|told| told.status == Status::Successful)
    }
}

impl Taker for Arc<Lifecycle> {
    fn take(&self, source: Arc<Source>, connection: Connection, job: QueuedJob, permit: Permit) {
        let lifecycle = Arc::clone(self);
        self.tasks.spawn(async move { lifecycle.reserved(source, connection, job, permit).await });
    }

    fn take_all(
        &self,
        source: Arc<Source>,
        connection: Connection,
        jobs: Vec<QueuedJob>,
        permits: Vec<Permit>,
    ) {
        self.take_together(source, connection, jobs, permits);
    }

    fn may_share(&self) -> bool {
        self.setup.get().executor.handlers.are_pipelined()
    }

    fn is_selective(&self) -> bool {
        self.health.is_selective()
    }

    fn choose(&self, source: &Arc<Source>, job: &QueuedJob) -> Option<Candidate> {
        // What is no job is dealt with when all types can be run again.
        let Job { id, kind, .. } = Job::parse(&job.body).ok()?;
        let job = Parked { source: Arc::clone(source), number: job.id, id };
        (self.health.wants(&kind) != Wanted::None).then_some(Candidate { kind, job })
    }

    fn chosen(&self, candidates: Vec<Candidate>) {
        // If one is enough, it is any: the first may be one that can never be run here.
        let (mut one_of, mut candidates): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|it| self.health.wants(&it.kind) == Wanted::One);
        fastrand::shuffle(&mut one_of);
        let mut tried = HashSet::new();
        one_of.retain(|candidate| tried.insert(candidate.kind.clone()));
        candidates.extend(one_of);
        self.chosen.clear();
        for Candidate { kind, job } in candidates {
            self.chosen.park(&kind, job);
        }
        self.unpark();
    }

    fn is_done(&self) -> bool {
        self.chosen.is_empty()
    }
}

/// The result of what is not a job. `None`: it has no id under which somebody could look for it.
fn refusal(setup: &Setup, lease: &Lease, bad: BadJob, attempt: u32) -> Option<Entry> {
    let verdict = Verdict::Refused;
    let id = bad.id?;
    let may = |url: &Url| setup.outbound.check(url).is_ok();
    let event = verdict.consequences().callback;
    let callback = event.and_then(|event| event.url(&bad.callback)).filter(|url| may(url)).cloned();
    let target = bad.result.filter(|target| may(&target.url));
    let place = Some(lease.facts.place.clone());
    let created = Timestamp::now().checked_sub(lease.facts.age).ok();
    let (status, name) = (verdict.status().into(), setup.name.clone());
    let blank = JobResult::blank(id, bad.kind, status, name, attempt, created, place.clone());
    let failure = Ending::Over(verdict).failure(bad.reason);
    let (finished, custom) = (Some(blank.timestamp), bad.custom);
    let result = JobResult { finished, custom, error: failure, ..blank };
    Some(Entry {
        id,
        place,
        status: verdict.status(),
        target,
        callback,
        finished: result.timestamp,
        result: raw(&result),
    })
}
