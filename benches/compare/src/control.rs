//! Commands that set the stage: sent one by one, answers read as lines. Not part of any load.

use std::time::{Duration, Instant};

use crate::{
    channel::Channel,
    failure::Failure,
    interrupt,
    way::Way,
    wire::{Op, Wire},
};

/// How long a server may take over one command, or over the next reply of a load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection for a few commands that wait for their replies.
pub(crate) struct Control {
    channel: Channel,
}

impl Control {
    /// Connects.
    pub(crate) fn connect(way: &Way) -> Result<Self, Failure> {
        Ok(Self { channel: Channel::connect(way)? })
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
            Ok(end)
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

    /// The connection, to wait for it together with others.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Reads once. The id in the next reply, which must be the right one to `op`; `None` if it is
    /// not complete yet.
    pub(crate) fn reply_if_there(&mut self, wire: &Wire, op: Op) -> Result<Option<u64>, Failure> {
        self.channel.fill()?;
        let Some((length, id)) = wire.reply(op, self.channel.unread())? else { return Ok(None) };
        self.channel.consume(length);
        Ok(Some(id))
    }

    /// The id in the next reply, which must be the right one to `op`.
    pub(crate) fn reply(&mut self, wire: &Wire, op: Op) -> Result<u64, Failure> {
        let (length, id) = self.read_until(|bytes| wire.reply(op, bytes))?;
        self.channel.consume(length);
        Ok(id)
    }

    /// A number from the reply to `stats`, or to another command of its kind.
    pub(crate) fn stat(&mut self, command: &str, key: &str) -> Result<u64, Failure> {
        self.send(format!("{command}\r\n").as_bytes())?;
        let line = self.line()?;
        let size: usize = line
            .strip_prefix("OK ")
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| Failure::wrong("OK <bytes>", line.as_bytes()))?;
        let end = self.read_until(|bytes| Ok((bytes.len() >= size + 2).then_some(size)))?;
        let body = self.take(end);
        body.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")?.parse().ok())
            .ok_or_else(|| Failure::wrong(format!("{key} in stats"), body.as_bytes()))
    }

    /// Reads until `find` has found what it wants in the unread bytes.
    fn read_until<T>(
        &mut self,
        mut find: impl FnMut(&[u8]) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(self.channel.unread())? {
                return Ok(found);
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
