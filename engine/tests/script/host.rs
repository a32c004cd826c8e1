//! The smallest possible server around the engine, without sockets and with a clock that is set
//! by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use beanstalk_protocol::{DEFAULT_MAX_JOB_SIZE, Dialect, RequestDecoder};
use jq_engine::{CloseReason, ConnId, Engine, Flow, Nanos};

use super::parse::Step;
use crate::common::Wire;

/// Steps in one tick: the minimum, so that time passes in several ticks.
const TICK_BUDGET: usize = 1;

/// Maximum number of ticks for one passage of time, so that a deadline that never goes away fails
/// the test.
const TICK_LIMIT: usize = 10_000;

/// How the bytes of a client arrive.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pieces {
    /// Bytes that are sent together arrive together.
    Whole,
    /// Each byte arrives alone.
    Bytes,
}

pub(crate) struct Host {
    engine: Engine,
    now: Nanos,
    wire: Wire,
    pieces: Pieces,
    clients: BTreeMap<char, Client>,
}

struct Client {
    conn: ConnId,
    decoder: RequestDecoder,
    /// Received by the server, and not handled yet.
    input: Vec<u8>,
    /// Sent by the server, and not compared yet.
    output: Vec<u8>,
    is_blocked: bool,
    has_sent_fin: bool,
    is_closed: bool,
    /// Whether the transcript has noted that it is closed.
    is_known_closed: bool,
}

impl Host {
    pub(crate) fn new(pieces: Pieces) -> Self {
        let wire = Wire { max_job_size: DEFAULT_MAX_JOB_SIZE, ..Wire::default() };
        let now = Nanos::from_secs(1_000_000);
        Self { engine: Engine::new(), now, wire, pieces, clients: BTreeMap::new() }
    }

    /// Checks that everything that the clients received has been compared.
    pub(crate) fn nothing_left(&self) -> Result<(), String> {
        for (name, client) in &self.clients {
            if !client.output.is_empty() {
                let rest = client.output.escape_ascii();
                return Err(format!("expected no more\n     got  {name}: {rest}"));
            }
            if client.is_closed && !client.is_known_closed {
                return Err(format!("expected no end\n     got  {name} closed by the server"));
            }
        }
        Ok(())
    }

    pub(crate) fn play(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Nothing | Step::Session(_) => {}
            Step::Send(name, bytes) => self.send(name, &bytes)?,
            Step::Receive(name, bytes) => self.client(name).receive(&bytes)?,
            Step::ReceiveStats(name, lines) => self.client(name).receive_stats(&lines)?,
            Step::Open(name) => {
                self.client(name);
            }
            Step::Fin(name) => {
                let client = self.client(name);
                client.has_sent_fin = true;
                let conn = client.conn;
                self.engine.half_close(conn, &mut self.wire);
                self.deliver();
                self.run(name);
            }
            Step::Gone(name) => {
                self.client(name).is_known_closed = true;
                self.close(name, CloseReason::Vanished);
            }
            Step::Closed(name) => {
                let client = self.client(name);
                if !client.is_closed {
                    return Err("expected the end of the connection\n     got  none".into());
                }
                client.is_known_closed = true;
            }
            Step::Pass(time) => self.pass(self.now.0 + nanos(time))?,
            Step::PassLate(time) => {
                self.now.0 += nanos(time);
                self.tick()?;
            }
            Step::Drain(on) => self.engine.set_draining(on, &mut self.wire),
            Step::Policy(tube, policy) => {
                let set = self.engine.set_policy(self.now, &tube, Some(policy), &mut self.wire);
                set.map_err(|refusal| format!("the policy is refused: {refusal:?}"))?;
                self.deliver();
                self.tick()?;
            }
            Step::Limits(limits) => self.engine.set_limits(limits),
            Step::MaxJobSize(size) => self.wire.max_job_size = size,
            Step::Dialect(dialect) => self.wire.dialect = dialect,
        }
        Ok(())
    }

    fn client(&mut self, name: char) -> &mut Client {
        self.clients.entry(name).or_insert_with(|| {
            let conn = self.engine.connect();
            Client::new(conn, self.wire.dialect, self.wire.max_job_size)
        })
    }

    fn send(&mut self, name: char, bytes: &[u8]) -> Result<(), String> {
        let client = self.client(name);
        if client.is_closed || client.has_sent_fin {
            return Err(format!("{name} can send no more"));
        }
        let size = match self.pieces {
            Pieces::Whole => bytes.len().max(1),
            Pieces::Bytes => 1,
        };
        for piece in bytes.chunks(size) {
            let client = self.client(name);
            // Nobody listens after a `quit`.
            if !client.is_closed {
                client.input.extend_from_slice(piece);
                self.run(name);
            }
        }
        Ok(())
    }

    /// Handles what the client has sent, until it is blocked.
    fn run(&mut self, name: char) {
        let mut at = 0;
        loop {
            let Some(client) = self.clients.get_mut(&name) else { return };
            if client.is_blocked || client.is_closed {
                client.input.drain(..at);
                return;
            }
            let Some(request) = client.decoder.decode(&client.input, &mut at) else { break };
            match self.engine.handle(self.now, client.conn, request, &mut self.wire) {
                Flow::Continue => {}
                Flow::Blocked => client.is_blocked = true,
                Flow::Close => self.close(name, CloseReason::Quit),
            }
            self.deliver();
        }
        if let Some(client) = self.clients.get_mut(&name) {
            client.input.clear();
            if client.has_sent_fin {
                self.close(name, CloseReason::Vanished);
            }
        }
    }

    fn close(&mut self, name: char, reason: CloseReason) {
        let Some(client) = self.clients.get_mut(&name) else { return };
        if !client.is_closed {
            client.is_closed = true;
            let conn = client.conn;
            self.engine.disconnect(self.now, conn, reason, &mut self.wire);
            self.deliver();
        }
    }

    /// Delivers the answers. A client that was blocked goes on with what it has sent in the
    /// meantime.
    fn deliver(&mut self) {
        let mut unblocked = Vec::new();
        for (conn, bytes) in std::mem::take(&mut self.wire.said) {
            let mut clients = self.clients.iter_mut();
            let owner = clients.find(|(_, client)| client.conn == conn && !client.is_closed);
            let (name, client) = owner.expect("only open connections are answered");
            client.output.extend(bytes);
            if std::mem::take(&mut client.is_blocked) {
                unblocked.push(*name);
            }
        }
        for name in unblocked {
            self.run(name);
        }
    }

    /// Lets time pass until `until`, and ticks at each of the engine's deadlines.
    fn pass(&mut self, until: u64) -> Result<(), String> {
        for _ in 0..TICK_LIMIT {
            match self.engine.next_deadline() {
                Some(at) if at.0 <= until => {
                    self.now = self.now.max(at);
                    self.tick()?;
                }
                _ => {
                    self.now.0 = until;
                    return Ok(());
                }
            }
        }
        Err("the engine asks for ticks for ever".into())
    }

    fn tick(&mut self) -> Result<(), String> {
        for _ in 0..TICK_LIMIT {
            let more = self.engine.tick(self.now, TICK_BUDGET, &mut self.wire);
            self.deliver();
            if !more {
                return Ok(());
            }
        }
        Err("a tick is never complete".into())
    }
}

impl Client {
    fn new(conn: ConnId, dialect: Dialect, max_job_size: u32) -> Self {
        Self {
            conn,
            decoder: RequestDecoder::new(dialect, max_job_size),
            input: Vec::new(),
            output: Vec::new(),
            is_blocked: false,
            has_sent_fin: false,
            is_closed: false,
            is_known_closed: false,
        }
    }

    fn receive(&mut self, expected: &[u8]) -> Result<(), String> {
        if !self.output.starts_with(expected) {
            return Err(self.unlike(&expected.escape_ascii().to_string()));
        }
        self.output.drain(..expected.len());
        Ok(())
    }

    fn receive_stats(&mut self, lines: &[String]) -> Result<(), String> {
        let Some((body, rest)) = ok_body(&self.output) else {
            return Err(self.unlike("OK and a body of its size"));
        };
        for line in lines {
            if !body.lines().any(|found| found == line) {
                return Err(self.unlike(&format!("OK with \"{line}\"")));
            }
        }
        self.output.drain(..rest);
        Ok(())
    }

    fn unlike(&self, expected: &str) -> String {
        format!("expected  {expected}\n     got  {}", self.output.escape_ascii())
    }
}

/// The body of the `OK` at the front, and where the rest begins. `None` unless the size is right.
fn ok_body(output: &[u8]) -> Option<(&str, usize)> {
    let text = std::str::from_utf8(output).ok()?;
    let (size, rest) = text.strip_prefix("OK ")?.split_once("\r\n")?;
    let size = size.parse().ok()?;
    let body = rest.get(..size)?;
    rest[size..].starts_with("\r\n").then_some((body, text.len() - rest.len() + size + 2))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a transcript takes less than centuries")
}
