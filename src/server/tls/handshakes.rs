//! Handshakes, on a thread of their own: a signature takes as long as thousands of commands.
//!
//! A connection is accepted here, and goes to the thread that serves it when its handshake is done. Until
//! then nobody has heard of it: it does not count to `--max-connections`, and takes no place in the queue.
//! Instead there is a maximum number of handshakes at a time. Beyond it the oldest goes of those that have
//! sent nothing, or of all: an honest one takes some milliseconds, and so long nobody is the oldest. The same
//! happens when a connection cannot be accepted because there is no descriptor left; and when there is one,
//! it goes to a listener without handshakes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::timeout;

use super::certificates::Certificates;
use super::outcome::{Outcome, Outcomes};
use super::stream::TlsSocket;
use crate::server::accept::{Taking, accept_all};
use crate::server::accepted::{Detached, Origin, Stream};
use crate::server::hub::Hub;
use crate::server::listener::Listener;
use crate::server::socket::Socket;
use crate::server::workers;

/// The time that a client has for its handshake.
const TIME: Duration = Duration::from_secs(10);

/// Maximum number of handshakes at a time.
const MOST: usize = 1024;

/// They have at most this part of the descriptors.
const PART: u64 = 8;

/// How many there may be at a time.
fn most() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(MOST as u64, |(soft, _)| soft / PART);
    usize::try_from(limit).unwrap_or(MOST).clamp(1, MOST)
}

/// The handshakes of a server, as they are seen by others.
#[derive(Debug)]
pub(crate) struct Handshakes {
    certificates: Arc<Certificates>,
    under_way: Mutex<UnderWay>,
    outcomes: Outcomes,
}

/// The handshakes that are under way, in the order in which they have begun.
#[derive(Debug, Default)]
struct UnderWay {
    last: u64,
    all: BTreeMap<u64, One>,
}

#[derive(Debug)]
struct One {
    task: AbortHandle,
    /// The client has sent something.
    heard: bool,
}

impl UnderWay {
    /// Ends one that has to give way to others. Returns whether there was one.
    fn end_one(&mut self) -> bool {
        let silent = self.all.iter().find(|(_, one)| !one.heard).map(|(number, _)| *number);
        let oldest = || self.all.keys().next().copied();
        let Some(one) = silent.or_else(oldest).and_then(|number| self.all.remove(&number)) else {
            return false;
        };
        one.task.abort();
        true
    }
}

/// Has handshakes with all who connect.
#[derive(Debug)]
struct Shaking {
    hub: Arc<Hub>,
    /// Maximum number of handshakes at a time.
    most: usize,
    handshakes: Arc<Handshakes>,
    /// Takes connections to the threads that serve them. Each has a descriptor, so these are the bound.
    done: mpsc::UnboundedSender<Detached>,
}

/// One that is under way, for its own task.
struct Place {
    shaking: Arc<Shaking>,
    number: u64,
    is_counted: bool,
}

impl Place {
    fn heard(&self) {
        if let Some(one) = self.shaking.handshakes.under_way().all.get_mut(&self.number) {
            one.heard = true;
        }
    }

    fn ends(&mut self, outcome: Outcome) {
        self.is_counted = true;
        self.shaking.handshakes.outcomes.count(outcome);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shaking.handshakes.under_way().all.remove(&self.number);
        if !self.is_counted {
            self.ends(Outcome::CrowdedOut);
        }
        // Its descriptor may be what somebody waits for.
        self.shaking.hub.connection_closed.notify_one();
    }
}

impl Handshakes {
    /// None yet.
    pub(crate) fn new(certificates: &Arc<Certificates>) -> Arc<Self> {
        let certificates = Arc::clone(certificates);
        Arc::new(Self { certificates, under_way: Mutex::default(), outcomes: Outcomes::default() })
    }

    /// How many are under way.
    pub(crate) fn under_way_now(&self) -> usize {
        self.under_way().all.len()
    }

    /// How they ended.
    pub(crate) fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Ends one of them for the sake of its descriptor. Returns whether there was one.
    pub(crate) fn give_way(&self) -> bool {
        self.under_way().end_one()
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        // Whole between any two statements that can panic.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taking for Arc<Shaking> {
    async fn take(&self, stream: Stream, origin: Origin) {
        // Only TCP listeners have TLS.
        let Stream::Tcp(stream) = stream else { return };
        if self.begin(stream, origin) {
            // They close their sockets when they have a turn.
            yield_now().await;
        }
    }

    fn make_room(&self) -> bool {
        self.handshakes.give_way()
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl Shaking {
    /// Begins a handshake. Returns whether others had to end for it.
    fn begin(self: &Arc<Self>, stream: TcpStream, origin: Origin) -> bool {
        let mut under_way = self.handshakes.under_way();
        let mut ends = false;
        while under_way.all.len() >= self.most && under_way.end_one() {
            ends = true;
        }
        under_way.last += 1;
        let number = under_way.last;
        let place = Place { shaking: Arc::clone(self), number, is_counted: false };
        let task = tokio::spawn(handshake(stream, origin, place)).abort_handle();
        // It runs on this thread, so it has not run yet.
        under_way.all.insert(number, One { task, heard: false });
        ends
    }
}

/// The handshake of one client, and what follows from it.
async fn handshake(stream: TcpStream, mut origin: Origin, mut place: Place) {
    let shaking = Arc::clone(&place.shaking);
    let handshakes = &shaking.handshakes;
    let tell = |outcome, peer: &str, error: &io::Error| {
        let words = jq_tls::explain(error).unwrap_or_else(|| error.to_string());
        handshakes.outcomes.tell(shaking.hub.clock().now(), outcome, peer, &words);
    };
    let Some(tls) = origin.tls else { return };
    // Asked while it is connected.
    let peer = stream.peer();
    let mut socket = match TlsSocket::new(stream, handshakes.certificates.config(tls)) {
        Ok(socket) => socket,
        Err(error) => {
            place.ends(Outcome::Failed);
            return tell(Outcome::Failed, &peer, &error);
        }
    };
    let hands = async {
        socket.below().readable().await?;
        place.heard();
        std::future::poll_fn(|cx| socket.poll_handshake(cx)).await
    };
    let ended = match timeout(TIME, hands).await {
        Ok(Ok(())) => {
            origin.certificate_names = socket.session().names();
            let (stream, session) = socket.into_parts();
            Detached::tls(stream, session, origin)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match ended {
        Ok(detached) => {
            place.ends(Outcome::Done);
            // The receiver ends with the server.
            drop(shaking.done.send(detached));
        }
        Err(error) => {
            let outcome = match error.kind() {
                io::ErrorKind::TimedOut => Outcome::TimedOut,
                _ => Outcome::of(&error),
            };
            place.ends(outcome);
            // Load balancers look whether somebody listens: that is nothing to tell.
            if outcome != Outcome::Closed {
                tell(outcome, &peer, &error);
            }
        }
    }
}

/// The thread of all TLS listeners. When this is dropped, they close soon.
#[derive(Debug)]
pub(crate) struct HandshakeThread {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl HandshakeThread {
    /// Accepts from these listeners. Connections whose handshakes are done go to `done`. If a listener fails,
    /// the reason goes to `failed`.
    pub(crate) fn start(
        hub: &Arc<Hub>,
        handshakes: &Arc<Handshakes>,
        listeners: Vec<Listener>,
        done: mpsc::UnboundedSender<Detached>,
        failed: mpsc::Sender<io::Error>,
    ) -> io::Result<Self> {
        let runtime = workers::runtime()?;
        let (stop, told) = oneshot::channel::<()>();
        let (tell, stopped) = oneshot::channel();
        let (hub, handshakes) = (Arc::clone(hub), Arc::clone(handshakes));
        let shaking = Arc::new(Shaking { hub, most: most(), handshakes, done });
        let work = async move {
            let mut accepting = JoinSet::new();
            for listener in listeners {
                let shaking = Arc::clone(&shaking);
                accepting.spawn(async move { accept_all(&listener, &shaking.hub, &shaking).await });
            }
            tokio::select! {
                _ = told => {}
                Some(ended) = accepting.join_next() => {
                    let failure = match ended {
                        Ok(Ok(())) => io::Error::other("accepting ended"),
                        Ok(Err(failure)) => failure,
                        Err(failure) => io::Error::other(failure),
                    };
                    // If it is full, somebody else has failed before.
                    let _ = failed.try_send(failure);
                }
            }
            accepting.shutdown().await;
        };
        thread::Builder::new().name("jq-tls".to_owned()).spawn(move || {
            runtime.block_on(work);
            // Ends the handshakes that are under way, and closes their sockets.
            drop(runtime);
            // Nobody waits if the server ends because of a failure.
            let _ = tell.send(());
        })?;
        Ok(Self { stop, stopped })
    }

    /// Closes the listeners, and ends what is under way.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        // It is gone if it has panicked.
        let _ = self.stopped.await;
    }
}
