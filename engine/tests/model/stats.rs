//! Statistics of the model.

use beanstalk_protocol::{
    Command, JobListing, JobQuery, JobState, JobStats, ListedJob, Reply, ServerStats, TubeStats,
};
use jq_engine::{Answer, ConnId, Nanos, Sink, TubeNames};

use super::{Conn, Job, Model, Place};

impl Model {
    pub(super) fn count(&mut self, command: &Command) {
        let counts = &mut self.counts;
        let count = match command {
            Command::Use(_) => &mut counts.use_,
            Command::Reserve => &mut counts.reserve,
            Command::ReserveWithTimeout(_) => &mut counts.reserve_with_timeout,
            Command::Delete(_) => &mut counts.delete,
            Command::Release { .. } => &mut counts.release,
            Command::Bury { .. } => &mut counts.bury,
            Command::Touch(_) => &mut counts.touch,
            Command::Watch(_) => &mut counts.watch,
            Command::Ignore(_) => &mut counts.ignore,
            Command::Peek(_) => &mut counts.peek,
            Command::PeekReady => &mut counts.peek_ready,
            Command::PeekDelayed => &mut counts.peek_delayed,
            Command::PeekBuried => &mut counts.peek_buried,
            Command::Kick(_) => &mut counts.kick,
            Command::Stats => &mut counts.stats,
            Command::StatsJob(_) => &mut counts.stats_job,
            Command::StatsTube(_) => &mut counts.stats_tube,
            Command::ListTubes => &mut counts.list_tubes,
            Command::ListTubeUsed => &mut counts.list_tube_used,
            Command::ListTubesWatched => &mut counts.list_tubes_watched,
            Command::PauseTube(..) => &mut counts.pause_tube,
            Command::BatchReserve { .. } => &mut counts.batch_reserve,
            Command::ClearTube(_) => &mut counts.clear_tube,
            Command::ListJobs(_) => &mut counts.list_jobs,
            Command::Move(_) => &mut counts.move_,
            Command::ReserveJob(_) | Command::KickJob(_) | Command::Quit => return,
        };
        *count += 1;
    }

    /// Answers the commands that change nothing.
    pub(super) fn tell(&self, now: Nanos, id: ConnId, command: &Command, sink: &mut impl Sink) {
        let mut names = Vec::new();
        let answer = match command {
            Command::Stats => Some(Answer::ServerStats(Box::new(self.server_stats()))),
            Command::StatsJob(job) => {
                self.find(*job).map(|job| Answer::JobStats(job_stats(job, now)))
            }
            Command::StatsTube(name) => {
                let stats = self.tube_stats(name.as_str(), now);
                stats.map(|stats| Answer::TubeStats(Box::new(stats)))
            }
            Command::ListTubes => {
                names.extend(self.tubes.iter().map(|tube| tube.name.as_str()));
                Some(Answer::Tubes(TubeNames::listed(&names)))
            }
            _ => {
                let conn = self.conns.iter().find(|conn| conn.id == id);
                let watched = conn.into_iter().flat_map(|conn| &conn.watched);
                names.extend(watched.map(|name| name.as_str()));
                Some(Answer::Tubes(TubeNames::listed(&names)))
            }
        };
        sink.answer(id, answer.unwrap_or(Answer::Reply(Reply::NotFound)));
    }

    /// One page with all jobs, in the order of their ids.
    pub(super) fn list_jobs(&self, now: Nanos, id: ConnId, query: &JobQuery, sink: &mut impl Sink) {
        let used = self.conns.iter().find(|conn| conn.id == id).map(|conn| &conn.used);
        let name = query.tube.as_ref().or(used);
        if !self.tubes.iter().any(|tube| Some(&tube.name) == name) {
            return sink.answer(id, Answer::Reply(Reply::NotFound));
        }
        let jobs = self.arrived().filter(|job| Some(&job.tube) == name);
        let jobs = jobs.map(|job| (job_stats(job, now), job.body.as_ref().len() as u64));
        let wanted = |state: JobState| query.state.is_none_or(|wanted| state == wanted);
        let jobs = jobs.filter(|(stats, _)| wanted(stats.state)).map(|(stats, size)| ListedJob {
            id: stats.id,
            state: stats.state,
            priority: stats.priority,
            age: stats.age,
            delay: stats.delay,
            ttr: stats.ttr,
            time_left: stats.time_left,
            reserves: stats.reserves,
            timeouts: stats.timeouts,
            releases: stats.releases,
            buries: stats.buries,
            kicks: stats.kicks,
            disconnects: stats.disconnects,
            size,
        });
        sink.answer(id, Answer::Jobs(JobListing { next: 0, jobs: jobs.collect() }));
    }

    fn server_stats(&self) -> ServerStats {
        let jobs = |wanted: fn(&&Job) -> bool| self.jobs.iter().filter(wanted).count() as u64;
        let conns = |wanted: fn(&&Conn) -> bool| self.conns.iter().filter(wanted).count() as u64;
        ServerStats {
            urgent: jobs(|job| is_urgent(job)),
            ready: jobs(|job| job.place == Place::Ready),
            reserved: jobs(|job| matches!(job.place, Place::Reserved { .. })),
            delayed: jobs(|job| matches!(job.place, Place::Delayed { .. })),
            buried: jobs(|job| matches!(job.place, Place::Buried { .. })),
            commands: self.counts.clone(),
            timeouts: self.timeouts,
            total_jobs: self.total_jobs,
            tubes: self.tubes.len() as u64,
            connections: self.conns.len() as u64,
            producers: conns(|conn| conn.is_producer),
            workers: conns(|conn| conn.is_worker),
            waiting: conns(|conn| conn.waiting.is_some()),
            total_connections: self.total_connections,
            draining: self.draining,
            body_bytes: self.arrived().map(|job| job.body.as_ref().len() as u64).sum(),
            disconnects: self.disconnects,
            refused_puts: self.refused_puts,
            policies: self.policies,
        }
    }

    fn tube_stats(&self, name: &str, now: Nanos) -> Option<TubeStats<&str>> {
        let tube = self.tubes.iter().find(|tube| tube.name.as_str() == name)?;
        let jobs = |wanted: fn(&&Job) -> bool| {
            self.jobs.iter().filter(|job| job.tube == tube.name).filter(wanted).count() as u64
        };
        let watching = || self.conns.iter().filter(|conn| conn.watched.contains(&tube.name));
        Some(TubeStats {
            name: tube.name.as_str(),
            urgent: jobs(|job| is_urgent(job)),
            ready: jobs(|job| job.place == Place::Ready),
            reserved: jobs(|job| matches!(job.place, Place::Reserved { .. })),
            delayed: jobs(|job| matches!(job.place, Place::Delayed { .. })),
            buried: jobs(|job| matches!(job.place, Place::Buried { .. })),
            total_jobs: tube.total_jobs,
            using: self.conns.iter().filter(|conn| conn.used == tube.name).count() as u64,
            watching: watching().count() as u64,
            waiting: watching().filter(|conn| conn.waiting.is_some()).count() as u64,
            deletes: tube.deletes,
            pauses: tube.pauses,
            pause: tube.pause.map_or(0, |pause| u64::from(pause.seconds)),
            pause_time_left: tube.pause.map_or(0, |pause| pause.until.seconds_since(now)),
            body_bytes: self
                .arrived()
                .filter(|job| job.tube == tube.name)
                .map(|job| job.body.as_ref().len() as u64)
                .sum(),
            policy: tube.policy.as_ref().map(|_| Box::new(tube.policy_counts)),
        })
    }
}

fn is_urgent(job: &Job) -> bool {
    job.place == Place::Ready && job.priority < 1024
}

fn job_stats(job: &Job, now: Nanos) -> JobStats<'_> {
    let (state, until) = match job.place {
        Place::Arriving { .. } | Place::Ready => (JobState::Ready, now),
        Place::Delayed { until, .. } => (JobState::Delayed, until),
        Place::Reserved { until, .. } => (JobState::Reserved, until),
        Place::Buried { .. } => (JobState::Buried, now),
    };
    JobStats {
        id: job.id,
        tube: job.tube.as_str(),
        state,
        priority: job.priority,
        age: now.seconds_since(job.created),
        delay: job.delay,
        ttr: job.ttr,
        time_left: until.seconds_since(now),
        file: 0,
        reserves: job.reserves,
        timeouts: job.timeouts,
        releases: job.releases,
        buries: job.buries,
        kicks: job.kicks,
        disconnects: job.disconnects,
    }
}
