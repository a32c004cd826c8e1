//! Clients that do what costs a server much, step by step, so that one thread can serve them and the
//! probe.

use std::time::{Duration, Instant};

use rustix::{event::PollFlags, net::sockopt::set_socket_linger};

use super::{Parting, Question, UNREAD};
use crate::{
    channel::Channel,
    failure::{Context, Failure},
    wire::{Op, Wire, delete},
};

/// Deletes that are sent together.
const DELETES: usize = 2000;
/// Jobs that are reserved together, and then deleted together.
const DRAINED: usize = 500;
/// Bytes of a large body that are written at a time.
const PIECE: usize = 256 * 1024;
/// Questions that are written at a time.
const QUESTIONS: usize = 4000;
/// A server that has taken nothing for so long will take nothing before it can write its replies.
const STUCK: Duration = Duration::from_millis(300);

const DELETED: &[u8] = b"DELETED\r\n";

/// Somebody who acts.
pub(super) trait Actor {
    /// Its connection; `None` when it has done all.
    fn channel(&self) -> Option<&Channel>;

    /// What it waits for.
    fn wants(&self) -> PollFlags {
        wants(self.channel())
    }

    /// Goes on. It is called now and then also if its socket is not ready.
    fn step(&mut self, is_ready: bool) -> Result<(), Failure>;
}

/// What a connection with output waits for.
fn wants(channel: Option<&Channel>) -> PollFlags {
    match channel {
        Some(channel) if channel.is_flushed() => PollFlags::IN,
        Some(_) => PollFlags::IN | PollFlags::OUT,
        None => PollFlags::empty(),
    }
}

/// Deletes jobs, [`DELETES`] at a time.
pub(super) struct Deleting {
    channel: Option<Channel>,
    ids: Vec<u64>,
    /// How many of them were sent.
    sent: usize,
    /// Replies that have not come.
    owed: usize,
}

impl Deleting {
    pub(super) fn new(channel: Channel, ids: Vec<u64>) -> Result<Self, Failure> {
        nonblocking(&channel)?;
        let mut deleting = Self { channel: Some(channel), ids, sent: 0, owed: 0 };
        deleting.next()?;
        Ok(deleting)
    }

    fn next(&mut self) -> Result<(), Failure> {
        let batch = &self.ids[self.sent..self.ids.len().min(self.sent + DELETES)];
        let mut commands = Vec::new();
        batch.iter().for_each(|id| delete(&mut commands, *id));
        self.owed = batch.len();
        self.sent += batch.len();
        match &mut self.channel {
            Some(channel) if self.owed > 0 => channel.send(&commands),
            _ => {
                self.channel = None;
                Ok(())
            }
        }
    }
}

impl Actor for Deleting {
    fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    fn step(&mut self, is_ready: bool) -> Result<(), Failure> {
        let Some(channel) = self.channel.as_mut().filter(|_| is_ready) else { return Ok(()) };
        channel.flush()?;
        channel.fill()?;
        self.owed -= deleted(channel, self.owed)?;
        if self.owed == 0 { self.next() } else { Ok(()) }
    }
}

/// Takes the replies to deletes that are there, at most `owed`: how many.
fn deleted(channel: &mut Channel, owed: usize) -> Result<usize, Failure> {
    let mut count = 0;
    while count < owed {
        let rest = &channel.unread()[count * DELETED.len()..];
        if rest.starts_with(DELETED) {
            count += 1;
        } else if DELETED.starts_with(rest) {
            break;
        } else {
            return Err(Failure::wrong("DELETED", rest));
        }
    }
    channel.consume(count * DELETED.len());
    Ok(count)
}

/// Reserves and deletes jobs, [`DRAINED`] at a time.
pub(super) struct Draining {
    channel: Option<Channel>,
    wire: Wire,
    /// Jobs that nobody has asked for.
    left: u64,
    owed: usize,
    /// Those that were reserved.
    ids: Vec<u64>,
    is_deleting: bool,
}

impl Draining {
    pub(super) fn new(channel: Channel, body: usize, jobs: u64) -> Result<Self, Failure> {
        nonblocking(&channel)?;
        let wire = Wire::new(body, DRAINED);
        let ids = Vec::with_capacity(DRAINED);
        let mut draining =
            Self { channel: Some(channel), wire, left: jobs, owed: 0, ids, is_deleting: true };
        draining.next()?;
        Ok(draining)
    }

    fn next(&mut self) -> Result<(), Failure> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        self.is_deleting = !self.is_deleting;
        if self.is_deleting {
            let mut commands = Vec::new();
            self.owed = self.ids.len();
            self.ids.drain(..).for_each(|id| delete(&mut commands, id));
            return channel.send(&commands);
        }
        self.owed = self.left.min(DRAINED as u64) as usize;
        self.left -= self.owed as u64;
        if self.owed == 0 {
            self.channel = None;
            return Ok(());
        }
        channel.send(self.wire.reserves(self.owed))
    }
}

impl Actor for Draining {
    fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    fn step(&mut self, is_ready: bool) -> Result<(), Failure> {
        let Some(channel) = self.channel.as_mut().filter(|_| is_ready) else { return Ok(()) };
        channel.flush()?;
        channel.fill()?;
        if self.is_deleting {
            self.owed -= deleted(channel, self.owed)?;
        } else {
            let mut used = 0;
            while self.owed > 0
                && let Some((length, id)) =
                    self.wire.reply(Op::Reserve, &channel.unread()[used..])?
            {
                used += length;
                self.owed -= 1;
                self.ids.push(id);
            }
            channel.consume(used);
        }
        if self.owed == 0 { self.next() } else { Ok(()) }
    }
}

/// Puts one job as fast as the server takes it, and deletes it.
pub(super) struct Putting {
    channel: Option<Channel>,
    /// Bytes of the body that are not sent.
    left: u64,
    piece: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Body,
    Inserted,
    Deleted,
}

impl Putting {
    pub(super) fn new(mut channel: Channel, bytes: u64) -> Result<Self, Failure> {
        nonblocking(&channel)?;
        channel.send(format!("put 1024 0 3600 {bytes}\r\n").as_bytes())?;
        let piece = vec![b'x'; PIECE];
        Ok(Self { channel: Some(channel), left: bytes, piece, stage: Stage::Body })
    }
}

impl Actor for Putting {
    fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    fn wants(&self) -> PollFlags {
        match self.stage {
            Stage::Body => PollFlags::IN | PollFlags::OUT,
            Stage::Inserted | Stage::Deleted => wants(self.channel()),
        }
    }

    fn step(&mut self, is_ready: bool) -> Result<(), Failure> {
        let Some(channel) = self.channel.as_mut().filter(|_| is_ready) else { return Ok(()) };
        channel.flush()?;
        if self.stage == Stage::Body && channel.is_flushed() {
            let length = self.left.min(PIECE as u64) as usize;
            channel.send(&self.piece[..length])?;
            self.left -= length as u64;
            if self.left == 0 {
                channel.send(b"\r\n")?;
                self.stage = Stage::Inserted;
            }
        }
        channel.fill()?;
        let Some(end) = channel.unread().windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(());
        };
        let line = String::from_utf8_lossy(&channel.unread()[..end]).into_owned();
        channel.consume(end + 2);
        match (self.stage, line.strip_prefix("INSERTED ")) {
            (Stage::Inserted, Some(id)) => {
                channel.send(format!("delete {id}\r\n").as_bytes())?;
                self.stage = Stage::Deleted;
                Ok(())
            }
            (Stage::Deleted, None) if line == "DELETED" => {
                self.channel = None;
                Ok(())
            }
            _ if line == "JOB_TOO_BIG" || line == "OUT_OF_MEMORY" => {
                let hint = "let it take jobs as large as that: -z, and with -b also -s";
                Err(Failure::Server(format!("{line}: {hint}")))
            }
            _ => Err(Failure::wrong("INSERTED <id>, then DELETED", line.as_bytes())),
        }
    }
}

/// Asks without reading, and goes when all is sent or the server takes no more.
pub(super) struct Unread {
    channel: Option<Channel>,
    questions: Vec<u8>,
    /// Batches of questions that are not sent.
    left: usize,
    parting: Parting,
    /// When the server has last taken something.
    taken: Instant,
}

impl Unread {
    pub(super) fn new(
        channel: Channel,
        question: Question,
        parting: Parting,
    ) -> Result<Self, Failure> {
        nonblocking(&channel)?;
        let line: &[u8] = match question {
            Question::Lists => b"list-tubes\r\n",
            Question::Stats => b"stats\r\n",
        };
        Ok(Self {
            channel: Some(channel),
            questions: line.repeat(QUESTIONS),
            left: UNREAD / QUESTIONS,
            parting,
            taken: Instant::now(),
        })
    }
}

impl Actor for Unread {
    fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    fn wants(&self) -> PollFlags {
        PollFlags::OUT
    }

    fn step(&mut self, is_ready: bool) -> Result<(), Failure> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        if is_ready {
            self.taken = Instant::now();
            channel.flush()?;
            if channel.is_flushed() && self.left > 0 {
                channel.send(&self.questions)?;
                self.left -= 1;
            }
        }
        let is_sent = self.left == 0 && channel.is_flushed();
        if is_sent || self.taken.elapsed() > STUCK {
            if self.parting == Parting::Reset {
                set_socket_linger(&*channel, Some(Duration::ZERO))
                    .during(|| "cannot have the connection reset".to_owned())?;
            }
            self.channel = None;
        }
        Ok(())
    }
}

fn nonblocking(channel: &Channel) -> Result<(), Failure> {
    channel.set_nonblocking().during(|| "cannot set up a connection".to_owned())
}
