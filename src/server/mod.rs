//! A running server: the queue, the sockets, the threads, the timers and the signals.

mod accept;
mod connection;
mod housekeeping;
mod hub;
mod identity;
mod listener;
mod outbuf;
mod signals;
mod socket;
mod timekeeper;
mod workers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

pub use self::listener::{ListenError, Listener};
pub use self::signals::Signals;

use self::hub::Hub;
use self::signals::Request;
use self::workers::Workers;
use crate::clock::Clock;
use crate::config::Config;

/// How long clients have to read their last replies when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serves until a signal asks to stop, and then until the connections are closed.
///
/// Must not be called within an asynchronous runtime: it makes one for each thread.
pub fn run(listeners: Vec<Listener>, config: &Config) -> io::Result<()> {
    let clock = Clock::start();
    let hub = Hub::new(config, clock);
    let runtime = workers::runtime()?;
    let workers = {
        let _entered = runtime.enter();
        Arc::new(Workers::start(&hub, config.threads)?)
    };
    runtime.block_on(serve(listeners, hub, workers))
}

async fn serve(listeners: Vec<Listener>, hub: Arc<Hub>, workers: Arc<Workers>) -> io::Result<()> {
    let mut signals = Signals::register()?;
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
            request = signals.next() => match request {
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
