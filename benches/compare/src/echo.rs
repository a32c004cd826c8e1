//! A server that frames the same bytes as a queue and answers constants: what one core can do at
//! most, if the queue itself cost nothing.
//!
//! One thread, one `read` and one `write` for all that has arrived, no work in between. It knows
//! the commands that a load consists of and no others.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
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
            let slot = &mut clients[token as usize];
            let Some(client) = slot else { continue };
            match client.serve(&mut job) {
                Ok(()) => {
                    let flags = client.interest();
                    if flags != client.registered {
                        epoll::modify(&epoll, &client.channel, EventData::new_u64(token), flags)?;
                        client.registered = flags;
                    }
                }
                // Closing the socket takes it out of the epoll set.
                Err(_) => *slot = None,
            }
        }
    }
    Ok(())
}

fn accept(
    listener: &TcpListener,
    epoll: &impl std::os::fd::AsFd,
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

/// What `reserve` is answered with: the last body that was put.
#[derive(Default)]
struct Job {
    body: Vec<u8>,
    reply: Vec<u8>,
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

    fn serve(&mut self, job: &mut Job) -> Result<(), Failure> {
        if !self.channel.is_flushed() {
            return self.channel.flush();
        }
        self.channel.fill()?;
        let mut used = 0;
        while let Some(n) = answer(&self.channel.unread()[used..], &mut self.replies, job)? {
            used += n;
        }
        self.channel.consume(used);
        self.channel.send(&self.replies)?;
        self.replies.clear();
        Ok(())
    }
}

/// Answers the first command in `bytes` and says how long it is, or `None` if it is incomplete.
fn answer(bytes: &[u8], out: &mut Vec<u8>, job: &mut Job) -> Result<Option<usize>, Failure> {
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
        job.remember(&body[..size]);
        out.extend_from_slice(b"INSERTED 1\r\n");
        return Ok(Some(after + size + 2));
    }
    if line.starts_with(b"reserve") {
        out.extend_from_slice(&job.reply);
    } else if line.starts_with(b"delete ") {
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
                while let Some(n) = answer(&input[used..end], &mut out, &mut job).unwrap() {
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
    fn an_endless_line_is_refused() {
        assert!(answer(&[b'x'; MAX_LINE], &mut Vec::new(), &mut Job::default()).is_err());
    }
}
