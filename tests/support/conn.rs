//! A raw connection: bytes out, whole replies in, never waiting for ever.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{Endpoint, PATIENCE, Reply};

/// What a connection had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A whole reply.
    Reply(Reply),
    /// Nothing, or only a part of a reply, within the time given.
    Silence,
    /// The server closed the connection; holds the bytes of an unfinished reply.
    Closed(Vec<u8>),
}

/// A client connection.
pub(crate) struct Conn {
    stream: Stream,
    input: Vec<u8>,
    closed: bool,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Conn {
    /// Connects to a server that is listening.
    pub(crate) fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = match endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                // Each `send` is a packet of its own, so that tests can split where they like.
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Stream::Tcp(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Stream::Unix(stream)
            }
        };
        Ok(Self { stream, input: Vec::new(), closed: false })
    }

    /// Sends exactly these bytes, in one write.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    /// Like [`Conn::send`], for servers that may have gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Stream::Unix(stream) => stream.write_all(bytes.as_ref()),
        }
    }

    /// The next whole reply.
    ///
    /// # Panics
    ///
    /// If none comes within [`PATIENCE`], or the server closes.
    pub(crate) fn reply(&mut self) -> Reply {
        match self.next(PATIENCE) {
            Input::Reply(reply) => reply,
            Input::Silence => {
                panic!("no reply within {PATIENCE:?}, only \"{}\"", self.input.escape_ascii())
            }
            Input::Closed(rest) => {
                panic!("closed instead of a reply, after \"{}\"", rest.escape_ascii())
            }
        }
    }

    /// Sends one command line (its CRLF is added) and reads the reply.
    pub(crate) fn ask(&mut self, line: impl AsRef<[u8]>) -> Reply {
        let mut bytes = line.as_ref().to_vec();
        bytes.extend_from_slice(b"\r\n");
        self.send(bytes);
        self.reply()
    }

    /// Asserts that the next replies are exactly these bytes.
    pub(crate) fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let want = bytes.as_ref();
        let mut got = Vec::new();
        while got.len() < want.len() {
            got.extend_from_slice(self.reply().bytes());
        }
        assert_eq!(got.escape_ascii().to_string(), want.escape_ascii().to_string());
    }

    /// Asserts that the server closes the connection without another byte.
    pub(crate) fn expect_closed(&mut self) {
        let got = self.next(PATIENCE);
        assert_eq!(got, Input::Closed(Vec::new()), "the server closes");
    }

    /// Asserts that nothing has arrived here by the time that `witness`, another connection to the
    /// same server, has had two commands answered.
    ///
    /// Two, because a server may find both connections readable at once and take the witness first.
    pub(crate) fn expect_silence(&mut self, witness: &mut Self) {
        for _ in 0..2 {
            witness.ask("list-tube-used");
        }
        let got = self.next(Duration::ZERO);
        assert_eq!((got, &self.input[..]), (Input::Silence, &b""[..]), "silence");
    }

    /// The next reply, or the end of the connection, or silence after `patience`.
    pub(crate) fn next(&mut self, patience: Duration) -> Input {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(reply) = Reply::take(&mut self.input) {
                return Input::Reply(reply);
            }
            if self.closed {
                return Input::Closed(std::mem::take(&mut self.input));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.fill(left) {
                return Input::Silence;
            }
        }
    }

    /// The next `count` bytes, whatever they mean.
    ///
    /// # Panics
    ///
    /// If they do not come within [`PATIENCE`], or the server closes before.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.input.len() < count {
            assert!(!self.closed, "closed after {} of {count} bytes", self.input.len());
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(self.fill(left), "only {} of {count} bytes came", self.input.len());
        }
        let rest = self.input.split_off(count);
        std::mem::replace(&mut self.input, rest)
    }

    /// Sends a FIN and keeps reading.
    pub(crate) fn finish(&mut self) {
        let done = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        match done {
            // A server that has closed already leaves nothing to shut down.
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            done => done.expect("an open socket can be shut down"),
        }
    }

    /// Closes with a reset (on TCP) instead of a FIN: what is in flight is thrown away.
    pub(crate) fn reset(self) {
        if let Stream::Tcp(stream) = &self.stream {
            SockRef::from(stream)
                .set_linger(Some(Duration::ZERO))
                .expect("a TCP socket has a linger option");
        }
    }

    /// Reads what there is; false if nothing came within `patience`.
    fn fill(&mut self, patience: Duration) -> bool {
        // Zero would mean "for ever".
        let timeout = Some(patience.max(Duration::from_micros(1)));
        let mut buffer = [0; 16 * 1024];
        let got = match &mut self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(timeout).and_then(|()| stream.read(&mut buffer))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(timeout).and_then(|()| stream.read(&mut buffer))
            }
        };
        match got {
            Ok(0) => self.closed = true,
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => self.closed = true,
        }
        true
    }
}
