//! Connects to an address, by TLS if that is wanted.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::error::ConnectError;
use crate::options::ConnectOptions;
use crate::transport::Stream;

/// A connection that is silent for this long is probed. So a client that waits in a reserve for
/// hours notices when the server is gone, and keeps its entry in the connection tables of routers.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// Time between unanswered probes. Linux considers the connection lost after nine of them: a server
/// that is gone is noticed within three and a half minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Connects, without a time limit.
pub(crate) async fn dial(options: &ConnectOptions) -> Result<Dialled, ConnectError> {
    let address = options.address();
    let failed = |source| ConnectError::Io { address: address.clone(), source };
    let plain = |stream| Dialled { stream, is_ahead: false };
    match address {
        Address::Tcp { host, port } => {
            #[cfg(feature = "tls")]
            let tls = tls::prepare(options, host).await?;
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
            tune(&stream).map_err(failed)?;
            #[cfg(feature = "tls")]
            if let Some((config, name)) = tls {
                return tls::shake_hands(address, config, name, stream).await;
            }
            Ok(plain(Box::new(stream)))
        }
        Address::Unix(path) => {
            Ok(plain(Box::new(UnixStream::connect(path).await.map_err(failed)?)))
        }
    }
}

/// A stream to a server.
pub(crate) struct Dialled {
    pub(crate) stream: Box<dyn Stream>,
    /// A write that fails may have sent some of its bytes.
    pub(crate) is_ahead: bool,
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use jq_tls::explain;
    use jq_tls::rustls::ClientConfig;
    use jq_tls::rustls::pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::*;

    /// What a handshake needs, if there is to be one.
    pub(super) async fn prepare(
        options: &ConnectOptions,
        host: &str,
    ) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, ConnectError> {
        let Some(tls) = options.tls.clone() else { return Ok(None) };
        let address = options.address();
        // The scope of a link-local address is nobody else's business.
        let host = host.split_once('%').map_or(host, |(number, _)| number);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Tls {
            address: address.clone(),
            reason: "no certificate can be for this name".to_owned(),
        })?;
        // A file system may take its time.
        let config = tokio::task::spawn_blocking(move || tls.config()).await;
        let bad = |reason| ConnectError::Credentials { address: address.clone(), reason };
        let config = config.map_err(|error| bad(error.to_string()))?;
        Ok(Some((config.map_err(|error| bad(error.to_string()))?, name)))
    }

    pub(super) async fn shake_hands(
        address: &Address,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> Result<Dialled, ConnectError> {
        match TlsConnector::from(config).connect(name, stream).await {
            Ok(stream) => Ok(Dialled { stream: Box::new(stream), is_ahead: true }),
            Err(error) => Err(ConnectError::Tls {
                address: address.clone(),
                reason: explain(&error).unwrap_or_else(|| error.to_string()),
            }),
        }
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    // A command waits for its reply, so there is never a second one to send it with.
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_are_tuned() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    }
}
