//! Where connections come from.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Where connections come from, and what is done with each before the first request.
///
/// A listener that speaks TLS is an acceptor around another one: its [`Acceptor::accept`] is the other
/// one's, its [`Acceptor::handshake`] wraps the stream.
pub trait Acceptor: Send + Sync + 'static {
    /// What has been accepted.
    type Accepted: Send + 'static;

    /// What requests are read from and answers written to. A flush must not be over before all that
    /// was written has left this process.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. May be dropped before it is ready, and must not lose a connection then.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from accepting now. It is asked again a moment later.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;

    /// Makes a stream of a connection. Runs beside others, for at most
    /// [`Limits::head_time`](crate::Limits::head_time).
    ///
    /// # Errors
    ///
    /// What is wrong with this connection. It is closed then.
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
        // Answers are written whole, so there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        Ok(stream)
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

    async fn handshake(&self, accepted: UnixStream) -> io::Result<UnixStream> {
        Ok(accepted)
    }
}
