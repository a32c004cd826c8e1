//! A socket that the test holds in its hands: what there is to read, and how much may be written.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::socket::Socket;

/// Clones are the same socket. Wakes nobody: the test polls when it has changed something.
#[derive(Clone)]
pub(super) struct Below(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) to_read: VecDeque<u8>,
    /// Bytes that are read at a time.
    pub(super) at_once: usize,
    /// The peer is gone: nothing can be written.
    pub(super) is_reset: bool,
    /// Bytes that are taken before nothing more is.
    pub(super) room: usize,
    pub(super) written: Vec<u8>,
}

impl Default for Below {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            to_read: VecDeque::new(),
            at_once: 100,
            is_reset: false,
            room: 0,
            written: Vec::new(),
        })))
    }
}

impl Below {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl AsyncRead for Below {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 16 * 1024];
        let most = buffer.remaining().min(bytes.len()).min(self.state().at_once);
        match self.read_now(&mut bytes[..most]) {
            Ok(count) => {
                buffer.put_slice(&bytes[..count]);
                Poll::Ready(Ok(()))
            }
            Err(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for Below {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        if state.is_reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(state.room);
        if count == 0 {
            return Poll::Pending;
        }
        state.room -= count;
        state.written.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Socket for Below {
    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.to_read.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(state.to_read.len());
        for (to, from) in buffer.iter_mut().zip(state.to_read.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn poll_read_event(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state().to_read.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn hung_up(&mut self) -> bool {
        false
    }

    fn has_failed(&self) -> bool {
        false
    }

    fn peer(&self) -> String {
        "the test".to_owned()
    }

    fn needs_flush(&self) -> bool {
        false
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
