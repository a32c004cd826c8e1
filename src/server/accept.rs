//! Accepting connections, and recovering when the system runs out of resources.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use crate::descriptors;
use crate::memory;
use crate::server::accepted::{Accepted, Origin, Stream};
use crate::server::entrance::Ways;
use crate::server::hub::Hub;
use crate::server::listener::{Listener, ListeningSocket};

/// The wait before another attempt when the system is out of descriptors or memory. It ends early
/// when one of our connections closes; the time is for descriptors that another process frees.
const RETRY: Duration = Duration::from_millis(500);

/// The shortage is over when there was none for this long. So a crowd of clients that comes and
/// goes at the limit is logged once, not for each connection.
const CALM: Duration = Duration::from_secs(3);

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

/// What becomes of accepted connections.
pub(crate) trait Taking {
    /// Takes one. Nothing else is accepted before that is done.
    async fn take(&self, stream: Stream, origin: Origin);

    /// Ends one that is not served yet, because there is no descriptor left. Returns whether there was one.
    fn make_room(&self) -> bool;

    /// Whether those who come to other listeners have the next descriptor, if there is only one.
    fn is_last(&self) -> bool;
}

/// Leads them to the entrance.
#[derive(Debug)]
pub(crate) struct ToEntrance<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) ways: &'a Ways,
}

impl Taking for ToEntrance<'_> {
    async fn take(&self, stream: Stream, origin: Origin) {
        // It is there as long as anything is accepted.
        let _ = self.ways.here.send(Accepted { stream, origin }).await;
    }

    fn make_room(&self) -> bool {
        self.hub.handshakes().is_some_and(|handshakes| handshakes.give_way())
    }

    fn is_last(&self) -> bool {
        false
    }
}

/// Accepts connections until dropped. Fails only if the socket cannot be registered with tokio.
pub(crate) async fn accept_all(
    listener: &Listener,
    hub: &Hub,
    taking: &impl Taking,
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
            Ok(stream) => taking.take(stream, listener.origin().clone()).await,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // Its descriptor is free when its task has had a turn, which is waited for below.
                if descriptors::are_missing(&error) {
                    taking.make_room();
                }
                if exhausted_at.replace(Instant::now()).is_none() {
                    warn!(%error, connections = hub.connections(), "cannot accept connections; retrying");
                }
                if taking.is_last() {
                    sleep(RETRY).await;
                } else {
                    let _ = timeout(RETRY, closed).await;
                }
            }
        }
    }
}

/// Closes the connection if there is no memory for what it would need.
fn admit(stream: Stream) -> io::Result<Stream> {
    if memory::has_room_for_little() { Ok(stream) } else { Err(io::ErrorKind::OutOfMemory.into()) }
}

/// The client gave up before its connection was accepted: accept(2) reports that here.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
