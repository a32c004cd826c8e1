//! New jobs, whoever puts them.

use std::fmt;

use beanstalk_protocol::{JobId, Priority, Seconds, TubeName};

use crate::arena::Ix;
use crate::body::Body;
use crate::engine::Engine;
use crate::job::Job;
use crate::policy::Ruling;
use crate::record::{Change, DurableState, JobCounters, JobRecord, JobUpdate, Record};
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
    /// How long it may be reserved; 0 counts as what the policy of the tube says, or as 1.
    pub ttr: Seconds,
}

/// A job that is there after a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// Its number.
    pub id: JobId,
    /// Whether it was put. Otherwise it was there already, in a tube that takes no body twice.
    pub is_new: bool,
}

/// Why a job was not put. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutRefusal {
    /// The server refuses new jobs: see [`Engine::set_draining`].
    Draining,
    /// The log cannot record it, or there is no memory for it.
    NotRecorded,
    /// A limit of the server or of the tube is reached: [`Cause::MaxJobs`], [`Cause::MaxMemory`],
    /// [`Cause::TubeMaxJobs`] or [`Cause::TubeMaxBytes`].
    LimitReached(Cause),
}

impl fmt::Display for PutRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "new jobs are refused",
            Self::NotRecorded => "it cannot be recorded, or there is no memory for it",
            Self::LimitReached(Cause::MaxJobs) => "the server has as many jobs as it may have",
            Self::LimitReached(Cause::MaxMemory) => {
                "the jobs of the server take as much memory as they may"
            }
            Self::LimitReached(Cause::TubeMaxJobs) => "the tube has as many jobs as it may have",
            Self::LimitReached(Cause::TubeMaxBytes) => "the tube has as many bytes as it may have",
            Self::LimitReached(_) => "a limit is reached",
        })
    }
}

impl std::error::Error for PutRefusal {}

impl Engine {
    /// Puts a job into a tube on behalf of a caller that is not a connection. The tube is created if it
    /// does not exist. Counts as a job of the server and of the tube, but not as a command.
    ///
    /// # Errors
    ///
    /// See [`PutRefusal`].
    pub fn put(
        &mut self,
        now: Nanos,
        tube: &TubeName,
        new: NewJob,
        body: Box<[u8]>,
        sink: &mut impl Sink,
    ) -> Result<Inserted, PutRefusal> {
        if self.guarded {
            self.server_admits(body.len()).map_err(|cause| self.refused(cause))?;
        }
        if !sink.admits(Change::Put) {
            return Err(self.refused(Cause::NoRoom));
        }
        let tube = self.tubes.find_or_create(tube.clone());
        self.tubes[tube].jobs += 1;
        let mut ttr = new.ttr;
        if self.tubes[tube].special {
            let ruling = self.ruled_put(tube, self.next_id, ttr, &body);
            if let Ruling::Known(_) | Ruling::Full(_) = ruling {
                // What is set for the tube keeps it.
                self.tubes[tube].jobs -= 1;
            }
            match ruling {
                Ruling::New { ttr: ruled } => ttr = ruled,
                Ruling::Known(known) => {
                    sink.concerns_caller(known);
                    sink.discard(Body::from(body));
                    return Ok(Inserted { id: known, is_new: false });
                }
                Ruling::Full(cause) => return Err(self.refused(cause)),
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        let mut job = Job::new(id, tube, Body::from(body), now);
        job.priority = new.priority;
        job.delay = new.delay;
        job.ttr = ttr.max(1);
        let (ix, state) = self.add(now, job, sink);
        self.make(now, ix, state, sink);
        Ok(Inserted { id, is_new: true })
    }

    fn refused(&mut self, cause: Cause) -> PutRefusal {
        self.refusals.add(cause);
        match cause {
            Cause::Draining => PutRefusal::Draining,
            Cause::NoRoom => PutRefusal::NotRecorded,
            limit => PutRefusal::LimitReached(limit),
        }
    }

    /// Adds and records a job that is admitted. It is not in its state yet: see `make`.
    #[inline]
    pub(crate) fn add(
        &mut self,
        now: Nanos,
        mut job: Job,
        sink: &mut impl Sink,
    ) -> (Ix, DurableState) {
        let (bytes, tube, state) =
            (job.body.as_ref().len(), job.tube, DurableState::after(now, job.delay));
        self.total_jobs += 1;
        let target = &mut self.tubes[tube];
        target.total_jobs += 1;
        target.bytes += bytes as u64;
        // While it is at hand: in the table, it would have to be found again.
        job.segment = sink.record(Record::Put(JobRecord {
            tube: target.name.as_str(),
            created: job.created,
            ttr: job.ttr,
            now: JobUpdate {
                id: job.id,
                priority: job.priority,
                delay: job.delay,
                state,
                counters: JobCounters::default(),
            },
            body: job.body.as_ref(),
            shared: job.body.shared(),
        }));
        if target.total_jobs == 1 {
            self.note_first_job(tube);
        }
        (self.jobs.insert(job, bytes), state)
    }
}
