//! Policies in the model: what they may bring about by themselves, and what they must.
//!
//! That something happened, and in which order, is what the engine told its log. Whether it may happen
//! is decided here; and whether something is overdue that did not happen.

use std::collections::{BTreeSet, VecDeque};

use beanstalk_protocol::JobId;
use fastrand::Rng;
use jq_engine::DurableState;

use crate::facts::Fact;
use crate::job::{Durable, Job, Kept, Now, Place, SECOND};
use crate::model::{Model, Policy, TUBES};
use crate::observe::tube_name;

/// Times that the model knows are as exact as this, in nanoseconds.
const EXACT: u64 = 5000;

/// A log that has refused something is asked again within this time, in nanoseconds.
const ASKED_AGAIN: u64 = SECOND;

/// What the model knows about policies at work.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// What the log was told, and the model does not know yet.
    pub(crate) told: VecDeque<Fact>,
    /// The time of the last request, or of what was last due.
    pub(crate) clock: u64,
    /// When the log last refused anything, as far as is known.
    bad_until: u64,
    /// Attempts at these have ended, and it is not known yet whether that was the last.
    pub(crate) returned: BTreeSet<JobId>,
    tubes: [Ruled; TUBES.len()],
}

#[derive(Debug, Clone, Copy, Default)]
struct Ruled {
    /// When the jobs that were there began to expire: at this time at the earliest, and at the latest.
    adopted: (u64, u64),
    /// When as many reserves are possible again as ever, if their rate is limited.
    full_at: Option<u64>,
}

/// Time between two reserves at this rate, in nanoseconds.
fn each(rate: u32) -> u64 {
    1000 * SECOND / u64::from(rate)
}

/// Any policy. Without `acts`, one that moves or removes no job by itself.
pub(crate) fn some_policy(rng: &mut Rng, acts: bool) -> Policy {
    let tube = |rng: &mut Rng| tube_name(rng.usize(..TUBES.len()));
    let policy = Policy {
        max_jobs: rng.bool().then(|| rng.u64(1..20)),
        unique: rng.bool(),
        default_ttr: rng.bool().then(|| rng.u32(0..100)),
        dead_letter: rng.bool().then(|| tube(rng)),
        from_file: rng.bool(),
        ..Policy::default()
    };
    if !acts {
        return policy;
    }
    let mut some = |of: u8| rng.u8(..of) == 0;
    let (bytes, reserves, timeouts) = (some(4), some(3), some(3));
    let (disconnects, expires, rate) = (some(3), some(2), some(4));
    Policy {
        max_bytes: bytes.then(|| rng.u64(..5000)),
        max_reserves: reserves.then(|| rng.u32(1..5)),
        max_timeouts: timeouts.then(|| rng.u32(1..3)),
        max_disconnects: disconnects.then(|| rng.u32(1..3)),
        expires: expires.then(|| rng.u32(1..6)),
        reserve_rate: rate.then(|| rng.u32(300..20_000)),
        ..policy
    }
}

impl Model {
    /// The policy of a tube is another one.
    pub(crate) fn rule(&mut self, tube: usize, policy: Policy) {
        let (moment, records) = (self.next(), self.records);
        let (had, clock) = (self.policies[tube].last(), self.rules.clock);
        let ruled = &mut self.rules.tubes[tube];
        if policy.expires.is_some() && had.expires.is_none() {
            ruled.adopted = (clock, u64::MAX);
        }
        // As many reserves are missing as were, or all that there can be at once.
        ruled.full_at = policy.reserve_rate.map(|rate| match (had.reserve_rate, ruled.full_at) {
            (Some(was), Some(full_at)) if was != rate => {
                let missing = full_at.saturating_sub(clock) / each(was) * each(rate);
                clock + missing.min(each(rate).max(SECOND))
            }
            (_, full_at) => full_at.unwrap_or(0),
        });
        self.policies[tube].push(moment, records, true, policy);
    }

    /// A server has begun with the policies that there are now.
    pub(crate) fn begin_rules(&mut self) {
        let (clock, told) = (self.rules.clock, VecDeque::new());
        self.rules = Rules { clock, told, bad_until: clock, ..Rules::default() };
        for (ruled, policy) in self.rules.tubes.iter_mut().zip(&self.policies) {
            ruled.full_at = policy.last().reserve_rate.map(|_| 0);
        }
    }

    /// Time has passed; what was due has happened.
    pub(crate) fn advance_rules(&mut self, now: u64) {
        self.rules.clock = now;
        if !(self.is_good && self.records) {
            self.rules.bad_until = now;
        }
        for ruled in &mut self.rules.tubes {
            ruled.adopted.1 = ruled.adopted.1.min(now.max(ruled.adopted.0));
        }
    }

    /// Since when a job is ready that becomes so now: at the earliest, and at the latest.
    pub(crate) fn ready_now(&self) -> (u64, u64) {
        (self.rules.clock, self.rules.clock + EXACT)
    }

    /// The log was told this next.
    pub(crate) fn expect(&mut self, is_it: impl FnOnce(&Fact) -> bool) -> Result<(), String> {
        match self.rules.told.pop_front() {
            Some(fact) if is_it(&fact) => Ok(()),
            other => Err(format!("something else was recorded: {other:?}")),
        }
    }

    /// The log was told nothing more.
    pub(crate) fn expect_nothing(&mut self) -> Result<(), String> {
        match self.rules.told.pop_front() {
            None => Ok(()),
            Some(fact) => Err(format!("nobody has asked for {fact:?}")),
        }
    }

    /// All that the log was told was brought about by policies.
    pub(crate) fn follow(&mut self) -> Result<(), String> {
        while let Some(fact) = self.rules.told.pop_front() {
            let ended = fact.job().is_some_and(|id| self.rules.returned.contains(&id));
            match fact {
                Fact::Moved(..) | Fact::Changed(_) if ended => self.set_aside(fact)?,
                Fact::Moved(to, now) => {
                    self.expire(now.id, Some(to))?;
                    self.check_counters(&now)?;
                }
                Fact::Gone(id) => self.expire(id, None)?,
                Fact::Changed(_) | Fact::Kicked(_) | Fact::Cleared(_) => {
                    return Err(format!("nobody has asked for {fact:?}"));
                }
            }
        }
        for id in std::mem::take(&mut self.rules.returned) {
            self.is_tried_again(id)?;
        }
        Ok(())
    }

    /// A release of this job was recorded. What is recorded next may be that it is set aside.
    pub(crate) fn end_attempt(&mut self, id: JobId) -> Result<(), String> {
        if !self.gives_up(id) {
            return Ok(());
        }
        match self.rules.told.front().copied() {
            Some(fact @ (Fact::Moved(_, now) | Fact::Changed(now))) if now.id == id => {
                self.rules.told.pop_front();
                self.rules.returned.insert(id);
                self.set_aside(fact)
            }
            _ => self.is_tried_again(id),
        }
    }

    /// The policy of a tube.
    fn policy(&self, tube: usize) -> &Policy {
        self.policies[tube].last()
    }

    /// Where jobs of this tube go that cannot be done.
    fn dead_letter(&self, tube: usize) -> Option<usize> {
        let name = self.policy(tube).dead_letter.as_ref()?;
        TUBES.iter().position(|it| *it == name.as_str()).filter(|to| *to != tube)
    }

    /// The job and how it is, if nobody has it.
    fn free(&self, id: JobId) -> Option<(&Job, &Now)> {
        let job = self.jobs.get(&id)?;
        Some((job, job.now.as_ref().filter(|now| now.reserved.is_none())?))
    }

    /// Whether the policy of its tube says that the job has failed too often.
    fn gives_up(&self, id: JobId) -> bool {
        let Some((_, now)) = self.free(id) else { return false };
        let policy = self.policy(now.tube);
        let over = |most: Option<u32>, count| most.is_some_and(|most| count >= most);
        over(policy.max_reserves, now.reserves)
            || over(policy.max_timeouts, now.timeouts)
            || over(policy.max_disconnects, now.disconnects)
    }

    /// An attempt has ended, and the job was not set aside.
    fn is_tried_again(&self, id: JobId) -> Result<(), String> {
        if self.gives_up(id) && self.is_good && self.records {
            return Err(format!("{id} has failed too often, and is not set aside"));
        }
        Ok(())
    }

    /// An attempt at the job has ended, and it was set aside.
    fn set_aside(&mut self, fact: Fact) -> Result<(), String> {
        let (Fact::Changed(update) | Fact::Moved(_, update)) = fact else {
            return Err(format!("that sets no job aside: {fact:?}"));
        };
        if !self.rules.returned.remove(&update.id) || !self.gives_up(update.id) {
            return Err(format!("set aside without a reason: {fact:?}"));
        }
        let (_, now) = self.free(update.id).ok_or("it is there")?;
        match (self.dead_letter(now.tube), fact, update.state) {
            (Some(wanted), Fact::Moved(to, _), DurableState::Ready) if wanted == to => {
                self.move_to(update.id, Place::Ready, Some(to), Durable::settle)?;
            }
            (None, Fact::Changed(_), DurableState::Buried(_)) => {
                let turn = self.turn();
                self.move_to(update.id, Place::Buried(turn), None, |kept| {
                    kept.moves[1] += 1;
                    kept.settle();
                })?;
            }
            (wanted, ..) => return Err(format!("{fact:?}, not to {wanted:?}")),
        }
        self.check_counters(&update)
    }

    /// A recorded job has all counters that it had.
    fn check_counters(&self, update: &jq_engine::JobUpdate) -> Result<(), String> {
        let Some((job, now)) = self.free(update.id) else { return Err("it is gone".into()) };
        let Kept::There(kept) = job.kept.last() else { return Err("it is gone".into()) };
        let counters = update.counters;
        let same = counters.reserves == now.reserves
            && counters.timeouts == now.timeouts
            && counters.disconnects == now.disconnects
            && [counters.releases, counters.buries, counters.kicks] == kept.moves
            && (update.priority, update.delay) == (kept.priority, kept.delay);
        if same { Ok(()) } else { Err(format!("{update:?} is recorded of {now:?} {kept:?}")) }
    }

    /// A job that nobody took in time has gone, perhaps to another tube.
    fn expire(&mut self, id: JobId, to: Option<usize>) -> Result<(), String> {
        let (_, now) = self.free(id).ok_or_else(|| format!("job {id} expires, but is not free"))?;
        let (tube, wanted) = (now.tube, self.dead_letter(now.tube));
        let first = self.policy(tube).expires.map(|it| now.ready.0 + u64::from(it) * SECOND);
        let is_due = first.is_some_and(|first| first <= self.rules.clock);
        if now.place != Place::Ready || !is_due || to != wanted {
            let (clock, policy) = (self.rules.clock, self.policy(tube));
            return Err(format!("{id} expires to {to:?} at {clock}: {now:?} {policy:?}"));
        }
        match to {
            Some(to) => self.move_to(id, Place::Ready, Some(to), Durable::settle),
            None => self.delete(id),
        }
    }

    /// Everything has happened that is due, except for what the log refuses.
    pub(crate) fn is_up_to_date(&self) -> Result<(), String> {
        for (id, job) in &self.jobs {
            let Some(now) = &job.now else { continue };
            let Some(seconds) = self.policy(now.tube).expires else { continue };
            if now.place != Place::Ready || now.reserved.is_some() {
                continue;
            }
            let since = now.ready.1.max(self.rules.tubes[now.tube].adopted.1);
            let last = since.saturating_add(u64::from(seconds) * SECOND);
            let last = last.max(self.rules.bad_until + ASKED_AGAIN).saturating_add(EXACT);
            if last < self.rules.clock {
                return Err(format!("job {id} should have expired: {now:?}"));
            }
        }
        Ok(())
    }

    /// A job of this tube was reserved, because it was the best one.
    pub(crate) fn count_reserve(&mut self, id: JobId, at: u64) -> Result<(), String> {
        let Some(now) = self.jobs.get(&id).and_then(|job| job.now.as_ref()) else { return Ok(()) };
        let tube = now.tube;
        let Some(rate) = self.policy(tube).reserve_rate else { return Ok(()) };
        let each = each(rate);
        let Some(full_at) = &mut self.rules.tubes[tube].full_at else { return Ok(()) };
        // As many as there may be in a second come at once.
        let next = (*full_at + each).saturating_sub(each.max(SECOND));
        if next > at + EXACT {
            return Err(format!("{id} is reserved at {at}, and none may be before {next}"));
        }
        *full_at = (*full_at).max(at) + each;
        Ok(())
    }
}
