//! The commands that are not beanstalkd's.

use beanstalk_protocol::{Command, JobListing, JobMove, JobQuery, ListedJob, Reply, TubeName};

use crate::arena::Ix;
use crate::engine::{ConnId, Engine, Flow};
use crate::inspect::{Cursor, PageSize};
use crate::job::{Job, Place};
use crate::operations::Refusal;
use crate::sink::{Answer, JobBatch, Sink};
use crate::steps::AT_ONCE;
use crate::time::Nanos;
use crate::wide::Best;

/// The most jobs in one answer, whatever the client asks for.
const MAX_JOBS: u32 = 1000;

/// Places that one `list-jobs` looks at: see [`PageSize::looks`].
const LOOKS: usize = 10_000;

/// A batch takes no further job when its bodies have this many bytes: another connection should not
/// have to wait until gigabytes are sent to this one, and neither should this one.
const BATCH_BYTES: usize = 256 * 1024;

impl Engine {
    /// Carries out a command that is not beanstalkd's. This is kept out of the function for all
    /// commands, whose code is for those that come often.
    #[cold]
    #[inline(never)]
    pub(crate) fn extension(
        &mut self,
        now: Nanos,
        conn: ConnId,
        command: &Command,
        sink: &mut impl Sink,
    ) -> Flow {
        let counts = &mut self.commands;
        match command {
            Command::BatchReserve { max, timeout } => {
                counts.batch_reserve += 1;
                self.batch_reserve(now, conn, *max, now.after(*timeout), sink)
            }
            Command::ClearTube(tube) => {
                counts.clear_tube += 1;
                self.clear(now, conn, tube, sink)
            }
            Command::ListJobs(query) => {
                counts.list_jobs += 1;
                self.list_jobs(now, conn, query, sink)
            }
            Command::Move(job) => {
                counts.move_ += 1;
                self.move_command(now, conn, job, sink)
            }
            // Not one of them: `Engine::handle` has done it.
            _ => Flow::Continue,
        }
    }

    /// Reserves up to `max` of the best jobs of the watched tubes, or waits for one until `until`.
    pub(crate) fn batch_reserve(
        &mut self,
        now: Nanos,
        conn: ConnId,
        max: u32,
        until: Nanos,
        sink: &mut impl Sink,
    ) -> Flow {
        self.make_worker(conn.0);
        let (mut taken, mut bytes, mut looks) = (Vec::new(), 0, AT_ONCE);
        while taken.len() < max.min(MAX_JOBS) as usize && bytes < BATCH_BYTES {
            let best = self.best_tube(conn.0, &mut looks);
            if best == Best::Unknown && taken.is_empty() {
                return self.begin_seek(now, conn.0, until, Some(max));
            }
            let Best::Tube(tube) = best else { break };
            let Some(job) = self.take_first(now, tube, conn, sink) else { break };
            bytes += self.jobs[job].body.as_ref().len();
            taken.push(job);
        }
        if taken.is_empty() {
            return self.without_job(now, conn, until, true, sink);
        }
        sink.answer(conn, Answer::Batch(JobBatch::new(&self.jobs, &taken)));
        Flow::Continue
    }

    /// Ends a wait for a batch with the tube's first ready job.
    #[cold]
    pub(crate) fn batch_of_one(
        &mut self,
        now: Nanos,
        tube: Ix,
        conn: ConnId,
        sink: &mut impl Sink,
    ) {
        if let Some(job) = self.take_first(now, tube, conn, sink) {
            sink.answer(conn, Answer::Batch(JobBatch::new(&self.jobs, &[job])));
        }
    }

    /// Reserves the tube's first ready job for the connection, without answering.
    fn take_first(
        &mut self,
        now: Nanos,
        tube: Ix,
        conn: ConnId,
        sink: &mut impl Sink,
    ) -> Option<Ix> {
        let state = &self.tubes[tube];
        let ((_, job), special) = (state.ready.first()?, state.special);
        self.detach(job);
        self.make_reserved(now, job, conn.0, true, sink);
        if special {
            self.ruled_reserved(now, tube);
        }
        sink.concerns(conn, self.jobs[job].id);
        Some(job)
    }

    pub(crate) fn clear(
        &mut self,
        now: Nanos,
        conn: ConnId,
        tube: &TubeName,
        sink: &mut impl Sink,
    ) -> Flow {
        let reply = match self.clear_tube(now, tube.as_str(), sink) {
            Ok(jobs) => Reply::Cleared(jobs),
            Err(refusal) => refused(refusal),
        };
        sink.answer(conn, Answer::Reply(reply));
        Flow::Continue
    }

    /// Any connection may move a job, unless another one has it reserved. A job that it has reserved
    /// itself is ready afterwards.
    pub(crate) fn move_command(
        &mut self,
        now: Nanos,
        conn: ConnId,
        job: &JobMove,
        sink: &mut impl Sink,
    ) -> Flow {
        sink.concerns(conn, job.id);
        let is_others = |place| matches!(place, Place::Reserved { conn: by, .. } if by != conn.0);
        let found = self.find_job(job.id).filter(|ix| !is_others(self.jobs[*ix].place()));
        let movable = found.ok_or(Refusal::NoJob);
        match movable.and_then(|ix| self.may_move(ix, &job.to, sink).map(|()| ix)) {
            Ok(ix) => {
                // Before somebody else gets it.
                sink.answer(conn, Answer::Reply(Reply::Moved));
                self.move_to(now, ix, &job.to, sink);
            }
            Err(refusal) => sink.answer(conn, Answer::Reply(refused(refusal))),
        }
        Flow::Continue
    }

    pub(crate) fn list_jobs(
        &mut self,
        now: Nanos,
        conn: ConnId,
        query: &JobQuery,
        sink: &mut impl Sink,
    ) -> Flow {
        let JobQuery { tube, state, cursor, count } = query;
        let tube = match tube {
            Some(name) => self.tubes.find(name.as_str()),
            None => Some(self.conns[conn.0].used),
        };
        let Some(tube) = tube else {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        };
        let items = (*count).clamp(1, MAX_JOBS) as usize;
        let size = PageSize { items, looks: LOOKS };
        let page =
            self.page_of_jobs(tube, *state, Cursor(*cursor), size, |job| self.listed(now, job));
        for job in &page.items {
            sink.concerns(conn, job.id);
        }
        let next = page.next.map_or(0, |next| next.0);
        sink.answer(conn, Answer::Jobs(JobListing { next, jobs: page.items }));
        Flow::Continue
    }

    fn listed(&self, now: Nanos, job: &Job) -> ListedJob {
        let counters = self.jobs.counters_of(job);
        ListedJob {
            id: job.id,
            state: job.state(),
            priority: job.priority,
            age: now.seconds_since(job.created),
            delay: job.delay,
            ttr: job.ttr,
            time_left: self.due(job).unwrap_or(now).seconds_since(now),
            reserves: counters.reserves,
            timeouts: counters.timeouts,
            releases: counters.releases,
            buries: counters.buries,
            kicks: counters.kicks,
            disconnects: counters.disconnects,
            size: job.body.as_ref().len() as u64,
        }
    }
}

fn refused<B>(refusal: Refusal) -> Reply<B> {
    match refusal {
        Refusal::NoJob | Refusal::NoTube | Refusal::WrongState(_) => Reply::NotFound,
        Refusal::NotRecorded => Reply::InternalError,
    }
}
