//! A server that is played by the test, over TCP or TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jq_client::{Address, Credentials, Endpoint, Identity, TlsFiles, TlsOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::{Authority, Valid};

/// Longest time that a test may wait for anything. Never reached when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) tls: Option<Arc<jq_tls::Server>>,
}

impl Server {
    pub(crate) async fn plain() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { listener, tls: None }
    }

    /// With a certificate; and if `clients` is an authority, only for those who have one of its.
    pub(crate) async fn secure(identity: (PathBuf, PathBuf), clients: Option<PathBuf>) -> Self {
        let (certificate, key) = identity;
        let identity = Identity { certificate, key };
        let files = jq_tls::ServerFiles { identity, client_authorities: clients };
        let tls = jq_tls::Server::open(files, &["beanstalk"]).expect("the files are good");
        Self { tls: Some(Arc::new(tls)), ..Self::plain().await }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().expect("it is bound").port()
    }

    pub(crate) fn address(&self) -> Address {
        Address::Tcp { host: "localhost".to_owned(), port: self.port() }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let scheme = if self.tls.is_some() { "beanstalks" } else { "beanstalk" };
        format!("{scheme}://localhost:{}", self.port()).parse().expect("an endpoint")
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        soon(self.listener.accept()).await.expect("a client").0
    }

    /// Accepts, and shakes hands.
    pub(crate) async fn handshake(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.tls.as_ref().expect("it has a certificate").config().expect("good files");
        let stream = self.accept().await;
        soon(TlsAcceptor::from(config).accept(stream)).await
    }
}

/// Plays one exchange after the other: what is expected, and what is answered.
pub(crate) async fn play<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    exchanges: &[(&str, &str)],
) {
    for (expected, answer) in exchanges {
        let mut found = vec![0; expected.len()];
        soon(stream.read_exact(&mut found)).await.expect("a command");
        assert_eq!(String::from_utf8_lossy(&found), *expected);
        stream.write_all(answer.as_bytes()).await.expect("the client is there");
        stream.flush().await.expect("the client is there");
    }
}

/// Awaits what must not take long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("waited too long")
}

/// That this authority is trusted, and no other.
pub(crate) fn trusting(authority: &Authority) -> TlsFiles {
    TlsFiles { authorities: Some(authority.file()), ..TlsFiles::default() }
}

pub(crate) fn credentials(files: TlsFiles) -> Credentials {
    Credentials { token_file: None, tls: TlsOptions::new(files) }
}

/// An authority, and a server that has a certificate for `localhost` of it.
pub(crate) async fn trusted() -> (Authority, Server) {
    let authority = Authority::new();
    let server = Server::secure(authority.sign("server", "localhost", Valid::Now), None).await;
    (authority, server)
}
