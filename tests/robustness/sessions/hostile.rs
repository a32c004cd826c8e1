//! A client that asks for much, and leaves at any byte.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use socket2::SockRef;

use crate::support::Endpoint;

/// Bytes that all of them may put in a round: the next one begins without.
const MOST_PUT: u64 = 100_000_000;

/// Tubes that they use, all of them or a few.
const TUBES: usize = 5000;
const FEW_TUBES: usize = 3;

/// Connections of one client that have stalled.
const STALLED: usize = 12;

/// Jobs that a client knows the numbers of.
const KNOWN: usize = 5000;

/// How long a server may take nothing before the client does something else, or give nothing.
const IMPATIENT: Duration = Duration::from_millis(20);

pub(super) struct Hostile<'a> {
    random: Rng,
    endpoint: &'a Endpoint,
    put: &'a AtomicU64,
    /// Of jobs that are no innocent's: put or reserved here.
    ids: VecDeque<u64>,
    stalled: Vec<Session>,
}

/// A connection, and what it still has to say.
struct Session {
    stream: TcpStream,
    bytes: Vec<u8>,
    sent: usize,
    /// Whether it reads replies at all.
    reads: bool,
}

impl<'a> Hostile<'a> {
    pub(super) fn new(seed: u64, endpoint: &'a Endpoint, put: &'a AtomicU64) -> Self {
        let random = Rng::with_seed(seed);
        Self { random, endpoint, put, ids: VecDeque::new(), stalled: Vec::new() }
    }

    /// A session from its beginning, or one that has stalled.
    pub(super) fn session(&mut self) {
        let resumed = self.random.u8(..4) == 0 && !self.stalled.is_empty();
        let mut session = if resumed {
            let at = self.random.usize(..self.stalled.len());
            self.stalled.swap_remove(at)
        } else {
            match self.begin() {
                Some(session) => session,
                None => return thread::sleep(IMPATIENT),
            }
        };
        let left = session.bytes.len() - session.sent;
        // Some are sent whole.
        let stop =
            session.sent + if self.random.bool() { left } else { self.random.usize(..=left) };
        while session.sent < stop && self.send_some(&mut session, stop) {}
        self.end(session);
    }

    fn begin(&mut self) -> Option<Session> {
        let Endpoint::Tcp(address) = self.endpoint else { return None };
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nonblocking(true).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut bytes = Vec::new();
        for _ in 0..self.random.usize(1..6) {
            self.speak(&mut bytes);
        }
        Some(Session { stream, bytes, sent: 0, reads: self.random.u8(..3) > 0 })
    }

    /// Tells whether to go on.
    fn send_some(&mut self, session: &mut Session, stop: usize) -> bool {
        let most = stop - session.sent;
        let count = match self.random.u8(..4) {
            0 => self.random.usize(1..=most.min(100)),
            _ => most,
        };
        let began = Instant::now();
        loop {
            if session.reads {
                self.read_some(session);
            }
            match session.stream.write(&session.bytes[session.sent..][..count]) {
                Ok(written) => {
                    session.sent += written;
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if began.elapsed() > IMPATIENT {
                        return false;
                    }
                    thread::sleep(Duration::from_micros(200));
                }
                // The server has closed: of an HTTP request, say.
                Err(_) => return false,
            }
        }
    }

    /// Reads what is there; tells whether more may come.
    fn read_some(&mut self, session: &mut Session) -> bool {
        let mut buffer = [0; 64 << 10];
        match session.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.learn(&buffer[..count]);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// The numbers of jobs in replies; not of all, where one is cut.
    fn learn(&mut self, replies: &[u8]) {
        for line in replies.split(|byte| *byte == b'\n') {
            let mut words = line.split(|byte| *byte == b' ' || *byte == b'\r');
            if !matches!(words.next(), Some(b"INSERTED" | b"RESERVED")) || !line.ends_with(b"\r") {
                continue;
            }
            let id: Option<u64> =
                words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            self.ids.extend(id);
            if self.ids.len() > KNOWN {
                self.ids.pop_front();
            }
        }
    }

    fn end(&mut self, mut session: Session) {
        match self.random.u8(..6) {
            // With unread replies the system makes a reset of this.
            0 => {}
            1 => drop(SockRef::from(&session.stream).set_linger(Some(Duration::ZERO))),
            2 => drop(session.stream.shutdown(Shutdown::Write)),
            3 => {
                let _ = session.stream.shutdown(Shutdown::Write);
                self.read_on(&mut session);
            }
            4 => self.read_on(&mut session),
            _ => {
                self.stalled.push(session);
                if self.stalled.len() > STALLED {
                    let gone = self.random.usize(..self.stalled.len());
                    self.stalled.swap_remove(gone);
                }
            }
        }
    }

    /// Until there is nothing for a while.
    fn read_on(&mut self, session: &mut Session) {
        let began = Instant::now();
        while began.elapsed() < IMPATIENT && self.read_some(session) {
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn tube(&mut self) -> String {
        let tubes = if self.random.u8(..4) == 0 { TUBES } else { FEW_TUBES };
        format!("hostile-{}", self.random.usize(..tubes))
    }

    fn id(&mut self) -> u64 {
        match self.ids.len() {
            0 => u64::MAX,
            known => self.ids[self.random.usize(..known)],
        }
    }

    /// A number of repetitions: mostly few, at times up to `most`.
    fn times(&mut self, most: usize) -> usize {
        let most = if self.random.u8(..3) == 0 { most } else { 20 };
        self.random.usize(1..=most)
    }

    /// Appends something to say, as often as not a great deal.
    fn speak(&mut self, bytes: &mut Vec<u8>) {
        match self.random.u8(..18) {
            0..=2 => self.put_small(bytes),
            3 => self.put_large(bytes),
            4 => {
                let times = self.times(3000);
                bytes.extend(b"reserve-with-timeout 0\r\n".repeat(times));
            }
            5 => bytes.extend(b"reserve\r\n"),
            6 => bytes.extend(b"reserve-with-timeout 1\r\n"),
            7..=9 => self.about_jobs(bytes),
            10 => bytes.extend(format!("kick {}\r\n", self.random.u32(1..2_000_000)).bytes()),
            11 => {
                let (command, most) =
                    [("list-tubes", 20_000), ("list-tubes-watched", 20_000), ("stats", 5000)]
                        [self.random.usize(..3)];
                let times = self.times(most);
                bytes.extend(format!("{command}\r\n").repeat(times).bytes());
            }
            12 => {
                let times = self.times(5000);
                bytes.extend(format!("stats-tube {}\r\n", self.tube()).repeat(times).bytes());
            }
            13 => {
                for _ in 0..self.times(3000) {
                    let command = ["watch", "use", "ignore"][self.random.usize(..3)];
                    bytes.extend(format!("{command} {}\r\n", self.tube()).bytes());
                }
            }
            14 => {
                let state = ["ready", "delayed", "buried"][self.random.usize(..3)];
                let times = self.times(2000);
                bytes.extend(format!("peek-{state}\r\n").repeat(times).bytes());
            }
            15 => {
                let command = format!("pause-tube {} 1\r\n", self.tube());
                bytes.extend(command.bytes());
            }
            16 => self.nonsense(bytes),
            _ => bytes.extend(format!("use {0}\r\nwatch {0}\r\n", self.tube()).bytes()),
        }
    }

    /// Whether so many more bytes may be put.
    fn may_put(&self, size: usize) -> bool {
        self.put.fetch_add(size as u64, Ordering::Relaxed) < MOST_PUT
    }

    fn put_small(&mut self, bytes: &mut Vec<u8>) {
        let times = self.times(3000);
        let size = self.random.usize(..200);
        // A job takes more than its body.
        if self.may_put(times * (size + 200)) {
            let (priority, delay) = (self.random.u8(..), self.random.u8(..6).saturating_sub(3));
            let line = format!("put {priority} {delay} {} {size}\r\n", self.random.u8(..4));
            for _ in 0..times {
                bytes.extend(line.bytes());
                bytes.resize(bytes.len() + size, b'x');
                bytes.extend(b"\r\n");
            }
        }
    }

    fn put_large(&mut self, bytes: &mut Vec<u8>) {
        let most = if self.random.u8(..4) == 0 { 12_000_000 } else { 400_000 };
        let size = self.random.usize(..most);
        if self.may_put(size) {
            bytes.extend(format!("put 0 0 3 {size}\r\n").bytes());
            // At times another end than was announced.
            let sent = if self.random.u8(..4) == 0 { self.random.usize(..=size) } else { size };
            bytes.resize(bytes.len() + sent, b'y');
            bytes.extend(b"\r\n");
        }
    }

    fn about_jobs(&mut self, bytes: &mut Vec<u8>) {
        const COMMANDS: [&str; 9] = [
            "delete {}",
            "delete {}",
            "bury {} 5",
            "bury {} 5",
            "release {} 3 0",
            "release {} 3 1",
            "touch {}",
            "kick-job {}",
            "stats-job {}",
        ];
        let command = COMMANDS[self.random.usize(..COMMANDS.len())];
        for _ in 0..self.times(2000) {
            let line = command.replace("{}", &self.id().to_string());
            bytes.extend(line.bytes());
            bytes.extend(b"\r\n");
        }
    }

    fn nonsense(&mut self, bytes: &mut Vec<u8>) {
        match self.random.u8(..5) {
            0 => bytes.extend(b"GET /stats HTTP/1.1\r\nHost: queue\r\n\r\n"),
            1 => bytes.extend(b"put 0 0 0 99999999999\r\n"),
            2 => bytes.extend(b"put 0 0 1 9999999999\r\nabc"),
            3 => bytes.extend(b"x".repeat(self.random.usize(..100_000))),
            _ => {
                // Without a digit it names no job.
                let of = b"\0\r\n \xff;";
                for _ in 0..self.random.usize(..1000) {
                    bytes.push(of[self.random.usize(..of.len())]);
                }
            }
        }
    }
}
