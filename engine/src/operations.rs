//! Operations on one job or one tube from outside a connection: what an operator does.
//!
//! They do what the commands do, and more: they reach a job in any state. A job that is reserved is
//! taken from its holder, which then gets `NOT_FOUND` for it, as if its time to run had expired.
//! Waiting connections are served as usual. What the log cannot record is refused and not done.

use std::fmt;

use beanstalk_protocol::{JobId, JobState, Priority, Seconds, TubeName};

use crate::arena::Ix;
use crate::attempts::AttemptEnd;
use crate::engine::Engine;
use crate::record::{Change, DurableState, Record};
use crate::sink::Sink;
use crate::time::Nanos;

/// What can be done to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes a delayed or buried job ready. Counts as a kick.
    Kick,
    /// Buries a ready, delayed or reserved job, behind the last buried one; with this priority, or
    /// with the one that it has. Counts as a bury.
    Bury(Option<Priority>),
    /// Deletes a job in any state. Counts as a delete of its tube.
    Delete,
    /// Takes a reserved job from its holder and makes it ready, with the priority that it has and
    /// without a delay. Counts as a release: the job was not completed, and its time to run had not
    /// expired.
    Release,
    /// Moves a ready, delayed or buried job to this tube: see [`Engine::move_job`].
    Move(TubeName),
    /// Changes the priority or the delay.
    Set(JobChange),
}

/// New properties of a job. `None` leaves a property as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobChange {
    /// The priority, in any state.
    pub priority: Option<Priority>,
    /// The delay of a ready or delayed job, in seconds from now. 0 makes it ready, which is not
    /// counted as a kick.
    pub delay: Option<Seconds>,
}

/// Why an operation was not carried out. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such job.
    NoJob,
    /// There is no such tube.
    NoTube,
    /// The job is in this state, in which the operation is not possible.
    WrongState(JobState),
    /// The log cannot record it: it has no room, or has failed.
    NotRecorded,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJob => f.write_str("there is no such job"),
            Self::NoTube => f.write_str("there is no such tube"),
            Self::WrongState(state) => {
                write!(f, "not possible while the job is {}", state.as_str())
            }
            Self::NotRecorded => f.write_str("the log cannot record it: it is full, or has failed"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Engine {
    /// Carries out an action on one job.
    pub fn act(
        &mut self,
        now: Nanos,
        id: JobId,
        action: &Action,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let ix = self.find_job(id).ok_or(Refusal::NoJob)?;
        self.may_act(ix, action)?;
        self.act_on(now, ix, action, sink)
    }

    /// Whether the job is in a state in which the action is possible.
    pub(crate) fn may_act(&self, ix: Ix, action: &Action) -> Result<(), Refusal> {
        use JobState::{Buried, Delayed, Ready, Reserved};
        let state = self.jobs[ix].state();
        let possible = match action {
            Action::Kick => matches!(state, Delayed | Buried),
            Action::Bury(_) => matches!(state, Ready | Delayed | Reserved),
            Action::Delete => true,
            Action::Release => state == Reserved,
            Action::Move(_) => state != Reserved,
            Action::Set(JobChange { delay: Some(_), .. }) => matches!(state, Ready | Delayed),
            Action::Set(_) => true,
        };
        if possible { Ok(()) } else { Err(Refusal::WrongState(state)) }
    }

    /// Carries out an action that is possible in the job's state.
    pub(crate) fn act_on(
        &mut self,
        now: Nanos,
        ix: Ix,
        action: &Action,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let change = match action {
            Action::Kick | Action::Bury(_) | Action::Release | Action::Set(_) => {
                Change::Existing(1)
            }
            Action::Delete => Change::Delete,
            Action::Move(tube) => {
                self.may_move(ix, tube, sink)?;
                self.move_to(now, ix, tube, sink);
                return Ok(());
            }
        };
        if !sink.admits(change) {
            return Err(Refusal::NotRecorded);
        }
        match action {
            Action::Kick => self.kick_one(now, ix, sink),
            Action::Bury(priority) => {
                let priority = priority.unwrap_or(self.jobs[ix].priority);
                self.bury_one(ix, priority, sink);
            }
            Action::Delete => self.delete_one(now, ix, self.jobs[ix].id, sink),
            Action::Release => {
                let priority = self.jobs[ix].priority;
                self.end_attempt(now, ix, AttemptEnd::Released { priority, delay: 0 }, sink);
            }
            Action::Set(change) => self.set_one(now, ix, *change, sink),
            Action::Move(_) => {}
        }
        Ok(())
    }

    fn set_one(&mut self, now: Nanos, ix: Ix, change: JobChange, sink: &mut impl Sink) {
        let state = match change.delay {
            Some(delay) => DurableState::after(now, delay),
            None => self.durable_state(ix),
        };
        // Only the order of ready jobs depends on their priority.
        let moves = change.delay.is_some() || self.jobs[ix].place().is_ready();
        if moves {
            self.detach(ix);
        }
        let job = &mut self.jobs[ix];
        job.priority = change.priority.unwrap_or(job.priority);
        job.delay = change.delay.unwrap_or(job.delay);
        if change.delay.is_some() {
            self.note_ready_again(now, ix, state);
        }
        sink.record(Record::Update(self.job_update(ix, state)));
        if moves {
            self.make(now, ix, state, sink);
        }
    }

    /// Pauses a tube for this many seconds, or ends its pause with 0. Counts as a `pause-tube`.
    pub fn pause(
        &mut self,
        now: Nanos,
        tube: &str,
        seconds: Seconds,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let tube = self.tubes.find(tube).ok_or(Refusal::NoTube)?;
        if !sink.admits(Change::Settings) {
            return Err(Refusal::NotRecorded);
        }
        self.tubes[tube].pauses += 1;
        self.set_pause(now, tube, seconds, sink);
        Ok(())
    }

    /// The job, if it exists and nobody has reserved it.
    pub(crate) fn find_free(&self, id: JobId) -> Result<Ix, Refusal> {
        let ix = self.find_job(id).ok_or(Refusal::NoJob)?;
        match self.jobs[ix].state() {
            JobState::Reserved => Err(Refusal::WrongState(JobState::Reserved)),
            _ => Ok(ix),
        }
    }
}
