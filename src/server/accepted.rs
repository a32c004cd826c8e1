//! A client's socket between the listener that accepted it and the thread that serves it.

use std::io;
use std::net::IpAddr;
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
    /// The address of the client, if it has one and somebody wants to know.
    pub(crate) address: Option<IpAddr>,
    /// The user at the other end of a Unix socket, likewise.
    pub(crate) uid: Option<u32>,
}

impl Origin {
    /// For this service, with nothing else known.
    pub(crate) fn plain(service: Service) -> Self {
        Self { service, tls: None, acts_as: None, address: None, uid: None }
    }

    /// The same, with what the kernel says of the client.
    pub(crate) fn with_peer(mut self, stream: &Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => self.address = stream.peer_addr().ok().map(|peer| peer.ip()),
            Stream::Unix(stream) => self.uid = stream.peer_cred().ok().map(|peer| peer.uid()),
        }
        self
    }

    /// What this listener's connections are for.
    pub(crate) fn of(listener: &ListenerConfig) -> Self {
        let ListenerConfig { service, tls, acts_as, .. } = listener;
        Self { tls: *tls, acts_as: acts_as.clone(), ..Self::plain(*service) }
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
