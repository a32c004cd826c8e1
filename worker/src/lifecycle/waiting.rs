//! Jobs that cannot be run here yet: they are ready in their queue, where any worker can have them, and are
//! reserved again by their numbers when they can be run.
//!
//! That is so for want of room of their type, while their results could not be sent, while another job of
//! their id is here (see [`same_id`](super::same_id)), and for a job that is to run while nothing else does.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use jq_client::{Connection, Job as QueuedJob, JobId};
use tokio::time::sleep;

use super::Lifecycle;
use super::events::Event;
use crate::ending::Ending;
use crate::health::Wanted;
use crate::job::Job;
use crate::lease::Lease;
use crate::parked::{Candidate, Parked, Taking, Wait};
use crate::room::{Demand, Permit};
use crate::setup::Setup;
use crate::source::{Source, Taker};

/// How often it is looked whether a destination in trouble may be tried with a job.
const LOOK: Duration = Duration::from_secs(1);

impl Lifecycle {
    /// Whenever a job is over: takes those again that were waiting for it. As long as it is polled.
    pub async fn keep_unparking(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.room.freed() => {}
                // A destination may be tried again as time passes.
                () = sleep(LOOK), if !self.parking.is_empty() => {}
            }
            self.run_suspect();
            self.unpark();
        }
    }

    /// Gives a job back that cannot be run here yet, and remembers to take it again.
    pub(super) async fn park(
        self: &Arc<Self>,
        lease: Lease,
        permit: Permit,
        job: &Job,
        ending: Ending,
    ) {
        let parked = parked(&lease, job);
        self.events.record(ending, &Event::default());
        // Before it is ready again: from now on it is looked for jobs that can be run.
        self.parking.park(Candidate { wait: Wait::of_job(job), job: parked, is_second: false });
        // Its permit is held until it is back, or the next one would be it again.
        self.settler.let_go(lease, ending, Duration::ZERO).await;
        drop(permit);
    }

    /// Gives a job back that is to run alone, takes no more jobs, and takes this one again when the others
    /// are over. It is not held meanwhile: if the worker died, it would be counted against it.
    pub(super) async fn suspect(self: &Arc<Self>, lease: Lease, permit: Permit, job: &Job) {
        {
            let mut suspects = self.suspects();
            suspects.push_back(parked(&lease, job));
            self.room.set_draining(true);
        }
        self.events.record(Ending::Suspected, &Event::default());
        self.settler.let_go(lease, Ending::Suspected, Duration::ZERO).await;
        // Until here something runs, so it is not taken again before it is back.
        drop(permit);
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
            let taking = self.parking.taking(&suspect.source);
            self.tasks.spawn(async move { lifecycle.take_again(suspect, permit, taking).await });
        }
    }

    pub(super) fn suspects(&self) -> MutexGuard<'_, VecDeque<Parked>> {
        // It is whole between two statements, whoever panicked.
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes jobs again that could not be run before, as far as they can be now.
    pub(super) fn unpark(self: &Arc<Self>) {
        if !self.room.is_open() {
            return;
        }
        let setup = self.setup.get();
        // What a job needs that has waited longer is left for it, or small needs would starve a large
        // one.
        let mut spoken_for: Vec<&str> = Vec::new();
        let mut tried = HashSet::new();
        for group in self.parking.groups() {
            if !self.room.is_open() {
                return;
            }
            let mut most = self.most(&group.wait);
            let demand = demand(&setup, &group.wait);
            let tries_handler = self.wanted(&group.wait) == Wanted::One;
            if tries_handler && !tried.insert(group.wait.kind.clone()) {
                continue;
            }
            if demand.needs.iter().any(|need| spoken_for.contains(&need.name.as_str())) {
                continue;
            }
            while most > 0 {
                let permit = match &group.wait.kind {
                    Some(kind) => self.room.take_for(kind, demand),
                    None => self.room.take(),
                };
                let Some(permit) = permit else {
                    if self.room.lacks(demand.needs) {
                        spoken_for.extend(demand.needs.iter().map(|need| need.name.as_str()));
                    }
                    break;
                };
                // What tries a handler is any: the first may be one that can never be run here.
                let parked = match tries_handler {
                    false => self.parking.next(&group),
                    true => self.parking.any_of(group.wait.kind.as_ref()),
                };
                let Some(parked) = parked else { break };
                most -= 1;
                let lifecycle = Arc::clone(self);
                let taking = self.parking.taking(&parked.source);
                // When another worker has it, its permit goes, and the next one is tried.
                self.tasks.spawn(async move { lifecycle.take_again(parked, permit, taking).await });
            }
        }
    }

    /// Reserves a job again, and deals with it, unless another worker has it.
    async fn take_again(self: &Arc<Self>, parked: Parked, permit: Permit, taking: Taking) {
        let source = Arc::clone(&parked.source);
        let Ok(mut connection) = source.connection().await else { return };
        // Others can be reserved by their numbers too. But a buried job is over, and one that another worker
        // has delayed waits for its next attempt.
        let is_ours = || self.given_back.count(source.name(), parked.number) > 0;
        match connection.stats_job(parked.number).await {
            Ok(Some(stats)) if stats.get("state") == Some("ready") => {}
            Ok(Some(stats)) if stats.get("state") == Some("delayed") && is_ours() => {}
            Ok(_) => return source.give(connection),
            Err(_) => return,
        }
        let reserved = connection.reserve_job(parked.number).await;
        drop(taking);
        match reserved {
            // Dropping the connection gives that job back.
            Ok(Some(job)) if !parked.is_of(&job.body) => {}
            Ok(Some(job)) => self.reserved(source, connection, job, permit).await,
            Ok(None) => source.give(connection),
            Err(_) => {}
        }
    }

    fn wanted(&self, wait: &Wait) -> Wanted {
        wait.kind.as_ref().map_or(Wanted::All, |kind| self.health.wants(kind))
    }

    /// How many jobs that need this can be run now, as far as handlers and destinations are concerned.
    fn most(&self, wait: &Wait) -> usize {
        let of_handler = match self.wanted(wait) {
            Wanted::All => usize::MAX,
            Wanted::One => 1,
            Wanted::None => 0,
        };
        let space = |place| self.deliveries.destinations().space(place);
        of_handler.min(wait.place.as_ref().map_or(usize::MAX, space))
    }

    /// Whether a job that needs this could be run if there were room for one more.
    fn is_runnable(&self, setup: &Setup, wait: &Wait) -> bool {
        let fits = |kind| self.room.fits(kind, demand(setup, wait));
        self.most(wait) > 0 && wait.kind.as_ref().is_none_or(fits)
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

    fn is_selective(&self, source: &Arc<Source>) -> bool {
        self.health.is_selective() || !self.parking.is_empty_of(source)
    }

    fn wants_any(&self) -> bool {
        let setup = self.setup.get();
        setup.executor.handlers.iter().any(|(kind, _)| {
            kind.is_none_or(|kind| {
                self.is_runnable(&setup, &Wait { kind: Some(kind.clone()), place: None })
            })
        })
    }

    fn begin_look(&self, source: &Arc<Source>) {
        self.parking.begin_look(source);
    }

    fn choose(&self, source: &Arc<Source>, number: JobId, body: &[u8]) -> (Candidate, bool) {
        let (wait, id) = Wait::of(body);
        let is_second = id.is_some_and(|id| self.is_second(id, source.name(), number));
        let is_runnable = !is_second && self.is_runnable(&self.setup.get(), &wait);
        let job = Parked { source: Arc::clone(source), number, id };
        (Candidate { wait, job, is_second }, is_runnable)
    }

    fn may_set_aside(&self, found: &Candidate) -> bool {
        // What this machine or another job is at fault for costs the job nothing.
        !found.is_second
            && found.wait.kind.as_ref().is_some_and(|kind| self.health.wants(kind) == Wanted::All)
    }

    fn note_set_aside(&self, source: &Arc<Source>, job: JobId) -> u32 {
        self.given_back.add(source.name(), job)
    }

    fn end_look(&self, source: &Arc<Source>, found: Vec<Candidate>, is_all: bool) {
        self.parking.end_look(source, found, is_all);
        self.unpark();
    }

    fn known(&self, source: &Arc<Source>) -> usize {
        self.parking.count_of(source)
    }

    fn has_runnable(&self, source: &Arc<Source>) -> bool {
        let setup = self.setup.get();
        let groups = self.parking.groups_of(source);
        self.room.is_open() && groups.iter().any(|group| self.is_runnable(&setup, &group.wait))
    }
}

fn parked(lease: &Lease, job: &Job) -> Parked {
    Parked { source: lease.source(), number: lease.facts.place.job, id: Some(job.id) }
}

fn demand<'s>(setup: &'s Setup, wait: &Wait) -> Demand<'s> {
    let handler = wait.kind.as_ref().and_then(|kind| setup.executor.handlers.get(kind));
    handler.map_or(Demand::default(), |handler| handler.demand())
}
