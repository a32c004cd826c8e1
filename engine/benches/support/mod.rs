//! An engine to measure, with one connection that does all the work. Shared by the benchmarks and
//! the instruction counts in `benches/instructions`.

use std::hint::black_box;

use beanstalk_protocol::{Command, JobId, PutHeader, Reply, Request};
use jq_engine::{Answer, ConnId, Engine, Flow, Nanos, Sink};

/// Size of a body, in bytes.
pub(crate) const BODY: usize = 128;

/// Time to run, in seconds: longer than any measurement, so that none expires.
pub(crate) const TTR: u32 = 1_000_000;

/// An engine with one connection that does all the work.
#[derive(Debug)]
pub(crate) struct Session {
    /// The queue.
    pub(crate) engine: Engine,
    /// The connection.
    pub(crate) conn: ConnId,
    /// The time of the last request.
    pub(crate) now: Nanos,
    /// Receives the answers.
    pub(crate) sink: Last,
}

/// Keeps the id of the last job that was put or reserved.
#[derive(Debug, Default)]
pub(crate) struct Last(pub(crate) JobId);

impl Sink for Last {
    fn answer(&mut self, _: ConnId, answer: Answer<'_>) {
        if let Answer::Reply(Reply::Inserted(id) | Reply::Reserved(id, _)) = black_box(answer) {
            self.0 = id;
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        let mut engine = Engine::new();
        let conn = engine.connect();
        Self { engine, conn, now: Nanos::from_secs(1), sink: Last::default() }
    }
}

impl Session {
    /// A queue with this many ready jobs of this priority.
    pub(crate) fn with_jobs(count: u32, priority: impl Fn(u32) -> u32) -> Self {
        let mut session = Self::default();
        for job in 0..count {
            session.put(priority(job), 0);
        }
        session
    }

    /// Sends a request, a nanosecond later than the one before. Returns what the connection may do
    /// next.
    pub(crate) fn request(&mut self, conn: ConnId, request: Request) -> Flow {
        self.now.0 += 1;
        self.engine.handle(self.now, conn, request, &mut self.sink)
    }

    /// Sends a command that is answered at once.
    pub(crate) fn command(&mut self, command: Command) {
        assert_eq!(self.request(self.conn, Request::Command(command)), Flow::Continue);
    }

    /// Puts a job of [`BODY`] bytes; the delay is in seconds.
    pub(crate) fn put(&mut self, priority: u32, delay: u32) {
        let header = PutHeader { priority, delay, ttr: TTR, size: BODY as u32 };
        let line = self.request(self.conn, Request::Put(header));
        let body = self.request(self.conn, Request::Body([b'x'; BODY].into()));
        assert_eq!((line, body), (Flow::Continue, Flow::Continue));
    }

    /// Reserves the first job and deletes it.
    pub(crate) fn take(&mut self) {
        self.command(Command::Reserve);
        self.command(Command::Delete(self.sink.0));
    }

    /// Carries out everything that is due at `now`.
    pub(crate) fn tick(&mut self, now: Nanos) {
        self.now = now;
        while self.engine.tick(now, 256, &mut self.sink) {}
    }
}
