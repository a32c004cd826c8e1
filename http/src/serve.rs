//! Accepting connections, up to the limit, and ending them all when serving ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::connection::Service;
use crate::room::Room;
use crate::{Acceptor, Handler, Limits};

/// The pause after a failure to accept. The usual cause is a temporary lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A failure to accept is logged if there was none for this long.
const CALM: Duration = Duration::from_secs(3);

/// Signals that serving ends; so does dropping it.
#[derive(Debug)]
struct End(watch::Sender<bool>);

/// Tells when serving ends: for answers that would continue for longer, such as event streams.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Waits until serving ends.
    pub async fn wait(mut self) {
        // An error means that the server was dropped, which is the end as well.
        let _ = self.0.wait_for(|&ended| ended).await;
    }
}

/// Serves HTTP on one listener.
#[derive(Debug)]
pub struct Server {
    limits: Arc<Limits>,
    end: End,
}

impl Server {
    /// A server with these limits. It serves nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits: Arc::new(limits), end: End(watch::Sender::new(false)) }
    }

    /// Tells when this server ends, for a handler with answers that would continue for longer.
    pub fn ending(&self) -> Ending {
        Ending(self.end.0.subscribe())
    }

    /// Answers requests until `stop` is ready. Then it accepts no more connections, signals this
    /// through [`Server::ending`], gives running requests up to [`Limits::grace`] to be answered,
    /// and returns. An error on a connection ends only that connection.
    pub async fn serve(
        self,
        acceptor: impl Acceptor,
        handler: impl Handler,
        stop: impl Future<Output = ()>,
    ) {
        let acceptor = Arc::new(acceptor);
        let ending = self.ending();
        let service = Arc::new(Service { handler, limits: Arc::clone(&self.limits), ending });
        let room = Room::new(self.limits.connections);
        let mut connections = JoinSet::new();
        let mut failed_at = None;
        tokio::pin!(stop);
        loop {
            let next = async {
                let accepted = accept(&*acceptor, &mut failed_at).await;
                (accepted, Arc::new(room.enter().await))
            };
            let (accepted, seat) = tokio::select! {
                () = &mut stop => break,
                next = next => next,
            };
            // Connections that have ended take a little memory until they are joined.
            while connections.try_join_next().is_some() {}
            let (acceptor, service) = (Arc::clone(&acceptor), Arc::clone(&service));
            connections.spawn(service.attend(acceptor, accepted, seat));
        }
        drop(acceptor);
        self.end.0.send_replace(true);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.grace, all_ended).await.is_err() {
            debug!(open = connections.len(), "connections were cut off");
        }
        connections.shutdown().await;
    }
}

/// The next connection. Retries forever, because no caller could do better.
async fn accept<A: Acceptor>(acceptor: &A, failed_at: &mut Option<Instant>) -> A::Accepted {
    loop {
        match acceptor.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                let before = failed_at.replace(Instant::now());
                if before.is_none_or(|at| at.elapsed() > CALM) {
                    warn!(%error, "cannot accept connections; retrying");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
