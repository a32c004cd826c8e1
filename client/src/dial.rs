//! Connects to an address, by TLS if that is wanted.

use std::io;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tls")]
use jq_tls::rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

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

/// Connects, until then. Whether a server that does not answer the handshake of TLS speaks without it is found
/// out a little later.
pub(crate) async fn dial(
    options: &ConnectOptions,
    deadline: Instant,
) -> Result<Dialled, ConnectError> {
    let address = options.address();
    let failed = |source| ConnectError::Io { address: address.clone(), source };
    let connecting = async {
        match address {
            Address::Tcp { host, port } => {
                #[cfg(feature = "tls")]
                let tls = tls::prepare(options, host).await?;
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                tune(&stream).map_err(failed)?;
                #[cfg(feature = "tls")]
                if let Some((config, name)) = tls {
                    return Ok(Dialling::Tls(config, name, stream));
                }
                Ok(Dialling::Done(Box::new(stream)))
            }
            Address::Unix(path) => {
                Ok(Dialling::Done(Box::new(UnixStream::connect(path).await.map_err(failed)?)))
            }
        }
    };
    let dialling = timeout_at(deadline, connecting).await;
    match dialling.unwrap_or_else(|_| Err(options.timed_out()))? {
        Dialling::Done(stream) => Ok(Dialled { stream, is_ahead: false }),
        #[cfg(feature = "tls")]
        Dialling::Tls(config, name, stream) => {
            tls::shake_hands(options, config, name, stream, deadline).await
        }
    }
}

/// Connected.
enum Dialling {
    Done(Box<dyn Stream>),
    /// The handshake is to come.
    #[cfg(feature = "tls")]
    Tls(Arc<ClientConfig>, ServerName<'static>, TcpStream),
}

/// A stream to a server.
pub(crate) struct Dialled {
    pub(crate) stream: Box<dyn Stream>,
    /// A write that fails may have sent some of its bytes.
    pub(crate) is_ahead: bool,
}

#[cfg(feature = "tls")]
mod tls {
    use jq_tls::explain;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;

    use super::*;

    /// Longest time that a handshake may take, even if connecting may take longer. A server that does not speak
    /// TLS says nothing: it would be waited for in vain.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// How long the reply may take that tells what else the server speaks.
    const LAST_QUESTION: Duration = Duration::from_millis(500);

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
        options: &ConnectOptions,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        stream: TcpStream,
        deadline: Instant,
    ) -> Result<Dialled, ConnectError> {
        let address = options.address();
        let until = deadline.min(Instant::now() + PATIENCE);
        let mut handshake = TlsConnector::from(config).connect(name, stream);
        let without = format!("beanstalk://{address}");
        let reason = match timeout_at(until, &mut handshake).await {
            Ok(Ok(stream)) => return Ok(Dialled { stream: Box::new(stream), is_ahead: true }),
            Ok(Err(error)) => match (is_no_tls(&error), explain(&error)) {
                (true, Some(why)) => format!("{why}; without TLS it is {without}"),
                (_, why) => why.unwrap_or_else(|| error.to_string()),
            },
            Err(_) => {
                let is_plain = match handshake.get_mut() {
                    Some(stream) => answers_without_tls(stream).await,
                    None => false,
                };
                if is_plain {
                    format!("it speaks the beanstalk protocol without TLS: it is {without}")
                } else {
                    let after = PATIENCE.min(options.timeout);
                    format!(
                        "it did not answer the handshake within {after:?}; does it speak TLS there? Without, \
                         it is {without}"
                    )
                }
            }
        };
        Err(ConnectError::Tls { address: address.clone(), reason })
    }

    fn is_no_tls(error: &io::Error) -> bool {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        matches!(inner, Some(jq_tls::rustls::Error::InvalidMessage(_)))
    }

    /// Whether the server replies to a line. To one that speaks the protocol, the handshake was the beginning of a
    /// line that it waits for the end of.
    async fn answers_without_tls(stream: &mut TcpStream) -> bool {
        const REPLIES: [&[u8]; 3] = [b"UNKNOWN_COMMAND", b"BAD_FORMAT", b"INTERNAL_ERROR"];
        let ask = async {
            stream.write_all(b"\r\n").await?;
            let mut reply = [0; 10];
            stream.read_exact(&mut reply).await?;
            io::Result::Ok(REPLIES.iter().any(|it| it.starts_with(&reply)))
        };
        matches!(timeout(LAST_QUESTION, ask).await, Ok(Ok(true)))
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
