//! The engine's state, and everything that is not a command: connecting, disconnecting, and the
//! passage of time.

use beanstalk_protocol::{CommandCounts, JobId, PolicyCounts, Reply};

use crate::arena::{Arena, Ix};
use crate::attempts::AttemptEnd;
use crate::clear::Graves;
use crate::conn::Conn;
use crate::job::{Jobs, Turn};
use crate::observe::Observer;
use crate::policy::Limits;
use crate::record::ServerSettings;
use crate::refusals::Refusals;
use crate::sink::{Answer, Sink};
use crate::steps::AT_ONCE;
use crate::time::Nanos;
use crate::timers::{Owner, Timers};
use crate::tube::{JobCounts, Tubes};
use crate::waiting::Ticket;

/// Identifies a connection. Ids are small, and reused after [`Engine::disconnect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// What the connection may do after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next request may be handled.
    Continue,
    /// The answer is still to come. No further request of this connection may be handled before it.
    Blocked,
    /// The client asked to be disconnected.
    Close,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client sent `quit`: it gives its reserved jobs back on purpose.
    Quit,
    /// The server closed it: because it is stopping, or because an operator wanted it.
    ServerStops,
    /// The client closed or reset it without a `quit`, or the connection was lost: the client may
    /// have crashed.
    Vanished,
}

/// A whole queue: see the [crate documentation](crate).
#[derive(Debug)]
pub struct Engine {
    pub(crate) jobs: Jobs,
    pub(crate) tubes: Tubes,
    pub(crate) conns: Arena<Conn>,
    pub(crate) timers: Timers,
    pub(crate) graves: Graves,
    pub(crate) counts: JobCounts,
    pub(crate) commands: CommandCounts,
    pub(crate) next_id: JobId,
    pub(crate) next_ticket: Ticket,
    pub(crate) next_turn: Turn,
    pub(crate) next_bury: u64,
    pub(crate) deletes: u64,
    pub(crate) buries: u64,
    pub(crate) timeouts: u64,
    pub(crate) disconnects: u64,
    pub(crate) total_jobs: u64,
    pub(crate) total_connections: u64,
    pub(crate) producers: u64,
    pub(crate) workers: u64,
    pub(crate) waiting: u64,
    pub(crate) settings: ServerSettings,
    pub(crate) refusals: Refusals,
    /// Present while somebody observes.
    pub(crate) observer: Option<Box<Observer>>,
    /// Whether a put may be refused by the server: see [`Engine::guard`].
    pub(crate) guarded: bool,
    pub(crate) limits: Limits,
    pub(crate) policy_counts: PolicyCounts,
    /// Number of tubes that take no body twice.
    pub(crate) unique_tubes: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An empty queue with the default tube.
    pub fn new() -> Self {
        Self {
            jobs: Jobs::new(),
            tubes: Tubes::new(),
            conns: Arena::new(),
            timers: Timers::default(),
            graves: Graves::new(),
            counts: JobCounts::default(),
            commands: CommandCounts::default(),
            next_id: 1,
            next_ticket: 1,
            next_turn: 1,
            next_bury: 1,
            deletes: 0,
            buries: 0,
            timeouts: 0,
            disconnects: 0,
            total_jobs: 0,
            total_connections: 0,
            producers: 0,
            workers: 0,
            waiting: 0,
            settings: ServerSettings::default(),
            refusals: Refusals::default(),
            observer: None,
            guarded: false,
            limits: Limits::NONE,
            policy_counts: PolicyCounts::default(),
            unique_tubes: 0,
        }
    }

    /// A new connection, which uses and watches the default tube.
    pub fn connect(&mut self) -> ConnId {
        let conn = self.conns.insert(Conn::new(Tubes::DEFAULT));
        let tube = &mut self.tubes[Tubes::DEFAULT];
        tube.using += 1;
        tube.watching += 1;
        self.total_connections += 1;
        ConnId(conn)
    }

    /// The job whose body the connection is sending; `None` if there is none, or the server refuses it.
    pub fn arriving(&self, conn: ConnId) -> Option<JobId> {
        let incoming = self.conns[conn.0].incoming.as_ref();
        let admits = |bytes: usize| !self.guarded || self.server_admits(bytes).is_ok();
        incoming
            .filter(|incoming| admits(incoming.header.size as usize))
            .map(|incoming| incoming.id)
    }

    /// The client will send nothing more, but still reads. From now on, a reserve that would have
    /// to wait ends at once with `TIMED_OUT`; so does one that is already waiting.
    pub fn half_close(&mut self, conn: ConnId, sink: &mut impl Sink) {
        self.conns[conn.0].half_closed = true;
        if self.conns[conn.0].waiting.is_some() {
            self.end_wait(conn.0);
            sink.answer(conn, Answer::Reply(Reply::TimedOut));
        }
    }

    /// The connection is gone. Its reserved jobs become ready again, and a job whose body was still
    /// arriving is dropped. If the connection vanished, each of the reserved jobs counts one
    /// disconnect. The id can then be reused. Up to 1000 jobs come back at once. If there are more, or
    /// more watched tubes, each takes one step of [`Engine::tick`], and the id can be reused after the
    /// last: nobody has to wait until a million jobs are back.
    pub fn disconnect(
        &mut self,
        now: Nanos,
        id: ConnId,
        reason: CloseReason,
        sink: &mut impl Sink,
    ) {
        let conn = id.0;
        self.end_wait(conn);
        if let Some(incoming) = self.conns[conn].incoming.take() {
            self.tubes[incoming.tube].jobs -= 1;
        }
        let state = &self.conns[conn];
        let many = state.reserved.len().max(state.watched.len()) as u64 > AT_ONCE;
        if state.kicking.is_some() || many {
            return self.begin_leaving(now, conn, reason);
        }
        // Leave the queues first, so that its own jobs need not look at it.
        self.leave_queues(conn);
        // Waiting connections get the jobs in the order in which this connection reserved them.
        for job in self.conns[conn].reserved.in_order_of(|(_, turn)| turn) {
            self.end_attempt(now, job, AttemptEnd::Closed(reason), sink);
        }
        self.remove_conn(conn);
    }

    /// Removes a connection that has no jobs, waits for none, and is in no queue.
    pub(crate) fn remove_conn(&mut self, conn: Ix) {
        let Some(mut state) = self.conns.remove(conn) else { return };
        while let Some(tube) = state.next_unwatched() {
            self.tubes[tube.0].watching -= 1;
            self.drop_if_idle(tube.0);
        }
        self.timers.remove(Owner::Conn(conn), &mut state.listed);
        self.tubes[state.used].using -= 1;
        self.drop_if_idle(state.used);
        self.producers -= u64::from(state.is_producer);
        self.workers -= u64::from(state.is_worker);
    }

    /// Carries out what is due at `now`: delays and pauses end, times to run expire, waits end.
    /// Everything happens in the order in which it was due, however late this is called.
    ///
    /// Takes at most `budget` steps (0 counts as 1), so that a million jobs that fall due at once
    /// do not hold up the caller for long. Returns whether more is due already.
    pub fn tick(&mut self, now: Nanos, budget: usize, sink: &mut impl Sink) -> bool {
        for _ in 0..budget.max(1) {
            let first = self.timers.first().filter(|(at, _)| *at <= now);
            if self.graves.due().is_some_and(|due| first.is_none_or(|(at, _)| due < at)) {
                self.tick_graves(now, sink);
                continue;
            }
            let Some((at, owner)) = first else { return false };
            match owner {
                Owner::Tube(tube) => {
                    self.timers.remove(owner, &mut self.tubes[tube].listed);
                    self.tick_tube(now, at, tube, sink);
                }
                Owner::Conn(conn) => {
                    self.timers.remove(owner, &mut self.conns[conn].listed);
                    self.tick_conn(now, at, conn, sink);
                }
            }
        }
        self.next_deadline().is_some_and(|at| at <= now)
    }

    /// The latest moment for the next [`Engine::tick`]. It may be too early: that tick finds
    /// nothing due, and then this function returns a later moment.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let first = self.timers.first().map(|(at, _)| at);
        match self.graves.due() {
            Some(due) => Some(first.map_or(due, |at| at.min(due))),
            None => first,
        }
    }

    /// Takes one step for the tube, if one was due at `due`: its timer entry may have been early.
    fn tick_tube(&mut self, now: Nanos, due: Nanos, tube: Ix, sink: &mut impl Sink) {
        let delayed = self.tubes[tube].delayed.first();
        if let Some((_, job)) = delayed.filter(|((at, _), _)| *at <= due) {
            self.detach(job);
            self.make_ready(now, job, sink);
        } else if self.tubes[tube].pause.is_some_and(|pause| pause.until <= due) {
            self.end_pause(now, tube, sink);
        } else {
            self.tick_policy(now, due, tube, sink);
        }
        self.schedule_tube(tube);
        self.drop_if_idle(tube);
    }

    /// Takes one step for the connection, likewise.
    fn tick_conn(&mut self, now: Nanos, due: Nanos, conn: Ix, sink: &mut impl Sink) {
        let state = &self.conns[conn];
        if state.next_step <= due {
            return self.step(now, conn, sink);
        }
        if state.deadline() <= due {
            if state.waiting.is_some() {
                let soon = state.deadline_soon(due);
                let reply = if soon { Reply::DeadlineSoon } else { Reply::TimedOut };
                self.end_wait(conn);
                sink.answer(ConnId(conn), Answer::Reply(reply));
            } else if let Some((_, job)) = state.reserved.first() {
                self.end_attempt(now, job, AttemptEnd::TimedOut, sink);
            }
        }
        self.schedule_conn(conn);
    }
}
