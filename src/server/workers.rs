//! The threads that serve connections.
//!
//! Each thread has a runtime of its own, and a connection stays on the thread that it is assigned
//! to: its reads, batches and writes share nothing with other threads but the queue and its lock.
//! The main thread is the first of them. With one thread, no connection moves between threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tracing::warn;

use crate::config::Service;
use crate::server::accepted::{Accepted, Detached, Origin, Stream};
use crate::server::connection::Connection;
use crate::server::guard::{Guard, Shown};
use crate::server::hub::Hub;
use crate::server::socket::Socket;

/// The threads, as seen by the one that accepts connections.
#[derive(Debug)]
pub(crate) struct Workers {
    hub: Arc<Hub>,
    /// Connections on the main thread.
    here: Load,
    others: Vec<Other>,
}

#[derive(Debug)]
struct Other {
    load: Load,
    // Bounded by the number of connections that the descriptor limit allows.
    sender: mpsc::UnboundedSender<(Detached, Ticket)>,
}

/// The number of connections that a thread serves.
#[derive(Debug, Clone, Default)]
struct Load(Arc<AtomicUsize>);

/// Counts as one connection while its socket is open, and reports when it is closed.
#[derive(Debug)]
struct Ticket {
    load: Load,
    hub: Arc<Hub>,
}

impl Load {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn ticket(&self, hub: &Arc<Hub>) -> Ticket {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ticket { load: self.clone(), hub: Arc::clone(hub) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.load.0.fetch_sub(1, Ordering::Relaxed);
        self.hub.connection_closed.notify_one();
    }
}

/// A runtime for one thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

impl Workers {
    /// Starts all but one of `threads`: the caller's thread is the first.
    pub(crate) fn start(hub: &Arc<Hub>, threads: usize) -> io::Result<Self> {
        let others = (1..threads).map(Other::start).collect::<Result<_, _>>()?;
        Ok(Self { hub: Arc::clone(hub), here: Load::default(), others })
    }

    /// Number of open sockets.
    pub(crate) fn connections(&self) -> usize {
        let others = self.others.iter().map(|other| other.load.get());
        self.here.get() + others.sum::<usize>()
    }

    /// Serves a connection on the thread with the fewest connections.
    pub(crate) fn serve(&self, accepted: Accepted) {
        let least = self.others.iter().min_by_key(|other| other.load.get());
        match least.filter(|other| other.load.get() < self.here.get()) {
            None => spawn(accepted, self.here.ticket(&self.hub)),
            Some(other) => match accepted.detach() {
                // A thread ends only with the process.
                Ok(detached) => {
                    let ticket = other.load.ticket(&self.hub);
                    drop(other.sender.send((detached, ticket)));
                }
                Err(error) => warn!(%error, "lost a connection between threads"),
            },
        }
    }
}

impl Other {
    fn start(number: usize) -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::unbounded_channel::<(Detached, Ticket)>();
        let runtime = runtime()?;
        let serve = async move {
            while let Some((detached, ticket)) = receiver.recv().await {
                match detached.attach() {
                    Ok(accepted) => spawn(accepted, ticket),
                    Err(error) => warn!(%error, "lost a connection between threads"),
                }
            }
            // Keep serving the connections until the process ends.
            std::future::pending::<()>().await;
        };
        thread::Builder::new()
            .name(format!("jq-serve-{number}"))
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self { load: Load::default(), sender })
    }
}

fn spawn(accepted: Accepted, ticket: Ticket) {
    let Accepted { stream, origin } = accepted;
    match stream {
        Stream::Tcp(stream) => spawn_service(origin, stream, ticket),
        Stream::Unix(stream) => spawn_service(origin, stream, ticket),
        Stream::Tls(socket) => spawn_service(origin, socket, ticket),
    }
}

/// Serves a socket whose handshake is done, if it has one. From here on the hub knows the
/// connection.
fn spawn_service(origin: Origin, socket: impl Socket, ticket: Ticket) {
    let hub = Arc::clone(&ticket.hub);
    match origin.service {
        Service::Protocol => {
            let Origin { address, uid, acts_as, certificate_names: certificate, .. } = origin;
            let shown = Shown { address, uid, acts_as, certificate };
            let guard = hub.access_control().map(|control| Guard::new(control, shown));
            let connection = Connection::guarded(socket, hub, guard);
            drop(tokio::spawn(counted(connection, ticket)));
        }
        // Its listener is not among those of the queue.
        Service::Http => drop((socket, ticket)),
    }
}

async fn counted(connection: impl Future<Output = ()>, ticket: Ticket) {
    connection.await;
    // After the connection and its socket are gone, so that a descriptor is free when this is
    // reported.
    drop(ticket);
}
