//! Moving jobs: out of one place, into another, and to connections that wait for them.
//!
//! A job is always in exactly one place, except within an operation, between [`Engine::detach`] and
//! one of the functions that put it somewhere. Each move updates the counts of the tube and of the
//! whole queue, so these always agree with the contents.

use beanstalk_protocol::Reply;

use crate::arena::Ix;
use crate::engine::{ConnId, Engine};
use crate::job::{DeadlineKey, NONE, Place, ReadyKey};
use crate::record::Record;
use crate::sink::{Answer, Sink};
use crate::time::Nanos;
use crate::timers::Owner;

impl Engine {
    /// Removes a job from wherever it is. If it is reserved, returns when that was.
    pub(crate) fn detach(&mut self, ix: Ix) -> Option<Nanos> {
        let job = &mut self.jobs[ix];
        let (place, priority) = (job.place(), job.priority);
        job.set_place(Place::Nowhere);
        let tube = &mut self.tubes[job.tube];
        let mut reserved = None;
        // Called where it is known which kind of place it is, so that this is decided only once.
        let mut leave = || {
            tube.counts.leave(place, priority);
            self.counts.leave(place, priority);
        };
        match place {
            Place::Nowhere => return None,
            Place::Lined { previous, next } => {
                tube.ready.remove_lined(ix, previous, next, &mut self.jobs);
                leave();
            }
            Place::Ready { position } => {
                tube.ready.remove_other(position, &mut self.jobs);
                leave();
            }
            Place::Delayed { position } => {
                tube.delayed.remove(position, &mut self.jobs);
                leave();
            }
            Place::Reserved { conn, position } => {
                let ((_, turn), _) = self.conns[conn].reserved.remove(position, &mut self.jobs);
                reserved = Some(Nanos(turn));
                leave();
            }
            Place::Buried { previous, next } => {
                tube.buried.remove(previous, next, &mut self.jobs);
                leave();
            }
        }
        if tube.special {
            tube.ruled_leaves(ix, place, &self.jobs);
        }
        reserved
    }

    /// Makes a job ready. The connection that has waited longest gets it at once, if there is one.
    pub(crate) fn make_ready(&mut self, now: Nanos, ix: Ix, sink: &mut impl Sink) {
        self.note_survivor(ix);
        let job = &self.jobs[ix];
        debug_assert_eq!(job.place(), Place::Nowhere, "a job leaves one place before the next");
        let (tube, key) = (job.tube, job.ready_key());
        let state = &mut self.tubes[tube];
        let place = Place::Ready { position: 0 };
        state.counts.enter(place, job.priority);
        self.counts.enter(place, job.priority);
        state.ready.push(key, ix, &mut self.jobs);
        let is_awaited = state.is_awaited();
        if state.special {
            self.ruled_ready(now, ix);
        }
        if is_awaited {
            self.offer(now, tube, key, sink);
        }
    }

    /// The tube has another ready job, with this key, for those that wait for one.
    #[inline(never)]
    fn offer(&mut self, now: Nanos, tube: Ix, key: ReadyKey, sink: &mut impl Sink) {
        self.serve(now, tube, sink);
        if self.tubes[tube].available() == Some(key) {
            self.alert(tube);
        }
    }

    /// Delays a job until this moment.
    pub(crate) fn make_delayed(&mut self, until: Nanos, ix: Ix) {
        self.note_survivor(ix);
        self.enter(ix, Place::Delayed { position: 0 });
        let tube = self.jobs[ix].tube;
        let key = self.deadline_key(until);
        let state = &mut self.tubes[tube];
        state.delayed.push(key, ix, &mut self.jobs);
        if state.special {
            self.ruled_delayed(ix);
        }
        self.schedule_tube(tube);
    }

    /// Buries a job, behind the last buried one.
    pub(crate) fn make_buried(&mut self, ix: Ix) {
        self.note_survivor(ix);
        let tube = self.jobs[ix].tube;
        let previous = self.tubes[tube].buried.push_back(ix, &mut self.jobs);
        self.enter(ix, Place::Buried { previous, next: NONE });
    }

    /// Reserves a job for the connection, for its time to run. `has_waited`: it was ready.
    pub(crate) fn make_reserved(
        &mut self,
        now: Nanos,
        ix: Ix,
        conn: Ix,
        has_waited: bool,
        sink: &mut impl Sink,
    ) {
        let job = &mut self.jobs[ix];
        debug_assert_eq!(job.place(), Place::Nowhere, "a job leaves one place before the next");
        sink.record(Record::Reserved(job.id));
        let place = Place::Reserved { conn, position: 0 };
        job.set_place(place);
        let tube = &mut self.tubes[job.tube];
        tube.counts.enter(place, job.priority);
        self.counts.enter(place, job.priority);
        let until = now.after(job.ttr);
        // That is forgotten when the reserve is counted.
        let is_observed = has_waited && self.observer.is_some();
        let since = if is_observed { job.ready_at() } else { None };
        let is_counted = job.count_reserve();
        if let Some(observer) = &mut self.observer
            && has_waited
        {
            let since = match since {
                Some(since) => Some(since),
                None => self.jobs.ready_again_since(ix),
            };
            if let Some(since) = since {
                observer.times(&mut tube.slot).wait.add(now.0.saturating_sub(since.0));
            }
        }
        if !is_counted {
            self.jobs.count_reserve_beside(ix);
        }
        self.next_turn = self.next_turn.max(now.0);
        let key = self.deadline_key(until);
        let state = &mut self.conns[conn];
        state.reserved.push(key, ix, &mut self.jobs);
        let at = state.deadline();
        self.timers.at_latest(Owner::Conn(conn), &mut state.listed, at);
    }

    /// The number of the next burial.
    pub(crate) fn next_bury_turn(&mut self) -> u64 {
        let turn = self.next_bury;
        self.next_bury += 1;
        turn
    }

    fn deadline_key(&mut self, at: Nanos) -> DeadlineKey {
        let turn = self.next_turn;
        self.next_turn += 1;
        (at, turn)
    }

    fn enter(&mut self, ix: Ix, place: Place) {
        let job = &mut self.jobs[ix];
        debug_assert_eq!(job.place(), Place::Nowhere, "a job leaves one place before the next");
        job.set_place(place);
        self.tubes[job.tube].counts.enter(place, job.priority);
        self.counts.enter(place, job.priority);
    }

    /// Gives the tube's ready jobs to connections that wait for them.
    pub(crate) fn serve(&mut self, now: Nanos, tube: Ix, sink: &mut impl Sink) {
        while self.tubes[tube].available().is_some() {
            let Some(conn) = self.first_waiting(tube) else { break };
            if self.end_wait(conn) {
                self.batch_of_one(now, tube, ConnId(conn), sink);
            } else {
                self.reserve_from(now, tube, conn, sink);
            }
        }
    }

    /// Gives the tube's first ready job to the connection.
    #[inline(always)]
    pub(crate) fn reserve_from(&mut self, now: Nanos, tube: Ix, conn: Ix, sink: &mut impl Sink) {
        let state = &self.tubes[tube];
        if let Some((_, job)) = state.ready.first() {
            let special = state.special;
            self.detach(job);
            self.make_reserved(now, job, conn, true, sink);
            if special {
                self.ruled_reserved(now, tube);
            }
            let job = &self.jobs[job];
            sink.concerns(ConnId(conn), job.id);
            sink.answer(ConnId(conn), Answer::Reply(Reply::Reserved(job.id, &job.body)));
        }
    }

    /// Removes a job for good.
    pub(crate) fn remove_job(&mut self, ix: Ix, sink: &mut impl Sink) {
        self.take_out(ix, None, sink);
    }

    /// Removes a job for good; `deleted`: because it is deleted, now.
    #[inline(always)]
    pub(crate) fn take_out(&mut self, ix: Ix, deleted: Option<Nanos>, sink: &mut impl Sink) {
        let reserved = self.detach(ix);
        if let Some(job) = self.jobs.remove(ix) {
            let tube = &mut self.tubes[job.tube];
            tube.jobs -= 1;
            let bytes = job.body.as_ref().len();
            tube.bytes -= bytes as u64;
            if let Some(now) = deleted {
                tube.deletes += 1;
                if let (Some(observer), Some(since)) = (&mut self.observer, reserved) {
                    observer.times(&mut tube.slot).service.add(now.0.saturating_sub(since.0));
                }
            }
            sink.forget(job.segment, job.id, tube.name.as_bytes().len() + bytes);
            sink.removed(job.id);
            self.drop_if_idle(job.tube);
            sink.discard(job.body);
        }
    }

    /// Removes the tube if it is no longer needed: see `Tube::is_needed`.
    #[inline]
    pub(crate) fn drop_if_idle(&mut self, tube: Ix) {
        if let Some(mut gone) = self.tubes.remove_if_idle(tube) {
            self.timers.remove(Owner::Tube(tube), &mut gone.listed);
            self.note_tube_gone(gone.slot, gone.activity);
        }
    }
}
