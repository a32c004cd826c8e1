//! A client's socket between the listener that accepted it and the thread that serves it.

use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use crate::config::{ListenTls, ListenerConfig, Service};

/// What is known of a connection by its listener.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// What it is for.
    pub(crate) service: Service,
    /// Whether and how it is encrypted.
    pub(crate) tls: Option<ListenTls>,
    /// The principal that it acts for, if it does not say another.
    pub(crate) acts_as: Option<Arc<str>>,
}

impl Origin {
    /// For this service, with nothing else known.
    pub(crate) fn plain(service: Service) -> Self {
        Self { service, tls: None, acts_as: None }
    }

    /// What this listener's connections are for.
    pub(crate) fn of(listener: &ListenerConfig) -> Self {
        let ListenerConfig { service, tls, acts_as, .. } = listener;
        Self { service: *service, tls: *tls, acts_as: acts_as.clone() }
    }
}

/// A client's socket registered with this thread's runtime, and where it comes from.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) origin: Origin,
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
    origin: Origin,
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
        Ok(Detached { stream, origin: self.origin })
    }
}

impl Detached {
    /// Registers the socket with this thread's runtime.
    pub(crate) fn attach(self) -> io::Result<Accepted> {
        let stream = match self.stream {
            DetachedStream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            DetachedStream::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        };
        Ok(Accepted { stream, origin: self.origin })
    }
}
