//! Logging of clients that speak HTTP; their connections are closed: see `RequestLine`.

use jq_engine::Nanos;
use tracing::warn;

use crate::paced::Paced;

/// Logs such clients, but not each of them: a web page can make a browser connect as fast as it likes.
#[derive(Debug, Default)]
pub(crate) struct HttpClients(Paced);

impl HttpClients {
    /// Counts a connection that is closed, and logs it unless a line was logged just before.
    pub(crate) fn closed(&self, now: Nanos, peer: impl FnOnce() -> String) {
        if let Some(connections) = self.0.count(now) {
            warn!(
                peer = peer(),
                connections, "closed a connection that began with an HTTP request"
            );
        }
    }
}
