//! A client's socket between the listener that accepted it and the thread that serves it.

use std::io;
use std::net::IpAddr;
use std::net::TcpStream as StdTcpStream;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use crate::config::{ListenTls, ListenerConfig, Service};
use crate::server::tls::{Session, TlsSocket};

/// What is known of a connection by its listener.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// What it is for.
    pub(crate) service: Service,
    /// Whether and how it is encrypted.
    pub(crate) tls: Option<ListenTls>,
    /// The principal that it acts for, if it does not say another.
    pub(crate) acts_as: Option<Arc<str>>,
    /// The names in the certificate that the client has shown, which is verified: `CN=site`,
    /// `DNS:site.example`, `URI:spiffe://x/site`, `IP:10.0.0.7` or `EMAIL:site@example`.
    pub(crate) certificate_names: Vec<String>,
    /// The address of the client, if it has one and somebody wants to know.
    pub(crate) address: Option<IpAddr>,
    /// The user at the other end of a Unix socket, likewise.
    pub(crate) uid: Option<u32>,
}

impl Origin {
    /// For this service, with nothing else known.
    pub(crate) fn plain(service: Service) -> Self {
        Self {
            service,
            tls: None,
            acts_as: None,
            certificate_names: Vec::new(),
            address: None,
            uid: None,
        }
    }

    /// The same, with what the kernel says of the client.
    pub(crate) fn with_peer(mut self, stream: &Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => self.address = stream.peer_addr().ok().map(|peer| peer.ip()),
            Stream::Tls(socket) => {
                self.address = socket.below().peer_addr().ok().map(|peer| peer.ip());
            }
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
    /// With the handshake behind it.
    Tls(TlsSocket<TcpStream>),
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
    Tls(StdTcpStream, Box<Session>),
}

impl Accepted {
    /// Deregisters the socket from this thread's runtime.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        let stream = match self.stream {
            Stream::Tcp(stream) => DetachedStream::Tcp(stream.into_std()?),
            Stream::Unix(stream) => DetachedStream::Unix(stream.into_std()?),
            Stream::Tls(socket) => {
                let (stream, session) = socket.into_parts();
                DetachedStream::Tls(stream.into_std()?, session)
            }
        };
        Ok(Detached { stream, origin: self.origin })
    }
}

impl Detached {
    /// A socket of TLS whose handshake was done on this thread.
    pub(crate) fn tls(
        stream: TcpStream,
        session: Box<Session>,
        origin: Origin,
    ) -> io::Result<Self> {
        Ok(Self { stream: DetachedStream::Tls(stream.into_std()?, session), origin })
    }

    /// Registers the socket with this thread's runtime.
    pub(crate) fn attach(self) -> io::Result<Accepted> {
        let stream = match self.stream {
            DetachedStream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            DetachedStream::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
            DetachedStream::Tls(stream, session) => {
                Stream::Tls(TlsSocket::resume(TcpStream::from_std(stream)?, session))
            }
        };
        Ok(Accepted { stream, origin: self.origin })
    }
}
