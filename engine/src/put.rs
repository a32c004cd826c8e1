//! New jobs, whoever puts them.

use std::fmt;

use beanstalk_protocol::{JobId, Priority, Seconds, TubeName};

use crate::arena::Ix;
use crate::body::Body;
use crate::engine::Engine;
use crate::job::Job;
use crate::record::{Change, DurableState};
use crate::refusals::Cause;
use crate::sink::Sink;
use crate::time::Nanos;

/// The properties of a new job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewJob {
    /// 0 is the most urgent.
    pub priority: Priority,
    /// Before it is ready.
    pub delay: Seconds,
    /// How long it may be reserved; 0 counts as 1.
    pub ttr: Seconds,
}

/// Why a job was not put. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutRefusal {
    /// The server refuses new jobs: see [`Engine::set_draining`].
    Draining,
    /// The log cannot record it, or there is no memory for it.
    NotRecorded,
}

impl fmt::Display for PutRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "new jobs are refused",
            Self::NotRecorded => "it cannot be recorded, or there is no memory for it",
        })
    }
}

impl std::error::Error for PutRefusal {}

impl Engine {
    /// Puts a job into a tube on behalf of a caller that is not a connection, and returns its id. The
    /// tube is created if it does not exist. Counts as a job of the server and of the tube, but not as
    /// a command.
    pub fn put(
        &mut self,
        now: Nanos,
        tube: &TubeName,
        new: NewJob,
        body: Box<[u8]>,
        sink: &mut impl Sink,
    ) -> Result<JobId, PutRefusal> {
        if self.settings.draining {
            self.refusals.add(Cause::Draining);
            return Err(PutRefusal::Draining);
        }
        if !sink.admits(Change::Put) {
            self.refusals.add(Cause::NoRoom);
            return Err(PutRefusal::NotRecorded);
        }
        let id = self.next_id;
        self.next_id += 1;
        let tube = self.tubes.find_or_create(tube.clone());
        self.tubes[tube].jobs += 1;
        let mut job = Job::new(id, tube, Body::from(body), now);
        job.priority = new.priority;
        job.delay = new.delay;
        job.ttr = new.ttr.max(1);
        let (ix, state) = self.add(now, job, sink);
        self.make(now, ix, state, sink);
        Ok(id)
    }

    /// Adds and records a job that is admitted. It is not in its state yet: see `make`.
    #[inline]
    pub(crate) fn add(&mut self, now: Nanos, job: Job, sink: &mut impl Sink) -> (Ix, DurableState) {
        let (bytes, tube, state) =
            (job.body.as_ref().len(), job.tube, DurableState::after(now, job.delay));
        let ix = self.jobs.insert(job, bytes);
        self.total_jobs += 1;
        self.tubes[tube].total_jobs += 1;
        if self.tubes[tube].total_jobs == 1 {
            self.note_first_job(tube);
        }
        self.record_put(ix, state, sink);
        (ix, state)
    }
}
