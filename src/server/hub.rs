//! The engine behind a lock, and the delivery of answers to the connections.
//!
//! Everything that happens to the queue happens here, one batch at a time. Under the lock there are
//! no system calls, no waits and no formatting of long texts. Answers to other connections are put
//! into their mailboxes, and these connections are woken when the lock is released.
//!
//! The hub is public for simulations, which drive it without sockets.

mod guarded;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Poll, Waker};

use beanstalk_protocol::{BinlogStats, Dialect, JobId, Reply, Request, ServerStats};
use jq_engine::{
    Answer, Body, Change, CloseReason, ConnId, Engine, Flow, Limits, Nanos, Record, SegmentRef,
    Sink, TubeNames, TubeRef, growth,
};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::Config;
use crate::freeing;
use crate::log::{
    Appended, Gate, Gated, Log, LogDriver, LoggedQueue, Opened, Place, Progress, Staging,
};
use crate::memory;
use crate::policies::InForce;
use crate::server::crowd::Crowd;
use crate::server::guard::{AccessControl, Owners};
use crate::server::http_clients::HttpClients;
use crate::server::hub::guarded::{Judge, Judging, Unguarded};
use crate::server::identity::Identity;
use crate::server::outbuf::OutBuf;
use crate::server::peers::{Entry, Peers};
use crate::server::socket::Socket;
use crate::server::tls::{Certificates, Handshakes};

/// A batch stops when its replies have reached this size, in bytes. The rest is handled when the
/// client has read them.
pub const REPLY_LIMIT: usize = 256 * 1024;

/// For a backlog of fewer bytes than this, freeing memory is not worth it.
const BACKLOG: u64 = 4 << 20;

/// A connection is alone when this many batches in a row have been its own.
const ALONE: u32 = 1000;

/// Maximum number of overdue steps taken under one lock, while others wait.
const TICK_BUDGET: usize = 256;

/// Without memory, all connections are woken at most so often, in nanoseconds.
const RELIEVED_EVERY: u64 = 100_000_000;

/// Connections that are woken under one lock, when all are.
const WOKEN_AT_ONCE: usize = 4096;

/// The queue, shared by all threads.
pub struct Hub {
    state: Mutex<State>,
    clock: Clock,
    dialect: Dialect,
    max_job_size: u32,
    identity: Identity,
    keeps_log: bool,
    progress: Arc<Progress>,
    driver: Arc<dyn LogDriver>,
    stopping: AtomicBool,
    /// When [`Hub::relieve`] last woke all connections.
    relieved: AtomicU64,
    /// Number of connections that [`Hub::close`] has closed and that do not know it yet.
    closing: AtomicUsize,
    /// Who is connected, if somebody may ask.
    peers: Option<Peers>,
    /// Connections that were closed because they began with an HTTP request.
    pub(crate) http_clients: HttpClients,
    crowd: Crowd,
    /// Present if not everybody may do everything.
    control: Option<Arc<AccessControl>>,
    tubes_file: InForce,
    certificates: OnceLock<Arc<Certificates>>,
    handshakes: OnceLock<Arc<Handshakes>>,
    /// Notified when a deadline comes before the one that the timekeeper sleeps until.
    pub(crate) earlier_deadline: Notify,
    /// Notified when the socket of a connection is closed.
    pub(crate) connection_closed: Notify,
    /// Bytes that connections have freed since [`Hub::backlog_drained`] was notified of them.
    freed: AtomicU64,
    /// Notified when half of the bytes that many or large jobs took are free, or as many of
    /// connections.
    pub(crate) backlog_drained: Notify,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    log: Box<dyn Log>,
    /// By the id of the connection.
    mailboxes: Vec<Mailbox>,
    /// The time of the last request. No two requests have the same time, so the engine knows the
    /// order of those in one batch too.
    last: Nanos,
    /// When the timekeeper will tick next.
    timekeeper_at: Nanos,
    /// The connection of the last batch, and how many batches in a row it has had.
    in_a_row: (ConnId, u32),
    /// Whose jobs are in the queue, while somebody has a limit for them.
    owners: Option<Box<Owners>>,
    /// The maximum number of bytes that jobs took since [`Hub::backlog_drained`] was notified.
    most_held: u64,
}

/// Receives answers to a connection that another operation brought about.
#[derive(Debug)]
struct Mailbox {
    waker: Waker,
    out: Option<Box<OutBuf>>,
    gated: Gated,
    /// An operator has closed the connection.
    closed: bool,
}

impl Mailbox {
    /// The mailbox of no connection.
    fn vacant() -> Self {
        let waker = Waker::noop().clone();
        Self { waker, out: None, gated: Gated::default(), closed: false }
    }
}

/// A batch of requests and its outcome. It is reused, so that the hot path allocates nothing
/// itself.
#[derive(Debug, Default)]
pub struct Batch {
    /// Each with the offset in the input at which it ends.
    pub requests: Vec<(Request, usize)>,
    /// Their outcome.
    pub outcome: Outcome,
}

/// The outcome of an operation, to be dealt with when the lock is released.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Replies to the connection that the operation belongs to.
    pub out: OutBuf,
    /// What these replies wait for.
    pub gated: Gated,
    /// The client no longer reads replies, so none are made.
    pub unread: bool,
    /// A client waits for what was recorded.
    commit_soon: bool,
    /// No other connection has had a batch for a long time.
    alone: bool,
    /// The connections to wake.
    wakes: Vec<Waker>,
    /// Whether a connection was woken.
    pub(crate) has_woken: bool,
    /// Large bodies to free.
    discarded: Vec<Body>,
}

/// How far a batch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// What the connection may do after the last request.
    pub flow: Flow,
    /// The end of the last request that was handled.
    pub end: usize,
}

/// On whose behalf an operation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    /// This connection. Its replies, and what they wait for, are in the outcome.
    Conn(ConnId),
    /// A caller that is not a connection, and may have to wait for what was recorded.
    Outside,
    /// No one: time passes.
    Time,
}

/// Delivers the answers of an operation. What batches with a guard bring about is compiled apart from all else,
/// so that these pay for nothing.
struct Replies<'a, G = Unguarded> {
    actor: Actor,
    outcome: &'a mut Outcome,
    mailboxes: &'a mut [Mailbox],
    dialect: Dialect,
    log: &'a mut dyn Log,
    owners: &'a mut Option<Box<Owners>>,
    /// Asked what is known only when it is done.
    guard: G,
    /// Whether the log keeps anything.
    durable: bool,
    /// [`Progress::failures`] when the operation began.
    failures: u64,
}

impl<G: Judge> Sink for Replies<'_, G> {
    #[inline]
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>) {
        if self.actor == Actor::Conn(conn) {
            if !self.outcome.unread {
                self.outcome.out.push(answer, self.dialect, self.log);
            }
        } else if let Some(mailbox) = self.mailboxes.get_mut(conn.0 as usize) {
            mailbox.out.get_or_insert_default().push(answer, self.dialect, self.log);
            self.outcome.wakes.push(mailbox.waker.clone());
        }
    }

    #[cold]
    fn concerns_caller(&mut self, job: JobId) {
        if self.durable {
            self.outcome.gated.raise(self.log.concern(job), self.failures);
        }
    }

    #[inline]
    fn concerns(&mut self, conn: ConnId, job: JobId) {
        if !self.durable {
            return;
        }
        let position = self.log.concern(job);
        if position == 0 {
            return;
        }
        if self.actor == Actor::Conn(conn) {
            self.outcome.gated.raise(position, self.failures);
        } else if let Some(mailbox) = self.mailboxes.get_mut(conn.0 as usize) {
            mailbox.gated.raise(position, self.failures);
        }
    }

    #[inline]
    fn allows_delete(&mut self, tube: TubeRef<'_>) -> bool {
        self.guard.guard().is_none_or(|guard| guard.may_delete(tube))
    }

    #[inline(never)]
    fn has_room(&self) -> bool {
        memory::has_room()
    }

    #[inline]
    fn admits(&self, change: Change) -> bool {
        (change != Change::Put || memory::has_room()) && (!self.durable || self.log.admits(change))
    }

    #[inline]
    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        if !self.durable {
            return SegmentRef::default();
        }
        let urgent = record.is_urgent();
        let Appended { segment, position } = self.log.append(&record, urgent);
        if urgent {
            self.outcome.commit_soon = true;
            if self.actor != Actor::Time {
                self.outcome.gated.raise(position, self.failures);
            }
        }
        segment
    }

    #[inline]
    fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize) {
        if self.durable {
            self.log.forget(segment, job, bytes);
        }
    }

    #[inline]
    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        if self.durable {
            self.log.resize(segment, before, after);
        }
    }

    #[inline]
    fn removed(&mut self, job: JobId) {
        if let Some(owners) = self.owners {
            owners.remove(job);
        }
    }

    #[inline]
    fn discard(&mut self, body: Body) {
        if matches!(body, Body::Shared(_)) {
            self.outcome.discarded.push(body);
        }
    }
}

impl Outcome {
    /// Answers that it is not allowed.
    #[cold]
    fn deny(&mut self) {
        if !self.unread {
            self.out.push_word(&Reply::InternalError);
        }
    }

    /// Answers with those names that `shows` picks.
    #[cold]
    fn list(&mut self, names: TubeNames<'_>, shows: impl Fn(&str) -> bool) {
        if !self.unread {
            self.out.push_tubes(names, shows);
        }
    }
}

/// The change could not be committed, so it may have been undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotCommitted;

impl LoggedQueue for Hub {
    fn change(&self, change: &mut dyn FnMut(&mut Engine, &mut dyn Sink)) -> Gated {
        self.operate(Actor::Outside, |engine, replies, _| change(engine, replies)).1
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("state", &self.state).finish_non_exhaustive()
    }
}

impl State {
    /// The engine, and a sink for an operation of this actor.
    fn parts<'a>(
        &'a mut self,
        actor: Actor,
        outcome: &'a mut Outcome,
        hub: &Hub,
    ) -> (&'a mut Engine, Replies<'a>) {
        self.parts_with(actor, outcome, hub, Unguarded)
    }

    /// The same for an operation with a guard.
    #[inline]
    fn parts_with<'a, G: Judge>(
        &'a mut self,
        actor: Actor,
        outcome: &'a mut Outcome,
        hub: &Hub,
        guard: G,
    ) -> (&'a mut Engine, Replies<'a, G>) {
        let Self { engine, log, mailboxes, owners, .. } = self;
        let replies = Replies {
            actor,
            outcome,
            mailboxes,
            dialect: hub.dialect,
            log: &mut **log,
            owners,
            guard,
            durable: hub.keeps_log,
            failures: hub.progress.failures(),
        };
        (engine, replies)
    }

    /// Whether more than half of the maximum number of bytes that jobs took are free. If so, the
    /// maximum starts anew.
    #[inline]
    fn backlog_has_drained(&mut self) -> bool {
        let held = self.engine.held_bytes();
        if held >= self.most_held {
            self.most_held = held;
            return false;
        }
        let drained = self.most_held >= BACKLOG && held < self.most_held / 2;
        if drained {
            self.most_held = held;
        }
        drained
    }

    /// Whether the connection is alone, now that it has another batch.
    #[inline]
    fn is_alone(&mut self, conn: ConnId) -> bool {
        let (last, batches) = &mut self.in_a_row;
        *batches = if *last == conn { batches.saturating_add(1) } else { 0 };
        *last = conn;
        *batches >= ALONE
    }

    /// The time of the next request: the clock's, but later than any before.
    fn advance(&mut self, clock: Nanos) -> Nanos {
        self.last = clock.max(Nanos(self.last.0 + 1));
        self.last
    }
}

impl Hub {
    /// A hub for a queue and its log, whose driver is still to be started.
    pub fn new(config: &Config, clock: Clock, opened: Opened) -> Arc<Self> {
        Self::with_control(config, clock, opened, None)
    }

    /// The same, for clients of which not everybody may do everything.
    pub fn with_control(
        config: &Config,
        clock: Clock,
        opened: Opened,
        control: Option<Arc<AccessControl>>,
    ) -> Arc<Self> {
        let Opened { mut engine, log, driver } = opened;
        engine.set_limits(config.limits);
        Arc::new(Self {
            keeps_log: log.is_durable(),
            progress: Arc::clone(driver.progress()),
            driver,
            identity: Identity::new(config, clock.started()),
            state: Mutex::new(State {
                engine,
                log,
                mailboxes: Vec::new(),
                last: Nanos::default(),
                timekeeper_at: Nanos::NEVER,
                in_a_row: (ConnId(0), 0),
                owners: None,
                most_held: 0,
            }),
            clock,
            dialect: config.dialect,
            max_job_size: config.max_job_size,
            stopping: AtomicBool::new(false),
            relieved: AtomicU64::new(0),
            closing: AtomicUsize::new(0),
            freed: AtomicU64::new(0),
            peers: config.http.is_some().then(Peers::default),
            http_clients: HttpClients::default(),
            crowd: Crowd::new(config.max_connections),
            control,
            tubes_file: InForce::default(),
            certificates: OnceLock::new(),
            handshakes: OnceLock::new(),
            earlier_deadline: Notify::new(),
            connection_closed: Notify::new(),
            backlog_drained: Notify::new(),
        })
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How many connections there may be.
    pub(crate) fn crowd(&self) -> &Crowd {
        &self.crowd
    }

    /// The limits of the server that are set, with their names.
    pub(crate) fn limits(&self) -> Vec<(&'static str, u64)> {
        let Limits { jobs, memory } = self.read(|engine, _| engine.limits());
        let connections = self.crowd.most().map_or(u64::MAX, |most| most as u64);
        let all = [("jobs", jobs), ("memory", memory), ("connections", connections)];
        all.into_iter().filter(|(_, limit)| *limit < u64::MAX).collect()
    }

    /// The file that says what is set for tubes, if there is one.
    pub(crate) fn tubes_file(&self) -> &InForce {
        &self.tubes_file
    }

    /// The certificate that the server shows, if it has one.
    pub(crate) fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.certificates.get()
    }

    /// From now on there is a certificate.
    pub(crate) fn set_certificates(&self, certificates: Arc<Certificates>) {
        // Nobody has set it before.
        let _ = self.certificates.set(certificates);
    }

    /// Who comes by TLS, if somebody may.
    pub(crate) fn handshakes(&self) -> Option<&Arc<Handshakes>> {
        self.handshakes.get()
    }

    /// From now on there is TLS.
    pub(crate) fn set_handshakes(&self, handshakes: Arc<Handshakes>) {
        // Nobody has set it before.
        let _ = self.handshakes.set(handshakes);
    }

    /// Whether replies may be sent: see [`Progress::poll`].
    #[inline]
    pub fn poll_gate(&self, gated: Gated, place: &mut Place, waker: &Waker) -> Gate {
        self.progress.poll(gated, place, waker)
    }

    /// Whether the log was lost, so that no reply may be sent.
    #[inline]
    pub(crate) fn has_lost_log(&self) -> bool {
        self.progress.is_lost()
    }

    /// Waits until the log is lost, which may never happen, and returns the reason.
    pub(crate) async fn log_lost(&self) -> String {
        self.progress.lost().await.to_owned()
    }

    /// Reads the queue; `read` also gets the queue's time. All other operations wait meanwhile, so
    /// `read` should be quick, and a long read should be split into several calls. What it sees may
    /// not be committed yet.
    pub fn read<T>(&self, read: impl FnOnce(&Engine, Nanos) -> T) -> T {
        let clock = self.clock.now();
        let state = self.lock();
        read(&state.engine, clock.max(state.last))
    }

    /// Changes the queue on behalf of a caller that is not a connection, and delivers the outcome:
    /// answers to waiting connections, and records to the log. All other operations wait meanwhile,
    /// so a long change should be split into several calls. Also returns what must be committed
    /// before any client may learn of the change: see [`Hub::committed`].
    ///
    /// This function, [`Hub::read`] and the batches of connections are the only ways to access the
    /// queue.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Engine, &mut dyn Sink, Nanos) -> T,
    ) -> (T, Gated) {
        self.operate(Actor::Outside, |engine, replies, now| change(engine, replies, now))
    }

    /// Waits until what a change has recorded is committed. `Err` if that failed: the change may
    /// have been undone, or, if the log was lost, its fate is unknown.
    pub async fn committed(&self, gated: Gated) -> Result<(), NotCommitted> {
        if !gated.is_needed() {
            return Ok(());
        }
        let mut place = Place::default();
        let gate = poll_fn(|cx| match self.poll_gate(gated, &mut place, cx.waker()) {
            Gate::Held => Poll::Pending,
            gate => Poll::Ready(gate),
        });
        match gate.await {
            Gate::Open => Ok(()),
            Gate::Held | Gate::Failed | Gate::Lost => Err(NotCommitted),
        }
    }

    /// An operation, from taking the lock to the delivery of the outcome.
    fn operate<T>(
        &self,
        actor: Actor,
        operation: impl FnOnce(&mut Engine, &mut Replies<'_>, Nanos) -> T,
    ) -> (T, Gated) {
        let mut outcome = Outcome::default();
        let clock = self.clock.now();
        let mut state = self.lock();
        let now = state.advance(clock);
        let (engine, mut replies) = state.parts(actor, &mut outcome, self);
        let result = operation(engine, &mut replies, now);
        self.release(state, &mut outcome);
        (result, outcome.gated)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn max_job_size(&self) -> u32 {
        self.max_job_size
    }

    /// Adds a connection; `waker` wakes its task.
    pub fn connect(&self, waker: Waker) -> ConnId {
        let mut state = self.lock();
        let conn = state.engine.connect();
        let index = conn.0 as usize;
        while index >= state.mailboxes.len() {
            growth::push(&mut state.mailboxes, Mailbox::vacant());
        }
        // The previous connection with this id may have left something in it.
        state.mailboxes[index] = Mailbox { waker, ..Mailbox::vacant() };
        conn
    }

    /// Notes where a connection is from, if somebody may ask. Its socket must stay open until
    /// [`Hub::leave`].
    pub(crate) fn enter(&self, conn: ConnId, socket: &impl Socket) -> Option<Entry> {
        let peers = self.peers.as_ref()?;
        Some(peers.enter(conn, socket.peer(), socket.descriptor(), self.clock.now()))
    }

    /// The socket of this connection is about to be closed.
    pub(crate) fn leave(&self, entry: &Entry) {
        if let Some(peers) = &self.peers {
            peers.leave(entry);
        }
    }

    /// Who is connected; `None` if nobody may ask.
    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    /// Removes a connection that is gone; the jobs it had reserved go to others.
    pub fn disconnect(&self, conn: ConnId, reason: CloseReason) {
        let mut outcome = Outcome::default();
        let mut state = self.lock();
        let now = state.advance(self.clock.now());
        let (engine, mut replies) = state.parts(Actor::Conn(conn), &mut outcome, self);
        engine.disconnect(now, conn, reason, &mut replies);
        let mailbox = &mut state.mailboxes[conn.0 as usize];
        if std::mem::replace(mailbox, Mailbox::vacant()).closed {
            self.closing.fetch_sub(1, Ordering::Relaxed);
        }
        self.release(state, &mut outcome);
    }

    /// Handles the requests of a batch until all are done, one blocks or closes, or the replies
    /// reach [`REPLY_LIMIT`]; or if there is hardly any memory left, there is one.
    #[inline]
    pub fn apply(&self, conn: ConnId, batch: &mut Batch) -> Applied {
        self.apply_with(conn, batch, Unguarded)
    }

    /// The same, of what the guard allows, if there is one.
    #[inline]
    fn apply_with(&self, conn: ConnId, batch: &mut Batch, mut guard: impl Judge) -> Applied {
        let limit = if memory::has_room_for_little() { REPLY_LIMIT } else { self.relieve() };
        let Batch { requests, outcome } = batch;
        let mut requests = requests.drain(..);
        let mut applied = Applied { flow: Flow::Continue, end: 0 };
        let clock = self.clock.now();
        let mut state = self.lock();
        let mut now = state.advance(clock);
        outcome.alone = state.is_alone(conn);
        if state.engine.next_deadline().is_some_and(|at| at <= now) {
            self.catch_up(&mut state, outcome, now);
        }
        if state.engine.looks_ahead() {
            state.engine.look_ahead(conn, requests.as_slice().iter().map(|(request, _)| request));
        }
        loop {
            let (engine, mut replies) =
                state.parts_with(Actor::Conn(conn), outcome, self, guard.reborrow());
            while replies.guard.admits_first(requests.as_slice())
                && let Some((request, end)) = requests.next()
            {
                // The body of a put follows its line: handle both in the same batch.
                let may_stop = !matches!(request, Request::Put(_) | Request::OversizedPut);
                applied.flow = engine.handle(now, conn, request, &mut replies);
                applied.end = end;
                now.0 += 1;
                if applied.flow != Flow::Continue
                    || (may_stop && replies.outcome.out.len() >= limit)
                {
                    break;
                }
            }
            drop(replies);
            state.last = now;
            let Some(guard) = guard.guard() else { break };
            if requests.as_slice().is_empty() {
                break;
            }
            let mut judging = Judging { conn, outcome, applied: &mut applied, limit };
            if !self.judge_next(&mut requests, &mut state, guard, &mut judging) {
                break;
            }
            now = state.last;
        }
        self.release(state, outcome);
        // Free the bodies that were not stored here, where nobody waits for the lock.
        drop(requests);
        match guard.guard() {
            None => outcome.out.render(|stats, binlog| {
                self.identity.to_yaml(stats, binlog, self.crowd.total(), None, clock)
            }),
            Some(guard) => self.tell(outcome, guard, clock),
        }
        applied
    }

    /// From how many bytes on the body of a put goes through [`Hub::stage`] before it is handled;
    /// `None`: none does.
    pub fn stages_from(&self) -> Option<usize> {
        self.driver.stages_from()
    }

    /// Has the log store a body that has arrived, before its put is carried out. `Err` if there is no use
    /// in that: then the body is handled at once, and the put refused.
    pub fn stage(&self, conn: ConnId, body: Box<[u8]>) -> Result<Staging, Box<[u8]>> {
        let job = {
            let state = self.lock();
            let job = state.engine.arriving(conn);
            job.filter(|_| state.log.admits(Change::Put))
        };
        match job {
            Some(job) => Ok(Staging::begin(job, body, &self.driver)),
            None => Err(body),
        }
    }

    /// Carries out a part of what is overdue, on behalf of no one: the client whose batch comes
    /// next does not wait for what this records.
    #[cold]
    #[inline(never)]
    fn catch_up(&self, state: &mut State, outcome: &mut Outcome, now: Nanos) {
        let (engine, mut replies) = state.parts(Actor::Time, outcome, self);
        engine.tick(now, TICK_BUDGET, &mut replies);
    }

    /// Takes the answer to a blocked connection, if there is one by now.
    pub fn collect(&self, conn: ConnId) -> Option<(Box<OutBuf>, Gated)> {
        let mut state = self.lock();
        let mailbox = &mut state.mailboxes[conn.0 as usize];
        let out = mailbox.out.take()?;
        Some((out, std::mem::take(&mut mailbox.gated)))
    }

    /// Call this when the client of a blocked connection will send nothing more.
    pub fn half_close(&self, conn: ConnId) {
        // The answer goes through the mailbox, because there may be one in it already.
        self.operate(Actor::Outside, |engine, replies, _| engine.half_close(conn, replies));
    }

    /// Carries out a part of what is due. Returns when to call this again, which is the current
    /// time if there is more to do; `None`: when `Hub::earlier_deadline` is notified.
    pub fn tick(&self) -> Option<Nanos> {
        let mut outcome = Outcome::default();
        let clock = self.clock.now();
        let mut state = self.lock();
        let now = state.advance(clock);
        let (engine, mut replies) = state.parts(Actor::Time, &mut outcome, self);
        let more = engine.tick(now, TICK_BUDGET, &mut replies);
        let next = if more { Some(now) } else { engine.next_deadline() };
        state.timekeeper_at = next.unwrap_or(Nanos::NEVER);
        self.release(state, &mut outcome);
        next
    }

    /// There is hardly any memory left: wakes all connections, so that those whose clients read no replies
    /// give up theirs. Returns up to how many bytes of replies a batch may have meanwhile.
    #[cold]
    #[inline(never)]
    fn relieve(&self) -> usize {
        let now = self.clock.now().0;
        let last = self.relieved.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) > RELIEVED_EVERY;
        let relieved = &self.relieved;
        if is_due
            && relieved.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.wake_all();
        }
        1
    }

    /// Makes every connection handle what it has received, and close.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    pub(crate) fn wake_all(&self) {
        for from in (0..).step_by(WOKEN_AT_ONCE) {
            let state = self.lock();
            let some = state.mailboxes.iter().skip(from).take(WOKEN_AT_ONCE);
            let wakers: Vec<Waker> = some.map(|mailbox| mailbox.waker.clone()).collect();
            drop(state);
            if wakers.is_empty() {
                break;
            }
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Closes a connection: its socket closes at once, whatever was received or is still to be sent,
    /// and its reserved jobs go to others, without counting a disconnect. `false` if there is no such
    /// connection. An id may be reused when its connection is gone, so look before you close.
    pub fn close(&self, conn: ConnId) -> bool {
        let mut state = self.lock();
        if state.engine.connection(conn).is_none() {
            return false;
        }
        let Some(mailbox) = state.mailboxes.get_mut(conn.0 as usize) else { return false };
        if !std::mem::replace(&mut mailbox.closed, true) {
            self.closing.fetch_add(1, Ordering::Relaxed);
        }
        let waker = mailbox.waker.clone();
        drop(state);
        waker.wake();
        true
    }

    /// Whether [`Hub::close`] has closed this connection.
    #[inline]
    pub(crate) fn has_closed(&self, conn: ConnId) -> bool {
        self.closing.load(Ordering::Relaxed) > 0 && self.lock().mailboxes[conn.0 as usize].closed
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The numbers of `stats`, as of now: the queue's, and its log's.
    pub(crate) fn stats(&self) -> (ServerStats, BinlogStats) {
        let state = self.lock();
        (state.engine.server_stats(), state.log.stats())
    }

    /// How far the log is committed, and who waits for it.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Number of open connections.
    pub(crate) fn connections(&self) -> u64 {
        self.lock().engine.server_stats().connections
    }

    /// A connection is gone that had so many bytes of its own.
    pub(crate) fn freed(&self, bytes: usize) {
        let freed = self.freed.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if freed >= BACKLOG {
            self.freed.store(0, Ordering::Relaxed);
            self.backlog_drained.notify_one();
        }
    }

    /// Resident memory that is not the jobs': everything else, and what was freed and is kept.
    pub(crate) fn excess_bytes(&self) -> u64 {
        let held = self.lock().engine.held_bytes();
        self.identity.resident_bytes().saturating_sub(held)
    }

    /// Number of jobs, in any state.
    pub(crate) fn jobs(&self) -> usize {
        self.lock().engine.job_count()
    }

    /// Unlocks the queue, wakes the connections concerned, and frees what is no longer needed.
    #[inline]
    fn release(&self, mut state: MutexGuard<'_, State>, outcome: &mut Outcome) {
        let next = state.engine.next_deadline().unwrap_or(Nanos::NEVER);
        let earlier = next < state.timekeeper_at;
        if earlier {
            state.timekeeper_at = next;
        }
        let drained = state.backlog_has_drained();
        drop(state);
        if earlier {
            self.earlier_deadline.notify_one();
        }
        if drained {
            self.backlog_drained.notify_one();
        }
        if std::mem::take(&mut outcome.commit_soon) {
            self.driver.commit_soon(outcome.alone);
        }
        outcome.has_woken |= !outcome.wakes.is_empty();
        outcome.wakes.drain(..).for_each(Waker::wake);
        if !outcome.discarded.is_empty() {
            outcome.discarded.drain(..).for_each(freeing::give_up_body);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while the queue is locked")
    }
}
