//! Accepting connections, no more than there is room for, and ending them all in the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::answer::App;
use super::connection::attend;
use super::{WebOptions, Worker};

/// At most so many connections at once. The next one waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// How long connections may take to end when serving does.
const GRACE: Duration = Duration::from_secs(2);

/// After a failure to accept, which is most often a lack of file descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells everybody that serving ends; so does dropping it.
pub(super) struct End(watch::Sender<bool>);

/// Knows whether serving ends.
#[derive(Clone)]
pub(super) struct Ending(watch::Receiver<bool>);

/// The two sides of the end of serving.
pub(super) fn ending() -> (End, Ending) {
    let (sender, receiver) = watch::channel(false);
    (End(sender), Ending(receiver))
}

impl End {
    pub(super) fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Ending {
    /// Waits until serving ends.
    pub(super) async fn wait(mut self) {
        // An error says that the other side is gone, which is the end as well.
        let _ = self.0.wait_for(|&ended| ended).await;
    }
}

/// Answers HTTP at this socket until `stop`. Then it accepts no more connections, ends the streams,
/// lets what is being answered be answered for at most two seconds, and returns.
///
/// # Errors
/// If the prefix in the options is not a path. What goes wrong on a connection ends that connection.
pub async fn serve<W: Worker>(
    listener: TcpListener,
    worker: Arc<W>,
    options: WebOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_at_most(MAX_CONNECTIONS, listener, worker, options, stop).await
}

/// As [`serve`], to so many connections at once.
pub(super) async fn serve_at_most<W: Worker>(
    max_connections: usize,
    listener: TcpListener,
    worker: Arc<W>,
    options: WebOptions,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (end, ending) = ending();
    let app = Arc::new(App::new(worker, &options, ending.clone())?);
    let room = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
            (accept(&listener).await, permit)
        };
        let (stream, permit) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        // Those that have ended take up a little memory until they are looked at.
        while connections.try_join_next().is_some() {}
        let (app, ending) = (Arc::clone(&app), ending.clone());
        connections.spawn(async move {
            attend(stream, app, ending).await;
            drop(permit);
        });
    }
    drop(listener);
    end.now();
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        debug!(open = connections.len(), "connections cut off");
    }
    connections.shutdown().await;
    Ok(())
}

/// The next connection. Goes on trying: there is nobody who could do better.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written whole, so there is nothing to wait for.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
