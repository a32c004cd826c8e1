//! Connects to an address.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

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

/// Connects, in time.
pub(crate) async fn dial(options: &ConnectOptions) -> Result<Box<dyn Stream>, ConnectError> {
    let (address, limit) = (options.address(), options.timeout);
    match timeout(limit, open(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(ConnectError::Io { address: address.clone(), source }),
        Err(_) => Err(ConnectError::TimedOut { address: address.clone(), after: limit }),
    }
}

async fn open(address: &Address) -> io::Result<Box<dyn Stream>> {
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            tune(&stream)?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
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
