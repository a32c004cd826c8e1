//! HTTPS: TLS between a listener and HTTP.

use std::fmt;
use std::io;
use std::sync::Arc;

use jq_tls::rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Acceptor;

/// The protocol that is offered (ALPN). A client need not name it.
pub const PROTOCOL: &str = "http/1.1";

type Configure = dyn Fn() -> io::Result<Arc<ServerConfig>> + Send + Sync;

/// A listener whose connections speak TLS.
pub struct Tls<A> {
    listener: A,
    configure: Arc<Configure>,
}

impl<A: Acceptor> Tls<A> {
    /// TLS with the configuration that is asked for at each handshake, so that certificates can be exchanged
    /// while connections are served. It may block, and should offer [`PROTOCOL`].
    pub fn new(
        listener: A,
        configure: impl Fn() -> io::Result<Arc<ServerConfig>> + Send + Sync + 'static,
    ) -> Self {
        Self { listener, configure: Arc::new(configure) }
    }

    /// TLS with the certificate in these files.
    pub fn with_files(listener: A, files: Arc<jq_tls::Server>) -> Self {
        Self::new(listener, move || files.config().map_err(io::Error::other))
    }
}

impl<A> fmt::Debug for Tls<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl<A: Acceptor> Acceptor for Tls<A> {
    type Accepted = A::Accepted;
    type Stream = TlsStream<A::Stream>;

    async fn accept(&self) -> io::Result<Self::Accepted> {
        self.listener.accept().await
    }

    fn peer(&self, accepted: &Self::Accepted) -> Option<String> {
        self.listener.peer(accepted)
    }

    async fn handshake(&self, accepted: Self::Accepted) -> io::Result<Self::Stream> {
        let stream = self.listener.handshake(accepted).await?;
        let configure = Arc::clone(&self.configure);
        let config = tokio::task::spawn_blocking(move || configure()).await??;
        TlsAcceptor::from(config).accept(stream).await.map_err(|error| {
            match jq_tls::explain(&error) {
                Some(why) => io::Error::new(error.kind(), why),
                None => error,
            }
        })
    }
}
