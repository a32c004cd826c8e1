//! Policies: what an operator sets for a tube, and what follows from it.
//!
//! [`Policy`] says what is wanted. A tube that has one keeps a [`Ruled`], which does the work; one
//! without has nothing, and costs nothing but a look at that. `limits.rs` has what is refused,
//! `unique.rs`, `expiry.rs` and `throttle.rs` have one rule each. What ends in the tube for jobs that
//! cannot be done is decided in `attempts.rs`.
//!
//! Jobs that are in a tube when a rule is set are adopted: a part of the table of jobs is looked
//! through at a time, so that nobody waits for all of them.

mod expiry;
mod limits;
mod throttle;
mod unique;

use beanstalk_protocol::{BadTubeName, PolicyCounts, Request, Seconds, TubeName};

use crate::arena::Ix;
use crate::body::Body;
use crate::engine::{ConnId, Engine};
use crate::job::{Job, Jobs, Place};
use crate::operations::Refusal;
use crate::record::{Change, JobCounters, Record, TubeSettings};
use crate::sink::Sink;
use crate::time::Nanos;
use crate::tube::Tube;

pub use limits::Limits;
pub(crate) use limits::Ruling;

use expiry::Expiry;
use throttle::Throttle;
use unique::Unique;

/// Number of places in the table of jobs that one step of an adoption looks at.
const ADOPTED_AT_ONCE: usize = 256;

/// What is set for a tube, whose names are `N`. `None` and `false` mean: not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<N> {
    /// Maximum number of jobs, in any state. A put beyond that is refused.
    pub max_jobs: Option<u64>,
    /// Maximum number of bytes in the bodies of all jobs. A put beyond that is refused.
    pub max_bytes: Option<u64>,
    /// A job that was reserved so often, and is not completed, is set aside.
    pub max_reserves: Option<u32>,
    /// A job that has timed out so often is set aside.
    pub max_timeouts: Option<u32>,
    /// A job whose connection has vanished so often is set aside.
    pub max_disconnects: Option<u32>,
    /// Where jobs that are set aside, or that expire, are moved. Without it, the former are buried,
    /// and the latter are deleted.
    pub dead_letter: Option<N>,
    /// A job that has been ready for so many seconds, and that nobody has taken, expires. The time
    /// begins anew when the job becomes ready again, and when an operator changes its priority.
    pub expires: Option<Seconds>,
    /// A put of a body that a ready or delayed job of the tube has is answered with that job.
    pub unique: bool,
    /// The time to run of a job that is put with 0, in seconds.
    pub default_ttr: Option<Seconds>,
    /// Maximum number of reserves, in thousandths per second.
    pub reserve_rate: Option<u32>,
    /// It is from a file that an operator keeps, not from a request. Has no effect here; whoever reads
    /// the file must know which policies are no longer in it, also after a restart.
    pub from_file: bool,
}

impl<N> Default for Policy<N> {
    fn default() -> Self {
        Self {
            max_jobs: None,
            max_bytes: None,
            max_reserves: None,
            max_timeouts: None,
            max_disconnects: None,
            dead_letter: None,
            expires: None,
            unique: false,
            default_ttr: None,
            reserve_rate: None,
            from_file: false,
        }
    }
}

impl<N> Policy<N> {
    /// Whether nothing is set, wherever it is from.
    pub fn is_empty(&self) -> bool
    where
        N: PartialEq,
    {
        *self == Self { from_file: self.from_file, ..Self::default() }
    }

    /// The same policy with another name for the tube `dead_letter`, or the reason why that is none.
    pub fn with_name<'a, M, E>(
        &'a self,
        name: impl FnOnce(&'a N) -> Result<M, E>,
    ) -> Result<Policy<M>, E> {
        let Self {
            max_jobs,
            max_bytes,
            max_reserves,
            max_timeouts,
            max_disconnects,
            ref dead_letter,
            expires,
            unique,
            default_ttr,
            reserve_rate,
            from_file,
        } = *self;
        Ok(Policy {
            max_jobs,
            max_bytes,
            max_reserves,
            max_timeouts,
            max_disconnects,
            dead_letter: dead_letter.as_ref().map(name).transpose()?,
            expires,
            unique,
            default_ttr,
            reserve_rate,
            from_file,
        })
    }

    /// Whether a job with these counters has failed too often.
    pub(crate) fn gives_up(&self, counters: &JobCounters) -> bool {
        let over = |limit: Option<u32>, count| limit.is_some_and(|limit| count >= limit);
        over(self.max_reserves, counters.reserves)
            || over(self.max_timeouts, counters.timeouts)
            || over(self.max_disconnects, counters.disconnects)
    }
}

impl Policy<TubeName> {
    /// The same policy, as it is recorded.
    pub(crate) fn recorded(&self) -> Policy<&str> {
        let Ok(recorded) = self.with_name(|name| Ok::<_, std::convert::Infallible>(name.as_str()));
        recorded
    }
}

impl Policy<&str> {
    /// The policy that was recorded.
    pub(crate) fn restored(&self) -> Result<Policy<TubeName>, BadTubeName> {
        self.with_name(|name| TubeName::new(name.as_bytes()))
    }
}

/// A policy at work.
#[derive(Debug)]
pub(crate) struct Ruled {
    pub(crate) policy: Policy<TubeName>,
    /// What it has brought about.
    pub(crate) counts: PolicyCounts,
    unique: Option<Unique>,
    expiry: Option<Expiry>,
    throttle: Option<Throttle>,
    /// Where the adoption of jobs goes on in the table of jobs, unless it is over.
    adopt_from: Option<Ix>,
    /// When its next step is due.
    adopt_at: Nanos,
}

impl Ruled {
    fn new(now: Nanos, policy: Policy<TubeName>) -> Self {
        let mut ruled = Self {
            policy: Policy::default(),
            counts: PolicyCounts::default(),
            unique: None,
            expiry: None,
            throttle: None,
            adopt_from: None,
            adopt_at: Nanos::NEVER,
        };
        ruled.change(now, policy);
        ruled
    }

    /// Makes this the policy. What is known of jobs is kept as far as it still applies.
    fn change(&mut self, now: Nanos, policy: Policy<TubeName>) {
        let adopts = (policy.unique && self.unique.is_none())
            || (policy.expires.is_some() && self.expiry.is_none());
        self.unique = policy.unique.then(|| self.unique.take().unwrap_or_default());
        self.expiry = policy.expires.map(|seconds| match self.expiry.take() {
            Some(expiry) => expiry.with(seconds),
            None => Expiry::new(seconds),
        });
        self.throttle = policy.reserve_rate.map(|rate| match self.throttle.take() {
            Some(throttle) if self.policy.reserve_rate == Some(rate) => throttle,
            Some(throttle) => throttle.with(now, rate),
            None => Throttle::new(rate),
        });
        if adopts {
            self.adopt_from = Some(0);
            self.adopt_at = Nanos::default();
        } else if self.unique.is_none() && self.expiry.is_none() {
            self.adopt_from = None;
            self.adopt_at = Nanos::NEVER;
        }
        self.policy = policy;
    }

    /// All jobs of the tube that nobody has reserved are gone.
    fn cleared(&mut self) {
        if let Some(unique) = &mut self.unique {
            *unique = Unique::default();
        }
        if let Some(expiry) = &mut self.expiry {
            expiry.clear();
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Nanos {
        let expiry = self.expiry.as_ref().map_or(Nanos::NEVER, Expiry::deadline);
        let throttle = self.throttle.as_ref().map_or(Nanos::NEVER, Throttle::deadline);
        self.adopt_at.min(expiry).min(throttle)
    }

    /// Whether the rate of reserves is used up.
    pub(crate) fn is_throttled(&self) -> bool {
        self.throttle.as_ref().is_some_and(|throttle| throttle.deadline() != Nanos::NEVER)
    }

    /// The job is ready from now on.
    fn is_ready(&mut self, now: Nanos, ix: Ix, jobs: &Jobs) {
        if let Some(unique) = &mut self.unique {
            unique.insert(ix, jobs);
        }
        if let Some(expiry) = &mut self.expiry {
            expiry.begin(now, ix);
        }
    }

    /// The job is delayed from now on.
    fn is_delayed(&mut self, ix: Ix, jobs: &Jobs) {
        if let Some(unique) = &mut self.unique {
            unique.insert(ix, jobs);
        }
    }

    /// The job leaves this place.
    fn leaves(&mut self, ix: Ix, place: Place, jobs: &Jobs) {
        let waits = place.is_ready() || matches!(place, Place::Delayed { .. });
        if let Some(unique) = self.unique.as_mut().filter(|_| waits) {
            unique.remove(ix, jobs);
        }
        if let Some(expiry) = self.expiry.as_mut().filter(|_| place.is_ready()) {
            expiry.end(ix);
        }
    }
}

impl Tube {
    /// A job leaves this place.
    #[cold]
    #[inline(never)]
    pub(crate) fn ruled_leaves(&mut self, ix: Ix, place: Place, jobs: &Jobs) {
        if let Some(ruled) = &mut self.ruled {
            ruled.leaves(ix, place, jobs);
        }
    }

    /// All jobs that nobody has reserved are gone.
    pub(crate) fn ruled_cleared(&mut self) {
        if let Some(ruled) = &mut self.ruled {
            ruled.cleared();
        }
    }
}

impl Engine {
    /// Sets the policy of a tube, which is created if it does not exist; `None` and an empty one
    /// remove it. Jobs that are there by then are taken into account within moments.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotRecorded`].
    pub fn set_policy(
        &mut self,
        now: Nanos,
        tube: &TubeName,
        policy: Option<Policy<TubeName>>,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        if !sink.admits(Change::Settings) {
            return Err(Refusal::NotRecorded);
        }
        let policy = policy.filter(|policy| !policy.is_empty());
        let tube = self.tubes.find_or_create(tube.clone());
        let state = &self.tubes[tube];
        let settings =
            TubeSettings { policy: policy.as_ref().map(Policy::recorded), ..state.settings() };
        sink.record(Record::Tube { tube: state.name.as_str(), settings });
        self.apply_policy(now, tube, policy, sink);
        self.drop_if_idle(tube);
        Ok(())
    }

    /// The policy of a tube, if it has one.
    pub fn policy(&self, tube: &str) -> Option<&Policy<TubeName>> {
        let tube = &self.tubes[self.tubes.find(tube)?];
        tube.ruled.as_ref().map(|ruled| &ruled.policy)
    }

    /// The policy of a tube has brought something about.
    pub(crate) fn count_ruling(&mut self, tube: Ix, count: impl Fn(&mut PolicyCounts)) {
        count(&mut self.policy_counts);
        if let Some(ruled) = &mut self.tubes[tube].ruled {
            count(&mut ruled.counts);
        }
    }

    pub(crate) fn apply_policy(
        &mut self,
        now: Nanos,
        tube: Ix,
        policy: Option<Policy<TubeName>>,
        sink: &mut impl Sink,
    ) {
        let state = &mut self.tubes[tube];
        let before = state.ruled.as_ref().map(|ruled| &ruled.policy);
        self.unique_tubes -= u64::from(before.is_some_and(|policy| policy.unique));
        self.unique_tubes += u64::from(policy.as_ref().is_some_and(|policy| policy.unique));
        match (policy, &mut state.ruled) {
            (Some(policy), Some(ruled)) => ruled.change(now, policy),
            (Some(policy), none) => *none = Some(Box::new(Ruled::new(now, policy))),
            (None, ruled) => *ruled = None,
        }
        self.hold_or_resume(now, tube, sink);
        self.schedule_tube(tube);
    }

    /// Reads memory that these requests will need, so that they wait less for it. Nothing changes. It is
    /// worth it only for a whole batch, and if [`Engine::looks_ahead`].
    #[cold]
    #[inline(never)]
    pub fn look_ahead<'a>(&self, conn: ConnId, requests: impl Iterator<Item = &'a Request>) {
        // A `use` among them is not followed: what is read in vain does no harm.
        let tube = self.conns.get(conn.0).map(|conn| &self.tubes[conn.used]);
        let ruled = tube.and_then(|tube| tube.ruled.as_ref());
        if let Some(unique) = ruled.and_then(|ruled| ruled.unique.as_ref()) {
            unique.warm(requests.filter_map(|request| match request {
                Request::Body(body) => Some(&**body),
                _ => None,
            }));
        }
    }

    /// Whether [`Engine::look_ahead`] can be of use.
    #[inline]
    pub fn looks_ahead(&self) -> bool {
        self.unique_tubes > 0
    }

    /// The job is ready: what the policy of its tube does then.
    #[cold]
    #[inline(never)]
    pub(crate) fn ruled_ready(&mut self, now: Nanos, ix: Ix) {
        let tube = self.jobs[ix].tube;
        if let Some(ruled) = &mut self.tubes[tube].ruled {
            ruled.is_ready(now, ix, &self.jobs);
            self.schedule_tube(tube);
        }
    }

    /// The job is delayed, likewise.
    #[cold]
    #[inline(never)]
    pub(crate) fn ruled_delayed(&mut self, ix: Ix) {
        if let Some(ruled) = &mut self.tubes[self.jobs[ix].tube].ruled {
            ruled.is_delayed(ix, &self.jobs);
        }
    }

    /// Gives a job another body.
    pub(crate) fn ruled_set_body(&mut self, ix: Ix, body: Body) {
        let (tube, place) = (self.jobs[ix].tube, self.jobs[ix].place());
        let ruled = self.tubes[tube].ruled.as_mut();
        let Some(unique) = ruled.and_then(|ruled| ruled.unique.as_mut()) else {
            return self.jobs.set_body(ix, body);
        };
        unique.remove(ix, &self.jobs);
        self.jobs.set_body(ix, body);
        if place.is_ready() || matches!(place, Place::Delayed { .. }) {
            unique.insert(ix, &self.jobs);
        }
    }

    /// Takes one step of what is due for the policy of a tube, if anything is.
    pub(crate) fn tick_policy(&mut self, now: Nanos, due: Nanos, tube: Ix, sink: &mut impl Sink) {
        let Some(ruled) = &mut self.tubes[tube].ruled else { return };
        if ruled.adopt_at <= due {
            self.adopt(now, tube);
        } else if let Some(throttle) = ruled.throttle.as_mut().filter(|it| it.deadline() <= due) {
            throttle.refill(now);
            self.hold_or_resume(now, tube, sink);
        } else if let Some(job) = ruled.expiry.as_mut().and_then(|expiry| expiry.due(due)) {
            self.expire(now, job, sink);
        }
    }

    /// Takes some of the jobs into account that were in the tube before its policy.
    fn adopt(&mut self, now: Nanos, tube: Ix) {
        let Some(ruled) = &mut self.tubes[tube].ruled else { return };
        let mut places = self.jobs.from(ruled.adopt_from.unwrap_or(0));
        for (ix, job) in places.by_ref().take(ADOPTED_AT_ONCE) {
            let here = |job: &&Job| job.tube == tube && !self.graves.are_those_of(job);
            let Some(job) = job.filter(here) else { continue };
            let ready = job.place().is_ready();
            let waits = ready || matches!(job.place(), Place::Delayed { .. });
            if let Some(unique) = ruled.unique.as_mut().filter(|_| waits) {
                unique.insert(ix, &self.jobs);
            }
            if let Some(expiry) = ruled.expiry.as_mut().filter(|_| ready) {
                expiry.adopt(now, ix);
            }
        }
        ruled.adopt_from = places.next().map(|(ix, _)| ix);
        ruled.adopt_at = if ruled.adopt_from.is_some() { now } else { Nanos::NEVER };
    }

    /// Takes all jobs into account at once: nobody waits while a queue is restored. What is known of
    /// a job that nobody has taken is when it was put; others begin anew.
    pub(crate) fn adopt_restored(&mut self, now: Nanos) {
        if self.tubes.all().all(|tube| tube.ruled.is_none()) {
            return;
        }
        // While they were restored, all jobs became ready at about this time.
        for tube in self.tubes.places() {
            let ruled = self.tubes[tube].ruled.as_mut();
            if let Some(expiry) = ruled.and_then(|ruled| ruled.expiry.as_mut()) {
                expiry.clear();
            }
        }
        let mut since: Vec<(Nanos, Ix)> = Vec::new();
        for ix in self.jobs.all() {
            let job = &self.jobs[ix];
            let place = job.place();
            let Some(ruled) = &mut self.tubes[job.tube].ruled else { continue };
            let waits = place.is_ready() || matches!(place, Place::Delayed { .. });
            if let Some(unique) = ruled.unique.as_mut().filter(|_| waits) {
                unique.insert(ix, &self.jobs);
            }
            if place.is_ready() && ruled.expiry.is_some() {
                let untouched = self.jobs.counters(ix) == JobCounters::default() && job.delay == 0;
                since.push((if untouched { job.created.min(now) } else { now }, ix));
            }
        }
        // Each tube's expiry takes them in this order.
        since.sort_unstable();
        for (since, ix) in since {
            let tube = self.jobs[ix].tube;
            if let Some(expiry) = self.tubes[tube].ruled.as_mut().and_then(|it| it.expiry.as_mut())
            {
                expiry.begin(since, ix);
            }
        }
        for tube in self.tubes.places() {
            if let Some(ruled) = &mut self.tubes[tube].ruled {
                ruled.adopt_from = None;
                ruled.adopt_at = Nanos::NEVER;
                self.schedule_tube(tube);
            }
        }
    }
}
