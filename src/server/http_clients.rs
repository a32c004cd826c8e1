//! Logging of clients that speak HTTP; their connections are closed: see `RequestLine`.

use std::sync::atomic::{AtomicU64, Ordering};

use jq_engine::Nanos;
use tracing::warn;

/// Time between two lines in the log. A web page can make a browser connect as fast as it likes.
const PAUSE_SECONDS: u32 = 1;

/// Logs such clients, but not each of them.
#[derive(Debug, Default)]
pub(crate) struct HttpClients {
    /// When the next line may be logged, as [`Nanos`].
    next: AtomicU64,
    /// The number of clients since the last line.
    unlogged: AtomicU64,
}

impl HttpClients {
    /// Counts a connection that is closed, and logs it unless a line was logged just before.
    pub(crate) fn closed(&self, now: Nanos, peer: impl FnOnce() -> String) {
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        let after = now.after(PAUSE_SECONDS).0;
        // Of several threads, one logs.
        if now.0 >= next
            && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let connections = self.unlogged.swap(0, Ordering::Relaxed);
            warn!(
                peer = peer(),
                connections, "closed a connection that began with an HTTP request"
            );
        }
    }
}
