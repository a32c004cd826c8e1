//! A socket with a buffer on either side. It does at most one `read` and, as a rule, one `write`
//! for everything that is there.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use jq_tls::rustls::ClientConnection;

use crate::{
    failure::{Context, Failure},
    way::{Way, explained},
};

/// How long a blocking read waits before its caller may look whether it should go on.
const TURN: Duration = Duration::from_millis(100);
/// How long a blocking write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The first size of the input buffer in bytes. It grows as far as one reply needs. Only the pages
/// that are used cost memory.
const INPUT: usize = 64 * 1024;
/// Unread input beyond this many bytes is an error: no reply here is that long.
const MAX_INPUT: usize = 64 * 1024 * 1024;

/// One end of a connection.
pub(crate) struct Channel {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    input: Vec<u8>,
    /// The unread part of `input`.
    start: usize,
    end: usize,
    /// What could not be written yet.
    output: Vec<u8>,
    written: usize,
}

impl Channel {
    /// Connects; reads and writes block.
    pub(crate) fn connect(way: &Way) -> Result<Self, Failure> {
        let failed = || format!("cannot connect to {}", way.addr);
        let mut stream = TcpStream::connect(way.addr).during(failed)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT)).during(failed)?;
        let tls = way.secure(&mut stream)?;
        stream.set_read_timeout(Some(TURN)).during(failed)?;
        let mut channel = Self { tls, ..Self::new(stream).during(failed)? };
        way.authenticate(&mut channel)?;
        Ok(channel)
    }

    /// Wraps a stream.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (input, output) = (vec![0; INPUT], Vec::new());
        Ok(Self { stream, tls: None, input, start: 0, end: 0, output, written: 0 })
    }

    /// From now on neither reads nor writes block.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// Reads once. `Ok(false)` when nothing has come (yet, or within a short while if reads
    /// block).
    pub(crate) fn fill(&mut self) -> Result<bool, Failure> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end > self.input.len() / 2 {
            self.make_room()?;
        }
        if self.tls.is_some() {
            return self.fill_by_tls();
        }
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => Err(Failure::Closed),
            Ok(n) => {
                self.end += n;
                Ok(true)
            }
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Err(Failure::Closed),
            Err(e) => Err(e).during(|| "cannot read".to_owned()),
        }
    }

    /// Reads once from the socket, and takes all that could be decrypted: nothing would tell of it later.
    fn fill_by_tls(&mut self) -> Result<bool, Failure> {
        let before = self.end - self.start;
        let Some(tls) = &mut self.tls else { return Ok(false) };
        match tls.read_tls(&mut self.stream) {
            Ok(0) => return Err(Failure::Closed),
            Ok(_) => {}
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
            {
                return Ok(false);
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(Failure::Closed),
            Err(e) => return Err(e).during(|| "cannot read".to_owned()),
        }
        explained(tls.process_new_packets().map_err(io::Error::other), "cannot read")?;
        loop {
            if self.end == self.input.len() {
                self.make_room()?;
            }
            let Some(tls) = &mut self.tls else { return Ok(false) };
            match tls.reader().read(&mut self.input[self.end..]) {
                // The end, behind what came before it.
                Ok(0) if self.end - self.start > before => break,
                Ok(0) => return Err(Failure::Closed),
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return explained(Err(e), "cannot read"),
            }
        }
        Ok(self.end - self.start > before)
    }

    fn make_room(&mut self) -> Result<(), Failure> {
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.input.len() {
            if self.input.len() >= MAX_INPUT {
                return Err(Failure::wrong("a complete line or body", self.unread()));
            }
            self.input.resize(self.input.len() * 2, 0);
        }
        Ok(())
    }

    /// What was read and not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Drops the first `n` unread bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.end - self.start);
        self.start += n;
    }

    /// Writes what the socket takes and keeps the rest for [`Channel::flush`].
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(tls) = &mut self.tls {
            // It takes all, and keeps what the socket does not.
            tls.writer().write_all(bytes).during(|| "cannot write".to_owned())?;
            return self.flush();
        }
        let done = if self.is_flushed() { self.write(bytes)? } else { 0 };
        self.output.extend_from_slice(&bytes[done..]);
        Ok(())
    }

    /// Whether all that was sent has been written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty() && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Goes on with what [`Channel::send`] has kept.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(Failure::Closed),
                    Err(e) => return Err(e).during(|| "cannot write".to_owned()),
                }
            }
            return Ok(());
        }
        // Taken out so that `write` can borrow the rest of `self`.
        let output = std::mem::take(&mut self.output);
        self.written += self.write(&output[self.written..])?;
        self.output = output;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut done = 0;
        while done < bytes.len() {
            match self.stream.write(&bytes[done..]) {
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(Failure::Closed),
                Err(e) => return Err(e).during(|| "cannot write".to_owned()),
            }
        }
        Ok(done)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
