//! The commands, in the model.

use beanstalk_protocol::{Command, JobId, PutHeader, Rejection, Reply, Request, Seconds, TubeName};
use jq_engine::{Answer, Body, ConnId, Flow, Nanos, Sink};

use super::policy::Turned;
use super::{Job, Model, Pause, Place, Waiting};

impl Model {
    pub(crate) fn handle(
        &mut self,
        now: Nanos,
        conn: ConnId,
        request: Request,
        sink: &mut impl Sink,
    ) -> Flow {
        let reply = match request {
            Request::Command(command) => return self.command(now, conn, command, sink),
            Request::Put(header) => {
                self.put_line(now, conn, header);
                return Flow::Continue;
            }
            Request::Body(bytes) => return self.put_body(now, conn, bytes, sink),
            Request::OversizedPut => {
                self.counts.put += 1;
                return Flow::Continue;
            }
            Request::UnheldBody => {
                self.refused_puts.out_of_memory += 1;
                self.forget_put(conn);
                Reply::OutOfMemory
            }
            Request::BrokenBody => {
                self.forget_put(conn);
                Reply::ExpectedCrlf
            }
            Request::Rejected(rejection) => self.reject(rejection),
            Request::Auth(_) => self.reject(Rejection::UnknownCommand),
        };
        sink.answer(conn, Answer::Reply(reply));
        Flow::Continue
    }

    fn reject(&mut self, rejection: Rejection) -> Reply<&'static Body> {
        match rejection {
            Rejection::UnknownCommand => return Reply::UnknownCommand,
            Rejection::BadFormat => {}
            Rejection::BadPut => self.counts.put += 1,
            Rejection::BadPauseTube => self.counts.pause_tube += 1,
            Rejection::JobTooBig => {
                self.refused_puts.job_too_big += 1;
                return Reply::JobTooBig;
            }
        }
        Reply::BadFormat
    }

    fn put_line(&mut self, now: Nanos, conn: ConnId, header: PutHeader) {
        self.counts.put += 1;
        self.conn(conn).is_producer = true;
        let job = Job {
            id: self.next_id,
            tube: self.conn(conn).used.clone(),
            body: Body::from(Box::<[u8]>::default()),
            priority: header.priority,
            delay: header.delay,
            ttr: header.ttr,
            created: now,
            ready_at: now.after(header.delay),
            reserved_at: now,
            place: Place::Arriving { from: conn },
            judged: self.is_special(
                &self.conns.iter().find(|it| it.id == conn).expect("it is connected").used,
            ),
            ready_since: (now, 0),
            reserves: 0,
            timeouts: 0,
            releases: 0,
            buries: 0,
            kicks: 0,
            disconnects: 0,
        };
        self.jobs.push(job);
        self.next_id += 1;
    }

    fn put_body(
        &mut self,
        now: Nanos,
        conn: ConnId,
        bytes: Box<[u8]>,
        sink: &mut impl Sink,
    ) -> Flow {
        if self.draining {
            self.refused_puts.draining += 1;
            self.forget_put(conn);
            sink.answer(conn, Answer::Reply(Reply::Draining));
            return Flow::Continue;
        }
        let arriving = |job: &&mut Job| job.place == Place::Arriving { from: conn };
        let job = self.jobs.iter_mut().find(arriving).expect("its line came before");
        let (id, tube, delay, ttr) = (job.id, job.tube.clone(), job.delay, job.ttr);
        let judged = job.judged;
        if judged && let Err(turned) = self.judge(id, &tube, &bytes) {
            self.forget_put(conn);
            let reply = match turned {
                Turned::Known(known) => Reply::Inserted(known),
                Turned::Full(_) => Reply::OutOfMemory,
            };
            sink.answer(conn, Answer::Reply(reply));
            return Flow::Continue;
        }
        let ttr = if judged { self.ttr(&tube, ttr) } else { ttr.max(1) };
        let job = self.job(id);
        job.body = Body::from(bytes);
        job.ttr = ttr;
        self.total_jobs += 1;
        self.see(id, |seen, _| seen.activity.puts += 1);
        if let Some(tube) = self.tube(&tube) {
            tube.total_jobs += 1;
        }
        sink.answer(conn, Answer::Reply(Reply::Inserted(id)));
        self.make_ready_or_delayed(now, id, delay, sink);
        Flow::Continue
    }

    fn forget_put(&mut self, conn: ConnId) {
        self.jobs.retain(|job| job.place != Place::Arriving { from: conn });
    }

    pub(super) fn make_ready_or_delayed(
        &mut self,
        now: Nanos,
        id: JobId,
        delay: Seconds,
        sink: &mut impl Sink,
    ) {
        if delay == 0 {
            self.make_ready(now, id, sink);
        } else {
            self.moment(Nanos(0));
            let order = self.order();
            self.job(id).place = Place::Delayed { until: now.after(delay), order };
        }
    }

    fn command(
        &mut self,
        now: Nanos,
        conn: ConnId,
        command: Command,
        sink: &mut impl Sink,
    ) -> Flow {
        self.count(&command);
        let reply = match command {
            Command::Use(name) => {
                self.create_tube(&name);
                self.conn(conn).used = name.clone();
                self.drop_idle_tubes();
                Reply::Using(name)
            }
            Command::Reserve => return self.reserve(now, conn, Nanos::NEVER, sink),
            Command::ReserveWithTimeout(seconds) => {
                let until = seconds.map_or(Nanos::NEVER, |seconds| now.after(seconds));
                return self.reserve(now, conn, until, sink);
            }
            Command::ReserveJob(id) => {
                let is_free = |job: &Job| !matches!(job.place, Place::Reserved { .. });
                if self.find(id).is_some_and(is_free) {
                    self.conn(conn).is_worker = true;
                    self.give(now, id, conn, sink);
                    return Flow::Continue;
                }
                Reply::NotFound
            }
            Command::Delete(id) => self.delete(now, conn, id),
            Command::Release { id, priority, delay } => {
                if self.is_reserved_by(conn, id) {
                    let job = self.job(id);
                    job.priority = priority;
                    job.delay = delay;
                    job.releases += 1;
                    job.ready_at = now.after(delay);
                    sink.answer(conn, Answer::Reply(Reply::Released));
                    if !self.gives_up(now, id, sink) {
                        self.make_ready_or_delayed(now, id, delay, sink);
                    }
                    return Flow::Continue;
                }
                Reply::NotFound
            }
            Command::Bury { id, priority } if self.is_reserved_by(conn, id) => {
                let order = self.order();
                self.see(id, |seen, _| seen.activity.buries += 1);
                let job = self.job(id);
                job.priority = priority;
                job.buries += 1;
                job.place = Place::Buried { order };
                Reply::Buried
            }
            Command::Touch(id) if self.is_reserved_by(conn, id) => {
                let job = self.job(id);
                if let Place::Reserved { until, .. } = &mut job.place {
                    *until = now.after(job.ttr);
                }
                Reply::Touched
            }
            Command::Bury { .. } | Command::Touch(_) => Reply::NotFound,
            Command::Watch(name) => {
                self.create_tube(&name);
                let watched = &mut self.conn(conn).watched;
                if !watched.contains(&name) {
                    watched.push(name);
                }
                Reply::Watching(watched.len() as u64)
            }
            Command::Ignore(name) => self.ignore(conn, &name),
            Command::Peek(id) => {
                let found = self.find(id).map(|job| job.id);
                return self.show(conn, found, sink);
            }
            Command::PeekReady => {
                let ready = self.of_used(conn, |job| match job.place {
                    Place::Ready => Some((u64::from(job.priority), job.id)),
                    _ => None,
                });
                return self.show(conn, ready.first().copied(), sink);
            }
            Command::PeekDelayed => {
                let delayed = self.delayed(conn);
                return self.show(conn, delayed.first().copied(), sink);
            }
            Command::PeekBuried => {
                let buried = self.buried(conn);
                return self.show(conn, buried.first().copied(), sink);
            }
            Command::Kick(bound) => return self.kick(now, conn, bound, sink),
            Command::KickJob(id) => {
                let is_aside =
                    |job: &Job| matches!(job.place, Place::Delayed { .. } | Place::Buried { .. });
                if self.find(id).is_some_and(is_aside) {
                    sink.answer(conn, Answer::Reply(Reply::KickedJob));
                    self.job(id).kicks += 1;
                    self.job(id).ready_at = now;
                    self.make_ready(now, id, sink);
                    return Flow::Continue;
                }
                Reply::NotFound
            }
            Command::PauseTube(name, seconds) => {
                return self.pause(now, conn, &name, seconds, sink);
            }
            Command::ListTubeUsed => Reply::Using(self.conn(conn).used.clone()),
            Command::Stats
            | Command::StatsJob(_)
            | Command::StatsTube(_)
            | Command::ListTubes
            | Command::ListTubesWatched => {
                self.tell(now, conn, &command, sink);
                return Flow::Continue;
            }
            Command::BatchReserve { max, timeout } => {
                return self.batch_reserve(now, conn, max as usize, now.after(timeout), sink);
            }
            Command::ClearTube(name) => match self.clear_tube(&name) {
                Ok(count) => Reply::Cleared(count),
                Err(_) => Reply::NotFound,
            },
            Command::ListJobs(query) => {
                self.list_jobs(now, conn, &query, sink);
                return Flow::Continue;
            }
            Command::Move(job) => {
                let is_others =
                    |job: &Job| matches!(job.place, Place::Reserved { by, .. } if by != conn);
                if self.find(job.id).is_some_and(|job| !is_others(job)) {
                    sink.answer(conn, Answer::Reply(Reply::Moved));
                    self.move_job(now, job.id, &job.to, sink);
                    return Flow::Continue;
                }
                Reply::NotFound
            }
            Command::Quit => return Flow::Close,
        };
        sink.answer(conn, Answer::Reply(reply));
        Flow::Continue
    }

    fn reserve(&mut self, now: Nanos, id: ConnId, until: Nanos, sink: &mut impl Sink) -> Flow {
        self.conn(id).is_worker = true;
        let conn = self.conn(id).clone();
        if let Some(job) = self.best_of(|tube| conn.watched.contains(tube)) {
            let tube = self.job(job).tube.clone();
            self.count_against_rate(now, &tube);
            self.give(now, job, id, sink);
            return Flow::Continue;
        }
        self.without_job(now, id, until, false, sink)
    }

    fn batch_reserve(
        &mut self,
        now: Nanos,
        id: ConnId,
        max: usize,
        until: Nanos,
        sink: &mut impl Sink,
    ) -> Flow {
        self.conn(id).is_worker = true;
        let watched = self.conn(id).watched.clone();
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(job) = self.best_of(|tube| watched.contains(tube))
        {
            let tube = self.job(job).tube.clone();
            self.count_against_rate(now, &tube);
            self.take(now, job, id);
            taken.push(job);
        }
        if taken.is_empty() {
            return self.without_job(now, id, until, true, sink);
        }
        self.give_batch(id, &taken, sink);
        Flow::Continue
    }

    fn without_job(
        &mut self,
        now: Nanos,
        id: ConnId,
        until: Nanos,
        batch: bool,
        sink: &mut impl Sink,
    ) -> Flow {
        let half_closed = self.conn(id).half_closed;
        let is_due_soon = |job: &Job| {
            matches!(job.place, Place::Reserved { by, until, .. }
                if by == id && until.before(1) <= now)
        };
        let reply = if self.jobs.iter().any(is_due_soon) {
            Reply::DeadlineSoon
        } else if until <= now || half_closed {
            Reply::TimedOut
        } else {
            let order = self.order();
            self.conn(id).waiting = Some(Waiting { order, until, batch });
            return Flow::Blocked;
        };
        sink.answer(id, Answer::Reply(reply));
        Flow::Continue
    }

    fn delete(&mut self, now: Nanos, conn: ConnId, id: JobId) -> Reply<&'static Body> {
        let is_others = |job: &Job| matches!(job.place, Place::Reserved { by, .. } if by != conn);
        let Some(job) = self.find(id).filter(|job| !is_others(job)) else {
            return Reply::NotFound;
        };
        let tube = job.tube.clone();
        self.see(id, |seen, job| seen.deleted(now, job));
        self.jobs.retain(|job| job.id != id);
        if let Some(tube) = self.tube(&tube) {
            tube.deletes += 1;
        }
        self.drop_idle_tubes();
        Reply::Deleted
    }

    fn ignore(&mut self, conn: ConnId, name: &TubeName) -> Reply<&'static Body> {
        let watched = &mut self.conn(conn).watched;
        if let Some(at) = watched.iter().position(|watched| watched == name) {
            if watched.len() == 1 {
                return Reply::NotIgnored;
            }
            // The last tube takes its place.
            watched.swap_remove(at);
            self.drop_idle_tubes();
        }
        Reply::Watching(self.conn(conn).watched.len() as u64)
    }

    fn kick(&mut self, now: Nanos, conn: ConnId, bound: u32, sink: &mut impl Sink) -> Flow {
        // Delayed jobs are kicked only if none is buried when the command arrives.
        let buried = self.buried(conn);
        let kicked = if buried.is_empty() { self.delayed(conn) } else { buried };
        let kicked = kicked.into_iter().take(bound as usize);
        sink.answer(conn, Answer::Reply(Reply::Kicked(kicked.len() as u64)));
        for id in kicked {
            self.job(id).kicks += 1;
            self.job(id).ready_at = now;
            self.make_ready(now, id, sink);
        }
        Flow::Continue
    }

    fn pause(
        &mut self,
        now: Nanos,
        conn: ConnId,
        name: &TubeName,
        seconds: Seconds,
        sink: &mut impl Sink,
    ) -> Flow {
        if self.tube(name).is_none() {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        }
        sink.answer(conn, Answer::Reply(Reply::Paused));
        self.pause_for(now, name, seconds, sink);
        Flow::Continue
    }

    pub(super) fn pause_for(
        &mut self,
        now: Nanos,
        name: &TubeName,
        seconds: Seconds,
        sink: &mut impl Sink,
    ) {
        if let Some(tube) = self.tube(name) {
            tube.pauses += 1;
            tube.pause = Some(Pause { seconds, until: now.after(seconds) });
        }
        if seconds == 0 {
            self.resume(now, name, sink);
        }
    }

    /// Ends the tube's pause: its jobs can be reserved, and the tube goes if only the pause kept
    /// it.
    pub(super) fn resume(&mut self, now: Nanos, name: &TubeName, sink: &mut impl Sink) {
        if let Some(tube) = self.tube(name) {
            tube.pause = None;
        }
        self.serve(now, name, sink);
        self.drop_idle_tubes();
    }

    fn show(&self, conn: ConnId, found: Option<JobId>, sink: &mut impl Sink) -> Flow {
        let reply = match found.and_then(|id| self.find(id)) {
            Some(job) => Reply::Found(job.id, &job.body),
            None => Reply::NotFound,
        };
        sink.answer(conn, Answer::Reply(reply));
        Flow::Continue
    }

    pub(crate) fn find(&self, id: JobId) -> Option<&Job> {
        self.arrived().find(|job| job.id == id)
    }

    fn is_reserved_by(&self, conn: ConnId, id: JobId) -> bool {
        let reserved = |job: &Job| matches!(job.place, Place::Reserved { by, .. } if by == conn);
        self.find(id).is_some_and(reserved)
    }

    /// The delayed jobs of the used tube, in the order in which their delays end.
    fn delayed(&self, conn: ConnId) -> Vec<JobId> {
        self.of_used(conn, |job| match job.place {
            Place::Delayed { until, order } => Some((until.0, order)),
            _ => None,
        })
    }

    /// The buried jobs of the used tube, in the order in which they were buried.
    fn buried(&self, conn: ConnId) -> Vec<JobId> {
        self.of_used(conn, |job| match job.place {
            Place::Buried { order } => Some((0, order)),
            _ => None,
        })
    }

    /// The jobs of the connection's used tube for which `key` returns a key, in the order of the
    /// keys.
    fn of_used(&self, conn: ConnId, key: impl Fn(&Job) -> Option<(u64, u64)>) -> Vec<JobId> {
        let used = self.conns.iter().find(|found| found.id == conn).map(|conn| &conn.used);
        let jobs = self.jobs.iter().filter(|job| Some(&job.tube) == used);
        let mut found: Vec<_> = jobs.filter_map(|job| Some((key(job)?, job.id))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }
}
