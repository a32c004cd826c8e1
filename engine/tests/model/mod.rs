//! A queue in the simplest terms: lists that are searched from end to end for everything.
//!
//! The engine is checked against it, so it is written from the protocol and from beanstalkd's
//! behaviour, without the engine's ideas. What can be counted on demand is not counted along the
//! way: a job has one place, a tube exists while something needs it, and every number in the stats
//! is the length of a filtered list.

mod commands;
mod observed;
mod operations;
mod policy;
mod stats;
mod time;

use beanstalk_protocol::{
    CommandCounts, JobId, PolicyCounts, Priority, RefusedPuts, Reply, Seconds, TubeName,
};
use jq_engine::{Answer, Body, CloseReason, ConnId, JobBatch, Nanos, Policy, Sink};

pub(crate) use observed::Seen;

/// The whole queue. Its functions are those of the engine.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// In the order of `list-tubes`.
    pub(crate) tubes: Vec<Tube>,
    pub(crate) conns: Vec<Conn>,
    /// All jobs, including those whose body has not arrived.
    pub(crate) jobs: Vec<Job>,
    counts: CommandCounts,
    next_id: JobId,
    /// Counts everything whose order matters.
    next_order: u64,
    /// See [`Model::moment`].
    next_moment: u64,
    total_jobs: u64,
    timeouts: u64,
    disconnects: u64,
    refused_puts: RefusedPuts,
    policies: PolicyCounts,
    total_connections: u64,
    draining: bool,
    /// Of all jobs.
    pub(crate) seen: Seen,
}

#[derive(Debug, Clone)]
pub(crate) struct Tube {
    pub(crate) name: TubeName,
    /// The smallest free number. At one moment, lower numbers come first.
    number: u32,
    pause: Option<Pause>,
    policy: Option<Policy<TubeName>>,
    policy_counts: PolicyCounts,
    reserves: policy::Reserves,
    total_jobs: u64,
    deletes: u64,
    pauses: u64,
    pub(crate) seen: Seen,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    seconds: Seconds,
    until: Nanos,
}

#[derive(Debug, Clone)]
pub(crate) struct Conn {
    /// The smallest free number. At one moment, lower numbers come first.
    pub(crate) id: ConnId,
    used: TubeName,
    /// In the order of `list-tubes-watched`.
    pub(crate) watched: Vec<TubeName>,
    pub(crate) waiting: Option<Waiting>,
    is_producer: bool,
    is_worker: bool,
    half_closed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    order: u64,
    until: Nanos,
    /// For the first job of a batch.
    batch: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    tube: TubeName,
    body: Body,
    priority: Priority,
    delay: Seconds,
    ttr: Seconds,
    created: Nanos,
    /// When it became ready last, or will without a kick.
    ready_at: Nanos,
    reserved_at: Nanos,
    pub(crate) place: Place,
    /// The policy of its tube is asked whether it is taken.
    judged: bool,
    /// Since when it is ready, if it is, and which of two was ready first.
    ready_since: (Nanos, u64),
    reserves: u32,
    timeouts: u32,
    releases: u32,
    buries: u32,
    kicks: u32,
    disconnects: u32,
}

/// Where a job is. `order` tells which of two came there first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its body is still arriving.
    Arriving {
        from: ConnId,
    },
    Ready,
    Delayed {
        until: Nanos,
        order: u64,
    },
    Reserved {
        by: ConnId,
        until: Nanos,
        order: u64,
    },
    Buried {
        order: u64,
    },
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut model = Self {
            tubes: Vec::new(),
            conns: Vec::new(),
            jobs: Vec::new(),
            counts: CommandCounts::default(),
            next_id: 1,
            next_order: 0,
            next_moment: 1,
            total_jobs: 0,
            timeouts: 0,
            disconnects: 0,
            refused_puts: RefusedPuts::default(),
            policies: PolicyCounts::default(),
            total_connections: 0,
            draining: false,
            seen: Seen::default(),
        };
        model.create_tube(&TubeName::default_tube());
        model
    }

    pub(crate) fn connect(&mut self) -> ConnId {
        let id = ConnId(smallest_free(self.conns.iter().map(|conn| conn.id.0)));
        self.conns.push(Conn {
            id,
            used: TubeName::default_tube(),
            watched: vec![TubeName::default_tube()],
            waiting: None,
            is_producer: false,
            is_worker: false,
            half_closed: false,
        });
        self.total_connections += 1;
        id
    }

    pub(crate) fn half_close(&mut self, id: ConnId, sink: &mut impl Sink) {
        let conn = self.conn(id);
        conn.half_closed = true;
        if conn.waiting.take().is_some() {
            sink.answer(id, Answer::Reply(Reply::TimedOut));
        }
    }

    pub(crate) fn disconnect(
        &mut self,
        now: Nanos,
        id: ConnId,
        reason: CloseReason,
        sink: &mut impl Sink,
    ) {
        self.conn(id).waiting = None;
        self.jobs.retain(|job| job.place != Place::Arriving { from: id });
        // The jobs are given back one by one, in the order in which they were reserved.
        while let Some(job) = self.first_reserved_by(id) {
            if reason == CloseReason::Vanished {
                self.disconnects += 1;
                self.job(job).disconnects += 1;
            }
            if !self.gives_up(now, job, sink) {
                self.job(job).ready_at = now;
                self.make_ready(now, job, sink);
            }
        }
        // As if the first name was ignored until there is none.
        while !self.conn(id).watched.is_empty() {
            self.conn(id).watched.swap_remove(0);
            self.drop_idle_tubes();
        }
        self.conns.retain(|conn| conn.id != id);
        self.drop_idle_tubes();
    }

    pub(crate) fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Number of jobs, without those that are still arriving.
    pub(crate) fn job_count(&self) -> usize {
        self.arrived().count()
    }

    /// The jobs that clients can see.
    pub(crate) fn arrived(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| !matches!(job.place, Place::Arriving { .. }))
    }

    fn first_reserved_by(&self, conn: ConnId) -> Option<JobId> {
        let reservation = |job: &Job| match job.place {
            Place::Reserved { by, order, .. } if by == conn => Some((order, job.id)),
            _ => None,
        };
        self.jobs.iter().filter_map(reservation).min().map(|(_, id)| id)
    }

    /// Makes the job ready. It goes to the connection that has waited longest for its tube.
    fn make_ready(&mut self, now: Nanos, id: JobId, sink: &mut impl Sink) {
        let order = self.order();
        let job = self.job(id);
        job.place = Place::Ready;
        job.ready_since = (now, order);
        let tube = self.job(id).tube.clone();
        self.serve(now, &tube, sink);
    }

    fn serve(&mut self, now: Nanos, tube: &TubeName, sink: &mut impl Sink) {
        while let Some(job) = self.best_of(|name| name == tube)
            && let Some(conn) = self.longest_waiting(tube)
        {
            self.count_against_rate(now, tube);
            let waiting = self.conn(conn).waiting.take();
            if waiting.is_some_and(|waiting| waiting.batch) {
                self.take(now, job, conn);
                self.give_batch(conn, &[job], sink);
            } else {
                self.give(now, job, conn, sink);
            }
        }
    }

    fn longest_waiting(&self, tube: &TubeName) -> Option<ConnId> {
        let wait = |conn: &Conn| conn.waiting.map(|waiting| (waiting.order, conn.id));
        let watching = self.conns.iter().filter(|conn| conn.watched.contains(tube));
        watching.filter_map(wait).min().map(|(_, id)| id)
    }

    /// The best ready job of the tubes in `wanted` that are not paused.
    fn best_of(&self, wanted: impl Fn(&TubeName) -> bool) -> Option<JobId> {
        let paused = |name: &TubeName| {
            self.tubes.iter().any(|tube| tube.name == *name && tube.pause.is_some())
        };
        let ready = self.jobs.iter().filter(|job| job.place == Place::Ready);
        let held = |name: &TubeName| paused(name) || self.is_throttled(name);
        let wanted = ready.filter(|job| wanted(&job.tube) && !held(&job.tube));
        wanted.map(|job| (job.priority, job.id)).min().map(|(_, id)| id)
    }

    fn give(&mut self, now: Nanos, id: JobId, to: ConnId, sink: &mut impl Sink) {
        self.take(now, id, to);
        sink.answer(to, Answer::Reply(Reply::Reserved(id, &self.job(id).body)));
    }

    fn take(&mut self, now: Nanos, id: JobId, to: ConnId) {
        let order = self.order();
        self.see(id, |seen, job| seen.reserved(now, job));
        let moment = self.moment(now);
        let job = self.job(id);
        job.reserved_at = moment;
        job.reserves += 1;
        job.place = Place::Reserved { by: to, until: now.after(job.ttr), order };
    }

    fn give_batch(&self, to: ConnId, ids: &[JobId], sink: &mut impl Sink) {
        let jobs = ids.iter().filter_map(|id| self.find(*id));
        let jobs: Vec<_> = jobs.map(|job| (job.id, &job.body)).collect();
        sink.answer(to, Answer::Batch(JobBatch::listed(&jobs)));
    }

    fn create_tube(&mut self, name: &TubeName) {
        if self.tubes.iter().any(|tube| tube.name == *name) {
            return;
        }
        let number = smallest_free(self.tubes.iter().map(|tube| tube.number));
        let name = name.clone();
        self.tubes.push(Tube {
            name,
            number,
            pause: None,
            policy: None,
            policy_counts: PolicyCounts::default(),
            reserves: policy::Reserves::default(),
            total_jobs: 0,
            deletes: 0,
            pauses: 0,
            seen: Seen::default(),
        });
    }

    /// Removes a tube that nothing needs; the last one takes its place.
    fn drop_idle_tubes(&mut self) {
        let needed = |tube: &Tube| {
            tube.name == TubeName::default_tube()
                || tube.pause.is_some()
                || tube.policy.is_some()
                || self.jobs.iter().any(|job| job.tube == tube.name)
                || self.conns.iter().any(|conn| conn.used == tube.name)
                || self.conns.iter().any(|conn| conn.watched.contains(&tube.name))
        };
        if let Some(idle) = self.tubes.iter().position(|tube| !needed(tube)) {
            self.tubes.swap_remove(idle);
        }
    }

    fn order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    fn conn(&mut self, id: ConnId) -> &mut Conn {
        self.conns.iter_mut().find(|conn| conn.id == id).expect("it is connected")
    }

    fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs.iter_mut().find(|job| job.id == id).expect("it was found before")
    }

    fn tube(&mut self, name: &TubeName) -> Option<&mut Tube> {
        self.tubes.iter_mut().find(|tube| tube.name == *name)
    }
}

fn smallest_free(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: Vec<u32> = taken.collect();
    (0..).find(|number| !taken.contains(number)).expect("there are enough numbers")
}
