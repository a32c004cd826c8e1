//! An operator does something to many jobs, in steps; what ends the server comes between them.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use beanstalk_protocol::{JobId, JobState};
use fastrand::Rng;
use jq_engine::{Action, Bulk, BulkFlow, DurableState, Filter, JobChange, StepSize};
use jq_server::log::{Gate, Gated, Place as Turn};

use crate::facts::Fact;
use crate::history::Moment;
use crate::job::{Job, Kept, Now, Place};
use crate::model::{Model, TUBES};
use crate::observe::tube_name;
use crate::sim::{Sim, Violation};

/// An action on many jobs that goes on.
#[derive(Debug)]
pub(crate) struct Running {
    bulk: Bulk,
    tube: usize,
    state: Option<JobState>,
    action: Action,
    dry_run: bool,
    /// Only jobs with smaller numbers.
    before: JobId,
    /// Those that matched at the beginning, as they were.
    matched: BTreeMap<JobId, String>,
    acted: BTreeSet<JobId>,
    /// What the operator is told next, and what that promises.
    held: Option<(Gated, Moment)>,
}

/// How a job is while nobody has it.
fn state(now: &Now) -> JobState {
    match (now.reserved, now.place) {
        (Some(_), _) => JobState::Reserved,
        (None, Place::Ready) => JobState::Ready,
        (None, Place::Delayed(_)) => JobState::Delayed,
        (None, Place::Buried(_)) => JobState::Buried,
    }
}

fn some_action(rng: &mut Rng, tube: usize) -> Action {
    let other = (tube + rng.usize(1..TUBES.len())) % TUBES.len();
    let some = |rng: &mut Rng, most: u32| rng.bool().then(|| rng.u32(..most));
    match rng.u8(..8) {
        0 => Action::Kick,
        1 => Action::Bury(some(rng, 4)),
        2 => Action::Delete,
        3 => Action::Release,
        4..6 => Action::Move(tube_name(other)),
        _ => Action::Set(JobChange { priority: some(rng, 4), delay: some(rng, 4) }),
    }
}

impl Running {
    fn matches(&self, id: JobId, job: &Job) -> bool {
        id < self.before
            && job.now.as_ref().is_some_and(|now| {
                now.tube == self.tube && self.state.is_none_or(|wanted| wanted == state(now))
            })
    }

    /// Whether the action is possible with a job.
    fn may_act(&self, now: &Now) -> bool {
        match (&self.action, state(now)) {
            (Action::Kick, state) => matches!(state, JobState::Delayed | JobState::Buried),
            (Action::Bury(_), state) => state != JobState::Buried,
            (Action::Release, state) => state == JobState::Reserved,
            (Action::Move(_), state) => state != JobState::Reserved,
            (Action::Set(JobChange { delay: Some(_), .. }), state) => {
                matches!(state, JobState::Ready | JobState::Delayed)
            }
            (Action::Delete | Action::Set(_), _) => true,
        }
    }

    /// What has changed when this has.
    fn as_it_is(job: &Job) -> String {
        format!("{:?} {}", job.now, job.kept.states().count())
    }

    /// The step has told the log this.
    fn believe(&mut self, model: &mut Model, fact: Fact) -> Result<(), String> {
        let id = fact.job().ok_or("a bulk acts on jobs")?;
        let job = model.jobs.get(&id).filter(|job| self.matches(id, job));
        let job = job.ok_or_else(|| format!("{id} does not match: {self:?}"))?;
        let may_act = job.now.as_ref().is_some_and(|now| self.may_act(now));
        let Kept::There(kept) = job.kept.last() else { return Err(format!("{id} is gone")) };
        let had = kept.priority;
        if self.dry_run || !may_act || !self.acted.insert(id) {
            return Err(format!("{fact:?} of {self:?}"));
        }
        match (&self.action, fact) {
            (Action::Kick, Fact::Kicked(_)) => model.kick_job(id),
            (Action::Bury(priority), Fact::Changed(_)) => model.bury(id, priority.unwrap_or(had)),
            (Action::Delete, Fact::Gone(_)) => model.delete(id),
            (Action::Release, Fact::Changed(_)) => {
                model.release(id, had, 0, 0)?;
                model.end_attempt(id)
            }
            (Action::Move(name), Fact::Moved(to, _)) if name.as_str() == TUBES[to] => {
                model.move_job(id, to)
            }
            (Action::Set(change), Fact::Changed(now)) => {
                let place = match now.state {
                    DurableState::Delayed(until) => Place::Delayed(until.0),
                    _ => Place::Ready,
                };
                model.set(id, change.priority, change.delay.map(|delay| (delay, place)))
            }
            _ => Err(format!("{fact:?} of {self:?}")),
        }
    }

    /// All steps are taken.
    fn is_complete(&self, model: &Model) -> Result<(), String> {
        let counts = self.bulk.counts();
        if !self.dry_run && counts.changed != self.acted.len() as u64 {
            return Err(format!("it says {counts:?}: {self:?}"));
        }
        for (id, was) in self.matched.iter().filter(|(id, _)| !self.acted.contains(*id)) {
            let is_same = |job: &&Job| Self::as_it_is(job) == *was;
            let left = model.jobs.get(id).filter(is_same).and_then(|job| job.now.as_ref());
            if !self.dry_run && left.is_some_and(|now| self.may_act(now)) {
                return Err(format!("{id} was left out: {self:?}"));
            }
        }
        Ok(())
    }
}

impl Sim {
    /// An operator begins to do something to many jobs, or it goes on. Nobody who waits may have
    /// anything of which the model does not know.
    pub(crate) fn operate(&mut self, now: u64) -> Result<(), Violation> {
        let Some(mut running) = self.bulk.take() else {
            self.bulk = Some(self.begin_bulk());
            return Ok(());
        };
        if let Some((gated, promise)) = running.held.take() {
            let hub = &self.server.hub;
            match hub.poll_gate(gated, &mut Turn::default(), Waker::noop()) {
                // What comes after a disk has stopped is nobody's.
                _ if self.disk.is_stopped() => return Ok(()),
                Gate::Held => running.held = Some((gated, promise)),
                Gate::Open => self.model.promised = self.model.promised.max(promise),
                // It ends, and the operator is told so.
                Gate::Failed => return Ok(()),
                Gate::Lost => return Err("the log says that it is lost".into()),
            }
        }
        if running.held.is_none() && !running.bulk.is_done() {
            let size = StepSize { looks: self.rng.usize(1..20), changes: self.rng.usize(1..4) };
            let before = running.bulk.counts();
            let (flow, gated) = self
                .server
                .hub
                .change(|engine, mut sink, now| running.bulk.step(engine, now, size, &mut sink));
            self.model.rules.told = self.server.facts.take();
            self.trace.note(format_args!("a step of {running:?}: {:?}", self.model.rules.told));
            while let Some(fact) = self.model.rules.told.pop_front() {
                running.believe(&mut self.model, fact)?;
            }
            let changes = running.bulk.counts().changed - before.changed;
            if changes > size.changes as u64 {
                return Err(format!("{changes} changes in a step of {size:?}"));
            }
            if flow == BulkFlow::NotRecorded && self.model.is_good && self.model.records {
                return Err(format!("a good log refuses {running:?}"));
            }
            running.held = gated.is_needed().then_some((gated, self.model.moment));
            if flow == BulkFlow::Done {
                running.is_complete(&self.model)?;
            }
        }
        if running.held.is_some() || !running.bulk.is_done() {
            self.bulk = Some(running);
        }
        self.collect(now)
    }

    fn begin_bulk(&mut self) -> Running {
        let rng = &mut self.rng;
        let tube = rng.usize(..TUBES.len());
        let states = [JobState::Ready, JobState::Delayed, JobState::Buried, JobState::Reserved];
        let state = rng.bool().then(|| states[rng.usize(..states.len())]);
        let (action, dry_run) = (some_action(rng, tube), rng.u8(..8) == 0);
        let filter = Filter { state, ..Filter::default() };
        let (bulk, before) = self.server.hub.read(|engine, _| {
            let bulk = Bulk::new(engine, tube_name(tube), filter, action.clone(), dry_run);
            (bulk, engine.next_id())
        });
        let (matched, acted) = (BTreeMap::new(), BTreeSet::new());
        let mut running =
            Running { bulk, tube, state, action, dry_run, before, matched, acted, held: None };
        let matched = self.model.jobs.iter().filter(|(id, job)| running.matches(**id, job));
        running.matched = matched.map(|(id, job)| (*id, Running::as_it_is(job))).collect();
        self.trace.note(format_args!("{running:?}"));
        running
    }
}
