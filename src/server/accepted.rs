//! A client's socket between the listener that accepted it and the thread that serves it.

use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::net::{TcpStream, UnixStream};

use crate::config::Service;

/// A client's socket registered with this thread's runtime, and the service of its listener.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) service: Service,
}

/// A socket of any kind that a listener accepts.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same socket, not registered with any runtime, to be moved to another thread.
#[derive(Debug)]
pub(crate) struct Detached {
    stream: DetachedStream,
    service: Service,
}

#[derive(Debug)]
enum DetachedStream {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

impl Accepted {
    /// Deregisters the socket from this thread's runtime.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        let stream = match self.stream {
            Stream::Tcp(stream) => DetachedStream::Tcp(stream.into_std()?),
            Stream::Unix(stream) => DetachedStream::Unix(stream.into_std()?),
        };
        Ok(Detached { stream, service: self.service })
    }
}

impl Detached {
    /// Registers the socket with this thread's runtime.
    pub(crate) fn attach(self) -> io::Result<Accepted> {
        let stream = match self.stream {
            DetachedStream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            DetachedStream::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        };
        Ok(Accepted { stream, service: self.service })
    }
}
