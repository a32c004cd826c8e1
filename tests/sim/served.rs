//! The other simulation: clients over sockets in memory, served by the real connections. What the first
//! one knows by looking into the hub, these clients know by what reaches them, byte by byte; and they
//! go on asking while replies are held, read slowly, and vanish.
//!
//! The promises are those that a client can check: replies come in the order of the requests; a job
//! whose `INSERTED` has arrived is there after a crash, with its body; one whose `DELETED` has arrived
//! is not.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use beanstalk_protocol::JobId;
use fastrand::Rng;
use jq_server::log::LogDriver;
use jq_server::log::binlog::{Options, SyncPolicy};
use jq_server::server::connection::Connection;

use crate::disk::{FakeDisk, Faults};
use crate::pipe::Pipe;
use crate::server::{Hand, Server, Time};
use crate::sim::Violation;
use crate::support::Reply;
use crate::trace::Trace;

/// What a client waits to be told.
#[derive(Debug)]
enum Asked {
    Put(String),
    Delete(JobId),
    Peek(JobId),
    Used(String),
}

/// A client, as far as it has been told.
struct Client {
    pipe: Pipe,
    /// `None` when the server has closed it.
    connection: Option<Pin<Box<Connection<Pipe>>>>,
    asked: VecDeque<Asked>,
    used: String,
    /// The last number that it was told of.
    last: JobId,
}

impl Client {
    fn new(server: &Server) -> Self {
        let pipe = Pipe::default();
        pipe.ends().room = usize::MAX;
        let connection = Connection::new(pipe.clone(), Arc::clone(&server.hub));
        Self {
            pipe,
            connection: Some(Box::pin(connection)),
            asked: VecDeque::new(),
            used: "default".into(),
            last: 0,
        }
    }

    fn ask(&mut self, bytes: &str, asked: Asked) {
        self.pipe.ends().sent.extend(bytes.bytes());
        self.asked.push_back(asked);
    }
}

/// Jobs, as far as anybody was told.
#[derive(Debug, Default)]
struct Known {
    /// Put, acknowledged, and not asked to be deleted.
    there: BTreeMap<JobId, String>,
    /// Asked to be deleted: nobody knows.
    between: BTreeMap<JobId, String>,
    /// Told to be deleted.
    gone: BTreeMap<JobId, String>,
    /// Bodies so far.
    bodies: u64,
}

/// Runs one seed. Returns a hash of all that happened.
pub(crate) fn run(seed: u64, shown: bool, lies: bool) -> Result<u64, Violation> {
    let mut served = Served::new(seed, shown, lies);
    let lives = served.rng.usize(1..4);
    for _ in 0..lives {
        served.live()?;
        served.crash()?;
    }
    Ok(served.trace.hash())
}

struct Served {
    rng: Rng,
    options: Options,
    disk: FakeDisk,
    lies: bool,
    time: Time,
    server: Server,
    clients: Vec<Client>,
    known: Known,
    trace: Trace,
}

impl Served {
    fn new(seed: u64, shown: bool, lies: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let policy = match rng.u8(..2) {
            0 => SyncPolicy::Always,
            _ => SyncPolicy::Every(Duration::from_millis(50)),
        };
        let segment_size = rng.u64(1..6) * 1000;
        let store_from = rng.usize(66_000..80_000);
        let options = Options { policy, segment_size, shown_size: segment_size, store_from };
        let disk = FakeDisk::new(rng.u64(..));
        disk.set_faults(Faults { lies, ..Faults::NONE });
        let time = Time(Arc::new(AtomicU64::new(1_790_000_000 * 1_000_000_000)));
        let server = Server::start(&disk, options, &time, false).expect("an empty disk is good");
        let (known, trace) = (Known::default(), Trace::new(shown));
        Self { rng, options, disk, lies, time, server, clients: Vec::new(), known, trace }
    }

    fn live(&mut self) -> Result<(), Violation> {
        let count = self.rng.usize(1..5);
        self.clients = (0..count).map(|_| Client::new(&self.server)).collect();
        self.disk.stop_in(Some(self.rng.u64(1..=400)));
        for _ in 0..self.rng.usize(20..400) {
            let nanos = self.rng.u64(..20_000_000);
            self.time.pass(nanos);
            match self.rng.u8(..20) {
                0..6 => self.ask(),
                6..12 => self.poll(),
                12..19 => self.turn(),
                _ => self.trouble(),
            }
            if self.disk.is_stopped() {
                return Ok(());
            }
            self.read()?;
        }
        Ok(())
    }

    fn ask(&mut self) {
        let who = self.rng.usize(..self.clients.len());
        for _ in 0..self.rng.usize(1..4) {
            let known: Vec<JobId> = self.known.there.keys().copied().collect();
            let client = &mut self.clients[who];
            let some = self.rng.choice(known);
            match (self.rng.u8(..6), some) {
                (0, Some(id)) => {
                    let body = self.known.there.remove(&id).unwrap_or_default();
                    self.known.between.insert(id, body);
                    client.ask(&format!("delete {id}\r\n"), Asked::Delete(id));
                }
                (1, Some(id)) => client.ask(&format!("peek {id}\r\n"), Asked::Peek(id)),
                (2, _) => {
                    client.used = format!("tube-{}", self.rng.u8(..3));
                    let used = client.used.clone();
                    client.ask(&format!("use {used}\r\n"), Asked::Used(used));
                }
                _ => {
                    self.known.bodies += 1;
                    let size = match self.rng.u8(..24) {
                        0 => 40_000,
                        1 => 90_000,
                        _ => self.rng.usize(8..300),
                    };
                    let body = format!("{:0>8}{}", self.known.bodies, "x".repeat(size - 8));
                    let put = format!("put 0 0 60 {size}\r\n{body}\r\n");
                    client.ask(&put, Asked::Put(body));
                }
            }
        }
        let asked = self.clients[who].asked.back();
        self.trace.note(format_args!("{who} asks, at last {asked:.60?}"));
    }

    /// A connection has its turn.
    fn poll(&mut self) {
        let who = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[who];
        let Some(connection) = &mut client.connection else { return };
        let mut cx = Context::from_waker(Waker::noop());
        let polled = connection.as_mut().poll(&mut cx);
        self.trace.note(format_args!("{who} polled {polled:?}"));
        if polled == Poll::Ready(()) {
            client.connection = None;
        }
    }

    fn turn(&mut self) {
        let hand = match self.rng.u8(..8) {
            0 | 1 => Hand::Flusher,
            2..5 => Hand::Syncer,
            5 | 6 => Hand::Stager,
            _ => Hand::Compactor,
        };
        let turn = self.server.turn(hand);
        self.trace.note(format_args!("{hand:?} {turn:?}"));
        if self.rng.u8(..20) == 0 {
            self.server.driver.commit_soon(true);
        }
    }

    /// The disk, or a client, gets better or worse.
    fn trouble(&mut self) {
        match self.rng.u8(..4) {
            0 => {
                // A sync that fails may lose what was told without waiting for it.
                let fails = self.rng.bool() && self.options.policy == SyncPolicy::Always;
                let per_mille = if fails { self.rng.u32(..150) } else { 0 };
                let spare = self.rng.u64(..20_000);
                let full = self.rng.u8(..3) == 0;
                let capacity = if full { self.disk.used() + spare } else { u64::MAX };
                let lies = self.lies;
                self.disk.set_faults(Faults { per_mille, capacity, lies, ..Faults::NONE });
            }
            1 => {
                let who = self.rng.usize(..self.clients.len());
                let slow = self.rng.bool();
                self.clients[who].pipe.ends().room = if slow { 5 } else { usize::MAX };
            }
            2 => {
                // Whoever vanishes is told nothing more.
                let who = self.rng.usize(..self.clients.len());
                let reset = self.rng.bool();
                let mut ends = self.clients[who].pipe.ends();
                ends.finished = true;
                ends.reset |= reset;
                drop(ends);
                let connection = self.clients[who].connection.take();
                if self.rng.bool() {
                    drop(connection);
                }
                self.clients[who] = Client::new(&self.server);
            }
            _ => {
                let nanos = self.rng.u64(..2_000_000_000);
                self.time.pass(nanos);
                self.server.tick();
            }
        }
    }

    /// The clients read what has left the server, and hold it to that.
    fn read(&mut self) -> Result<(), Violation> {
        for (who, client) in self.clients.iter_mut().enumerate() {
            let mut ends = client.pipe.ends();
            let mut received = std::mem::take(&mut ends.received);
            while let Some(reply) = Reply::take(&mut received) {
                self.trace.note(format_args!("{who} is told {:.60}", reply.to_string()));
                let Some(asked) = client.asked.pop_front() else {
                    return Err(format!("{who} is told {reply} unasked"));
                };
                let line = String::from_utf8_lossy(reply.line()).into_owned();
                let words: Vec<&str> = line.split(' ').collect();
                match (asked, &words[..]) {
                    (Asked::Put(body), ["INSERTED", id]) => {
                        let id = id.parse().map_err(|_| format!("{line:?} has no number"))?;
                        if id <= client.last {
                            return Err(format!("{who} is told of {id} after {}", client.last));
                        }
                        client.last = id;
                        self.known.there.insert(id, body);
                    }
                    (Asked::Put(_), ["INTERNAL_ERROR" | "OUT_OF_MEMORY"]) => {}
                    (Asked::Delete(id), ["DELETED"]) => {
                        let body = self.known.between.remove(&id).unwrap_or_default();
                        self.known.gone.insert(id, body);
                    }
                    // What becomes of it is not known.
                    (Asked::Delete(_), ["INTERNAL_ERROR"]) => {}
                    (Asked::Peek(id), ["FOUND", found, _]) if *found == id.to_string() => {
                        let known = self.known.there.get(&id).or(self.known.between.get(&id));
                        if known.is_some_and(|body| reply.body() != Some(body.as_bytes())) {
                            return Err(format!("job {id} has another body"));
                        }
                    }
                    (Asked::Peek(id), ["NOT_FOUND"]) if !self.known.there.contains_key(&id) => {}
                    // It came in one batch with what failed.
                    (Asked::Peek(_) | Asked::Used(_), ["INTERNAL_ERROR"]) => {}
                    (Asked::Used(tube), ["USING", used]) if *used == tube => {}
                    (asked, _) => return Err(format!("{who} is told {line} to {asked:.80?}")),
                }
            }
            ends.received = received;
        }
        Ok(())
    }

    /// Everything ends, and another server says what it has.
    fn crash(&mut self) -> Result<(), Violation> {
        // What has left the server has left it.
        self.read()?;
        self.trace.note(format_args!("crash"));
        self.clients.clear();
        if self.options.policy == SyncPolicy::Always {
            self.disk.lose_power();
        } else {
            self.disk.kill();
        }
        self.disk.set_faults(Faults { lies: self.lies, ..Faults::NONE });
        let started = Server::start(&self.disk, self.options, &self.time, false);
        self.server = started.map_err(|error| format!("the server does not start: {error}"))?;
        let body = |id: JobId| {
            let found = self.server.hub.read(|engine, _| engine.job(id));
            found.map(|(_, body)| String::from_utf8_lossy(body.as_ref()).into_owned())
        };
        for (id, put) in &self.known.there {
            if body(*id).as_ref() != Some(put) {
                return Err(format!("job {id} was put, it was said, and is {:?}", body(*id)));
            }
        }
        for id in self.known.gone.keys() {
            if body(*id).is_some() {
                return Err(format!("job {id} is back"));
            }
        }
        let between = std::mem::take(&mut self.known.between);
        for (id, put) in between {
            match body(id) {
                None => drop(self.known.gone.insert(id, put)),
                Some(found) if found == put => drop(self.known.there.insert(id, put)),
                Some(_) => return Err(format!("job {id} has another body")),
            }
        }
        Ok(())
    }
}
