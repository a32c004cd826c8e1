//! The commands, one function for each.

use beanstalk_protocol::{JobId, Priority, Reply, Seconds, TubeName};

use crate::arena::Ix;
use crate::attempts::AttemptEnd;
use crate::body::Body;
use crate::engine::{ConnId, Engine, Flow};
use crate::job::{NONE, Place};
use crate::record::{Change, DurableState, Record};
use crate::refusals::Cause;
use crate::sink::{Answer, Sink};
use crate::steps::AT_ONCE;
use crate::time::Nanos;
use crate::timers::Owner;
use crate::wide::Best;

/// A reply without a job's body.
type Plain = Reply<&'static Body>;

impl Engine {
    /// Reserves the best job of the watched tubes, or waits for one until `until`. If there is too much to
    /// look at, in steps.
    pub(crate) fn reserve(
        &mut self,
        now: Nanos,
        id: ConnId,
        until: Nanos,
        sink: &mut impl Sink,
    ) -> Flow {
        let conn = id.0;
        self.make_worker(conn);
        match self.best_tube(conn, &mut { AT_ONCE }) {
            Best::Tube(tube) => {
                self.reserve_from(now, tube, conn, sink);
                Flow::Continue
            }
            Best::None => self.without_job(now, id, until, false, sink),
            Best::Unknown => self.begin_seek(now, conn, until, None),
        }
    }

    /// There is no job for a reserve, or for a batch: says so, or waits until `until`.
    #[inline(never)]
    pub(crate) fn without_job(
        &mut self,
        now: Nanos,
        id: ConnId,
        until: Nanos,
        batch: bool,
        sink: &mut impl Sink,
    ) -> Flow {
        let conn = id.0;
        let reply = if self.conns[conn].deadline_soon(now) {
            Reply::DeadlineSoon
        } else if until <= now || self.conns[conn].half_closed {
            Reply::TimedOut
        } else {
            self.begin_wait(conn, until, batch);
            return Flow::Blocked;
        };
        sink.answer(id, Answer::Reply(reply));
        Flow::Continue
    }

    pub(crate) fn reserve_job(
        &mut self,
        now: Nanos,
        conn: ConnId,
        id: JobId,
        sink: &mut impl Sink,
    ) -> Flow {
        let found = self.find_job(id);
        let free = found.filter(|ix| !matches!(self.jobs[*ix].place(), Place::Reserved { .. }));
        let Some(ix) = free else {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        };
        self.make_worker(conn.0);
        let has_waited = self.jobs[ix].place().is_ready();
        self.detach(ix);
        self.make_reserved(now, ix, conn.0, has_waited, sink);
        let job = &self.jobs[ix];
        sink.answer(conn, Answer::Reply(Reply::Reserved(job.id, &job.body)));
        Flow::Continue
    }

    pub(crate) fn make_worker(&mut self, conn: Ix) {
        let state = &mut self.conns[conn];
        if !state.is_worker {
            state.is_worker = true;
            self.workers += 1;
        }
    }

    /// The answer to a change that the log does not admit.
    #[cold]
    fn not_recorded(&mut self) -> Plain {
        self.refusals.add(Cause::NotRecorded);
        Reply::InternalError
    }

    /// The job, if this connection has it reserved.
    fn find_reserved(&self, conn: ConnId, id: JobId) -> Option<Ix> {
        // A reserved job is never dead.
        let ix = self.jobs.find(id)?;
        match self.jobs[ix].place() {
            Place::Reserved { conn: owner, .. } if owner == conn.0 => Some(ix),
            _ => None,
        }
    }

    /// Any connection may delete a job, unless another one has it reserved.
    pub(crate) fn delete(
        &mut self,
        now: Nanos,
        conn: ConnId,
        id: JobId,
        sink: &mut impl Sink,
    ) -> Plain {
        let Some(ix) = self.find_job(id) else { return Reply::NotFound };
        let job = &self.jobs[ix];
        match job.place() {
            Place::Reserved { conn: owner, .. } if owner == conn.0 => {}
            _ if !sink.allows_delete(self.tubes[job.tube].reference()) => {
                self.commands.delete -= 1;
                return Reply::InternalError;
            }
            Place::Reserved { .. } => return Reply::NotFound,
            _ => {}
        }
        if !sink.admits(Change::Delete) {
            return self.not_recorded();
        }
        self.delete_one(now, ix, id, sink);
        Reply::Deleted
    }

    /// Deletes the job at this place, which has this id, in any state.
    #[inline(always)]
    pub(crate) fn delete_one(&mut self, now: Nanos, ix: Ix, id: JobId, sink: &mut impl Sink) {
        sink.record(Record::Delete(id));
        self.deletes += 1;
        self.take_out(ix, Some(now), sink);
    }

    pub(crate) fn release(
        &mut self,
        now: Nanos,
        conn: ConnId,
        id: JobId,
        priority: Priority,
        delay: Seconds,
        sink: &mut impl Sink,
    ) -> Flow {
        let Some(ix) = self.find_reserved(conn, id) else {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        };
        if !sink.admits(Change::Existing(1)) {
            let refusal = self.not_recorded();
            sink.answer(conn, Answer::Reply(refusal));
            return Flow::Continue;
        }
        sink.answer(conn, Answer::Reply(Reply::Released));
        self.end_attempt(now, ix, AttemptEnd::Released { priority, delay }, sink);
        Flow::Continue
    }

    pub(crate) fn bury(
        &mut self,
        conn: ConnId,
        id: JobId,
        priority: Priority,
        sink: &mut impl Sink,
    ) -> Plain {
        let Some(ix) = self.find_reserved(conn, id) else { return Reply::NotFound };
        if !sink.admits(Change::Existing(1)) {
            return self.not_recorded();
        }
        self.bury_one(ix, priority, sink);
        Reply::Buried
    }

    /// Buries a job that is not buried.
    #[inline(always)]
    pub(crate) fn bury_one(&mut self, ix: Ix, priority: Priority, sink: &mut impl Sink) {
        self.detach(ix);
        self.jobs.count(ix, |counters| counters.buries += 1);
        self.buries += 1;
        let tube = self.jobs[ix].tube;
        self.tubes[tube].buries += 1;
        self.jobs[ix].priority = priority;
        let turn = self.next_bury_turn();
        self.jobs.set_bury_turn(ix, turn);
        sink.record(Record::Update(self.job_update(ix, DurableState::Buried(turn))));
        self.make_buried(ix);
    }

    pub(crate) fn touch(&mut self, now: Nanos, conn: ConnId, id: JobId) -> Plain {
        let Some(ix) = self.find_reserved(conn, id) else { return Reply::NotFound };
        let job = &self.jobs[ix];
        if let Place::Reserved { position, .. } = job.place() {
            let at = now.after(job.ttr);
            let state = &mut self.conns[conn.0];
            let (_, turn) = state.reserved.key_at(position);
            state.reserved.set_key(position, (at, turn), &mut self.jobs);
            let next = state.deadline();
            self.timers.at_latest(Owner::Conn(conn.0), &mut state.listed, next);
        }
        Reply::Touched
    }

    pub(crate) fn use_tube(&mut self, conn: ConnId, name: TubeName, has_room: bool) -> Plain {
        let Some(tube) = self.wanted_tube(&name, has_room) else { return Reply::OutOfMemory };
        self.tubes[tube].using += 1;
        let before = std::mem::replace(&mut self.conns[conn.0].used, tube);
        self.tubes[before].using -= 1;
        self.drop_if_idle(before);
        Reply::Using(name)
    }

    pub(crate) fn watch(&mut self, conn: ConnId, name: TubeName, has_room: bool) -> Plain {
        let Some(tube) = self.wanted_tube(&name, has_room) else { return Reply::OutOfMemory };
        let state = &mut self.conns[conn.0];
        if !state.watched.contains_key(&tube) {
            // A long list grows by much at a time.
            if !has_room || state.watched.try_reserve(1).is_err() {
                self.drop_if_idle(tube);
                return Reply::OutOfMemory;
            }
            // It joins the queue now, under a ticket that it may draw at the earliest, rather than at its
            // next wait: others would have to wait while it joins those of a hundred thousand tubes.
            let ticket = self.next_ticket;
            state.watched.insert(tube, Some(ticket));
            let watched = &mut self.tubes[tube];
            watched.queue.insert((ticket, conn.0));
            watched.watching += 1;
            self.widen(conn.0, tube);
        }
        Reply::Watching(self.conns[conn.0].watched.len() as u64)
    }

    /// The tube of this name, which is created if there is memory for it.
    fn wanted_tube(&mut self, name: &TubeName, has_room: bool) -> Option<Ix> {
        let found = self.tubes.find(name.as_str());
        found.or_else(|| has_room.then(|| self.tubes.find_or_create(name.clone())))
    }

    pub(crate) fn ignore(&mut self, conn: ConnId, name: &TubeName) -> Plain {
        let state = &mut self.conns[conn.0];
        let found = self.tubes.find(name.as_str()).filter(|tube| state.watched.contains_key(tube));
        if let Some(tube) = found {
            if state.watched.len() == 1 {
                return Reply::NotIgnored;
            }
            let ticket = state.watched.swap_remove(&tube).flatten();
            self.leave_queue(conn.0, tube, ticket);
            self.narrow(conn.0, tube);
            self.tubes[tube].watching -= 1;
            self.drop_if_idle(tube);
        }
        Reply::Watching(self.conns[conn.0].watched.len() as u64)
    }

    /// Kicks buried jobs of the used tube or, only if there are none, delayed ones; more than
    /// [`AT_ONCE`] in steps.
    pub(crate) fn kick(
        &mut self,
        now: Nanos,
        conn: ConnId,
        bound: u32,
        sink: &mut impl Sink,
    ) -> Flow {
        let tube = self.conns[conn.0].used;
        let counts = &self.tubes[tube].counts;
        let buried = counts.buried > 0;
        let there = if buried { counts.buried } else { counts.delayed };
        let kicked = there.min(u64::from(bound));
        if kicked > 0 && !sink.admits(Change::Existing(kicked)) {
            let refusal = self.not_recorded();
            sink.answer(conn, Answer::Reply(refusal));
            return Flow::Continue;
        }
        if kicked > AT_ONCE {
            self.begin_kick(now, conn.0, kicked, buried);
            return Flow::Blocked;
        }
        sink.answer(conn, Answer::Reply(Reply::Kicked(kicked)));
        for _ in 0..kicked {
            let Some(ix) = self.first_kickable(conn, buried) else { break };
            self.kick_one(now, ix, sink);
        }
        Flow::Continue
    }

    /// The next job that a kick of buried, or otherwise of delayed, jobs takes.
    pub(crate) fn first_kickable(&self, conn: ConnId, buried: bool) -> Option<Ix> {
        if buried { self.first_buried(conn) } else { self.first_delayed(conn) }
    }

    pub(crate) fn kick_job(
        &mut self,
        now: Nanos,
        conn: ConnId,
        id: JobId,
        sink: &mut impl Sink,
    ) -> Flow {
        let found = self.find_job(id);
        let kickable = found.filter(|ix| {
            matches!(self.jobs[*ix].place(), Place::Buried { .. } | Place::Delayed { .. })
        });
        let Some(ix) = kickable else {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        };
        if !sink.admits(Change::Existing(1)) {
            let refusal = self.not_recorded();
            sink.answer(conn, Answer::Reply(refusal));
            return Flow::Continue;
        }
        sink.answer(conn, Answer::Reply(Reply::KickedJob));
        self.kick_one(now, ix, sink);
        Flow::Continue
    }

    pub(crate) fn kick_one(&mut self, now: Nanos, ix: Ix, sink: &mut impl Sink) {
        sink.record(Record::Kicked(self.jobs[ix].id));
        self.detach(ix);
        self.jobs.count(ix, |counters| counters.kicks += 1);
        self.note_ready_again(now, ix, DurableState::Ready);
        self.make_ready(now, ix, sink);
    }

    pub(crate) fn pause_tube(
        &mut self,
        now: Nanos,
        conn: ConnId,
        name: &TubeName,
        seconds: Seconds,
        sink: &mut impl Sink,
    ) -> Flow {
        let Some(tube) = self.tubes.find(name.as_str()) else {
            sink.answer(conn, Answer::Reply(Reply::NotFound));
            return Flow::Continue;
        };
        if !sink.admits(Change::Settings) {
            let refusal = self.not_recorded();
            sink.answer(conn, Answer::Reply(refusal));
            return Flow::Continue;
        }
        self.tubes[tube].pauses += 1;
        sink.answer(conn, Answer::Reply(Reply::Paused));
        self.set_pause(now, tube, seconds, sink);
        Flow::Continue
    }

    pub(crate) fn peek(&self, conn: ConnId, found: Option<Ix>, sink: &mut impl Sink) -> Flow {
        let reply = match found {
            Some(ix) => {
                let job = &self.jobs[ix];
                sink.concerns(conn, job.id);
                Reply::Found(job.id, &job.body)
            }
            None => Reply::NotFound,
        };
        sink.answer(conn, Answer::Reply(reply));
        Flow::Continue
    }

    pub(crate) fn first_ready(&self, conn: ConnId) -> Option<Ix> {
        self.tubes[self.conns[conn.0].used].ready.first().map(|(_, job)| job)
    }

    pub(crate) fn first_delayed(&self, conn: ConnId) -> Option<Ix> {
        self.tubes[self.conns[conn.0].used].delayed.first().map(|(_, job)| job)
    }

    pub(crate) fn first_buried(&self, conn: ConnId) -> Option<Ix> {
        Some(self.tubes[self.conns[conn.0].used].buried.first).filter(|job| *job != NONE)
    }
}
