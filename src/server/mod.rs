//! A running server: the queue, the sockets, the threads, the timers and the signals.

mod accept;
mod connection;
mod housekeeping;
pub mod hub;
mod identity;
mod keeper;
mod listener;
pub mod outbuf;
mod signals;
mod socket;
mod timekeeper;
mod workers;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

pub use self::listener::{Bound, ListenError, Listener};
pub use self::signals::Signals;

use self::hub::{Hub, Queue};
use self::keeper::Keeper;
use self::signals::Request;
use self::workers::Workers;
use crate::clock::Clock;
use crate::config::Config;
use crate::log::Opened;

/// How long clients have to read their last replies when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serves until a signal asks to stop, and then until the connections are closed.
///
/// `bound` are told to listen when everything else is ready. Must not be called within an
/// asynchronous runtime: it makes one for each thread.
pub fn run(
    bound: Vec<Bound>,
    config: &Config,
    clock: Clock,
    opened: Opened,
) -> Result<(), ServeError> {
    run_until(bound, config, clock, opened, Until::Signal)
}

/// What has a server stop.
#[derive(Debug)]
pub enum Until {
    /// Signals, which it handles for the whole process; see [`Signals`].
    Signal,
    /// This, once it is sent or dropped. For a queue within another program, whose signals are its
    /// own business.
    Told(oneshot::Receiver<()>),
}

/// As [`run`], until it is told to stop.
pub fn run_until(
    bound: Vec<Bound>,
    config: &Config,
    clock: Clock,
    opened: Opened,
    until: Until,
) -> Result<(), ServeError> {
    let Opened { engine, log, progress, binlog } = opened;
    let queue = Queue { engine, log, progress };
    let keeper =
        binlog.as_ref().map(|it| Keeper::new(Arc::clone(&it.binlog), Arc::clone(&it.bell)));
    let asked = keeper.clone();
    let commit_soon = move |alone| asked.iter().for_each(|keeper| keeper.commit_soon(alone));
    let hub = Hub::new(config, clock, queue, Box::new(commit_soon));
    let mut threads = None;
    if let (Some(keeper), Some(binlog)) = (&keeper, &binlog) {
        if binlog.repaired {
            keeper.finish_repair(&hub);
        }
        threads = Some(keeper.start(&hub)?);
    }
    let runtime = workers::runtime()?;
    let workers = {
        let _entered = runtime.enter();
        if let Some(keeper) = keeper {
            tokio::spawn(keeper.flush_in_turn(Arc::clone(&hub)));
        }
        Arc::new(Workers::start(&hub, config.threads)?)
    };
    let listeners = bound.into_iter().map(Bound::listen).collect::<Result<_, _>>()?;
    let served = runtime.block_on(serve(listeners, hub, workers, until));
    if let Some(threads) = threads {
        threads.stop();
    }
    // The directory is another server's to take from here on.
    drop(binlog);
    Ok(served?)
}

/// Why a server could not serve.
#[derive(Debug)]
pub enum ServeError {
    /// An address cannot be listened on.
    Listen(ListenError),
    /// Something else.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the server failed: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<ListenError> for ServeError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

async fn serve(
    listeners: Vec<Listener>,
    hub: Arc<Hub>,
    workers: Arc<Workers>,
    until: Until,
) -> io::Result<()> {
    let mut requests = match until {
        Until::Signal => Requests::Signals(Signals::register()?),
        Until::Told(told) => Requests::Told(told),
    };
    let timekeeper = tokio::spawn(timekeeper::run(Arc::clone(&hub)));
    let housekeeping = tokio::spawn(housekeeping::run(Arc::clone(&hub)));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        info!(address = listener.address(), "listening");
        let (hub, workers) = (Arc::clone(&hub), Arc::clone(&workers));
        accepting.spawn(async move { accept::accept_all(&listener, &hub, &workers).await });
    }
    loop {
        tokio::select! {
            request = requests.next() => match request {
                Request::Drain => {
                    info!("draining: new jobs are refused until SIGUSR2");
                    hub.set_draining(true);
                }
                Request::EndDrain => {
                    info!("draining has ended: new jobs are taken again");
                    hub.set_draining(false);
                }
                Request::Stop(signal) => {
                    info!(signal, connections = hub.connections(), jobs = hub.jobs(), "stopping");
                    break;
                }
            },
            Some(ended) = accepting.join_next() => {
                let failure = match ended {
                    Ok(Ok(())) => io::Error::other("accepting ended"),
                    Ok(Err(failure)) => failure,
                    Err(failure) => io::Error::other(failure),
                };
                error!(%failure, "cannot accept connections");
                return Err(failure);
            }
        }
    }
    // Closes the sockets too, so that the next server can have the address.
    accepting.shutdown().await;
    hub.stop();
    if timeout(STOP_GRACE, all_closed(&hub, &workers)).await.is_err() {
        warn!(connections = workers.connections(), "clients did not read their replies in time");
    }
    timekeeper.abort();
    housekeeping.abort();
    info!("stopped");
    Ok(())
}

/// Where requests to stop come from.
enum Requests {
    Signals(Signals),
    Told(oneshot::Receiver<()>),
}

impl Requests {
    async fn next(&mut self) -> Request {
        match self {
            Self::Signals(signals) => signals.next().await,
            Self::Told(told) => {
                // Dropped without a word, it is gone all the same.
                let _ = told.await;
                Request::Stop("its owner")
            }
        }
    }
}

/// Waits until no connection is left, also of those that are on their way to a thread.
async fn all_closed(hub: &Hub, workers: &Workers) {
    loop {
        let closed = hub.connection_closed.notified();
        if workers.connections() == 0 {
            return;
        }
        closed.await;
    }
}
