//! Sockets that accept connections: opened here, or passed in by the service manager.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tracing::{info, warn};

use crate::config::Listen;

/// Connections that the kernel holds until they are accepted. It takes no more than
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A client that has vanished (its machine lost power, a firewall forgot the connection) is found
/// out after about two minutes: silence for the first time, then so many probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// A socket that has an address, and does not accept connections yet; unless the service manager
/// has had it do so.
#[derive(Debug)]
pub struct Bound {
    /// For people.
    what: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(Socket),
    Unix(Socket, PathBuf),
    Inherited(Listener),
}

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// Of TCP.
    Tcp(StdTcpListener),
    /// In the file system. The path is set if the socket is ours to remove.
    Unix(StdUnixListener, Option<PathBuf>),
}

/// An address cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    what: String,
    error: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.what, self.error)
    }
}

impl std::error::Error for ListenError {}

impl Bound {
    /// Binds the sockets of a server: those that systemd passed or else the one that is configured.
    pub fn open(listen: &Listen) -> Result<Vec<Self>, ListenError> {
        let failed = |what: &str, error| ListenError { what: what.to_owned(), error };
        let inherited =
            Listener::inherited().map_err(|error| failed("an inherited socket", error))?;
        if !inherited.is_empty() {
            let bound = |listener: Listener| Self {
                what: listener.address(),
                kind: Kind::Inherited(listener),
            };
            return Ok(inherited.into_iter().map(bound).collect());
        }
        let what = listen.to_string();
        let kind = match listen {
            Listen::Tcp(host, port) => Self::bind_tcp(host, *port).map(Kind::Tcp),
            Listen::Unix(path) => {
                Self::bind_unix(path).map(|socket| Kind::Unix(socket, path.clone()))
            }
        };
        let kind = kind.map_err(|error| failed(&what, error))?;
        Ok(vec![Self { what, kind }])
    }

    /// Accepts connections from here on.
    pub fn listen(self) -> Result<Listener, ListenError> {
        let Self { what, kind } = self;
        let listen = |socket: &Socket| -> io::Result<()> {
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)
        };
        let listening = match kind {
            Kind::Tcp(socket) => listen(&socket).map(|()| Listener::Tcp(socket.into())),
            Kind::Unix(socket, path) => {
                listen(&socket).map(|()| Listener::Unix(socket.into(), Some(path)))
            }
            Kind::Inherited(listener) => Ok(listener),
        };
        listening.map_err(|error| ListenError { what, error })
    }

    fn bind_tcp(host: &str, port: u16) -> io::Result<Socket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs()? {
            match bind_address(address) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A socket that an earlier server left behind is replaced; one that is in use, or a file of
    /// another kind, is not.
    fn bind_unix(path: &Path) -> io::Result<Socket> {
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                let message = "the path exists and is not a socket";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            if StdUnixStream::connect(path).is_ok() {
                return Err(io::Error::from(io::ErrorKind::AddrInUse));
            }
            warn!(path = %path.display(), "replacing a socket that nobody listens on");
            fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        Ok(socket)
    }
}

impl Listener {
    /// Where it listens, for people.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "tcp".into(), |address| address.to_string())
            }
            Self::Unix(listener, _) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(|| "unix".into(), |path| format!("unix:{}", path.display()))
            }
        }
    }

    /// The sockets of `LISTEN_FDS` (systemd's sd_listen_fds(3)).
    fn inherited() -> io::Result<Vec<Self>> {
        let mut fds = listenfd::ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..fds.len() {
            // A socket of the other kind is put back by the first attempt.
            if let Ok(Some(listener)) = fds.take_tcp_listener(index) {
                prepare_tcp(&SockRef::from(&listener))?;
                listener.set_nonblocking(true)?;
                listeners.push(Self::Tcp(listener));
            } else if let Some(listener) = fds.take_unix_listener(index)? {
                listener.set_nonblocking(true)?;
                listeners.push(Self::Unix(listener, None));
            }
        }
        if !listeners.is_empty() {
            info!(sockets = listeners.len(), "listening on sockets of the service manager");
        }
        Ok(listeners)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, Some(path)) = self {
            // Another server may have replaced it; then there is nothing to do about an error.
            let _ = fs::remove_file(path);
        }
    }
}

fn bind_address(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    prepare_tcp(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Options that accepted connections inherit on Linux, so that none costs a call for each.
fn prepare_tcp(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}
