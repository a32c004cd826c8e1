//! Clearing a tube: all of its jobs are gone at once for everybody, and are freed in steps.
//!
//! The tube's collections become a [`Grave`] as they are, whatever is in them. From then on nothing
//! leads to these jobs but the table of jobs, and whoever finds one there asks [`Engine::is_dead`].
//! As long as there is no grave, which is nearly always, that is one look at an empty list.
//!
//! Nothing is written into the dead jobs, since that would take a step for each. A job is dead if it
//! was put before its tube was cleared, unless it was not in the tube's collections then. It was
//! with a connection, in another tube, or its body was still arriving: such a job is noted as a
//! survivor when it enters the tube, as long as there is a grave.
//!
//! A reserved job stays with its holder, who may be about to complete it. If it comes back, it is in
//! the tube again. The record of the clearing names these jobs, because it is all that a replay
//! knows.

use std::collections::{BTreeSet, VecDeque};

use beanstalk_protocol::JobId;

use crate::arena::Ix;
use crate::engine::Engine;
use crate::heap::JobHeap;
use crate::job::{DeadlineKey, Job, Jobs, Place};
use crate::list::List;
use crate::operations::Refusal;
use crate::ready::ReadyJobs;
use crate::record::{Change, JobIds, Record};
use crate::sink::Sink;
use crate::time::Nanos;

/// Up to this many jobs are freed right away.
const AT_ONCE: u64 = 16;

/// Jobs that are freed in one step of [`Engine::tick`].
const STEP: usize = 4;

/// All graves, in the order of clearing.
#[derive(Debug)]
pub(crate) struct Graves {
    all: VecDeque<Grave>,
    /// Jobs in them.
    dead: usize,
    /// When the next step is due, if there is a grave.
    due: Nanos,
}

/// The jobs of a tube that was cleared, as far as they are not freed.
#[derive(Debug)]
struct Grave {
    /// The place of the tube, where there may be another one by now.
    tube: Ix,
    /// The length of its name, in bytes.
    name: usize,
    ready: ReadyJobs,
    delayed: JobHeap<DeadlineKey>,
    buried: List,
    /// Jobs in them, at least one.
    left: u64,
    /// Only jobs with smaller ids can be in it.
    before: JobId,
    /// Those that have entered a tube at this place since.
    survivors: BTreeSet<JobId>,
}

impl Graves {
    pub(crate) fn new() -> Self {
        Self { all: VecDeque::new(), dead: 0, due: Nanos::NEVER }
    }

    /// Number of jobs that are dead and not freed.
    pub(crate) fn dead(&self) -> usize {
        self.dead
    }

    /// When the next step is due; `None` without a grave.
    #[inline]
    pub(crate) fn due(&self) -> Option<Nanos> {
        if self.all.is_empty() { None } else { Some(self.due) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    #[cold]
    #[inline(never)]
    fn note_survivor(&mut self, job: &Job) {
        for grave in &mut self.all {
            if grave.tube == job.tube && job.id < grave.before {
                grave.survivors.insert(job.id);
            }
        }
    }

    /// Whether the job is in one of them.
    #[inline]
    pub(crate) fn are_those_of(&self, job: &Job) -> bool {
        !self.is_empty() && self.have(job)
    }

    #[cold]
    #[inline(never)]
    fn have(&self, job: &Job) -> bool {
        if matches!(job.place(), Place::Reserved { .. } | Place::Nowhere) {
            return false;
        }
        let is_in = |grave: &Grave| {
            grave.tube == job.tube && job.id < grave.before && !grave.survivors.contains(&job.id)
        };
        self.all.iter().any(is_in)
    }

    /// Takes any job out of the first grave, with the length of its tube's name. What the job's place
    /// says is no longer so.
    fn take_one(&mut self, jobs: &Jobs) -> Option<(Ix, usize)> {
        let grave = self.all.front_mut()?;
        let any = grave.ready.take_any(jobs);
        let any = any.or_else(|| grave.delayed.take_last());
        let job = any.or_else(|| grave.buried.take_first(jobs))?;
        grave.left -= 1;
        let name = grave.name;
        self.dead -= 1;
        if grave.left == 0 {
            self.all.pop_front();
        }
        Some((job, name))
    }
}

impl Engine {
    /// Removes all jobs of a tube but those that are reserved, which stay with their holders.
    /// Returns how many were removed. What it costs does not depend on that: they are freed by later
    /// calls of [`Engine::tick`]. It grows with the number of reserved jobs of all tubes, if this one
    /// has any.
    pub fn clear_tube(
        &mut self,
        now: Nanos,
        tube: &str,
        sink: &mut impl Sink,
    ) -> Result<u64, Refusal> {
        let ix = self.tubes.find(tube).ok_or(Refusal::NoTube)?;
        let counts = self.tubes[ix].counts;
        let cleared = counts.ready + counts.delayed + counts.buried;
        if cleared == 0 {
            return Ok(0);
        }
        if !sink.admits(Change::Clear { jobs: cleared, kept: counts.reserved }) {
            return Err(Refusal::NotRecorded);
        }
        let (kept, bytes) = self.reserved_of(ix);
        sink.record(Record::Cleared { tube, kept: JobIds::new(&kept) });
        self.bury_alive(ix, cleared, bytes);
        if cleared <= AT_ONCE {
            // There may be older graves, which are emptied first.
            self.free_some(cleared as usize, sink);
        }
        self.graves.due = now;
        self.drop_if_idle(ix);
        Ok(cleared)
    }

    /// The job with this id, if it exists and is not dead.
    #[inline]
    pub(crate) fn find_job(&self, id: JobId) -> Option<Ix> {
        let ix = self.jobs.find(id)?;
        if self.graves.is_empty() || !self.graves.have(&self.jobs[ix]) { Some(ix) } else { None }
    }

    /// Call this when a job enters the collections of its tube.
    #[inline(always)]
    pub(crate) fn note_survivor(&mut self, ix: Ix) {
        if !self.graves.is_empty() {
            self.graves.note_survivor(&self.jobs[ix]);
        }
    }

    /// Whether the job is in the table only because it is not freed yet.
    #[inline]
    pub(crate) fn is_dead(&self, job: &Job) -> bool {
        self.graves.are_those_of(job)
    }

    /// Frees some of the dead jobs, which was due.
    #[cold]
    #[inline(never)]
    pub(crate) fn tick_graves(&mut self, now: Nanos, sink: &mut impl Sink) {
        self.free_some(STEP, sink);
        // The next step comes after everything else that has been due until now.
        self.graves.due = now;
    }

    /// The ids of the tube's reserved jobs, in order, as they are recorded; and the bytes in their
    /// bodies.
    fn reserved_of(&self, tube: Ix) -> (Vec<[u8; 8]>, u64) {
        if self.tubes[tube].counts.reserved == 0 {
            return (Vec::new(), 0);
        }
        let mut bytes = 0;
        let conns = self.conns.from(0).filter_map(|(_, conn)| conn);
        let jobs = conns.flat_map(|conn| conn.reserved.jobs()).map(|ix| &self.jobs[ix]);
        let mut ids: Vec<JobId> = Vec::new();
        for job in jobs.filter(|job| job.tube == tube) {
            bytes += job.body.as_ref().len() as u64;
            ids.push(job.id);
        }
        ids.sort_unstable();
        (ids.into_iter().map(JobId::to_le_bytes).collect(), bytes)
    }

    /// Makes a grave of the tube's collections, which have so many jobs. The bodies of all others have
    /// so many bytes.
    fn bury_alive(&mut self, ix: Ix, jobs: u64, bytes: u64) {
        let tube = &mut self.tubes[ix];
        self.graves.dead += jobs as usize;
        self.graves.all.push_back(Grave {
            tube: ix,
            name: tube.name.as_bytes().len(),
            ready: std::mem::replace(&mut tube.ready, ReadyJobs::new()),
            delayed: std::mem::replace(&mut tube.delayed, JobHeap::new()),
            buried: std::mem::replace(&mut tube.buried, List::EMPTY),
            left: jobs,
            before: self.next_id,
            survivors: BTreeSet::new(),
        });
        tube.jobs -= jobs;
        tube.bytes = bytes;
        tube.ruled_cleared();
        let gone = tube.counts.take_collections();
        self.counts.subtract(gone);
    }

    fn free_some(&mut self, most: usize, sink: &mut impl Sink) {
        for _ in 0..most {
            let Some((ix, name)) = self.graves.take_one(&self.jobs) else { return };
            if let Some(job) = self.jobs.remove(ix) {
                sink.forget(job.segment, job.id, name + job.body.as_ref().len());
                sink.removed(job.id);
                sink.discard(job.body);
            }
        }
    }
}
