//! Commands that set the stage: sent one by one, answers read as lines. Not part of any load.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{channel::Channel, failure::Failure, interrupt};

/// How long a server may take over one command, or over the next reply of a load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection for a few commands that wait for their replies.
pub(crate) struct Control {
    channel: Channel,
}

impl Control {
    /// Connects.
    pub(crate) fn connect(addr: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { channel: Channel::connect(addr)? })
    }

    /// Lets go of the connection for a load.
    pub(crate) fn into_channel(self) -> Channel {
        self.channel
    }

    /// Sends without waiting for a reply.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.channel.send(bytes)
    }

    /// The next line, without its CRLF.
    pub(crate) fn line(&mut self) -> Result<String, Failure> {
        let mut searched = 0;
        let end = self.read_until(|bytes| {
            let found = bytes[searched..].windows(2).position(|pair| pair == b"\r\n");
            let end = found.map(|at| searched + at);
            searched = bytes.len().saturating_sub(1);
            end
        })?;
        Ok(self.take(end))
    }

    /// Sends a command and checks that the reply is exactly `expected`.
    pub(crate) fn ask(&mut self, command: &str, expected: &str) -> Result<(), Failure> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.expect(expected)
    }

    /// Checks that the next line is exactly `expected`.
    pub(crate) fn expect(&mut self, expected: &str) -> Result<(), Failure> {
        let line = self.line()?;
        if line == expected {
            return Ok(());
        }
        Err(Failure::wrong(expected, line.as_bytes()))
    }

    /// Uses and watches one tube and no other.
    pub(crate) fn settle_on(&mut self, tube: &str) -> Result<(), Failure> {
        self.ask(&format!("use {tube}"), &format!("USING {tube}"))?;
        self.ask(&format!("watch {tube}"), "WATCHING 2")?;
        self.ask("ignore default", "WATCHING 1")
    }

    /// Puts an empty job and deletes it again: its id.
    pub(crate) fn put_and_delete(&mut self) -> Result<u64, Failure> {
        self.send(b"put 0 0 60 0\r\n\r\n")?;
        let id = self.inserted()?;
        self.ask(&format!("delete {id}"), "DELETED")?;
        Ok(id)
    }

    /// The id in the next line, which must be `INSERTED <id>`.
    pub(crate) fn inserted(&mut self) -> Result<u64, Failure> {
        let line = self.line()?;
        line.strip_prefix("INSERTED ")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Failure::wrong("INSERTED <id>", line.as_bytes()))
    }

    /// A number from the server's `stats`.
    pub(crate) fn stat(&mut self, key: &str) -> Result<u64, Failure> {
        self.send(b"stats\r\n")?;
        let line = self.line()?;
        let size: usize = line
            .strip_prefix("OK ")
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| Failure::wrong("OK <bytes>", line.as_bytes()))?;
        let end = self.read_until(|bytes| (bytes.len() >= size + 2).then_some(size))?;
        let body = self.take(end);
        body.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")?.parse().ok())
            .ok_or_else(|| Failure::wrong(format!("{key} in stats"), body.as_bytes()))
    }

    /// Reads until `end` finds where a piece of the unread bytes ends.
    fn read_until(
        &mut self,
        mut end: impl FnMut(&[u8]) -> Option<usize>,
    ) -> Result<usize, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = end(self.channel.unread()) {
                return Ok(end);
            }
            if interrupt::requested() {
                return Err(Failure::Interrupted);
            }
            if !self.channel.fill()? && Instant::now() > deadline {
                return Err(Failure::Silent(PATIENCE));
            }
        }
    }

    /// Takes `end` bytes and the CRLF behind them.
    fn take(&mut self, end: usize) -> String {
        let text = String::from_utf8_lossy(&self.channel.unread()[..end]).into_owned();
        self.channel.consume(end + 2);
        text
    }
}
