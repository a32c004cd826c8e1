//! Accepting connections, and recovering when the system runs out of resources.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::memory;
use crate::server::accepted::{Accepted, Stream};
use crate::server::hub::Hub;
use crate::server::listener::{Listener, ListeningSocket};
use crate::server::workers::Workers;

/// The wait before another attempt when the system is out of descriptors or memory. It ends early
/// when one of our connections closes; the time is for descriptors that another process frees.
const RETRY: Duration = Duration::from_millis(500);

/// The shortage is over when there was none for this long. So a crowd of clients that comes and
/// goes at the limit is logged once, not for each connection.
const CALM: Duration = Duration::from_secs(3);

/// What a connection is told that is one too many; see `crowd.rs`.
const REFUSAL: &[u8] = b"OUT_OF_MEMORY\r\n";

/// A listening socket registered with tokio. Its [`Listener`] closes it when dropped.
enum Source {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Source {
    fn new(socket: &ListeningSocket) -> io::Result<Self> {
        Ok(match socket {
            ListeningSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket.try_clone()?)?),
            ListeningSocket::Unix(socket) => {
                Self::Unix(UnixListener::from_std(socket.try_clone()?)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// When there are too many connections, so many turns of all others come before one is refused: those whose
/// clients have closed them are closed first.
const TURNS: u32 = 4;

/// Accepts connections until dropped. Fails only if the socket cannot be registered with tokio.
pub(crate) async fn accept_all(
    listener: &Listener,
    hub: &Hub,
    workers: &Workers,
) -> io::Result<()> {
    let source = Source::new(listener.socket())?;
    let mut exhausted_at: Option<Instant> = None;
    loop {
        // Registered before the attempt, so that a close in between is not missed.
        let closed = hub.connection_closed.notified();
        let accepted = match exhausted_at {
            None => source.accept().await,
            Some(at) => match timeout_at(at + CALM, source.accept()).await {
                Ok(accepted) => accepted,
                Err(_) => {
                    info!("accepting connections again");
                    exhausted_at = None;
                    continue;
                }
            },
        };
        match accepted.and_then(admit) {
            Ok(stream) => {
                let mut turns = 0..TURNS;
                while hub.crowd().is_full(workers.connections()) && turns.next().is_some() {
                    yield_now().await;
                }
                if hub.crowd().is_full(workers.connections()) {
                    refuse(stream);
                    hub.crowd().refused(hub.clock().now());
                } else {
                    let mut origin = listener.origin().clone();
                    if hub.access_control().is_some() {
                        origin = origin.with_peer(&stream);
                    }
                    workers.serve(Accepted { stream, origin });
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if exhausted_at.replace(Instant::now()).is_none() {
                    warn!(%error, connections = hub.connections(), "cannot accept connections; retrying");
                }
                let _ = timeout(RETRY, closed).await;
            }
        }
    }
}

/// Closes the connection if there is no memory for what it would need.
fn admit(stream: Stream) -> io::Result<Stream> {
    if memory::has_room_for_little() { Ok(stream) } else { Err(io::ErrorKind::OutOfMemory.into()) }
}

/// Tells the client that there are as many connections as there may be, and closes its own.
fn refuse(stream: Stream) {
    // A new socket has room for a line. If not, the client is told by the end alone.
    let _ = match &stream {
        Stream::Tcp(stream) => stream.try_write(REFUSAL),
        Stream::Unix(stream) => stream.try_write(REFUSAL),
    };
}

/// The client gave up before its connection was accepted: accept(2) reports that here.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
