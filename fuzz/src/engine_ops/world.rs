//! An engine, its clients, and what both must agree on.

use std::collections::VecDeque;

use beanstalk_protocol::{Command, Dialect, JobId, PutHeader, Reply, Request, RequestDecoder};
use jq_engine::{CloseReason, ConnId, Engine, Flow, Nanos};

use super::judge::wait_until;
use super::ledger::Ledger;
use super::told::{Answers, JobTally, Told};

/// Connections at a time.
const MAX_CLIENTS: usize = 8;

/// Largest body in bytes: little enough for short inputs to go beyond.
const MAX_JOB_SIZE: u32 = 28;

/// No deadline that is set before this saturates: the longest is 2^32 seconds away.
const LAST: u64 = u64::MAX / 2;

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Nanos,
    pub(super) ledger: Ledger,
    pub(super) clients: Vec<Client>,
    /// A connection of its own for looking at the engine; it stays as it began.
    pub(super) observer: ConnId,
    dialect: Dialect,
    pub(super) draining: bool,
    /// The number that the next put line gets.
    next_job: JobId,
    connected: u64,
}

/// One connection as its client knows it.
pub(super) struct Client {
    pub(super) conn: ConnId,
    decoder: RequestDecoder,
    /// Received and not handled yet.
    requests: VecDeque<Request>,
    /// A reserve command has no answer yet, and waits until then.
    pub(super) waiting: Option<Nanos>,
    /// That is for a batch.
    waits_for_batch: bool,
    pub(super) half_closed: bool,
    pub(super) incoming: Option<(JobId, PutHeader)>,
    pub(super) used: String,
    pub(super) watched: Vec<String>,
}

impl World {
    pub(super) fn new(dialect: Dialect) -> Self {
        let mut engine = Engine::new();
        let observer = engine.connect();
        Self {
            engine,
            now: Nanos::from_secs(1),
            ledger: Ledger::default(),
            clients: Vec::new(),
            observer,
            dialect,
            draining: false,
            next_job: 1,
            connected: 1,
        }
    }

    pub(super) fn newest_job(&self) -> JobId {
        self.next_job - 1
    }

    pub(super) fn connect(&mut self) {
        if self.clients.len() == MAX_CLIENTS {
            return;
        }
        let conn = self.engine.connect();
        self.connected += 1;
        let taken = self.clients.iter().any(|client| client.conn == conn) || conn == self.observer;
        assert!(!taken, "{conn:?} was given out twice");
        self.clients.push(Client {
            conn,
            decoder: RequestDecoder::new(self.dialect, MAX_JOB_SIZE),
            requests: VecDeque::new(),
            waiting: None,
            waits_for_batch: false,
            half_closed: false,
            incoming: None,
            used: "default".to_owned(),
            watched: vec!["default".to_owned()],
        });
    }

    pub(super) fn disconnect(&mut self, client: usize, reason: CloseReason) {
        if self.clients.is_empty() {
            return;
        }
        let gone = self.clients.remove(client % self.clients.len());
        self.ledger.give_back_all(self.now, gone.conn, reason);
        let mut answers = Answers::default();
        self.engine.disconnect(self.now, gone.conn, reason, &mut answers);
        self.end_waits(answers, |reply| matches!(reply, Reply::Reserved(..)));
        self.handle_all();
    }

    pub(super) fn half_close(&mut self, client: usize) {
        if self.clients.is_empty() {
            return;
        }
        let client = client % self.clients.len();
        let client = &mut self.clients[client];
        client.half_closed = true;
        let (conn, waited) = (client.conn, client.waiting.is_some());
        let mut answers = Answers::default();
        self.engine.half_close(conn, &mut answers);
        assert_eq!(answers.0.len(), usize::from(waited), "a wait ends at once");
        assert!(answers.0.iter().all(|(to, _)| *to == conn));
        self.end_waits(answers, |reply| matches!(reply, Reply::TimedOut));
        self.handle_all();
    }

    pub(super) fn send(&mut self, client: usize, bytes: &[u8]) {
        if self.clients.is_empty() {
            return;
        }
        let client = client % self.clients.len();
        let client = &mut self.clients[client];
        if client.half_closed {
            return;
        }
        let mut at = 0;
        while let Some(request) = client.decoder.decode(bytes, &mut at) {
            client.requests.push_back(request);
        }
        self.handle_all();
    }

    /// Time goes by, but does not come to the end of what 64 bits can count.
    pub(super) fn pass(&mut self, nanos: u64) {
        self.now = Nanos(self.now.0.saturating_add(nanos).min(LAST));
    }

    /// Returns whether there is more to do.
    pub(super) fn tick(&mut self, budget: usize) -> bool {
        let mut answers = Answers::default();
        let due = self.engine.next_deadline().is_some_and(|at| at <= self.now);
        let more = self.engine.tick(self.now, budget, &mut answers);
        assert!(due || (!more && answers.0.is_empty()), "nothing happens before its time");
        let next = self.engine.next_deadline();
        assert_eq!(more, next.is_some_and(|at| at <= self.now), "{next:?} at {:?}", self.now);
        self.end_waits(answers, |reply| {
            matches!(reply, Reply::Reserved(..) | Reply::TimedOut | Reply::DeadlineSoon)
        });
        if !more {
            self.ledger.expire(self.now);
        }
        self.handle_all();
        more
    }

    pub(super) fn drain(&mut self, draining: bool) {
        self.draining = draining;
        self.engine.set_draining(draining, &mut Answers::default());
    }

    /// What must hold at any time, and is cheap to see.
    pub(super) fn check(&self) {
        let stats = self.engine.server_stats();
        let jobs = JobTally::of(&stats);
        assert_eq!(jobs.all(), self.engine.job_count() as u64);
        assert_eq!(jobs.all(), self.ledger.jobs.len() as u64);
        assert!(jobs.urgent <= jobs.ready);
        let (surely, at_most) = self.ledger.reserved(self.now);
        assert!((surely..=at_most).contains(&jobs.reserved), "{surely} {jobs:?} {at_most}");
        assert_eq!(stats.total_jobs, self.ledger.inserted);
        assert_eq!(stats.connections, self.clients.len() as u64 + 1);
        assert_eq!(stats.total_connections, self.connected);
        let waiting = self.clients.iter().filter(|client| client.waiting.is_some()).count();
        assert_eq!(stats.waiting, waiting as u64);
        assert!(stats.workers >= stats.waiting && stats.workers < stats.connections);
        assert!(stats.producers < stats.connections);
        assert_eq!(stats.draining, self.draining);
        assert!(stats.tubes >= 1);
    }

    /// Has every client that may go on handle what it has received.
    fn handle_all(&mut self) {
        let ready = |client: &Client| client.waiting.is_none() && !client.requests.is_empty();
        while let Some(index) = self.clients.iter().position(ready) {
            if let Some(request) = self.clients[index].requests.pop_front() {
                self.handle(index, request);
            }
        }
    }

    fn handle(&mut self, index: usize, request: Request) {
        let conn = self.clients[index].conn;
        if let Request::Put(header) = request {
            self.clients[index].incoming = Some((self.next_job, header));
            self.next_job += 1;
        }
        let mut answers = Answers::default();
        let flow = self.engine.handle(self.now, conn, request.clone(), &mut answers);
        let own = answers.0.iter().filter(|(to, _)| *to == conn).count();
        let expected = match (flow, &request) {
            (Flow::Close, Request::Command(Command::Quit)) => 0,
            (Flow::Continue, Request::Put(_) | Request::OversizedPut) => 0,
            (
                Flow::Blocked,
                Request::Command(
                    command @ (Command::Reserve
                    | Command::ReserveWithTimeout(_)
                    | Command::BatchReserve { .. }),
                ),
            ) => {
                let is_batch = matches!(command, Command::BatchReserve { .. });
                self.clients[index].waits_for_batch = is_batch;
                assert!(!self.clients[index].half_closed, "nothing can end this wait");
                self.clients[index].waiting = Some(wait_until(self.now, command));
                0
            }
            (Flow::Continue, Request::Command(Command::Quit))
            | (Flow::Close | Flow::Blocked, _) => {
                panic!("{flow:?} after {request:?}")
            }
            (Flow::Continue, _) => 1,
        };
        assert_eq!(own, expected, "answers to {request:?}");
        // In the order in which they were given: a job is released before another gets it.
        for (to, told) in answers.0 {
            if to == conn {
                self.judge(index, &request, told);
            } else {
                let others = Answers(vec![(to, told)]);
                self.end_waits(others, |reply| matches!(reply, Reply::Reserved(..)));
            }
        }
        if flow == Flow::Close {
            self.disconnect(index, CloseReason::Quit);
        }
    }

    /// Answers that were not asked for just now: each ends the wait of one client, with a reply
    /// that fits the occasion.
    fn end_waits(&mut self, answers: Answers, fits: impl Fn(&Reply<Vec<u8>>) -> bool) {
        for (to, told) in answers.0 {
            let (reply, is_batch) = match told {
                Told::Reply(reply) => (reply, false),
                Told::Batch(mut jobs) => {
                    let (id, body) = jobs.pop().expect("a batch is not empty");
                    assert!(jobs.is_empty(), "a wait ends with the first job");
                    (Reply::Reserved(id, body), true)
                }
                told => panic!("{told:?} was not asked for"),
            };
            assert!(fits(&reply), "{reply:?} now");
            let index = self.clients.iter().position(|client| client.conn == to);
            let index = index.unwrap_or_else(|| panic!("{reply:?} to {to:?}, which is gone"));
            let until = self.clients[index].waiting.take();
            let until = until.unwrap_or_else(|| panic!("{reply:?} to one that does not wait"));
            let waits_for_batch = self.clients[index].waits_for_batch;
            let is_reserved = matches!(reply, Reply::Reserved(..));
            assert_eq!(is_batch, waits_for_batch && is_reserved, "{reply:?}");
            self.judge_reserve(index, until, &reply);
        }
    }
}
