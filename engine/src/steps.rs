//! Operations on too many jobs or tubes to do them in one go: a large `kick`, a reserve of a connection that
//! watches many tubes of which many have changed, and giving back the jobs and watched tubes of a connection
//! that is gone.
//!
//! Meanwhile the connection has a deadline that is always due. [`Engine::tick`] takes the steps,
//! one job or a few tubes each, and other requests are handled in between.

use beanstalk_protocol::Reply;

use crate::arena::Ix;
use crate::attempts::AttemptEnd;
use crate::engine::{CloseReason, ConnId, Engine, Flow};
use crate::record::Change;
use crate::sink::{Answer, Sink};
use crate::time::Nanos;
use crate::wide::Best;

/// Up to this many jobs or tubes are handled in one go.
pub(crate) const AT_ONCE: u64 = 1000;

/// A `kick` in progress. The client waits for its reply.
#[derive(Debug)]
pub(crate) struct Kicking {
    /// Jobs still to be kicked, if there are that many.
    left: u64,
    done: u64,
    /// Whether it kicks buried jobs; otherwise delayed ones.
    buried: bool,
}

/// Tubes that a reserve looks at in one step.
const LOOKS: u64 = 4;

/// A reserve in progress. The client waits for its reply.
#[derive(Debug)]
pub(crate) struct Seeking {
    /// Until when it waits if there is no job.
    until: Nanos,
    /// For a batch: of how many jobs at most.
    batch: Option<u32>,
}

impl Engine {
    /// Begins to kick this many jobs of the tube that the connection uses. The reply comes when all
    /// is done.
    pub(crate) fn begin_kick(&mut self, now: Nanos, conn: Ix, jobs: u64, buried: bool) {
        self.conns[conn].kicking = Some(Box::new(Kicking { left: jobs, done: 0, buried }));
        self.step_next(now, conn);
    }

    /// Begins a reserve, which waits until `until` if there is no job, or one of a `batch` of so many
    /// jobs. The reply comes when it is known which job is the best.
    #[cold]
    pub(crate) fn begin_seek(
        &mut self,
        now: Nanos,
        conn: Ix,
        until: Nanos,
        batch: Option<u32>,
    ) -> Flow {
        self.conns[conn].seeking = Some(Box::new(Seeking { until, batch }));
        self.step_next(now, conn);
        Flow::Blocked
    }

    /// The connection is gone: begins to give back its jobs, after its kick if there is one in
    /// progress. Of a reserve nothing comes.
    pub(crate) fn begin_leaving(&mut self, now: Nanos, conn: Ix, reason: CloseReason) {
        self.conns[conn].seeking = None;
        self.conns[conn].leaving = Some(reason);
        self.step_next(now, conn);
    }

    /// Takes the connection's next step.
    pub(crate) fn step(&mut self, now: Nanos, conn: Ix, sink: &mut impl Sink) {
        if self.conns[conn].kicking.is_some() {
            self.kick_on(now, conn, sink);
        } else if self.conns[conn].seeking.is_some() {
            self.seek_on(now, conn, sink);
        } else if let Some(reason) = self.conns[conn].leaving {
            self.leave_on(now, conn, reason, sink);
        }
    }

    /// The next step comes after everything else that has been due until now.
    fn step_next(&mut self, now: Nanos, conn: Ix) {
        self.conns[conn].next_step = now;
        self.schedule_conn(conn);
    }

    fn kick_on(&mut self, now: Nanos, conn: Ix, sink: &mut impl Sink) {
        let Some(mut kicking) = self.conns[conn].kicking.take() else { return };
        // Others may have taken some of the jobs, or the log may have no room left.
        let next = self.first_kickable(ConnId(conn), kicking.buried);
        if let Some(job) = next.filter(|_| sink.admits(Change::Existing(1))) {
            let id = self.jobs[job].id;
            self.kick_one(now, job, sink);
            sink.concerns(ConnId(conn), id);
            kicking.done += 1;
            kicking.left -= 1;
            if kicking.left > 0 {
                self.conns[conn].kicking = Some(kicking);
                return self.step_next(now, conn);
            }
        }
        self.conns[conn].next_step = Nanos::NEVER;
        if self.conns[conn].leaving.is_some() {
            return self.step_next(now, conn);
        }
        self.schedule_conn(conn);
        sink.answer(ConnId(conn), Answer::Reply(Reply::Kicked(kicking.done)));
    }

    /// Looks at some more tubes, and ends the reserve when there are no more to look at.
    fn seek_on(&mut self, now: Nanos, conn: Ix, sink: &mut impl Sink) {
        let best = self.best_tube(conn, &mut { LOOKS });
        if best == Best::Unknown {
            return self.step_next(now, conn);
        }
        let Some(seeking) = self.conns[conn].seeking.take() else { return };
        let Seeking { until, batch } = *seeking;
        self.conns[conn].next_step = Nanos::NEVER;
        match (batch, best) {
            (Some(max), _) => {
                self.batch_reserve(now, ConnId(conn), max, until, sink);
            }
            (None, Best::Tube(tube)) => self.reserve_from(now, tube, conn, sink),
            (None, _) => {
                self.without_job(now, ConnId(conn), until, false, sink);
            }
        }
        self.schedule_conn(conn);
    }

    /// Gives back the job that would time out first, or stops watching a tube.
    fn leave_on(&mut self, now: Nanos, conn: Ix, reason: CloseReason, sink: &mut impl Sink) {
        if let Some((_, job)) = self.conns[conn].reserved.first() {
            self.end_attempt(now, job, AttemptEnd::Closed(reason), sink);
        } else if let Some((tube, ticket)) = self.conns[conn].next_unwatched() {
            self.leave_queue_for_good(conn, tube, ticket);
            self.tubes[tube].watching -= 1;
            self.drop_if_idle(tube);
        }
        let state = &self.conns[conn];
        if state.reserved.first().is_some() || state.watched.len() as u64 > AT_ONCE {
            return self.step_next(now, conn);
        }
        self.leave_queues(conn);
        self.remove_conn(conn);
    }
}
