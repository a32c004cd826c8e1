//! The durable part of the queue: written as records, and restored from them.

use std::collections::HashSet;

use beanstalk_protocol::{BadTubeName, JobId, Seconds, TubeName};

use crate::arena::Ix;
use crate::body::Body;
use crate::engine::{ConnId, Engine};
use crate::job::{Job, NONE, Place};
use crate::record::{DurableState, JobIds, JobRecord, JobUpdate, Record, SegmentRef};
use crate::sink::{Answer, Sink};
use crate::time::Nanos;
use crate::tube::Tube;

/// Nobody is connected while a queue is restored, so there is nobody to answer.
struct Nobody;

impl Sink for Nobody {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}
}

impl DurableState {
    /// The state of a job that is put or released with this delay.
    pub(crate) fn after(now: Nanos, delay: Seconds) -> Self {
        if delay > 0 { Self::Delayed(now.after(delay)) } else { Self::Ready }
    }

    /// Limits what is left of a delay to its length. It can only be longer if the clock was set
    /// back in the meantime, and that must not prolong the delay.
    fn within(self, now: Nanos, delay: Seconds) -> Self {
        match self {
            Self::Delayed(until) => Self::Delayed(until.min(now.after(delay))),
            Self::Ready | Self::Buried(_) => self,
        }
    }
}

impl Engine {
    /// Moves a detached job to where it belongs.
    pub(crate) fn make(&mut self, now: Nanos, ix: Ix, state: DurableState, sink: &mut impl Sink) {
        match state {
            DurableState::Ready => self.make_ready(now, ix, sink),
            DurableState::Delayed(until) => self.make_delayed(until, ix),
            DurableState::Buried(turn) => {
                self.jobs.set_bury_turn(ix, turn);
                self.make_buried(ix);
            }
        }
    }

    fn job_record(&self, ix: Ix, state: DurableState) -> JobRecord<'_> {
        let job = &self.jobs[ix];
        JobRecord {
            tube: self.tubes[job.tube].name.as_str(),
            created: job.created,
            ttr: job.ttr,
            now: self.job_update(ix, state),
            body: job.body.as_ref(),
            shared: job.body.shared(),
        }
    }

    pub(crate) fn job_update(&self, ix: Ix, state: DurableState) -> JobUpdate {
        let job = &self.jobs[ix];
        let counters = self.jobs.counters(ix);
        JobUpdate { id: job.id, priority: job.priority, delay: job.delay, state, counters }
    }

    /// The state in which the job would be restored.
    pub(crate) fn durable_state(&self, ix: Ix) -> DurableState {
        let job = &self.jobs[ix];
        match job.place() {
            Place::Nowhere | Place::Lined { .. } | Place::Ready { .. } | Place::Reserved { .. } => {
                DurableState::Ready
            }
            Place::Delayed { position } => {
                DurableState::Delayed(self.tubes[job.tube].delayed.key_at(position).0)
            }
            Place::Buried { .. } => DurableState::Buried(self.jobs.bury_turn(ix)),
        }
    }

    /// What is set for the server, and for each tube for which anything is: one record each.
    pub fn tell_settings(&self, mut tell: impl FnMut(Record<'_>)) {
        tell(Record::Server(self.settings));
        for tube in self.tubes.all().filter(|tube| tube.has_settings()) {
            tell(Record::Tube { tube: tube.name.as_str(), settings: tube.settings() });
        }
    }

    /// Passes the whole durable state to `tell`, as records from which [`Engine::restore`] makes an
    /// equal queue. The engine's own segment references stay as they are.
    pub fn tell_all(&self, mut tell: impl FnMut(Record<'_>)) {
        self.tell_settings(&mut tell);
        for ix in self.jobs.all().filter(|ix| !self.is_dead(&self.jobs[*ix])) {
            tell(Record::Put(self.job_record(ix, self.durable_state(ix))));
        }
    }

    /// Records everything about a job once more, so that its previous record is no longer needed.
    /// Does nothing if the job is gone. Returns whether it existed.
    pub fn record_again(&mut self, id: JobId, sink: &mut impl Sink) -> bool {
        let Some(ix) = self.find_job(id) else { return false };
        let job = &self.jobs[ix];
        let bytes = self.tubes[job.tube].name.as_bytes().len() + job.body.as_ref().len();
        // Recorded first: a job without any record would be one that is gone.
        let segment = sink.record(Record::Again(self.job_record(ix, self.durable_state(ix))));
        let before = std::mem::replace(&mut self.jobs[ix].segment, segment);
        sink.forget(before, id, bytes);
        true
    }

    /// The segment that holds the record of this job; `None` if the job does not exist.
    pub fn segment_of(&self, id: JobId) -> Option<SegmentRef> {
        self.find_job(id).map(|ix| self.jobs[ix].segment)
    }

    /// Undoes a put that was not acknowledged. Records nothing.
    pub fn take_back(&mut self, id: JobId, sink: &mut impl Sink) {
        if let Some(ix) = self.find_job(id) {
            self.total_jobs -= 1;
            self.tubes[self.jobs[ix].tube].total_jobs -= 1;
            self.remove_job(ix, sink);
        }
    }

    /// The id that the next job will get.
    pub fn next_id(&self) -> JobId {
        self.next_id
    }

    /// Makes sure that no new job gets an id below this one.
    pub fn reserve_ids(&mut self, next_id: JobId) {
        self.next_id = self.next_id.max(next_id);
    }

    /// Restores a recorded fact; `segment` is the segment that it was read from. Of `sink`, only
    /// [`Sink::forget`] and [`Sink::discard`] are called.
    ///
    /// A fact about a job that does not exist changes nothing: before a segment is reclaimed, its
    /// jobs are recorded again at the end of the log, and older facts about them remain in between.
    /// Call [`Engine::end_restore`] after the last record.
    pub fn restore(
        &mut self,
        now: Nanos,
        record: Record<'_>,
        segment: SegmentRef,
        sink: &mut impl Sink,
    ) -> Result<(), BadTubeName> {
        match record {
            Record::Put(job) | Record::Again(job) => {
                return self.restore_put(now, &job, segment, sink);
            }
            Record::Update(update) => {
                if let Some(ix) = self.jobs.find(update.id) {
                    self.detach(ix);
                    self.restore_state(now, ix, &update);
                }
            }
            Record::Moved { tube, now: update } => {
                let name = TubeName::new(tube.as_bytes())?;
                if let Some(ix) = self.jobs.find(update.id) {
                    self.detach(ix);
                    let tube = self.tubes.find_or_create(name);
                    let before = self.change_tube(ix, tube, sink);
                    self.restore_state(now, ix, &update);
                    self.drop_if_idle(before);
                }
            }
            Record::Reserved(id) => {
                if let Some(ix) = self.restore_ready(now, id) {
                    self.jobs.count_reserve(ix);
                }
            }
            Record::TimedOut(id) => {
                if let Some(ix) = self.restore_ready(now, id) {
                    self.jobs.count(ix, |counters| counters.timeouts += 1);
                }
            }
            Record::Disconnected(id) => {
                if let Some(ix) = self.restore_ready(now, id) {
                    self.jobs.count(ix, |counters| counters.disconnects += 1);
                }
            }
            Record::Kicked(id) => {
                if let Some(ix) = self.restore_ready(now, id) {
                    self.jobs.count(ix, |counters| counters.kicks += 1);
                }
            }
            Record::Delete(id) => {
                if let Some(ix) = self.jobs.find(id) {
                    self.remove_job(ix, sink);
                }
            }
            Record::Cleared { tube, kept } => self.restore_cleared(tube, kept, sink),
            Record::Tube { tube, settings } => {
                let tube = self.tube_named(tube)?;
                self.restore_tube(now, tube, settings, &mut Nobody)?;
            }
            Record::Server(settings) => {
                self.settings = settings;
                self.guard();
            }
        }
        Ok(())
    }

    /// Nothing is reserved, so all jobs of the tube are in its collections.
    fn restore_cleared(&mut self, tube: &str, kept: JobIds<'_>, sink: &mut impl Sink) {
        let Some(tube) = self.tubes.find(tube) else { return };
        let Tube { ready, delayed, buried, .. } = &self.tubes[tube];
        let jobs = ready.all(&self.jobs).chain(delayed.jobs()).chain(buried.all(&self.jobs));
        let kept: HashSet<JobId> = kept.iter().collect();
        let gone: Vec<Ix> = jobs.filter(|ix| !kept.contains(&self.jobs[*ix].id)).collect();
        for ix in gone {
            self.remove_job(ix, sink);
        }
    }

    fn restore_put(
        &mut self,
        now: Nanos,
        record: &JobRecord<'_>,
        segment: SegmentRef,
        sink: &mut impl Sink,
    ) -> Result<(), BadTubeName> {
        // The tube is created first, so that an invalid record changes nothing. It is held, because
        // the job to be replaced may be its only one.
        let tube = self.tube_named(record.tube)?;
        self.tubes[tube].jobs += 1;
        // The job is recorded twice if the server stopped just before its segment was reclaimed.
        if let Some(ix) = self.jobs.find(record.now.id) {
            self.remove_job(ix, sink);
        }
        let id = record.now.id;
        let body = Body::from(Box::<[u8]>::from(record.body));
        let mut job = Job::new(id, tube, body, record.created);
        job.ttr = record.ttr.max(1);
        job.segment = segment;
        let ix = self.jobs.insert(job, record.body.len());
        self.tubes[tube].bytes += record.body.len() as u64;
        self.reserve_ids(id.saturating_add(1));
        self.restore_state(now, ix, &record.now);
        Ok(())
    }

    fn restore_state(&mut self, now: Nanos, ix: Ix, update: &JobUpdate) {
        let job = &mut self.jobs[ix];
        job.priority = update.priority;
        job.delay = update.delay;
        self.jobs.set_counters(ix, update.counters);
        if let DurableState::Buried(turn) = update.state {
            self.next_bury = self.next_bury.max(turn.saturating_add(1));
        }
        self.make(now, ix, update.state.within(now, update.delay), &mut Nobody);
    }

    /// Makes the job ready, if it is not ready already.
    fn restore_ready(&mut self, now: Nanos, id: JobId) -> Option<Ix> {
        let ix = self.jobs.find(id)?;
        if !self.jobs[ix].place().is_ready() {
            self.detach(ix);
            self.make_ready(now, ix, &mut Nobody);
        }
        Some(ix)
    }

    fn tube_named(&mut self, name: &str) -> Result<Ix, BadTubeName> {
        match self.tubes.find(name) {
            Some(tube) => Ok(tube),
            None => Ok(self.tubes.find_or_create(TubeName::new(name.as_bytes())?)),
        }
    }

    /// Gives a restored job its body, for a log that keeps some bodies apart from its records: such a
    /// job is restored without one. Does nothing if the job is gone.
    pub fn restore_body(&mut self, id: JobId, body: Box<[u8]>) {
        if let Some(ix) = self.jobs.find(id) {
            let tube = &mut self.tubes[self.jobs[ix].tube];
            tube.bytes += body.len() as u64;
            tube.bytes -= self.jobs[ix].body.as_ref().len() as u64;
            self.ruled_set_body(ix, Body::from(body));
        }
    }

    /// Ends the restore. Sorts the buried jobs into the order in which they were buried, since
    /// their records may have come in a different one, and lets policies know all jobs.
    pub fn end_restore(&mut self, now: Nanos) {
        self.adopt_restored(now);
        for tube in self.tubes.places() {
            let mut jobs = Vec::new();
            let mut next = self.tubes[tube].buried.first;
            while next != NONE {
                jobs.push((self.jobs.bury_turn(next), next));
                next = *self.jobs[next].links().1;
            }
            if jobs.is_sorted() {
                continue;
            }
            jobs.sort_unstable();
            for (_, job) in &jobs {
                self.detach(*job);
            }
            for (_, job) in jobs {
                self.make_buried(job);
            }
        }
    }
}
