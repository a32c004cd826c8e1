//! Listening sockets: opened here, or passed in by the service manager.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Group;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tracing::{info, warn};

use crate::config::{ListenAddress, ListenerConfig, Service, SocketFileAccess};
use crate::server::accepted::Origin;

/// Maximum number of connections that the kernel queues until they are accepted. The kernel limits
/// it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A client that has vanished (its machine lost power, a firewall dropped the connection) is
/// detected after about two minutes: this long without traffic, then this many probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// A socket that has an address but does not accept connections yet, unless the service manager
/// made it listen.
#[derive(Debug)]
pub struct Bound {
    /// The address, for people.
    what: String,
    kind: Kind,
    origin: Origin,
}

#[derive(Debug)]
enum Kind {
    Tcp(Socket),
    Unix(Socket, SocketFile),
    Inherited(ListeningSocket),
}

/// A listening socket, and what its connections are for.
#[derive(Debug)]
pub struct Listener {
    /// The file of a Unix socket that we have to remove. It is removed before the socket is closed,
    /// so that a file that exists belongs to a socket in use.
    _file: Option<SocketFile>,
    socket: ListeningSocket,
    origin: Origin,
}

/// A listening socket of any kind.
#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// The file of a Unix socket that we have bound. Dropping this removes it.
#[derive(Debug)]
struct SocketFile(PathBuf);

/// The server cannot listen on an address.
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
    /// Binds the sockets of a server: those that systemd passed, for the protocol, or otherwise the
    /// configured ones. There may be several of a kind. Binds all or none.
    pub fn open(configured: &[ListenerConfig]) -> Result<Vec<Self>, ListenError> {
        let failed = |what: &str, error| ListenError { what: what.to_owned(), error };
        let inherited =
            ListeningSocket::inherited().map_err(|error| failed("an inherited socket", error))?;
        if !inherited.is_empty() {
            if configured.iter().any(|listener| listener.tls.is_some()) {
                warn!(
                    "--listen tls:// is ignored: the sockets from the service manager are served"
                );
            }
            let bound = |socket: ListeningSocket| Self {
                what: socket.address(),
                kind: Kind::Inherited(socket),
                origin: Origin::plain(Service::Protocol),
            };
            return Ok(inherited.into_iter().map(bound).collect());
        }
        let mut bound = Vec::new();
        for listener in configured {
            let next = Self::bind(listener, &bound)?;
            bound.push(next);
        }
        Ok(bound)
    }

    /// Binds the socket of `--http`. The others must be bound already.
    pub fn open_http(address: &ListenAddress, others: &[Self]) -> Result<Self, ListenError> {
        Self::bind(&ListenerConfig::plain(address.clone(), Service::Http), others)
    }

    fn bind(listener: &ListenerConfig, others: &[Self]) -> Result<Self, ListenError> {
        let ListenerConfig { address, file, .. } = listener;
        let what = address.to_string();
        let kind = match address {
            ListenAddress::Tcp(host, port) => bind_tcp(host, *port).map(Kind::Tcp),
            ListenAddress::Unix(path) => {
                bind_unix(path, file, others).map(|(socket, file)| Kind::Unix(socket, file))
            }
        };
        match kind {
            Ok(kind) => Ok(Self { what, kind, origin: Origin::of(listener) }),
            Err(error) => Err(ListenError { what, error }),
        }
    }

    /// Whether only this machine can reach it: a loopback address, or a Unix socket.
    pub fn is_local(&self) -> bool {
        match &self.kind {
            Kind::Unix(..) | Kind::Inherited(ListeningSocket::Unix(_)) => true,
            Kind::Tcp(_) | Kind::Inherited(ListeningSocket::Tcp(_)) => {
                self.tcp_address().is_some_and(|address| address.ip().to_canonical().is_loopback())
            }
        }
    }

    /// The address of a TCP socket, with the actual port if the configured one was 0; `None` for a
    /// Unix socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(socket) => socket.local_addr().ok()?.as_socket(),
            Kind::Inherited(ListeningSocket::Tcp(socket)) => socket.local_addr().ok(),
            Kind::Unix(..) | Kind::Inherited(ListeningSocket::Unix(_)) => None,
        }
    }

    /// Makes the socket listen: it accepts connections from here on.
    pub fn listen(self) -> Result<Listener, ListenError> {
        let Self { what, kind, origin } = self;
        let listen = |socket: &Socket| -> io::Result<()> {
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)
        };
        let listening = match kind {
            Kind::Tcp(socket) => {
                listen(&socket).map(|()| (ListeningSocket::Tcp(socket.into()), None))
            }
            Kind::Unix(socket, file) => {
                listen(&socket).map(|()| (ListeningSocket::Unix(socket.into()), Some(file)))
            }
            Kind::Inherited(socket) => Ok((socket, None)),
        };
        match listening {
            Ok((socket, file)) => Ok(Listener { _file: file, socket, origin }),
            Err(error) => Err(ListenError { what, error }),
        }
    }

    /// Whether the file `found` is this Unix socket. Connecting could not tell, because the socket
    /// does not listen yet.
    fn is_at(&self, found: &Metadata) -> bool {
        let Kind::Unix(_, SocketFile(path)) = &self.kind else { return false };
        let identity = |file: &Metadata| (file.dev(), file.ino());
        fs::symlink_metadata(path).is_ok_and(|own| identity(&own) == identity(found))
    }
}

impl Listener {
    /// The address, for people.
    pub fn address(&self) -> String {
        self.socket.address()
    }

    /// What its connections are for.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn socket(&self) -> &ListeningSocket {
        &self.socket
    }
}

impl ListeningSocket {
    fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "tcp".into(), |address| address.to_string())
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(|| "unix".into(), |path| format!("unix:{}", path.display()))
            }
        }
    }

    /// The sockets of `LISTEN_FDS` (systemd's sd_listen_fds(3)).
    fn inherited() -> io::Result<Vec<Self>> {
        let mut fds = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..fds.len() {
            // If the socket is of the other kind, the first attempt puts it back.
            if let Ok(Some(listener)) = fds.take_tcp_listener(index) {
                prepare_tcp(&SockRef::from(&listener))?;
                listener.set_nonblocking(true)?;
                sockets.push(Self::Tcp(listener));
            } else if let Some(listener) = fds.take_unix_listener(index)? {
                listener.set_nonblocking(true)?;
                sockets.push(Self::Unix(listener));
            }
        }
        if !sockets.is_empty() {
            info!(sockets = sockets.len(), "listening on sockets from the service manager");
        }
        Ok(sockets)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it fails, another server may have removed the file: nothing can be done about that.
        let _ = fs::remove_file(&self.0);
    }
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

/// Replaces a socket that an earlier server left behind, but not one in use or a file of another
/// kind.
fn bind_unix(
    path: &Path,
    access: &SocketFileAccess,
    bound: &[Bound],
) -> io::Result<(Socket, SocketFile)> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            let message = "the path exists and is not a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        if bound.iter().any(|bound| bound.is_at(&found)) || StdUnixStream::connect(path).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        warn!(path = %path.display(), "replacing an unused socket");
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_owned());
    set_access(path, access)?;
    Ok((socket, file))
}

/// Sets who may connect. The socket does not listen yet, so nobody was faster.
fn set_access(path: &Path, access: &SocketFileAccess) -> io::Result<()> {
    if let Some(name) = &access.group {
        let group = Group::from_name(name)?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no group \"{name}\""))
        })?;
        std::os::unix::fs::chown(path, None, Some(group.gid.as_raw()))?;
    }
    if let Some(mode) = access.mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn bind_address(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    prepare_tcp(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Sets options that accepted connections inherit on Linux, so that they cost no call for each
/// connection.
fn prepare_tcp(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}
