//! A running server: the queue, the sockets, the threads, the timers and the signals.

mod accept;
mod accepted;
pub mod connection;
mod crowd;
mod entrance;
pub mod guard;
mod housekeeping;
mod http_clients;
pub mod hub;
mod identity;
mod keeper;
mod listener;
pub mod outbuf;
pub(crate) mod peers;
mod reloads;
mod signals;
pub mod socket;
mod timekeeper;
pub(crate) mod tls;
mod workers;
#[cfg(test)]
mod wrapped;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

pub(crate) use self::listener::ListeningSocket;
pub use self::listener::{Bound, ListenError, Listener};
pub use self::signals::{Signals, ignore_hangup};
pub use self::tls::{Certificates, TlsFileError};

use self::accept::{ToEntrance, accept_all};
use self::entrance::Entrance;
use self::guard::AccessControl;
use self::hub::Hub;
use self::keeper::Keeper;
use self::reloads::Reloads;
use self::signals::Request;
use self::tls::{HandshakeThread, Handshakes, Watch};
use self::workers::Workers;
pub(crate) use self::workers::runtime;
use crate::access::Access;
use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::freeing;
use crate::log::{LoggedQueue, Opened};
use crate::policies::TubesFile;

/// Time for clients to read their last replies when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serves until a signal requests a stop, and then until the connections are closed.
///
/// The `bound` sockets begin to listen when everything else is ready. Must not be called within an asynchronous
/// runtime, because it creates one for each thread.
pub fn run(
    bound: Vec<Bound>,
    config: &Config,
    clock: Clock,
    opened: Opened,
    parts: Parts,
) -> Result<(), ServeError> {
    run_with(bound, config, clock, opened, parts, Until::Signal)
}

/// What a server has if it is asked for.
#[derive(Debug, Default)]
pub struct Parts {
    /// What serves HTTP.
    pub admin: Option<Admin>,
    /// What is set for tubes.
    pub tubes: Option<TubesFile>,
    /// Who is served. Without it, everybody is.
    pub access: Option<Arc<Access>>,
    /// What is shown to those who connect by TLS. Needed if a socket is for them.
    pub certificates: Option<Arc<Certificates>>,
}

/// What makes a server stop.
#[derive(Debug)]
pub enum Until {
    /// Signals. They are handled for the whole process; see [`Signals`].
    Signal,
    /// This, when it is sent or dropped. For a queue within another program, which handles its own
    /// signals.
    Told(oneshot::Receiver<()>),
}

/// Like [`run`] without any [`Parts`], but `until` says what makes it stop.
pub fn run_until(
    bound: Vec<Bound>,
    config: &Config,
    clock: Clock,
    opened: Opened,
    until: Until,
) -> Result<(), ServeError> {
    run_with(bound, config, clock, opened, Parts::default(), until)
}

fn run_with(
    bound: Vec<Bound>,
    config: &Config,
    clock: Clock,
    opened: Opened,
    Parts { admin, tubes, access, certificates }: Parts,
    until: Until,
) -> Result<(), ServeError> {
    freeing::start();
    let driver = Arc::clone(&opened.driver);
    let control = access.map(|access| AccessControl::start(access, clock.clone()));
    let hub = Hub::with_control(config, clock, opened, control.transpose()?);
    let runtime = workers::runtime()?;
    let started = {
        let _entered = runtime.enter();
        let queue = Arc::clone(&hub) as Arc<dyn LoggedQueue>;
        Arc::clone(&driver).start(queue)
    };
    let served = started.map_err(ServeError::Io).and_then(|()| {
        let workers = {
            let _entered = runtime.enter();
            Arc::new(Workers::start(&hub, config.threads)?)
        };
        let keeper = tubes.map(|file| Keeper::new(&hub, file));
        if let Some(keeper) = &keeper {
            keeper.begin();
        }
        let watch = certificates.as_ref().map(Watch::start).transpose()?;
        if let Some(certificates) = &certificates {
            hub.set_certificates(Arc::clone(certificates));
        }
        let listeners = bound.into_iter().map(Bound::listen).collect::<Result<_, _>>()?;
        let beside = Beside { admin: admin.as_ref(), keeper, certificates, watch };
        runtime.block_on(serve(listeners, hub, workers, beside, until))
    });
    // Nobody may change the queue when its log is stopped.
    drop(admin);
    driver.stop();
    served
}

/// Why a server could not serve.
#[derive(Debug)]
pub enum ServeError {
    /// The server cannot listen on an address.
    Listen(ListenError),
    /// The right to write the log was lost, for this reason. No reply was sent since.
    LogLost(String),
    /// Something else.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::LogLost(why) => write!(f, "the right to write the log was lost: {why}"),
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

/// [`Parts`] at work.
struct Beside<'a> {
    admin: Option<&'a Admin>,
    keeper: Option<Keeper>,
    certificates: Option<Arc<Certificates>>,
    watch: Option<Watch>,
}

async fn serve(
    listeners: Vec<Listener>,
    hub: Arc<Hub>,
    workers: Arc<Workers>,
    Beside { admin, keeper, certificates, watch }: Beside<'_>,
    until: Until,
) -> Result<(), ServeError> {
    let mut requests = match until {
        Until::Signal => Requests::Signals(Signals::register()?),
        Until::Told(told) => Requests::Told(told),
    };
    let timekeeper = tokio::spawn(timekeeper::run(Arc::clone(&hub)));
    let housekeeping = tokio::spawn(housekeeping::run(Arc::clone(&hub)));
    let mut reloads = Reloads::default();
    if let Some(keeper) = keeper {
        reloads.add(|asked| keeper.run(asked));
    }
    if let Some(control) = hub.access_control() {
        let access = Arc::clone(control.access());
        let hub = Arc::clone(&hub);
        // Whoever waits for a job may have lost the right to it.
        reloads.add(|asked| access.run(asked, move || hub.wake_all()));
    }
    if let Some(tokens) = admin.and_then(Admin::tokens) {
        reloads.add(|asked| tokens.run(asked));
    }
    if let Some(admin) = admin {
        admin.serve(&hub);
    }
    let mut accepting = JoinSet::new();
    let (entrance, ways) = Entrance::new();
    {
        let (hub, workers) = (Arc::clone(&hub), Arc::clone(&workers));
        accepting.spawn(async move {
            entrance.let_in(&hub, &workers).await;
            Ok(())
        });
    }
    let mut by_tls = Vec::new();
    for listener in listeners {
        let origin = listener.origin();
        let (tls, acts_as) = (origin.tls.map(|_| true), origin.acts_as.as_deref());
        info!(address = listener.address(), tls, acts_as, "listening");
        if origin.tls.is_some() {
            by_tls.push(listener);
            continue;
        }
        let (hub, ways) = (Arc::clone(&hub), ways.clone());
        accepting.spawn(async move {
            accept_all(&listener, &hub, &ToEntrance { hub: &hub, ways: &ways }).await
        });
    }
    let (failed, mut failure) = mpsc::channel(1);
    let handshakes = match certificates {
        _ if by_tls.is_empty() => None,
        None => {
            let why = "a listener is for TLS, and there is no certificate";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why).into());
        }
        Some(certificates) => {
            let handshakes = Handshakes::new(&certificates);
            hub.set_handshakes(Arc::clone(&handshakes));
            let done = ways.elsewhere.clone();
            let thread = HandshakeThread::start(&hub, &handshakes, by_tls, done, failed)?;
            Some(thread)
        }
    };
    let lost = loop {
        tokio::select! {
            request = requests.next() => match request {
                Request::Drain => {
                    info!("draining: new jobs are refused until SIGUSR2");
                    hub.change(|engine, mut sink, _| engine.set_draining(true, &mut sink));
                }
                Request::EndDrain => {
                    info!("draining has ended: new jobs are accepted again");
                    hub.change(|engine, mut sink, _| engine.set_draining(false, &mut sink));
                }
                // The command line cannot have changed, and the log goes to an open descriptor.
                Request::Reload => {
                    let is_asked = reloads.ask();
                    if let Some(watch) = &watch {
                        watch.reload();
                    }
                    if !is_asked && watch.is_none() {
                        info!("SIGHUP is ignored: there is no file to reload");
                    }
                }
                Request::Stop(signal) => {
                    info!(signal, connections = hub.connections(), jobs = hub.jobs(), "stopping");
                    break None;
                }
            },
            why = hub.log_lost() => {
                error!(%why, connections = hub.connections(), "the log is lost: closing all connections");
                break Some(why);
            }
            Some(failure) = failure.recv() => {
                error!(%failure, "cannot accept connections");
                return Err(failure.into());
            }
            Some(ended) = accepting.join_next() => {
                let failure = match ended {
                    Ok(Ok(())) => io::Error::other("accepting ended"),
                    Ok(Err(failure)) => failure,
                    Err(failure) => io::Error::other(failure),
                };
                error!(%failure, "cannot accept connections");
                return Err(failure.into());
            }
        }
    };
    // Closes the sockets too, so that the next server can have the address.
    if let Some(handshakes) = handshakes {
        handshakes.stop().await;
    }
    accepting.shutdown().await;
    hub.stop();
    if timeout(STOP_GRACE, all_closed(&hub, &workers)).await.is_err() {
        warn!(connections = workers.connections(), "clients did not read their replies in time");
    }
    timekeeper.abort();
    housekeeping.abort();
    drop(reloads);
    info!("stopped");
    lost.map_or(Ok(()), |why| Err(ServeError::LogLost(why)))
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
                // If it is dropped, the owner is gone, which counts as well.
                let _ = told.await;
                Request::Stop("its owner")
            }
        }
    }
}

/// Waits until no connection is left, including those that are being moved to a thread.
async fn all_closed(hub: &Hub, workers: &Workers) {
    loop {
        let closed = hub.connection_closed.notified();
        if workers.connections() == 0 {
            return;
        }
        closed.await;
    }
}
