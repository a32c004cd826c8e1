//! The listener of `--http`, as `jq-http` takes connections from it.
//!
//! Whoever is to find out who has taken all descriptors, and to close some of these connections, needs
//! one too. So some are kept back.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use jq_http::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::descriptors::{self, Descriptors};
use crate::server::{Listener, ListeningSocket};

/// For as many connections at a time as are enough for an operator and for Prometheus.
const KEPT: usize = 4;

/// The listener, registered with the runtime of the thread that serves it. The second part closes it, and
/// removes the file of a Unix socket, when it is dropped.
#[derive(Debug)]
pub(crate) enum HttpListener {
    Tcp(Sparing<TcpListener>, Listener),
    Unix(Sparing<UnixListener>, Listener),
}

impl HttpListener {
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener.socket() {
            ListeningSocket::Tcp(socket) => {
                Self::Tcp(Sparing::new(TcpListener::from_std(socket.try_clone()?)?), listener)
            }
            ListeningSocket::Unix(socket) => {
                Self::Unix(Sparing::new(UnixListener::from_std(socket.try_clone()?)?), listener)
            }
        })
    }
}

/// A listener that accepts connections also when there is no descriptor left, by those that it has kept
/// back.
#[derive(Debug)]
pub(crate) struct Sparing<L> {
    listener: L,
    kept: Arc<Descriptors>,
}

impl<L> Sparing<L> {
    fn new(listener: L) -> Self {
        Self { listener, kept: Descriptors::keep(KEPT) }
    }
}

impl<L> Acceptor for Sparing<L>
where
    L: Acceptor<Accepted = <L as Acceptor>::Stream>,
    L::Stream: Socket,
{
    type Accepted = Spared<L::Stream>;
    type Stream = Spared<L::Stream>;

    async fn accept(&self) -> io::Result<Self::Accepted> {
        loop {
            match self.listener.accept().await {
                // If a client of the queue is faster to take it, there is another one.
                Err(error) if descriptors::are_missing(&error) && self.kept.give_up() => {}
                accepted => {
                    let kept = Arc::clone(&self.kept);
                    return accepted.map(|it| Spared { socket: Some(it), kept });
                }
            }
        }
    }

    fn peer(&self, accepted: &Self::Accepted) -> Option<String> {
        self.listener.peer(accepted.socket.as_ref()?)
    }

    async fn handshake(&self, accepted: Self::Accepted) -> io::Result<Self::Stream> {
        Ok(accepted)
    }
}

/// A connected socket of any kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Takes it from the runtime.
    fn into_descriptor(self) -> io::Result<OwnedFd>;
}

impl Socket for TcpStream {
    fn into_descriptor(self) -> io::Result<OwnedFd> {
        self.into_std().map(OwnedFd::from)
    }
}

impl Socket for UnixStream {
    fn into_descriptor(self) -> io::Result<OwnedFd> {
        self.into_std().map(OwnedFd::from)
    }
}

/// A connection whose descriptor is kept back when it closes, if one is missing.
#[derive(Debug)]
pub(crate) struct Spared<S: Socket> {
    /// There until it is dropped.
    socket: Option<S>,
    kept: Arc<Descriptors>,
}

impl<S: Socket> Spared<S> {
    fn socket(&mut self) -> io::Result<Pin<&mut S>> {
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: Socket> Drop for Spared<S> {
    fn drop(&mut self) {
        if let Some(Ok(descriptor)) = self.socket.take().map(S::into_descriptor) {
            self.kept.close(descriptor);
        }
    }
}

impl<S: Socket> AsyncRead for Spared<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket()?.poll_read(cx, buf)
    }
}

impl<S: Socket> AsyncWrite for Spared<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}
