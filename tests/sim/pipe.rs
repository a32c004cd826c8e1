//! A socket in memory, whose other end is a simulated client.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use jq_server::server::socket::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both ends; clones are the same socket. It wakes nobody: whoever has changed something polls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipe(Arc<Mutex<Ends>>);

#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// What the client has sent.
    pub(crate) sent: VecDeque<u8>,
    /// It sends no more.
    pub(crate) finished: bool,
    /// It is gone, and takes nothing any more.
    pub(crate) reset: bool,
    /// Bytes of replies that there is room for.
    pub(crate) room: usize,
    /// Replies that have left the server.
    pub(crate) received: Vec<u8>,
}

impl Pipe {
    pub(crate) fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.read_now(buffer.initialize_unfilled()) {
            Ok(count) => {
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.ends();
        if ends.reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(ends.room);
        if count == 0 {
            return Poll::Pending;
        }
        ends.room -= count;
        ends.received.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Socket for Pipe {
    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.ends();
        if ends.sent.is_empty() {
            return match (ends.reset, ends.finished) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(0),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let count = buffer.len().min(ends.sent.len());
        for (to, from) in buffer.iter_mut().zip(ends.sent.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn poll_read_event(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ends = self.ends();
        let quiet = ends.sent.is_empty() && !ends.finished && !ends.reset;
        if quiet { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn hung_up(&mut self) -> bool {
        let ends = self.ends();
        ends.finished || ends.reset
    }

    fn has_failed(&self) -> bool {
        self.ends().reset
    }

    fn peer(&self) -> String {
        "a simulated client".into()
    }

    fn needs_flush(&self) -> bool {
        false
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
