//! What an operator does, in the model.

use beanstalk_protocol::{JobId, JobState, Seconds, TubeName};
use jq_engine::{Action, Body, Inserted, JobChange, Nanos, NewJob, PutRefusal, Refusal, Sink};

use super::policy::Turned;
use super::{Job, Model, Place};

impl Model {
    pub(crate) fn act(
        &mut self,
        now: Nanos,
        id: JobId,
        action: &Action,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let job = self.find(id).ok_or(Refusal::NoJob)?.clone();
        let state = match job.place {
            Place::Arriving { .. } | Place::Ready => JobState::Ready,
            Place::Delayed { .. } => JobState::Delayed,
            Place::Reserved { .. } => JobState::Reserved,
            Place::Buried { .. } => JobState::Buried,
        };
        let wrong = Err(Refusal::WrongState(state));
        match (action, state) {
            (Action::Kick, JobState::Delayed | JobState::Buried) => {
                self.job(id).kicks += 1;
                self.job(id).ready_at = now;
                self.make_ready(now, id, sink);
            }
            (Action::Bury(_), JobState::Buried) | (Action::Kick, _) => return wrong,
            (Action::Bury(priority), _) => {
                let order = self.order();
                self.see(id, |seen, _| seen.activity.buries += 1);
                let job = self.job(id);
                job.priority = priority.unwrap_or(job.priority);
                job.buries += 1;
                job.place = Place::Buried { order };
            }
            (Action::Delete, _) => {
                self.see(id, |seen, job| seen.deleted(now, job));
                self.jobs.retain(|job| job.id != id);
                if let Some(tube) = self.tube(&job.tube) {
                    tube.deletes += 1;
                }
                self.drop_idle_tubes();
            }
            (Action::Release, JobState::Reserved) => {
                let job = self.job(id);
                job.releases += 1;
                job.delay = 0;
                if !self.gives_up(now, id, sink) {
                    self.job(id).ready_at = now;
                    self.make_ready(now, id, sink);
                }
            }
            (Action::Release, _) | (Action::Move(_), JobState::Reserved) => return wrong,
            (Action::Move(tube), _) => self.move_job(now, id, tube, sink),
            (
                Action::Set(JobChange { delay: Some(_), .. }),
                JobState::Reserved | JobState::Buried,
            ) => {
                return wrong;
            }
            (Action::Set(change), _) => {
                // A ready job whose priority changes begins to wait anew.
                let order = self.order();
                let job = self.job(id);
                job.ready_since = (now, order);
                job.priority = change.priority.unwrap_or(job.priority);
                job.delay = change.delay.unwrap_or(job.delay);
                if let Some(delay) = change.delay {
                    job.ready_at = now.after(delay);
                    self.make_ready_or_delayed(now, id, delay, sink);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn put(
        &mut self,
        now: Nanos,
        tube: &TubeName,
        new: NewJob,
        body: Box<[u8]>,
        sink: &mut impl Sink,
    ) -> Result<Inserted, PutRefusal> {
        if self.draining {
            self.refused_puts.draining += 1;
            return Err(PutRefusal::Draining);
        }
        self.create_tube(tube);
        let id = self.next_id;
        match self.judge(id, tube, &body) {
            Ok(()) => {}
            Err(Turned::Known(known)) => return Ok(Inserted { id: known, is_new: false }),
            Err(Turned::Full(cause)) => return Err(PutRefusal::LimitReached(cause)),
        }
        self.next_id += 1;
        let order = self.order();
        self.jobs.push(Job {
            id,
            tube: tube.clone(),
            body: Body::from(body),
            priority: new.priority,
            delay: new.delay,
            ttr: self.ttr(tube, new.ttr),
            created: now,
            ready_at: now.after(new.delay),
            reserved_at: now,
            place: Place::Ready,
            judged: true,
            ready_since: (now, order),
            reserves: 0,
            timeouts: 0,
            releases: 0,
            buries: 0,
            kicks: 0,
            disconnects: 0,
        });
        self.total_jobs += 1;
        self.see(id, |seen, _| seen.activity.puts += 1);
        if let Some(tube) = self.tube(tube) {
            tube.total_jobs += 1;
        }
        self.make_ready_or_delayed(now, id, new.delay, sink);
        Ok(Inserted { id, is_new: true })
    }

    /// Moves a job that is not arriving; one that is reserved is ready afterwards.
    pub(crate) fn move_job(&mut self, now: Nanos, id: JobId, to: &TubeName, sink: &mut impl Sink) {
        if self.job(id).tube == *to {
            if matches!(self.job(id).place, Place::Reserved { .. }) {
                self.job(id).ready_at = now;
                self.make_ready(now, id, sink);
            }
            return;
        }
        self.create_tube(to);
        let order = self.order();
        let job = self.job(id);
        job.tube = to.clone();
        match &mut job.place {
            // Behind those that are buried there, or whose delay ends at the same time.
            Place::Buried { order: place } | Place::Delayed { order: place, .. } => *place = order,
            Place::Arriving { .. } | Place::Ready => {
                job.place = Place::Ready;
                job.ready_since = (now, order);
            }
            Place::Reserved { .. } => {
                (job.place, job.ready_at) = (Place::Ready, now);
                job.ready_since = (now, order);
            }
        }
        let place = job.place;
        if let Place::Delayed { .. } = place {
            self.moment(Nanos(0));
        }
        let is_ready = place == Place::Ready;
        if let Some(tube) = self.tube(to) {
            tube.total_jobs += 1;
            tube.seen.activity.puts += 1;
        }
        if is_ready {
            self.serve(now, to, sink);
        }
        self.drop_idle_tubes();
    }

    /// Removes what is ready, delayed or buried.
    pub(crate) fn clear_tube(&mut self, name: &TubeName) -> Result<u64, Refusal> {
        if self.tube(name).is_none() {
            return Err(Refusal::NoTube);
        }
        let before = self.jobs.len();
        self.jobs.retain(|job| {
            let stays = matches!(job.place, Place::Reserved { .. } | Place::Arriving { .. });
            stays || job.tube != *name
        });
        self.drop_idle_tubes();
        Ok((before - self.jobs.len()) as u64)
    }

    pub(crate) fn set_pause(
        &mut self,
        now: Nanos,
        name: &TubeName,
        seconds: Seconds,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        if self.tube(name).is_none() {
            return Err(Refusal::NoTube);
        }
        self.pause_for(now, name, seconds, sink);
        Ok(())
    }
}
