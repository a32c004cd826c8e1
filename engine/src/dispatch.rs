//! One request of one connection: counted, carried out, answered.

use beanstalk_protocol::{Command, JobId, PutHeader, Rejection, Reply, Request};

use crate::body::Body;
use crate::conn::Incoming;
use crate::engine::{ConnId, Engine, Flow};
use crate::job::Job;
use crate::policy::Ruling;
use crate::record::Change;
use crate::refusals::Cause;
use crate::sink::{Answer, Sink, TubeNames};
use crate::time::Nanos;

impl Engine {
    /// Carries out a request of a connection that is not blocked.
    ///
    /// Call [`Engine::tick`] first, so that what is due at `now` has happened.
    #[inline]
    pub fn handle(
        &mut self,
        now: Nanos,
        conn: ConnId,
        request: Request,
        sink: &mut impl Sink,
    ) -> Flow {
        match request {
            Request::Command(command) => self.command(now, conn, command, sink),
            Request::Put(header) => {
                self.begin_put(now, conn, header);
                Flow::Continue
            }
            Request::Body(body) => self.finish_put(now, conn, body, sink),
            other => self.misfit(conn, &other, sink),
        }
    }

    /// What is neither a command nor a put that may succeed. This is kept out of the function for those, which
    /// come often.
    #[cold]
    #[inline(never)]
    fn misfit(&mut self, conn: ConnId, request: &Request, sink: &mut impl Sink) -> Flow {
        let reply = match request {
            Request::OversizedPut => {
                self.commands.put += 1;
                return Flow::Continue;
            }
            Request::BrokenBody => {
                self.abandon_put(conn);
                self.refusals.add(Cause::BrokenBody);
                Reply::ExpectedCrlf
            }
            Request::UnheldBody => {
                self.abandon_put(conn);
                self.refusals.add(Cause::NoRoom);
                Reply::OutOfMemory
            }
            Request::Rejected(rejection) => self.reject(*rejection),
            // The caller knows who its clients are; nothing here does.
            Request::Auth(_) => self.reject(Rejection::UnknownCommand),
            // Not one of them: `Engine::handle` has done it.
            Request::Command(_) | Request::Put(_) | Request::Body(_) => return Flow::Continue,
        };
        sink.answer(conn, Answer::Reply(reply));
        Flow::Continue
    }

    fn reject(&mut self, rejection: Rejection) -> Reply<&'static Body> {
        self.refusals.add(match rejection {
            Rejection::UnknownCommand => Cause::UnknownCommand,
            Rejection::BadFormat | Rejection::BadPut | Rejection::BadPauseTube => Cause::BadFormat,
            Rejection::JobTooBig => Cause::TooBig,
        });
        match rejection {
            Rejection::UnknownCommand => Reply::UnknownCommand,
            Rejection::BadFormat => Reply::BadFormat,
            Rejection::BadPut => {
                self.commands.put += 1;
                Reply::BadFormat
            }
            Rejection::BadPauseTube => {
                self.commands.pause_tube += 1;
                Reply::BadFormat
            }
            Rejection::JobTooBig => Reply::JobTooBig,
        }
    }

    /// The line of a put: the job gets its id, and goes to the tube that is used now.
    fn begin_put(&mut self, now: Nanos, conn: ConnId, header: PutHeader) {
        self.commands.put += 1;
        let id = self.next_id;
        self.next_id += 1;
        let state = &mut self.conns[conn.0];
        if !state.is_producer {
            state.is_producer = true;
            self.producers += 1;
        }
        let tube = &mut self.tubes[state.used];
        tube.jobs += 1;
        let special = tube.special;
        state.incoming = Some(Incoming { id, header, tube: state.used, special, created: now });
    }

    /// The body of a put was unusable. The job's id is not reused.
    fn abandon_put(&mut self, conn: ConnId) {
        if let Some(incoming) = self.conns[conn.0].incoming.take() {
            // The connection uses the tube, so the tube stays.
            self.tubes[incoming.tube].jobs -= 1;
        }
    }

    /// A put is refused for this cause.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse_put(
        &mut self,
        conn: ConnId,
        cause: Cause,
        body: Box<[u8]>,
        sink: &mut impl Sink,
    ) -> Flow {
        self.abandon_put(conn);
        self.refusals.add(cause);
        let reply = match cause {
            Cause::Draining => Reply::Draining,
            _ => Reply::OutOfMemory,
        };
        sink.answer(conn, Answer::Reply(reply));
        sink.discard(Body::from(body));
        Flow::Continue
    }

    /// A put into a unique tube is answered with the job that is there already.
    #[cold]
    #[inline(never)]
    fn answer_with_known(
        &mut self,
        conn: ConnId,
        known: JobId,
        body: Box<[u8]>,
        sink: &mut impl Sink,
    ) -> Flow {
        self.abandon_put(conn);
        sink.concerns(conn, known);
        sink.answer(conn, Answer::Reply(Reply::Inserted(known)));
        sink.discard(Body::from(body));
        Flow::Continue
    }

    fn finish_put(
        &mut self,
        now: Nanos,
        conn: ConnId,
        body: Box<[u8]>,
        sink: &mut impl Sink,
    ) -> Flow {
        if self.guarded
            && let Err(cause) = self.server_admits(body.len())
        {
            return self.refuse_put(conn, cause, body, sink);
        }
        if !sink.admits(Change::Put) {
            return self.refuse_put(conn, Cause::NoRoom, body, sink);
        }
        let Some(mut incoming) = self.conns[conn.0].incoming.take() else {
            return Flow::Continue;
        };
        if incoming.special {
            match self.ruled_put(incoming.tube, incoming.id, incoming.header.ttr, &body) {
                Ruling::New { ttr } => incoming.header.ttr = ttr,
                Ruling::Known(known) => {
                    self.conns[conn.0].incoming = Some(incoming);
                    return self.answer_with_known(conn, known, body, sink);
                }
                Ruling::Full(cause) => {
                    self.conns[conn.0].incoming = Some(incoming);
                    return self.refuse_put(conn, cause, body, sink);
                }
            }
        }
        let Incoming { id, header, tube, created, .. } = incoming;
        let mut job = Job::new(id, tube, Body::from(body), created);
        job.priority = header.priority;
        job.delay = header.delay;
        job.ttr = header.ttr.max(1);
        let (ix, state) = self.add(now, job, sink);
        // Before the job can reach a waiting worker: the producer gets its answer first.
        sink.answer(conn, Answer::Reply(Reply::Inserted(id)));
        self.make(now, ix, state, sink);
        Flow::Continue
    }

    fn command(
        &mut self,
        now: Nanos,
        conn: ConnId,
        command: Command,
        sink: &mut impl Sink,
    ) -> Flow {
        let counts = &mut self.commands;
        let reply = match command {
            Command::Reserve => {
                counts.reserve += 1;
                return self.reserve(now, conn, Nanos::NEVER, sink);
            }
            Command::ReserveWithTimeout(timeout) => {
                counts.reserve_with_timeout += 1;
                let until = timeout.map_or(Nanos::NEVER, |seconds| now.after(seconds));
                return self.reserve(now, conn, until, sink);
            }
            Command::Delete(id) => {
                counts.delete += 1;
                sink.concerns(conn, id);
                self.delete(now, conn, id, sink)
            }
            Command::Release { id, priority, delay } => {
                counts.release += 1;
                sink.concerns(conn, id);
                return self.release(now, conn, id, priority, delay, sink);
            }
            Command::Bury { id, priority } => {
                counts.bury += 1;
                sink.concerns(conn, id);
                self.bury(conn, id, priority, sink)
            }
            Command::Touch(id) => {
                counts.touch += 1;
                sink.concerns(conn, id);
                self.touch(now, conn, id)
            }
            Command::Use(tube) => {
                counts.use_ += 1;
                self.use_tube(conn, tube, sink.has_room())
            }
            Command::Watch(tube) => {
                counts.watch += 1;
                self.watch(conn, tube, sink.has_room())
            }
            Command::Ignore(tube) => {
                counts.ignore += 1;
                self.ignore(conn, &tube)
            }
            Command::Kick(bound) => {
                counts.kick += 1;
                return self.kick(now, conn, bound, sink);
            }
            // beanstalkd does not count this command.
            Command::KickJob(id) => {
                sink.concerns(conn, id);
                return self.kick_job(now, conn, id, sink);
            }
            // Nor this one.
            Command::ReserveJob(id) => {
                sink.concerns(conn, id);
                return self.reserve_job(now, conn, id, sink);
            }
            Command::PauseTube(tube, seconds) => {
                counts.pause_tube += 1;
                return self.pause_tube(now, conn, &tube, seconds, sink);
            }
            Command::Peek(id) => {
                counts.peek += 1;
                sink.concerns(conn, id);
                return self.peek(conn, self.find_job(id), sink);
            }
            Command::PeekReady => {
                counts.peek_ready += 1;
                return self.peek(conn, self.first_ready(conn), sink);
            }
            Command::PeekDelayed => {
                counts.peek_delayed += 1;
                return self.peek(conn, self.first_delayed(conn), sink);
            }
            Command::PeekBuried => {
                counts.peek_buried += 1;
                return self.peek(conn, self.first_buried(conn), sink);
            }
            Command::Stats => {
                counts.stats += 1;
                sink.answer(conn, Answer::ServerStats(Box::new(self.server_stats())));
                return Flow::Continue;
            }
            Command::StatsJob(id) => {
                counts.stats_job += 1;
                sink.concerns(conn, id);
                return self.stats_job(now, conn, id, sink);
            }
            Command::StatsTube(tube) => {
                counts.stats_tube += 1;
                return self.stats_tube(now, conn, &tube, sink);
            }
            Command::ListTubes => {
                counts.list_tubes += 1;
                sink.answer(conn, Answer::Tubes(TubeNames::all(&self.tubes)));
                return Flow::Continue;
            }
            Command::ListTubesWatched => {
                counts.list_tubes_watched += 1;
                let watched = &self.conns[conn.0].watched;
                sink.answer(conn, Answer::Tubes(TubeNames::watched(&self.tubes, watched)));
                return Flow::Continue;
            }
            Command::ListTubeUsed => {
                counts.list_tube_used += 1;
                Reply::Using(self.tubes[self.conns[conn.0].used].name.clone())
            }
            Command::Quit => return Flow::Close,
            extension @ (Command::BatchReserve { .. }
            | Command::ClearTube(_)
            | Command::ListJobs(_)
            | Command::Move(_)) => return self.extension(now, conn, &extension, sink),
        };
        sink.answer(conn, Answer::Reply(reply));
        Flow::Continue
    }
}
