//! What the log says of clients that speak HTTP, which are closed: see `RequestLine`.

use std::sync::atomic::{AtomicU64, Ordering};

use jq_engine::Nanos;
use tracing::warn;

/// From one line in the log to the next. A web page can have a browser connect as fast as it likes.
const PAUSE_SECONDS: u32 = 1;

/// Tells the log of them, but not of each.
#[derive(Debug, Default)]
pub(crate) struct HttpClients {
    /// When the log may be told again, as [`Nanos`].
    next: AtomicU64,
    /// How many there were since it was told.
    untold: AtomicU64,
}

impl HttpClients {
    /// One more is closed.
    pub(crate) fn closed(&self, now: Nanos, peer: impl FnOnce() -> String) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        let after = now.after(PAUSE_SECONDS).0;
        // Of several threads one tells.
        if now.0 >= next
            && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let connections = self.untold.swap(0, Ordering::Relaxed);
            warn!(
                peer = peer(),
                connections, "closed a connection that began with an HTTP request"
            );
        }
    }
}
