//! One server of the two, with the connections of a session to it.
//!
//! A session must be played so that both servers see every command in the same order, without
//! sleeping. So after each step that a server notices in its own time (a connection opens or closes,
//! a reserve starts to wait), a control connection asks for `stats` until they show it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Conn, Input, Reply, Server};

/// A server and the connections to it.
pub(crate) struct Side {
    pub(crate) server: Server,
    control: Conn,
    conns: BTreeMap<String, Conn>,
    /// Connections ever made: one for readiness and the control connection to begin with.
    made: u64,
    /// How many `stats` the control connection has asked for, which counters show.
    polls: u64,
    /// How long the server's stats may take to show what has happened.
    patience: Duration,
}

impl Side {
    pub(crate) fn new(server: Server, patience: Duration) -> Self {
        let control = server.connect();
        let conns = BTreeMap::new();
        let mut side = Self { server, control, conns, made: 2, polls: 0, patience };
        // By now the connection that awaited readiness may not be gone yet.
        side.await_stat("current-connections", "1");
        side
    }

    /// The connection of this name, opened if it is not.
    pub(crate) fn conn(&mut self, name: &str) -> &mut Conn {
        if !self.conns.contains_key(name) {
            self.conns.insert(name.to_owned(), self.server.connect());
            self.made += 1;
            let made = self.made.to_string();
            self.await_stat("total-connections", &made);
        }
        self.conns.get_mut(name).expect("it was just opened")
    }

    /// Whether a connection of this name is open.
    pub(crate) fn is_open(&self, name: &str) -> bool {
        self.conns.contains_key(name)
    }

    /// Gives the server the time to see what has been sent: two rounds of the control connection,
    /// because it may find both connections readable at once and take this one first. A server of
    /// several threads may still not have seen it. No counter shows these rounds.
    pub(crate) fn settle(&mut self) {
        for _ in 0..2 {
            let _ = self.control.try_send("settle\r\n");
            let _ = self.control.next(self.patience);
        }
    }

    /// Closes a connection, unless the server has done so, and waits until its stats agree.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        self.conns.remove(name);
        self.await_closed()
    }

    /// Closes a connection abruptly, and waits until the server has noticed.
    pub(crate) fn reset(&mut self, name: &str) -> bool {
        if let Some(conn) = self.conns.remove(name) {
            conn.reset();
        }
        self.await_closed()
    }

    /// Waits until this many connections wait in a reserve.
    pub(crate) fn await_waiting(&mut self, count: usize) -> bool {
        self.await_stat("current-waiting", &count.to_string())
    }

    /// How many connections wait in a reserve.
    pub(crate) fn waiting(&mut self) -> u64 {
        self.stat("current-waiting")
    }

    /// A number from the server's stats, 0 if it is gone.
    pub(crate) fn stat(&mut self, key: &str) -> u64 {
        self.stats().and_then(|stats| stats.value(key)?.parse().ok()).unwrap_or(0)
    }

    /// Tells the server to drain.
    pub(crate) fn drain(&mut self) -> bool {
        self.server.signal(Signal::SIGUSR1);
        self.await_stat("draining", "true")
    }

    /// Whether nothing has arrived on a connection although the server has had time.
    pub(crate) fn is_silent(&mut self, name: &str) -> bool {
        self.settle();
        self.conn(name).next(Duration::ZERO) == Input::Silence
    }

    /// How many `stats` the control connection has asked for so far.
    pub(crate) fn polls(&self) -> u64 {
        self.polls
    }

    fn await_closed(&mut self) -> bool {
        let open = (self.conns.len() + 1).to_string();
        self.await_stat("current-connections", &open)
    }

    /// Waits until the server's stats show this.
    pub(crate) fn await_stat(&mut self, key: &str, wanted: &str) -> bool {
        let deadline = Instant::now() + self.patience;
        while let Some(stats) = self.stats() {
            if stats.value(key) == Some(wanted) {
                return true;
            }
            if Instant::now() > deadline {
                break;
            }
        }
        false
    }

    /// `None` if the server is gone or mute.
    fn stats(&mut self) -> Option<Reply> {
        self.polls += 1;
        self.control.try_send("stats\r\n").ok()?;
        match self.control.next(self.patience) {
            Input::Reply(reply) => Some(reply),
            _ => None,
        }
    }
}
