//! Statistics.

use beanstalk_protocol::{JobId, JobStats, RefusedPuts, Reply, ServerStats, TubeName, TubeStats};

use crate::arena::Ix;
use crate::engine::{ConnId, Engine, Flow};
use crate::refusals::{Cause, Refusals};
use crate::sink::{Answer, Sink};
use crate::time::Nanos;

impl Engine {
    /// The engine's part of `stats`.
    pub fn server_stats(&self) -> ServerStats {
        ServerStats {
            urgent: self.counts.urgent,
            ready: self.counts.ready,
            reserved: self.counts.reserved,
            delayed: self.counts.delayed,
            buried: self.counts.buried,
            commands: self.commands.clone(),
            timeouts: self.timeouts,
            total_jobs: self.total_jobs,
            tubes: self.tubes.len() as u64,
            connections: self.conns.len() as u64,
            producers: self.producers,
            workers: self.workers,
            waiting: self.waiting,
            total_connections: self.total_connections,
            draining: self.settings.draining,
            body_bytes: self.jobs.body_bytes(),
            disconnects: self.disconnects,
            refused_puts: RefusedPuts {
                draining: self.refusals.of(Cause::Draining),
                out_of_memory: self.refusals.of(Cause::NoRoom),
                max_jobs: self.refusals.of(Cause::MaxJobs),
                max_memory: self.refusals.of(Cause::MaxMemory),
                tube_max_jobs: self.refusals.of(Cause::TubeMaxJobs),
                tube_max_bytes: self.refusals.of(Cause::TubeMaxBytes),
                job_too_big: self.refusals.of(Cause::TooBig),
            },
            policies: self.policy_counts,
        }
    }

    /// How often clients were refused, and why.
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    /// Number of jobs in the queue, in any state.
    pub fn job_count(&self) -> usize {
        self.jobs.len() - self.graves.dead()
    }

    /// Number of jobs that were removed when their tube was cleared, and whose memory is not freed yet.
    pub fn unfreed_jobs(&self) -> usize {
        self.graves.dead()
    }

    /// About how many bytes the jobs take: their bodies, and what each has besides.
    #[inline]
    pub fn held_bytes(&self) -> u64 {
        self.jobs.held_bytes()
    }

    pub(crate) fn stats_job(
        &self,
        now: Nanos,
        conn: ConnId,
        id: JobId,
        sink: &mut impl Sink,
    ) -> Flow {
        let Some(ix) = self.find_job(id) else {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        };
        let job = &self.jobs[ix];
        let counters = self.jobs.counters(ix);
        let stats = JobStats {
            id,
            tube: self.tubes[job.tube].name.as_str(),
            state: job.state(),
            priority: job.priority,
            age: now.seconds_since(job.created),
            delay: job.delay,
            ttr: job.ttr,
            time_left: self.due(job).unwrap_or(now).seconds_since(now),
            file: job.segment.number(0),
            reserves: counters.reserves,
            timeouts: counters.timeouts,
            releases: counters.releases,
            buries: counters.buries,
            kicks: counters.kicks,
            disconnects: counters.disconnects,
        };
        sink.answer(conn, Answer::JobStats(stats));
        Flow::Continue
    }

    pub(crate) fn stats_tube(
        &self,
        now: Nanos,
        conn: ConnId,
        name: &TubeName,
        sink: &mut impl Sink,
    ) -> Flow {
        let Some(ix) = self.tubes.find(name.as_str()) else {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        };
        let stats = self.stats_of_tube(now, ix, TubeName::as_str);
        sink.answer(conn, Answer::TubeStats(Box::new(stats)));
        Flow::Continue
    }

    pub(crate) fn stats_of_tube<'a, N>(
        &'a self,
        now: Nanos,
        ix: Ix,
        name: impl FnOnce(&'a TubeName) -> N,
    ) -> TubeStats<N> {
        let tube = &self.tubes[ix];
        TubeStats {
            name: name(&tube.name),
            urgent: tube.counts.urgent,
            ready: tube.counts.ready,
            reserved: tube.counts.reserved,
            delayed: tube.counts.delayed,
            buried: tube.counts.buried,
            total_jobs: tube.total_jobs,
            using: tube.using,
            watching: tube.watching,
            waiting: self.waiting_on(ix),
            deletes: tube.deletes,
            pauses: tube.pauses,
            pause: tube.pause.map_or(0, |pause| u64::from(pause.seconds)),
            pause_time_left: tube.pause.map_or(0, |pause| pause.until.seconds_since(now)),
            body_bytes: tube.bytes,
            policy: tube.ruled.as_ref().map(|ruled| Box::new(ruled.counts)),
        }
    }
}
