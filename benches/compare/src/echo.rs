//! A server that frames the same bytes as a queue and answers constants: what one core can do at
//! most, if the queue itself cost nothing.
//!
//! One thread, one `read` and one `write` for all that has arrived, no work in between. It knows
//! the commands that a load consists of and no others. Of a queue it has two numbers, how many jobs
//! are ready and how many are reserved: where none is ready, a reserve waits, and the next put is
//! forwarded to it. So it is the limit of a wake-up, too.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, TcpListener},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, EventData, EventFlags},
};

use crate::{channel::Channel, failure::Failure, wire};

/// How long one wait for events may take before `stop` is looked at.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// The event that stands for the listener; connections count from 0.
const LISTENER: u64 = u64::MAX;
/// The longest command line that is not refused.
const MAX_LINE: usize = 224;

/// Listens on a loopback port and serves until the process ends.
pub(crate) fn run(port: u16) -> io::Result<()> {
    serve(&TcpListener::bind((Ipv4Addr::LOCALHOST, port))?, &AtomicBool::new(false))
}

/// Serves until `stop` is set.
pub(crate) fn serve(listener: &TcpListener, stop: &AtomicBool) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut job = Job::default();
    let mut events = Vec::with_capacity(EVENTS);
    while !stop.load(Ordering::Relaxed) {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&TURN)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                accept(listener, &epoll, &mut clients)?;
                continue;
            }
            with_client(&epoll, &mut clients, token, |client| client.read(token, &mut job))?;
            // Who waits hears of a job before the one who put it.
            for waiter in std::mem::take(&mut job.woken) {
                with_client(&epoll, &mut clients, waiter, |client| client.send(&job.reply))?;
            }
            with_client(&epoll, &mut clients, token, Client::reply)?;
        }
    }
    Ok(())
}

/// Has a client do something, and closes its connection if that fails. Nothing happens to one that
/// is gone.
fn with_client(
    epoll: &impl AsFd,
    clients: &mut [Option<Client>],
    token: u64,
    action: impl FnOnce(&mut Client) -> Result<(), Failure>,
) -> io::Result<()> {
    let slot = &mut clients[token as usize];
    let Some(client) = slot else { return Ok(()) };
    if action(client).is_err() {
        // Closing the socket takes it out of the epoll set.
        *slot = None;
        return Ok(());
    }
    let flags = client.interest();
    if flags != client.registered {
        epoll::modify(epoll, &client.channel, EventData::new_u64(token), flags)?;
        client.registered = flags;
    }
    Ok(())
}

fn accept(
    listener: &TcpListener,
    epoll: &impl AsFd,
    clients: &mut Vec<Option<Client>>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        let channel = Channel::new(stream)?;
        channel.set_nonblocking()?;
        epoll::add(epoll, &channel, EventData::new_u64(clients.len() as u64), EventFlags::IN)?;
        clients.push(Some(Client { channel, replies: Vec::new(), registered: EventFlags::IN }));
    }
}

/// The job that there is, again and again.
#[derive(Default)]
struct Job {
    /// The last body that was put.
    body: Vec<u8>,
    /// What `reserve` is answered with.
    reply: Vec<u8>,
    /// How often it was put and not reserved yet.
    ready: u64,
    /// How often it was reserved and not deleted yet.
    reserved: u64,
    /// Who waits for it.
    waiting: VecDeque<u64>,
    /// To whom it goes now.
    woken: Vec<u64>,
}

impl Job {
    fn remember(&mut self, body: &[u8]) {
        // Sizes are compared, not bytes: all bodies of a load are the same, and this must be as
        // good as free.
        if self.reply.is_empty() || self.body.len() != body.len() {
            self.body = body.to_vec();
            self.reply.clear();
            wire::reserved(&mut self.reply, 1, body);
        }
    }

    fn put(&mut self, body: &[u8]) {
        self.remember(body);
        match self.waiting.pop_front() {
            Some(waiter) => {
                self.reserved += 1;
                self.woken.push(waiter);
            }
            None => self.ready += 1,
        }
    }

    fn reserve(&mut self, token: u64, out: &mut Vec<u8>) {
        if self.ready > 0 {
            self.ready -= 1;
            self.reserved += 1;
            out.extend_from_slice(&self.reply);
        } else {
            self.waiting.push_back(token);
        }
    }

    /// All have the same id, so which one is meant is guessed.
    fn delete(&mut self) {
        let count = if self.reserved > 0 { &mut self.reserved } else { &mut self.ready };
        *count = count.saturating_sub(1);
    }
}

struct Client {
    channel: Channel,
    replies: Vec<u8>,
    registered: EventFlags,
}

impl Client {
    fn interest(&self) -> EventFlags {
        // A client that does not read its replies is not read from either.
        if self.channel.is_flushed() { EventFlags::IN } else { EventFlags::OUT }
    }

    /// Reads and answers what has come, unless earlier replies must leave first.
    fn read(&mut self, token: u64, job: &mut Job) -> Result<(), Failure> {
        if !self.channel.is_flushed() {
            return self.channel.flush();
        }
        self.channel.fill()?;
        let mut used = 0;
        let (unread, out) = (self.channel.unread(), &mut self.replies);
        while let Some(n) = answer(&unread[used..], out, token, job)? {
            used += n;
        }
        self.channel.consume(used);
        Ok(())
    }

    /// Sends the answers.
    fn reply(&mut self) -> Result<(), Failure> {
        if !self.replies.is_empty() {
            self.channel.send(&self.replies)?;
            self.replies.clear();
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.channel.send(bytes)
    }
}

/// Answers the first command in `bytes` and says how long it is, or `None` if it is incomplete.
/// `token` stands for the client.
fn answer(
    bytes: &[u8],
    out: &mut Vec<u8>,
    token: u64,
    job: &mut Job,
) -> Result<Option<usize>, Failure> {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.iter().position(|&b| b == b'\n') else {
        if line.len() == MAX_LINE {
            return Err(Failure::wrong("a command", line));
        }
        return Ok(None);
    };
    let after = end + 1;
    let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
    if line.starts_with(b"put ") {
        let size: usize = line
            .rsplit(|&b| b == b' ')
            .next()
            .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok())
            .ok_or_else(|| Failure::wrong("put <pri> <delay> <ttr> <bytes>", line))?;
        let Some(body) = bytes.get(after..after.saturating_add(size).saturating_add(2)) else {
            return Ok(None);
        };
        job.put(&body[..size]);
        out.extend_from_slice(b"INSERTED 1\r\n");
        return Ok(Some(after + size + 2));
    }
    if line.starts_with(b"reserve") {
        job.reserve(token, out);
    } else if line.starts_with(b"delete ") {
        job.delete();
        out.extend_from_slice(b"DELETED\r\n");
    } else if let Some(tube) = line.strip_prefix(b"use ") {
        out.extend_from_slice(&[b"USING ", tube, b"\r\n"].concat());
    } else if line.starts_with(b"watch ") {
        out.extend_from_slice(b"WATCHING 2\r\n");
    } else if line.starts_with(b"ignore ") {
        out.extend_from_slice(b"WATCHING 1\r\n");
    } else {
        out.extend_from_slice(b"UNKNOWN_COMMAND\r\n");
    }
    Ok(Some(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_framed_at_every_split() {
        let input = b"use t\r\nput 1 0 1 4\r\nab\r\n\r\nreserve\r\ndelete 1\r\nwatch t\r\nx\r\n";
        for split in 0..input.len() {
            let (mut job, mut out, mut used) = (Job::default(), Vec::new(), 0);
            for end in [split, input.len()] {
                while let Some(n) = answer(&input[used..end], &mut out, 0, &mut job).unwrap() {
                    used += n;
                }
            }
            assert_eq!(used, input.len());
            assert_eq!(
                out.escape_ascii().to_string(),
                "USING t\\r\\nINSERTED 1\\r\\nRESERVED 1 4\\r\\nab\\r\\n\\r\\nDELETED\\r\\n\
                 WATCHING 2\\r\\nUNKNOWN_COMMAND\\r\\n"
            );
        }
    }

    #[test]
    fn a_reserve_without_a_job_waits_for_the_next_put() {
        let (mut job, mut out) = (Job::default(), Vec::new());
        let mut ask = |token, bytes: &[u8]| {
            out.clear();
            answer(bytes, &mut out, token, &mut job).unwrap();
            (out.escape_ascii().to_string(), std::mem::take(&mut job.woken))
        };
        assert_eq!(ask(7, b"reserve\r\n"), (String::new(), vec![]));
        assert_eq!(ask(8, b"reserve\r\n"), (String::new(), vec![]));
        for waiters in [vec![7], vec![8], vec![]] {
            let inserted = "INSERTED 1\\r\\n".to_owned();
            assert_eq!(ask(9, b"put 1 0 1 1\r\na\r\n"), (inserted, waiters));
        }
        assert_eq!(ask(7, b"reserve\r\n").0, "RESERVED 1 1\\r\\na\\r\\n");
        assert_eq!(ask(7, b"reserve\r\n").0, "", "one job is reserved once");
    }

    #[test]
    fn a_job_that_is_deleted_wakes_nobody() {
        let (mut job, mut out) = (Job::default(), Vec::new());
        for line in [&b"put 1 0 1 1\r\na\r\n"[..], b"delete 1\r\n", b"reserve\r\n"] {
            answer(line, &mut out, 0, &mut job).unwrap();
        }
        assert_eq!(out, b"INSERTED 1\r\nDELETED\r\n");
    }

    #[test]
    fn an_endless_line_is_refused() {
        assert!(answer(&[b'x'; MAX_LINE], &mut Vec::new(), 0, &mut Job::default()).is_err());
    }
}
