//! Where accepted connections are let in, whatever listener they come from.
//!
//! One place for all, so that they are let in in the order in which they came: those of listeners without a
//! handshake, which are accepted on this thread, and those whose handshake was done on another.

use tokio::pin;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::server::accepted::{Accepted, Detached, Stream};
use crate::server::crowd::{Verdict, Waiting};
use crate::server::hub::Hub;
use crate::server::workers::Workers;

/// What a connection is told that is one too many; see `crowd.rs`.
const REFUSAL: &[u8] = b"OUT_OF_MEMORY\r\n";

/// Connections that have come, and are to be served or refused.
#[derive(Debug)]
pub(crate) struct Entrance {
    here: mpsc::Receiver<Accepted>,
    elsewhere: mpsc::UnboundedReceiver<Detached>,
}

/// Leads connections to the entrance.
#[derive(Debug, Clone)]
pub(crate) struct Ways {
    /// For those accepted on the main thread. While it is full, nothing more is accepted.
    pub(crate) here: mpsc::Sender<Accepted>,
    /// For those of another thread. Each has a descriptor, so these are the bound.
    pub(crate) elsewhere: mpsc::UnboundedSender<Detached>,
}

impl Entrance {
    /// An entrance, and the ways to it.
    pub(crate) fn new() -> (Self, Ways) {
        let (to_here, here) = mpsc::channel(1);
        let (to_elsewhere, elsewhere) = mpsc::unbounded_channel();
        (Self { here, elsewhere }, Ways { here: to_here, elsewhere: to_elsewhere })
    }

    /// Serves those who come, unless there are too many. Returns when nobody can come any more.
    pub(crate) async fn let_in(mut self, hub: &Hub, workers: &Workers) {
        let mut waiting = Waiting::new();
        loop {
            // Registered before the look, so that a close in between is not missed.
            let closed = hub.connection_closed.notified();
            pin!(closed);
            while let Some(verdict) = waiting.next(hub.crowd().is_full(workers.connections())) {
                match verdict {
                    Verdict::LetIn(accepted) => workers.serve(accepted),
                    Verdict::Refuse(accepted) => {
                        refuse(accepted.stream);
                        hub.crowd().refused(hub.clock().now());
                    }
                }
            }
            let (until, has_room) = (waiting.until(), !waiting.is_full());
            let arrived = tokio::select! {
                Some(accepted) = self.here.recv(), if has_room => Ok(accepted),
                Some(detached) = self.elsewhere.recv(), if has_room => detached.attach(),
                () = &mut closed, if until.is_some() => continue,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => continue,
                else => return,
            };
            match arrived {
                Ok(Accepted { stream, mut origin }) => {
                    if hub.access_control().is_some() {
                        origin = origin.with_peer(&stream);
                    }
                    waiting.push(Accepted { stream, origin });
                }
                Err(error) => warn!(%error, "lost a connection between threads"),
            }
        }
    }
}

/// Tells the client that there are as many connections as there may be, and closes its own.
fn refuse(stream: Stream) {
    // A new socket has room for a line. If not, the client is told by the end alone.
    match stream {
        Stream::Tcp(stream) => drop(stream.try_write(REFUSAL)),
        Stream::Unix(stream) => drop(stream.try_write(REFUSAL)),
        Stream::Tls(mut socket) => socket.say_last(REFUSAL),
    }
}
