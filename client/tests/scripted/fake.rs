//! The other end of a connection, played by the test.

use std::time::Duration;

use jq_client::{Address, Connection, ConnectionLimits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Longest time that a test may wait for anything. Never reached when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) struct Peer {
    stream: Box<dyn Stream>,
}

/// A connection and its peer, in memory.
pub(crate) fn pair() -> (Connection, Peer) {
    pair_with(ConnectionLimits::default(), 64 * 1024)
}

/// As [`pair`], with room for so many bytes in each direction.
pub(crate) fn pair_with(limits: ConnectionLimits, room: usize) -> (Connection, Peer) {
    let (ours, theirs) = duplex(room);
    (Connection::from_stream(ours, limits), Peer::new(theirs))
}

impl Peer {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream) }
    }

    /// Reads exactly this.
    pub(crate) async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        let mut found = vec![0; expected.len()];
        let read = timeout(DEADLINE, self.stream.read_exact(&mut found)).await;
        let shown = expected.escape_ascii();
        match read {
            Err(_) => panic!("waited too long for {shown}"),
            Ok(Err(error)) => panic!("while waiting for {shown}: {error}"),
            Ok(Ok(_)) => assert_eq!(found.escape_ascii().to_string(), shown.to_string()),
        }
    }

    /// Reads a line, and returns it without its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let read = timeout(DEADLINE, self.stream.read_u8()).await;
            line.push(read.expect("waited too long for a line").expect("a line"));
        }
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the client is there");
    }

    /// Sends byte by byte, so that the client reads each before the next.
    pub(crate) async fn send_slowly(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]).await;
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads that the client closed.
    pub(crate) async fn expect_end(&mut self) {
        let read = timeout(DEADLINE, self.stream.read_u8()).await.expect("waited too long");
        assert!(read.is_err(), "the client sent {read:?}");
    }

    /// Plays one exchange after the other: what is expected, and what is answered.
    pub(crate) async fn play(&mut self, exchanges: &[(&str, &str)]) {
        for (expected, answer) in exchanges {
            self.expect(expected).await;
            self.send(answer).await;
        }
    }
}

/// A server on a free port of the loopback interface.
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub(crate) fn address(&self) -> Address {
        self.listener.local_addr().expect("it is bound").into()
    }

    pub(crate) async fn accept(&self) -> Peer {
        let accepted = timeout(DEADLINE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("waited too long for a client").expect("accept");
        Peer::new(stream)
    }
}

/// Awaits what must not take long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("waited too long")
}

/// Runs both ends to their end.
pub(crate) async fn both<T>(
    client: impl Future<Output = T>,
    server: impl Future<Output = ()>,
) -> T {
    soon(async { tokio::join!(client, server).0 }).await
}
