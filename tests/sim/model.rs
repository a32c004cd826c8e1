//! What the server must hold, as its answers tell it.
//!
//! The model believes every answer that the server makes, before it is known whether the answer may
//! leave, and remembers from which moment on the clients were promised what: see [`crate::history`].

use std::collections::BTreeMap;

use beanstalk_protocol::{JobId, PutHeader, TubeName};
use jq_engine::CloseReason;
use jq_server::log::binlog::format::{JOB_LEN, STORED_LEN};

use crate::history::{History, Moment};
use crate::job::{ClientId, Durable, Job, Kept, Now, Place, SECOND, delayed};
use crate::observe::Seen;
use crate::rules::Rules;

/// The tubes that there are.
pub(crate) const TUBES: [&str; 3] = ["default", "a", "longer-name"];

/// What is set for a tube; without anything if there is no policy.
pub(crate) type Policy = jq_engine::Policy<TubeName>;

/// A tube's pause: for so many seconds, until then; 0 if there is none.
pub(crate) type Pause = (u32, u64);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) pauses: [History<Pause>; TUBES.len()],
    pub(crate) policies: [History<Policy>; TUBES.len()],
    pub(crate) draining: History<bool>,
    pub(crate) rules: Rules,
    pub(crate) moment: Moment,
    /// Everything up to here was promised to somebody.
    pub(crate) promised: Moment,
    /// Everything up to here was synced.
    pub(crate) synced: Moment,
    /// Whether the log takes facts on.
    pub(crate) records: bool,
    /// Whether it has failed since the server began.
    pub(crate) has_failed: bool,
    /// Whether it takes on also what nobody waits for. Of a server that has just begun, this is not
    /// known.
    pub(crate) is_good: bool,
    /// No job may get a number below this one.
    pub(crate) least_id: JobId,
    /// One more than the largest number that any job can have.
    pub(crate) ids: JobId,
    /// The last number since the server started.
    last_put: JobId,
    next_turn: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            jobs: BTreeMap::new(),
            pauses: std::array::from_fn(|_| History::new((0, 0))),
            policies: std::array::from_fn(|_| History::new(Policy::default())),
            draining: History::new(false),
            rules: Rules::default(),
            moment: 0,
            promised: 0,
            synced: 0,
            records: true,
            has_failed: false,
            is_good: true,
            least_id: 1,
            ids: 1,
            last_put: 0,
            next_turn: 0,
        }
    }

    /// A server has begun with this.
    pub(crate) fn begin(&mut self, seen: &Seen) {
        self.moment = 0;
        (self.promised, self.synced, self.records, self.is_good) = (0, 0, true, false);
        self.has_failed = false;
        let mut buried = Vec::new();
        let (least_id, since) = (self.least_id, self.rules.clock);
        for (id, job) in &mut self.jobs {
            match seen.jobs.get(id) {
                Some(seen) => {
                    if let (true, Some(turn)) = (seen.is("buried"), job.turn_of(seen)) {
                        buried.push((turn, *id));
                    }
                    job.begin(seen, since);
                }
                // If nobody may know of it any more, another job may get its number.
                None => job.lose(*id < least_id),
            }
        }
        buried.sort_unstable();
        for (_, id) in buried {
            let place = Place::Buried(self.turn());
            if let Some(job) = self.jobs.get_mut(&id) {
                job.set_place(place);
            }
        }
        for (pause, seen) in self.pauses.iter_mut().zip(&seen.pauses) {
            let now = pause.states().rev().find(|pause| seen.shows(pause));
            *pause = History::new(now.copied().unwrap_or_default());
        }
        for (policy, seen) in self.policies.iter_mut().zip(&seen.policies) {
            *policy = History::new(seen.clone());
        }
        self.draining = History::new(seen.draining);
        self.begin_rules();
        let last = seen.jobs.keys().next_back().map_or(0, |last| *last);
        self.least_id = self.least_id.max(last + 1);
        self.last_put = 0;
    }

    /// Nothing is known of this job any more, and it is gone.
    pub(crate) fn lose(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.lose(false);
        }
    }

    /// No tube is paused or has a policy, and nothing is drained.
    pub(crate) fn lose_notes(&mut self) {
        self.pauses = std::array::from_fn(|_| History::new((0, 0)));
        self.policies = std::array::from_fn(|_| History::new(Policy::default()));
        self.draining = History::new(false);
        self.begin_rules();
    }

    /// The number above all those that somebody knows of if nothing after this moment survives, nor
    /// anything about the job `but`.
    pub(crate) fn least_id_after(&self, floor: Moment, but: Option<JobId>) -> JobId {
        let is_known = |(id, job): &(&JobId, &Job)| job.put <= floor && but != Some(**id);
        let known = self.jobs.iter().rev().find(is_known);
        self.least_id.max(known.map_or(1, |(id, _)| id + 1))
    }

    pub(crate) fn turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    pub(crate) fn next(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    /// Everything that is due by `now`.
    pub(crate) fn advance(&mut self, now: u64) {
        self.advance_rules(now);
        for (id, job) in &mut self.jobs {
            let Some(state) = &mut job.now else { continue };
            if let Place::Delayed(until) = state.place
                && until <= now
            {
                (state.place, state.ready) = (Place::Ready, (until, now));
            }
            if let Some((_, until)) = state.reserved
                && until <= now
            {
                (state.reserved, state.ready) = (None, (until, now));
                state.timeouts += 1;
                if let Kept::There(kept) = job.kept.last_mut() {
                    kept.timeouts.1 = state.timeouts;
                }
                self.rules.returned.insert(*id);
            }
        }
    }

    pub(crate) fn put(
        &mut self,
        (id, is_late): (JobId, bool),
        (created, now): (u64, u64),
        tube: usize,
        header: PutHeader,
        body: Vec<u8>,
    ) -> Result<(), String> {
        // A body that had to be stored first comes after those of later puts.
        let is_put = |job: &Job| job.now.is_some() || (1..Moment::MAX).contains(&job.put);
        let is_used = self.jobs.get(&id).is_some_and(is_put);
        let is_used = if is_late { is_used && id <= self.last_put } else { id <= self.last_put };
        if id < self.least_id || is_used {
            return Err(format!("the number {id} was used before"));
        }
        self.last_put = self.last_put.max(id);
        let ttr = match header.ttr {
            0 => self.policies[tube].last().default_ttr.unwrap_or(0).max(1),
            ttr => ttr,
        };
        let mut job = Job {
            ttr,
            created,
            body,
            put: self.next(),
            taken_back: false,
            kept: History::new(Kept::Absent),
            now: Some(Now {
                tube,
                place: delayed(now, header.delay),
                ready: (now, now),
                reserved: None,
                reserves: 0,
                timeouts: 0,
                disconnects: 0,
            }),
        };
        let kept = Durable {
            tube,
            place: delayed(now, header.delay),
            priority: header.priority,
            delay: header.delay,
            moves: [0; 3],
            reserves: (0, 0),
            timeouts: (0, 0),
            disconnects: (0, 0),
        };
        job.kept.push(job.put, self.records, true, Kept::There(kept));
        self.jobs.insert(id, job);
        Ok(())
    }

    /// The job, which the server says is there.
    fn there(&mut self, id: JobId) -> Result<&mut Job, String> {
        let job = self.jobs.get_mut(&id).filter(|job| job.now.is_some());
        job.ok_or_else(|| format!("job {id} should be gone"))
    }

    /// Whether the job is there, in this tube.
    pub(crate) fn is_in(&self, id: JobId, tube: usize) -> bool {
        let now = self.jobs.get(&id).and_then(|job| job.now.as_ref());
        now.is_some_and(|now| now.tube == tube)
    }

    pub(crate) fn reserve(&mut self, id: JobId, client: ClientId, now: u64) -> Result<(), String> {
        let (moment, records) = (self.moment + 1, self.records && self.is_good);
        let job = self.there(id)?;
        let until = now + u64::from(job.ttr) * SECOND;
        let Some(state) = &mut job.now else { return Ok(()) };
        if let Some((owner, _)) = state.reserved {
            return Err(format!("job {id} is reserved by client {owner} already"));
        }
        let was = state.place;
        state.reserves += 1;
        (state.place, state.reserved) = (Place::Ready, Some((client, until)));
        let reserves = state.reserves;
        let Kept::There(kept) = job.kept.last_mut() else { return Ok(()) };
        if was == Place::Ready {
            kept.reserves.1 = reserves;
            return Ok(());
        }
        let mut kept = kept.clone();
        (kept.place, kept.reserves.1) = (Place::Ready, reserves);
        job.kept.push(moment, records, false, Kept::There(kept));
        self.moment = moment;
        Ok(())
    }

    /// The job is taken out of the hands of whoever has it, and is there now, perhaps in another tube.
    pub(crate) fn move_to(
        &mut self,
        id: JobId,
        place: Place,
        to: Option<usize>,
        change: impl FnOnce(&mut Durable),
    ) -> Result<(), String> {
        let (moment, records, ready) = (self.next(), self.records, self.ready_now());
        let job = self.there(id)?;
        let Some(state) = &mut job.now else { return Ok(()) };
        (state.place, state.reserved, state.ready) = (place, None, ready);
        let tube = to.unwrap_or(state.tube);
        state.tube = tube;
        let counts = (state.reserves, state.timeouts, state.disconnects);
        let Kept::There(kept) = job.kept.last() else { return Ok(()) };
        let mut kept = kept.clone();
        (kept.tube, kept.place) = (tube, place);
        (kept.reserves.1, kept.timeouts.1, kept.disconnects.1) = counts;
        change(&mut kept);
        job.kept.push(moment, records, true, Kept::There(kept));
        Ok(())
    }

    pub(crate) fn release(
        &mut self,
        id: JobId,
        priority: u32,
        delay: u32,
        now: u64,
    ) -> Result<(), String> {
        self.move_to(id, delayed(now, delay), None, |kept| {
            (kept.priority, kept.delay) = (priority, delay);
            kept.moves[0] += 1;
            kept.settle();
        })
    }

    pub(crate) fn bury(&mut self, id: JobId, priority: u32) -> Result<(), String> {
        let turn = self.turn();
        self.move_to(id, Place::Buried(turn), None, |kept| {
            kept.priority = priority;
            kept.moves[1] += 1;
            kept.settle();
        })
    }

    /// An operator gives it another priority, or another delay, so that it is there now.
    pub(crate) fn set(
        &mut self,
        id: JobId,
        priority: Option<u32>,
        delay: Option<(u32, Place)>,
    ) -> Result<(), String> {
        let now = self.there(id)?.now.as_ref().ok_or("it is there")?;
        let (reserved, ready) = (now.reserved, now.ready);
        let place = delay.map_or(now.place, |(_, place)| place);
        self.move_to(id, place, None, |kept| {
            kept.priority = priority.unwrap_or(kept.priority);
            kept.delay = delay.map_or(kept.delay, |(delay, _)| delay);
            kept.settle();
        })?;
        if let Some(now) = self.there(id)?.now.as_mut().filter(|_| reserved.is_some()) {
            (now.reserved, now.ready) = (reserved, ready);
        }
        Ok(())
    }

    pub(crate) fn kick_job(&mut self, id: JobId) -> Result<(), String> {
        self.move_to(id, Place::Ready, None, |kept| kept.moves[2] += 1)
    }

    pub(crate) fn move_job(&mut self, id: JobId, to: usize) -> Result<(), String> {
        let (turn, ready) = (self.turn(), self.ready_now());
        let state = self.there(id)?.now.as_mut().ok_or("it is there")?;
        if state.tube == to {
            // Who moves a job that it has gives it up, which is not recorded.
            if state.reserved.take().is_some() {
                state.ready = ready;
            }
            return Ok(());
        }
        let place = match state.place {
            Place::Buried(_) => Place::Buried(turn),
            place => place,
        };
        self.move_to(id, place, Some(to), Durable::settle)
    }

    /// All that nobody has are gone, at one moment.
    pub(crate) fn clear(&mut self, tube: usize, count: u64) -> Result<(), String> {
        let is_free = |job: &&mut Job| {
            job.now.as_ref().is_some_and(|now| now.tube == tube && now.reserved.is_none())
        };
        let (moment, records) = (self.moment + 1, self.records);
        let mut cleared = 0;
        for job in self.jobs.values_mut().filter(is_free) {
            job.now = None;
            job.kept.push(moment, records, true, Kept::Absent);
            cleared += 1;
        }
        if cleared > 0 {
            self.moment = moment;
        }
        if cleared == count { Ok(()) } else { Err(format!("{count} were cleared, of {cleared}")) }
    }

    /// These jobs of the tube are kicked, in this order: the first buried ones, or if there are none, those
    /// whose delays end first.
    pub(crate) fn kick(&mut self, tube: usize, ids: &[JobId]) -> Result<(), String> {
        let buried = self.buried(tube);
        if !buried.is_empty() && !buried.starts_with(ids) {
            return Err(format!("{ids:?} are kicked, not the first of {buried:?}"));
        }
        for id in ids {
            if buried.is_empty() {
                let until = |job: &Job| match job.now.as_ref()? {
                    Now { tube: of, place: Place::Delayed(until), .. } if *of == tube => {
                        Some(*until)
                    }
                    _ => None,
                };
                let first = self.jobs.values().filter_map(until).min();
                if first.is_none() || first != self.jobs.get(id).and_then(until) {
                    return Err(format!("{id} is kicked, and is not the first of those delayed"));
                }
            }
            self.kick_job(*id)?;
        }
        Ok(())
    }

    /// The buried jobs of a tube, in order.
    pub(crate) fn buried(&self, tube: usize) -> Vec<JobId> {
        let buried = |(id, job): (&JobId, &Job)| match job.now.as_ref()? {
            Now { tube: of, place: Place::Buried(turn), .. } if *of == tube => Some((*turn, *id)),
            _ => None,
        };
        let mut buried: Vec<_> = self.jobs.iter().filter_map(buried).collect();
        buried.sort_unstable();
        buried.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn touch(&mut self, id: JobId, now: u64) -> Result<(), String> {
        let job = self.there(id)?;
        let until = now + u64::from(job.ttr) * SECOND;
        let state = job.now.as_mut().and_then(|state| state.reserved.as_mut());
        let (_, deadline) = state.ok_or_else(|| format!("job {id} is not reserved"))?;
        *deadline = until;
        Ok(())
    }

    pub(crate) fn delete(&mut self, id: JobId) -> Result<(), String> {
        let (moment, records) = (self.next(), self.records);
        let job = self.there(id)?;
        job.now = None;
        job.kept.push(moment, records, true, Kept::Absent);
        Ok(())
    }

    /// The server takes a new job back, because its record failed.
    pub(crate) fn take_back(&mut self, id: JobId) {
        let moment = self.next();
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.now.is_some()) {
            (job.now, job.taken_back) = (None, true);
            job.kept.push(moment, true, true, Kept::Absent);
        }
    }

    pub(crate) fn disconnect(&mut self, client: ClientId, reason: CloseReason) {
        let ready = self.ready_now();
        for (id, job) in &mut self.jobs {
            let Some(state) = &mut job.now else { continue };
            if state.reserved.is_none_or(|(owner, _)| owner != client) {
                continue;
            }
            (state.reserved, state.ready) = (None, ready);
            if reason == CloseReason::Vanished {
                state.disconnects += 1;
                if let Kept::There(kept) = job.kept.last_mut() {
                    kept.disconnects.1 = state.disconnects;
                }
            }
            self.rules.returned.insert(*id);
        }
    }

    pub(crate) fn pause(&mut self, tube: usize, seconds: u32, now: u64) {
        let (moment, records) = (self.next(), self.records);
        let until = now + u64::from(seconds) * SECOND;
        self.pauses[tube].push(moment, records, true, (seconds, until));
    }

    /// A put into this tube is answered with a number, as far as its policy is concerned: whether that is
    /// a job which is there already. `judged`: the policy that there is now has judged the put, and
    /// nothing happens that is not known yet.
    pub(crate) fn is_known(
        &self,
        id: JobId,
        tube: usize,
        body: &[u8],
        judged: bool,
    ) -> Result<bool, String> {
        let policy = self.policies[tube].last();
        let here = || {
            let all = self.jobs.iter().filter_map(|(id, job)| Some((id, job, job.now.as_ref()?)));
            all.filter(|(_, _, now)| now.tube == tube)
        };
        let same = || {
            here().filter(|(_, job, now)| {
                now.reserved.is_none() && !matches!(now.place, Place::Buried(_)) && job.body == body
            })
        };
        if self.jobs.get(&id).is_some_and(|job| job.now.is_some()) {
            let is_it = policy.unique && self.jobs[&id].body == body;
            let waits = same().any(|(other, ..)| *other == id);
            // Somebody who waited may have got it meanwhile; that is known later.
            return match is_it && waits {
                true => Ok(true),
                false => Err(format!("{id} is not the job that is put: {policy:?}")),
            };
        }
        if judged && policy.unique && same().next().is_some() {
            return Err(format!("{id} is put, though its body is there: {policy:?}"));
        }
        let most = policy.max_jobs.filter(|_| judged);
        if most.is_some_and(|most| here().count() as u64 >= most) {
            return Err(format!("{id} is one too many: {policy:?}"));
        }
        let bytes: usize = here().map(|(_, job, _)| job.body.len()).sum();
        let most = policy.max_bytes.filter(|_| judged);
        if most.is_some_and(|most| (bytes + body.len()) as u64 > most) {
            return Err(format!("{id} has too many bytes: {policy:?}"));
        }
        Ok(false)
    }

    pub(crate) fn drain(&mut self, draining: bool) {
        if *self.draining.last() != draining {
            let moment = self.next();
            self.draining.push(moment, true, true, draining);
        }
    }

    /// Somebody was told what is true of this job now.
    pub(crate) fn known(&self, id: JobId) -> Moment {
        self.jobs.get(&id).map_or(0, |job| job.kept.last_urgent())
    }

    /// Bytes of the records and bodies of all jobs, if nothing had happened to them, and of the largest job
    /// that there ever was.
    pub(crate) fn sizes(&self, store_from: usize) -> (u64, u64) {
        let size = |job: &Job, tube: usize| {
            let apart = if job.body.len() >= store_from { STORED_LEN } else { 0 };
            (JOB_LEN + TUBES[tube].len() + job.body.len() + apart) as u64
        };
        let live = |job: &Job| job.now.as_ref().map_or(0, |now| size(job, now.tube));
        // The last name is the longest.
        let most = self.jobs.values().map(|job| size(job, TUBES.len() - 1)).max();
        (self.jobs.values().map(live).sum(), most.unwrap_or(0))
    }
}
