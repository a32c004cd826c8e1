//! Policies of tubes, in the model.

use beanstalk_protocol::{JobId, PolicyCounts, TubeName};
use jq_engine::{Cause, ConnId, Nanos, Policy, Sink};

use super::{Model, Place};

/// The reserves that a tube has had lately, as the time that they take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reserves {
    full_at: u64,
    until: Option<u64>,
}

/// Nanoseconds in a thousand seconds: a rate is in thousandths per second.
const THOUSAND_SECONDS: u64 = 1_000_000_000_000;

/// Why a put makes no job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turned {
    /// This one is there already.
    Known(JobId),
    /// The tube is full.
    Full(Cause),
}

impl Reserves {
    /// As many are missing at the new rate as were, or all.
    fn change(&mut self, now: Nanos, was: u32, rate: u32) {
        let each = |rate: u32| THOUSAND_SECONDS / u64::from(rate);
        let time = u128::from(self.full_at.saturating_sub(now.0));
        let time = time * u128::from(each(rate)) / u128::from(each(was));
        let most = u128::from(each(rate).max(1_000_000_000));
        self.full_at = now.0 + time.min(most) as u64;
        self.look(now, rate);
    }

    fn look(&mut self, now: Nanos, rate: u32) {
        let each = THOUSAND_SECONDS / u64::from(rate);
        // At most a second's reserves at once, or one.
        let most = each.max(1_000_000_000);
        let next = (self.full_at + each).saturating_sub(most);
        self.until = Some(next).filter(|next| *next > now.0);
    }
}

impl Model {
    pub(crate) fn set_policy(
        &mut self,
        now: Nanos,
        name: &TubeName,
        policy: Option<Policy<TubeName>>,
        sink: &mut impl Sink,
    ) {
        self.create_tube(name);
        let policy = policy.filter(|policy| !policy.is_empty());
        let expires = |policy: Option<&Policy<TubeName>>| policy.and_then(|it| it.expires);
        let rate = |policy: Option<&Policy<TubeName>>| policy.and_then(|it| it.reserve_rate);
        let tube = self.tube(name).expect("it was just created");
        let before = std::mem::replace(&mut tube.policy, policy.clone());
        if policy.is_none() {
            tube.policy_counts = PolicyCounts::default();
        }
        match (rate(before.as_ref()), rate(policy.as_ref())) {
            (Some(was), Some(rate)) if was != rate => tube.reserves.change(now, was, rate),
            (Some(was), Some(rate)) if was == rate => {}
            _ => tube.reserves = Reserves::default(),
        }
        // Those that are there begin to wait now.
        if expires(before.as_ref()).is_none() && expires(policy.as_ref()).is_some() {
            for id in self.ready_in(name) {
                let order = self.order();
                self.job(id).ready_since = (now, order);
            }
        }
        self.serve(now, name, sink);
        self.drop_idle_tubes();
    }

    fn policy(&self, name: &TubeName) -> Option<&Policy<TubeName>> {
        self.tubes.iter().find(|tube| tube.name == *name)?.policy.as_ref()
    }

    /// Whether the tube is paused or has a policy.
    pub(super) fn is_special(&self, name: &TubeName) -> bool {
        let tube = self.tubes.iter().find(|tube| tube.name == *name);
        tube.is_some_and(|tube| tube.pause.is_some() || tube.policy.is_some())
    }

    fn ready_in(&self, name: &TubeName) -> Vec<JobId> {
        let ready = self.jobs.iter().filter(|job| job.place == Place::Ready && job.tube == *name);
        ready.map(|job| job.id).collect()
    }

    /// Number of ready jobs.
    pub(crate) fn ready_count(&self, name: &TubeName) -> usize {
        self.ready_in(name).len()
    }

    /// Whether the tube's jobs cannot be reserved because too many were.
    pub(super) fn is_throttled(&self, name: &TubeName) -> bool {
        self.tubes.iter().any(|tube| tube.name == *name && tube.reserves.until.is_some())
    }

    /// The next moment at which a job of the tube can be reserved again.
    pub(super) fn throttled_until(tube: &super::Tube) -> Option<Nanos> {
        tube.reserves.until.map(Nanos)
    }

    /// Whether a tube's jobs could be reserved again by now, and that has not happened.
    pub(crate) fn has_due_refill(&self, now: Nanos) -> bool {
        self.tubes.iter().filter_map(Self::throttled_until).any(|until| until <= now)
    }

    pub(super) fn end_throttle(&mut self, now: Nanos, name: &TubeName, sink: &mut impl Sink) {
        if let Some(tube) = self.tube(name)
            && let Some(rate) = tube.policy.as_ref().and_then(|policy| policy.reserve_rate)
        {
            tube.reserves.look(now, rate);
        }
        self.serve(now, name, sink);
    }

    pub(super) fn count_against_rate(&mut self, now: Nanos, name: &TubeName) {
        if let Some(tube) = self.tube(name)
            && let Some(rate) = tube.policy.as_ref().and_then(|policy| policy.reserve_rate)
        {
            let begin = tube.reserves.full_at.max(now.0);
            tube.reserves.full_at = begin + THOUSAND_SECONDS / u64::from(rate);
            tube.reserves.look(now, rate);
        }
    }

    /// When a ready job expires, and its place in the order of those that do so at one moment.
    pub(super) fn expiry(&self, job: &super::Job) -> Option<(Nanos, u64)> {
        let seconds = self.policy(&job.tube)?.expires?;
        let (since, order) = job.ready_since;
        (job.place == Place::Ready).then(|| (since.after(seconds), order))
    }

    pub(super) fn expire(&mut self, now: Nanos, id: JobId, sink: &mut impl Sink) {
        let tube = self.job(id).tube.clone();
        self.count_ruling(&tube, |counts| counts.expired += 1);
        let dead_letter = self.policy(&tube).and_then(|policy| policy.dead_letter.clone());
        match dead_letter.filter(|name| *name != tube) {
            Some(name) => self.move_job(now, id, &name, sink),
            None => {
                self.jobs.retain(|job| job.id != id);
                self.drop_idle_tubes();
            }
        }
    }

    /// Counts what a policy has brought about, if the tube has one.
    fn count_ruling(&mut self, name: &TubeName, count: impl Fn(&mut PolicyCounts)) {
        if let Some(tube) = self.tube(name)
            && tube.policy.is_some()
        {
            count(&mut tube.policy_counts);
            count(&mut self.policies);
        }
    }

    /// A put into this tube: an equal job that is there, or whether there is room.
    pub(super) fn judge(&mut self, id: JobId, name: &TubeName, body: &[u8]) -> Result<(), Turned> {
        let judged = self.judgement(id, name, body);
        match judged {
            Ok(()) => {}
            Err(Turned::Known(_)) => self.count_ruling(name, |counts| counts.duplicates += 1),
            Err(Turned::Full(cause)) => {
                self.count_ruling(name, |counts| counts.refused += 1);
                match cause {
                    Cause::TubeMaxJobs => self.refused_puts.tube_max_jobs += 1,
                    Cause::TubeMaxBytes => self.refused_puts.tube_max_bytes += 1,
                    cause => panic!("{cause:?} is no limit of a tube"),
                }
            }
        }
        judged
    }

    fn judgement(&self, id: JobId, name: &TubeName, body: &[u8]) -> Result<(), Turned> {
        let Some(policy) = self.policy(name) else { return Ok(()) };
        let waits = |place| matches!(place, Place::Ready | Place::Delayed { .. });
        let others = || self.jobs.iter().filter(|job| job.tube == *name && job.id != id);
        let same = || others().filter(|job| waits(job.place) && job.body.as_ref() == body);
        if policy.unique
            && let Some(known) = same().next()
        {
            return Err(Turned::Known(known.id));
        }
        let bytes: usize = others().map(|job| job.body.as_ref().len()).sum();
        if policy.max_jobs.is_some_and(|most| others().count() as u64 + 1 > most) {
            return Err(Turned::Full(Cause::TubeMaxJobs));
        }
        if policy.max_bytes.is_some_and(|most| (bytes + body.len()) as u64 > most) {
            return Err(Turned::Full(Cause::TubeMaxBytes));
        }
        Ok(())
    }

    /// Whether a put of this body could be answered with any of several jobs: they had it before the tube
    /// took no body twice, or came from another tube.
    pub(crate) fn is_ambiguous(&self, name: &TubeName, body: &[u8]) -> bool {
        let waits = |place| matches!(place, Place::Ready | Place::Delayed { .. });
        let same = self
            .jobs
            .iter()
            .filter(|job| job.tube == *name && waits(job.place) && job.body.as_ref() == body);
        self.policy(name).is_some_and(|policy| policy.unique) && same.count() > 1
    }

    /// The tube into which the connection is putting a job.
    pub(crate) fn arriving_in(&self, conn: ConnId) -> Option<&TubeName> {
        let arriving = |job: &&super::Job| job.place == Place::Arriving { from: conn };
        self.jobs.iter().find(arriving).map(|job| &job.tube)
    }

    /// The time to run of a job that was put with this one.
    pub(super) fn ttr(&self, name: &TubeName, asked: u32) -> u32 {
        match (asked, self.policy(name).and_then(|policy| policy.default_ttr)) {
            (0, Some(ttr)) => ttr.max(1),
            (asked, _) => asked.max(1),
        }
    }

    /// An attempt has ended. Whether that was the last, so that the job is set aside.
    pub(super) fn gives_up(&mut self, now: Nanos, id: JobId, sink: &mut impl Sink) -> bool {
        let job = self.job(id).clone();
        let Some(policy) = self.policy(&job.tube).cloned() else { return false };
        let limits = [
            (policy.max_reserves, job.reserves),
            (policy.max_timeouts, job.timeouts),
            (policy.max_disconnects, job.disconnects),
        ];
        if !limits.iter().any(|(limit, count)| limit.is_some_and(|limit| *count >= limit)) {
            return false;
        }
        match policy.dead_letter.filter(|name| *name != job.tube) {
            Some(name) => {
                self.count_ruling(&job.tube, |counts| counts.dead_letters += 1);
                // Whatever delay was asked for.
                self.job(id).place =
                    Place::Reserved { by: jq_engine::ConnId(u32::MAX), until: now, order: 0 };
                self.move_job(now, id, &name, sink);
            }
            None => {
                self.count_ruling(&job.tube, |counts| counts.buried += 1);
                let order = self.order();
                self.see(id, |seen, _| seen.activity.buries += 1);
                let job = self.job(id);
                job.buries += 1;
                job.place = Place::Buried { order };
            }
        }
        true
    }
}
