//! The source of connections.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// The source of connections, and what is done with each before the first request.
///
/// A TLS listener is an acceptor around another one (`Tls`, with the feature `tls`): its
/// [`Acceptor::accept`] calls the other one's, and its [`Acceptor::handshake`] wraps the stream.
pub trait Acceptor: Send + Sync + 'static {
    /// An accepted connection, before its handshake.
    type Accepted: Send + 'static;

    /// The stream that requests are read from and answers are written to. A flush must not complete
    /// before everything that was written has left this process.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection. The future must be cancel safe: no connection may be lost if
    /// it is dropped before it is ready.
    ///
    /// # Errors
    ///
    /// If it cannot accept a connection now. It is called again a moment later.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;

    /// The address of the client, for people. Requests have it as a [`Peer`](crate::Peer).
    fn peer(&self, _accepted: &Self::Accepted) -> Option<String> {
        None
    }

    /// Turns a connection into a stream. Runs concurrently with others, for at most
    /// [`Limits::head_time`](crate::Limits::head_time).
    ///
    /// # Errors
    ///
    /// If the handshake fails. The connection is closed then.
    fn handshake(
        &self,
        accepted: Self::Accepted,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Acceptor for TcpListener {
    type Accepted = TcpStream;
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // Answers are written in one piece, so waiting for more to send has no use.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn peer(&self, accepted: &TcpStream) -> Option<String> {
        accepted.peer_addr().ok().map(|address| address.to_string())
    }

    async fn handshake(&self, accepted: TcpStream) -> io::Result<TcpStream> {
        Ok(accepted)
    }
}

impl Acceptor for UnixListener {
    type Accepted = UnixStream;
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(Self::accept(self).await?.0)
    }

    fn peer(&self, _: &UnixStream) -> Option<String> {
        Some("unix".to_owned())
    }

    async fn handshake(&self, accepted: UnixStream) -> io::Result<UnixStream> {
        Ok(accepted)
    }
}
