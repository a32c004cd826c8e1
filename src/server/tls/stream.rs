//! A socket with TLS over another one.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::session::{MAX_RAW, Sealed, Session};
use crate::server::socket::Socket;

/// The most bytes that are read from the socket below at a time.
const READ_SIZE: usize = 64 * 1024;

/// Read from it at a time when it is only to be found out whether the client has hung up, or during a
/// handshake: what is deciphered then has to be kept.
const LITTLE: usize = 4 * 1024;

/// Deciphered bytes that are held to find the end behind them.
const READ_AHEAD: usize = 4 * 1024;

/// The most bytes that are enciphered for one write. If the client does not read, so many are held.
const WRITE_SIZE: usize = 64 * 1024;

/// What a thread needs to serve TLS, shared by all of its connections.
struct Scratch {
    /// What was kept, and what is read behind it.
    input: Box<[u8]>,
    /// Data of several pieces, to be enciphered as one.
    data: Vec<u8>,
    sealed: Sealed,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; MAX_RAW + READ_SIZE].into_boxed_slice(),
        data: Vec::with_capacity(WRITE_SIZE),
        sealed: Sealed::default(),
    });
}

/// The server's end of TLS over the socket `S`.
#[derive(Debug)]
pub(crate) struct TlsSocket<S> {
    below: S,
    /// Boxed, since it moves from thread to thread.
    session: Box<Session>,
    /// Enciphered bytes that the socket below did not take, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// Why nothing more can be read, if data came before that.
    failure: Option<io::Error>,
}

impl<S: Socket> TlsSocket<S> {
    /// Before its handshake.
    pub(crate) fn new(below: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self::resume(below, Box::new(Session::new(config)?)))
    }

    /// With the handshake behind it.
    pub(crate) fn resume(below: S, session: Box<Session>) -> Self {
        Self { below, session, unsent: Vec::new(), sent: 0, failure: None }
    }

    /// The server's side of the handshake.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_drain(cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.session.has_ended() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let nothing = &mut ReadBuf::new(&mut []);
            ready!(self.fill(nothing, LITTLE, |below, buffer| poll_read(below, cx, buffer)))?;
        }
    }

    /// The parts, to be moved to another thread. Nothing may be unsent.
    pub(crate) fn into_parts(self) -> (S, Box<Session>) {
        (self.below, self.session)
    }

    pub(crate) fn below(&self) -> &S {
        &self.below
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Reads from below once, and deciphers what came.
    fn fill(
        &mut self,
        room: &mut ReadBuf<'_>,
        most: usize,
        read: impl FnOnce(&mut S, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        // Replies have failed: nobody waits for the client to say more.
        if self.session.has_failed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        SCRATCH.with_borrow_mut(|Scratch { input, sealed, .. }| {
            let kept = self.session.begin(input);
            let count = ready!(read(&mut self.below, &mut input[kept..kept + most]))?;
            sealed.clear();
            let before = room.filled().len();
            let taken = self.session.take(&mut input[..kept + count], count == 0, room, sealed);
            if !sealed.filled().is_empty() {
                self.unsent.extend_from_slice(sealed.filled());
                // Nobody may come back to it after a failure.
                let _ = self.poll_drain(&mut Context::from_waker(Waker::noop()));
            }
            match taken {
                // Data that came before the failure counts.
                Err(failure) if room.filled().len() > before || self.session.ahead() > 0 => {
                    self.failure = Some(failure);
                    Poll::Ready(Ok(()))
                }
                taken => Poll::Ready(taken),
            }
        })
    }

    /// Has the socket below take what it has not taken yet.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let rest = &self.unsent[self.sent..];
            let count = ready!(Pin::new(&mut self.below).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        if self.sent > 0 {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Enciphers this and writes as much as the socket below takes at once. Nothing may be unsent before.
    fn write(&mut self, cx: &mut Context<'_>, data: &[u8], sealed: &mut Sealed) -> io::Result<()> {
        sealed.clear();
        let said = self.session.seal(data, sealed);
        let sealed = sealed.filled();
        if said.is_err() && sealed.is_empty() {
            return said;
        }
        let count = match Pin::new(&mut self.below).poll_write(cx, sealed) {
            Poll::Ready(count) => count?,
            Poll::Pending => 0,
        };
        self.unsent.extend_from_slice(&sealed[count..]);
        said
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|Scratch { sealed, .. }| {
            sealed.clear();
            self.session.seal_end(sealed)?;
            self.unsent.extend_from_slice(sealed.filled());
            io::Result::Ok(())
        })?;
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.below).poll_flush(cx)
    }
}

impl TlsSocket<TcpStream> {
    /// Says this and the end, as far as there is room for it, regardless of whether tokio knows that.
    pub(crate) fn say_last(&mut self, data: &[u8]) {
        SCRATCH.with_borrow_mut(|Scratch { sealed, .. }| {
            sealed.clear();
            let said = self.session.seal(data, sealed).and_then(|()| self.session.seal_end(sealed));
            if said.is_ok() {
                // Whoever is gone need not be told.
                let _ = SockRef::from(&self.below).send(sealed.filled());
            }
        });
    }
}

fn poll_read<S: Socket>(
    below: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(below).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// How much to read so that what is deciphered fits into the room, unless that is too little to be worth it.
fn fitting(room: &ReadBuf<'_>) -> usize {
    room.remaining().saturating_sub(MAX_RAW).clamp(LITTLE, READ_SIZE)
}

impl<S: Socket> AsyncRead for TlsSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = room.filled().len();
        while !this.session.give(room) && room.filled().len() == before && !this.has_ended() {
            let most = fitting(room);
            ready!(this.fill(room, most, |below, buffer| poll_read(below, cx, buffer)))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for TlsSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let bytes = &bytes[..bytes.len().min(WRITE_SIZE)];
        SCRATCH.with_borrow_mut(|scratch| this.write(cx, bytes, &mut scratch.sealed))?;
        Poll::Ready(Ok(bytes.len()))
    }

    /// As many records as it takes for all of it, rather than one for each piece.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        SCRATCH.with_borrow_mut(|Scratch { data, sealed, .. }| {
            data.clear();
            for slice in slices {
                let count = slice.len().min(WRITE_SIZE - data.len());
                data.extend_from_slice(&slice[..count]);
            }
            this.write(cx, data, sealed)?;
            Poll::Ready(Ok(data.len()))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.below).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_end(cx))?;
        Pin::new(&mut this.below).poll_shutdown(cx)
    }
}

impl<S> TlsSocket<S> {
    /// Whether the client has said the end, and all that it said before is taken or known.
    fn has_ended(&self) -> bool {
        self.session.has_ended() && self.failure.is_none()
    }
}

impl<S: Socket> Socket for TlsSocket<S> {
    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut room = ReadBuf::new(buffer);
        while !self.session.give(&mut room) && room.filled().is_empty() && !self.has_ended() {
            let most = fitting(&room);
            let read = |below: &mut S, buffer: &mut [u8]| Poll::Ready(below.read_now(buffer));
            if let Poll::Ready(filled) = self.fill(&mut room, most, read) {
                filled?;
            }
        }
        Ok(room.filled().len())
    }

    fn poll_read_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end, or a failure, may have come with the last bytes that were read; no event follows it.
        if self.session.has_ended() || self.failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.below.poll_read_event(cx)
    }

    fn hung_up(&mut self) -> bool {
        // Before the reading, or an event after it would be forgotten.
        if self.below.hung_up() {
            return true;
        }
        while self.session.ahead() < READ_AHEAD
            && !self.session.has_ended()
            && self.failure.is_none()
        {
            let read = |below: &mut S, buffer: &mut [u8]| Poll::Ready(below.read_now(buffer));
            match self.fill(&mut ReadBuf::new(&mut []), LITTLE, read) {
                Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    self.failure = Some(error);
                }
                Poll::Ready(Ok(())) => {}
                _ => return false,
            }
        }
        self.session.has_ended() || self.failure.is_some()
    }

    fn has_failed(&self) -> bool {
        self.failure.is_some() || self.below.has_failed()
    }

    fn peer(&self) -> String {
        self.below.peer()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.below.descriptor()
    }

    fn needs_flush(&self) -> bool {
        self.sent < self.unsent.len() || self.below.needs_flush()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        self.below.poll_close(cx)
    }
}
