//! One run: clients, the hands of the log's driver, and a disk, in an order that the seed decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use beanstalk_protocol::{Command, JobId, Request};
use fastrand::Rng;
use jq_engine::{CloseReason, ConnId, Flow};
use jq_server::log::binlog::{Options, SyncPolicy};
use jq_server::log::{Gate, Place};

use crate::bulk::Running;
use crate::client::{Ask, Client, Exchange, Held, Staged, Taste, believe, requests, think};
use crate::disk::{FakeDisk, Faults};
use crate::facts::Fact;
use crate::job::ClientId;
use crate::model::{Model, Policy, TUBES};
use crate::observe::number;
use crate::rules::some_policy;
use crate::server::{Answers, Server, Time, replies};
use crate::trace::Trace;

/// Something is not as it should be.
pub(crate) type Violation = String;

/// What a run does: decided by its seed, so that among thousands there are all kinds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) taste: Taste,
    /// How often the server is started.
    pub(crate) lives: usize,
    /// Steps between two starts.
    pub(crate) steps: usize,
    /// Of a thousand changes and syncs, at most so many fail, if any do.
    pub(crate) per_mille: u32,
    /// The disk is full at times.
    pub(crate) fills: bool,
    pub(crate) cannot_allocate: bool,
    /// The disk is small, nobody else makes room on it, and the log is seldom synced.
    pub(crate) starves: bool,
    /// Syncs do nothing: for a test of the tests.
    pub(crate) lies: bool,
    /// Policies move and remove jobs.
    pub(crate) rules: bool,
}

impl Plan {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let policy = match rng.u8(..5) {
            0 | 1 => SyncPolicy::Always,
            2 | 3 => SyncPolicy::Every(Duration::from_millis(50)),
            _ => SyncPolicy::Never,
        };
        let segment_size = rng.u64(1..6) * 1000;
        // Some so large that the log shares them rather than copying them.
        let most = if rng.u8(..6) == 0 { 60_000 } else { 9000 };
        let store_from = if rng.bool() { rng.usize(100..most) } else { usize::MAX };
        let (large, largest) = (rng.u8(..4), rng.usize(200..most));
        Self {
            options: Options { policy, segment_size, shown_size: segment_size, store_from },
            taste: Taste { large, largest, jobs: rng.usize(2..30) },
            lives: rng.usize(1..5),
            steps: rng.usize(20..250),
            per_mille: if rng.bool() { rng.u32(1..100) } else { 0 },
            fills: rng.u8(..3) == 0,
            cannot_allocate: rng.u8(..8) == 0,
            starves: false,
            lies: false,
            rules: rng.bool(),
        }
    }

    /// A small disk that does all that it can.
    pub(crate) fn of_small_disk(rng: &mut Rng) -> Self {
        let plan = Self { per_mille: 0, cannot_allocate: false, starves: true, ..Self::of(rng) };
        let interval = SyncPolicy::Every(Duration::from_millis(50));
        let policy = if rng.bool() { interval } else { plan.options.policy };
        // Some so large that much is not synced when the disk is full.
        let segment_size = rng.u64(1..40) * 1000;
        let options = Options { policy, segment_size, shown_size: segment_size, ..plan.options };
        let taste = Taste { large: rng.u8(2..9), largest: rng.usize(500..4000), jobs: 100 };
        Self { options, taste, steps: rng.usize(100..400), ..plan }
    }
}

/// What is left on a small disk when a server has started, in bytes: enough for an empty queue.
const SMALL: u64 = 50_000;

#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) disk: FakeDisk,
    pub(crate) time: Time,
    pub(crate) server: Server,
    pub(crate) model: Model,
    pub(crate) trace: Trace,
    pub(crate) clients: Vec<Option<Client>>,
    /// What an operator does to many jobs.
    pub(crate) bulk: Option<Running>,
    /// A sync has failed, and what it concerned is not written anew yet.
    pub(crate) tainted: bool,
}

impl Sim {
    /// An empty queue on an empty disk.
    pub(crate) fn new(seed: u64, plan: impl FnOnce(&mut Rng) -> Plan, shown: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = plan(&mut rng);
        let disk = FakeDisk::new(rng.u64(..));
        disk.set_faults(Faults { lies: plan.lies, ..Faults::NONE });
        // Some time in 2026: deadlines are wall-clock time.
        let time = Time(Arc::new(AtomicU64::new(1_790_000_000 * 1_000_000_000)));
        let server = Server::start(&disk, plan.options, &time, false);
        let server = server.expect("an empty disk without faults is good");
        let mut trace = Trace::new(shown);
        trace.note(format_args!("{plan:?}"));
        Self {
            rng,
            plan,
            disk,
            time,
            server,
            model: Model::new(),
            trace,
            clients: Vec::new(),
            bulk: None,
            tainted: false,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        for life in 1..=self.plan.lives {
            self.begin_life();
            for _ in 0..self.plan.steps {
                self.step()?;
                if self.disk.is_stopped() {
                    break;
                }
            }
            let last = life == self.plan.lives;
            if self.plan.starves && !self.disk.is_stopped() {
                self.make_room()?;
            }
            if !self.disk.is_stopped() && (last || self.rng.u8(..4) == 0) {
                self.settle()?;
            }
            self.restart()?;
        }
        self.empty()
    }

    /// A server has started: here are new clients, and perhaps new troubles.
    fn begin_life(&mut self) {
        let count = self.rng.usize(1..5);
        self.clients = (0..count).map(|_| Some(Client::new(self.server.connect()))).collect();
        let most = self.rng.choice([20, 200, 2000]).unwrap_or(2000);
        let operations = self.rng.u64(1..=most);
        self.disk.stop_in(Some(operations));
        if self.plan.starves {
            // Most often it is to get full before anything else happens.
            if self.rng.u8(..4) > 0 {
                self.disk.stop_in(None);
            }
            let capacity = self.disk.used() + self.rng.u64(SMALL..2 * SMALL);
            self.disk.set_faults(Faults { capacity, ..self.disk.faults() });
        }
        self.change_faults();
    }

    /// The disk gets better or worse.
    fn change_faults(&mut self) {
        let plan = self.plan;
        if plan.starves {
            return;
        }
        let per_mille =
            if plan.per_mille > 0 && self.rng.bool() { self.rng.u32(..plan.per_mille) } else { 0 };
        let spare = self.rng.u64(..20_000);
        let fills = plan.fills && self.rng.bool();
        let capacity = if fills { self.disk.used() + spare } else { u64::MAX };
        let Plan { cannot_allocate, lies, .. } = plan;
        self.disk.set_faults(Faults { per_mille, capacity, cannot_allocate, lies });
    }

    fn step(&mut self) -> Result<(), Violation> {
        let nanos = match self.rng.u8(..10) {
            0 => self.rng.u64(..3_000_000_000),
            1..4 => self.rng.u64(..100_000_000),
            _ => self.rng.u64(..1_000_000),
        };
        self.time.pass(nanos);
        let now = self.tick()?;
        self.collect(now)?;
        self.model.is_up_to_date()?;
        self.end_staging()?;
        if self.bulk.is_some() && self.rng.u8(..4) == 0 {
            self.operate(now)?;
        }
        match self.rng.u8(..100) {
            0..69 => self.ask()?,
            69..90 => self.random_turn(),
            90..93 => self.change_policy(now)?,
            93..95 => self.change_faults(),
            95 => self.operate(now)?,
            96 => {
                let draining = self.rng.u8(..8) == 0;
                self.server.drain(draining);
                self.model.drain(draining);
            }
            _ => self.reconnect(now)?,
        }
        self.release()
    }

    /// Lets what is due happen, and returns the time.
    pub(crate) fn tick(&mut self) -> Result<u64, Violation> {
        loop {
            let (now, is_done) = self.server.tick_once();
            self.model.advance(now);
            self.follow()?;
            if is_done {
                return Ok(now);
            }
        }
    }

    /// What the log was told has happened without anybody's request.
    pub(crate) fn follow(&mut self) -> Result<(), Violation> {
        let facts = self.server.facts.take();
        self.note_facts(&facts);
        self.model.rules.told = facts;
        self.model.follow()
    }

    fn note_facts(&mut self, facts: &VecDeque<Fact>) {
        if !facts.is_empty() {
            self.trace.note(format_args!("recorded: {facts:?}"));
        }
    }

    /// Has the server handle these requests, when all that is due has happened. What they had it tell the
    /// log is for the model to believe.
    pub(crate) fn apply(
        &mut self,
        conn: ConnId,
        requests: Vec<Request>,
    ) -> Result<Answers, Violation> {
        while self.server.is_due_soon() {
            self.tick()?;
        }
        let answers = self.server.apply(conn, requests);
        self.model.advance(answers.at);
        let facts = self.server.facts.take();
        self.note_facts(&facts);
        self.model.rules.told = facts;
        Ok(answers)
    }

    /// An operator sets what is set for a tube, or removes it.
    fn change_policy(&mut self, now: u64) -> Result<(), Violation> {
        let tube = self.rng.usize(..TUBES.len());
        let policy = some_policy(&mut self.rng, self.plan.rules);
        let none = self.rng.u8(..3) == 0;
        self.rule(tube, if none { Policy::default() } else { policy });
        // Who waited for a rate of reserves may have got a job.
        self.collect(now)
    }

    /// Sets the policy of a tube, unless the log does not take that.
    pub(crate) fn rule(&mut self, tube: usize, policy: Policy) -> bool {
        let policy = if policy.is_empty() { Policy::default() } else { policy };
        let is_set = self.server.rule(tube, &policy);
        self.trace.note(format_args!("policy of {tube}, set: {is_set}: {policy:?}"));
        if is_set {
            self.model.rule(tube, policy);
        }
        is_set
    }

    /// A client asks for something, or for several things at once.
    fn ask(&mut self) -> Result<(), Violation> {
        let may_ask = |client: &Option<Client>| client.as_ref().is_some_and(Client::may_ask);
        let idle = (0..self.clients.len()).filter(|who| may_ask(&self.clients[*who]));
        let Some(who) = self.rng.choice(idle.collect::<Vec<_>>()) else { return Ok(()) };
        let count = if self.rng.u8(..3) == 0 { self.rng.usize(2..6) } else { 1 };
        let undisturbed = self.clients.iter().flatten().all(|client| !client.waits);
        let Some(client) = &mut self.clients[who] else { return Ok(()) };
        let think = || think(&mut self.rng, &self.model, who, self.plan.taste);
        let mut asks: Vec<Ask> = std::iter::repeat_with(think).take(count).collect();
        if !undisturbed {
            // Who waits may have got a job that what comes before it made ready.
            let clears = |ask: &Ask| matches!(ask, Ask::Command(Command::ClearTube(_)));
            let first = asks.iter().skip(1).position(clears);
            asks.truncate(first.map_or(asks.len(), |at| at + 1));
        }
        self.model.ids += asks.iter().filter(|ask| matches!(ask, Ask::Put(..))).count() as u64;
        // What comes after a body that is stored first has to wait, or is never asked for.
        let store_from = self.plan.options.store_from;
        let is_large = |ask: &Ask| matches!(ask, Ask::Put(_, body) if body.len() >= store_from);
        let large = asks.iter().position(is_large);
        let mut large = large.map(|at| asks.drain(at..).next().expect("it is there"));
        if let Some(Ask::Put(header, _)) = &mut large {
            // What 0 is depends on what is set when the line comes, which may not be so any more.
            header.ttr = header.ttr.max(1);
        }
        let count = asks.len();
        let mut all: Vec<Request> = asks.iter().flat_map(requests).collect();
        all.extend(large.iter().flat_map(|ask| requests(ask).into_iter().take(1)));
        let conn = client.conn;
        let answers = self.apply(conn, all)?;
        let Some(client) = &mut self.clients[who] else { return Ok(()) };
        let replies = replies(&answers.out);
        let (mut promise, mut puts, mut at) = (0, Vec::new(), answers.at);
        for (ask, reply) in asks.iter().zip(&replies) {
            self.trace.note(format_args!("{at} {who} {ask:?} {reply}"));
            let exchange = Exchange { who, ask, reply, at, late: None, undisturbed };
            promise = promise.max(believe(&mut self.model, client, &exchange)?);
            let is_put = matches!(ask, Ask::Put(..));
            puts.extend(number(reply).filter(|_| is_put));
            at += if is_put { 2 } else { 1 };
        }
        self.model.expect_nothing()?;
        client.waits = answers.flow == Flow::Blocked;
        if replies.len() < count && !client.waits {
            return Err(format!("{} of {count} requests were answered", replies.len()));
        }
        let (count, answered) = (replies.len(), answers.at);
        let Answers { out, gated, .. } = answers;
        client.held.push_back(Held { out, gated, count, promise, puts });
        let is_blocked = client.waits;
        if let Some(ask) = large.filter(|_| !is_blocked) {
            self.stage(who, ask, at)?;
        }
        self.collect(answered)
    }

    /// A client has sent a body that is to be stored before its put is carried out; its line came at
    /// this time.
    fn stage(&mut self, who: ClientId, ask: Ask, at: u64) -> Result<(), Violation> {
        let Some(client) = &mut self.clients[who] else { return Ok(()) };
        let Some(Request::Body(body)) = requests(&ask).pop() else { return Ok(()) };
        self.trace.note(format_args!("{at} {who} stages {} bytes", body.len()));
        match self.server.hub.stage(client.conn, body) {
            Ok(staging) => {
                client.staged = Some(Staged { ask, staging, at });
                Ok(())
            }
            Err(body) => self.carry_out(who, &ask, Request::Body(body), at),
        }
    }

    /// Puts are carried out whose bodies are stored, or cannot be.
    fn end_staging(&mut self) -> Result<(), Violation> {
        for who in 0..self.clients.len() {
            // Not everybody looks at once.
            let Some(client) = self.clients[who].as_mut().filter(|_| self.rng.bool()) else {
                continue;
            };
            let Some(mut staged) = client.staged.take() else { continue };
            match staged.staging.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => client.staged = Some(staged),
                Poll::Ready(body) => {
                    let request = body.map_or(Request::UnheldBody, Request::Body);
                    let Staged { ask, at, .. } = &staged;
                    self.carry_out(who, ask, request, *at)?;
                }
            }
        }
        Ok(())
    }

    /// The body of a put whose line came at this time is handled.
    fn carry_out(
        &mut self,
        who: ClientId,
        ask: &Ask,
        request: Request,
        at: u64,
    ) -> Result<(), Violation> {
        let Some(conn) = self.clients[who].as_ref().map(|client| client.conn) else {
            return Ok(());
        };
        let answers = self.apply(conn, vec![request])?;
        let Some(client) = &mut self.clients[who] else { return Ok(()) };
        let replies = replies(&answers.out);
        let [reply] = &replies[..] else {
            return Err(format!("{} answers to a put", replies.len()));
        };
        self.trace.note(format_args!("{} {who} {ask:?} {reply}", answers.at));
        let late = Some(answers.at);
        let exchange = Exchange { who, ask, reply, at, late, undisturbed: false };
        let promise = believe(&mut self.model, client, &exchange)?;
        self.model.expect_nothing()?;
        let puts = number(reply).into_iter().collect();
        let Answers { out, gated, .. } = answers;
        client.held.push_back(Held { out, gated, count: 1, promise, puts });
        self.collect(answers.at)
    }

    /// Who waited may have got something.
    pub(crate) fn collect(&mut self, now: u64) -> Result<(), Violation> {
        for (who, client) in self.clients.iter_mut().enumerate() {
            let Some(client) = client.as_mut().filter(|client| client.waits) else { continue };
            let Some((out, gated)) = self.server.hub.collect(client.conn) else { continue };
            client.waits = false;
            let replies = replies(&out);
            let [reply] = &replies[..] else {
                return Err(format!("{} answers to a reserve", replies.len()));
            };
            self.trace.note(format_args!("{now} {who} waited for {reply}"));
            let ask = &Ask::Command(Command::Reserve);
            let exchange = Exchange { who, ask, reply, at: now, late: None, undisturbed: false };
            let promise = believe(&mut self.model, client, &exchange)?;
            client.held.push_back(Held { out: *out, gated, count: 1, promise, puts: Vec::new() });
        }
        Ok(())
    }

    /// Replies leave that may.
    fn release(&mut self) -> Result<(), Violation> {
        if self.disk.is_stopped() {
            return Ok(());
        }
        for (who, client) in self.clients.iter_mut().enumerate() {
            // Not everybody looks at once.
            let Some(client) = client.as_mut().filter(|_| self.rng.u8(..4) > 0) else { continue };
            while let Some(held) = client.held.front_mut() {
                let gate = match held.gated.is_needed() {
                    true => {
                        self.server.hub.poll_gate(held.gated, &mut Place::default(), Waker::noop())
                    }
                    false => Gate::Open,
                };
                match gate {
                    Gate::Held => break,
                    Gate::Lost => return Err("the log says that it is lost".into()),
                    Gate::Open => {
                        self.model.promised = self.model.promised.max(held.promise);
                        let gone = |id: &&JobId| self.model.jobs[*id].taken_back;
                        if let Some(id) = held.puts.iter().find(gone) {
                            return Err(format!("job {id} was put, it says, but was taken back"));
                        }
                    }
                    Gate::Failed => {
                        self.trace.note(format_args!("{who} is told of {} failures", held.count));
                        held.out.fail();
                        let replies = replies(&held.out);
                        let failed = replies.iter().all(|it| it.line() == b"INTERNAL_ERROR");
                        if replies.len() != held.count || !failed {
                            return Err(format!("{replies:?} in place of {} replies", held.count));
                        }
                    }
                }
                client.held.pop_front();
            }
        }
        Ok(())
    }

    /// A client goes, or comes.
    fn reconnect(&mut self, now: u64) -> Result<(), Violation> {
        let who: ClientId = self.rng.usize(..self.clients.len());
        match self.clients[who].take() {
            Some(client) => {
                let reasons = [CloseReason::Vanished, CloseReason::Quit, CloseReason::ServerStops];
                let reason = reasons[self.rng.usize(..reasons.len())];
                self.trace.note(format_args!("{who} goes: {reason:?}"));
                self.time.pass(0);
                self.server.hub.disconnect(client.conn, reason);
                self.model.disconnect(who, reason);
                self.follow()?;
                self.collect(now)
            }
            None => {
                self.clients[who] = Some(Client::new(self.server.connect()));
                Ok(())
            }
        }
    }

    /// All clients go.
    pub(crate) fn hang_up(&mut self, now: u64) -> Result<(), Violation> {
        // None of them may still get what another one leaves behind.
        for client in self.clients.iter().flatten().filter(|client| client.waits) {
            self.server.hub.half_close(client.conn);
        }
        self.collect(now)?;
        for (who, client) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            if let Some(client) = client {
                self.time.pass(0);
                self.server.hub.disconnect(client.conn, CloseReason::Vanished);
            }
            self.model.disconnect(who, CloseReason::Vanished);
            self.follow()?;
        }
        Ok(())
    }
}
