//! Servers with a few routes, and a minimal client.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures_util::stream;
use jq_http::{Acceptor, Limits, Server, Streams};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Longer than anything here takes on a loaded machine; a test that waits for it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The connection limit of a server, small enough for a test to reach it.
pub(crate) const CONNECTIONS: usize = 16;

pub(crate) const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) fn limits() -> Limits {
    Limits { connections: CONNECTIONS, body_bytes: 1024, ..Limits::default() }
}

/// Requests to `/wait`: how many have arrived, and how many may be answered.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) come: Semaphore,
    pub(crate) answered: Semaphore,
}

fn routes(server: &Server, waiting: &Arc<Waiting>) -> Router {
    let streams = Streams::new(1, server.ending());
    let waiting = Arc::clone(waiting);
    let wait = move || {
        let waiting = Arc::clone(&waiting);
        async move {
            waiting.come.add_permits(1);
            waiting.answered.acquire().await.unwrap().forget();
            "waited\n"
        }
    };
    let events = move || {
        let reply = streams.open(stream::pending()).map_err(|_| "full");
        async { reply.into_response() }
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .route("/large", get(async || vec![b'a'; 1 << 20]))
        .route("/wait", get(wait))
        .route("/events", get(events))
}

/// A server that ends with the test.
pub(crate) struct Running {
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) stop: Arc<Notify>,
    pub(crate) serving: JoinHandle<()>,
}

pub(crate) fn start(acceptor: impl Acceptor, limits: Limits) -> Running {
    let server = Server::new(limits);
    let waiting = Waiting { come: Semaphore::new(0), answered: Semaphore::new(0) };
    let (waiting, stop) = (Arc::new(waiting), Arc::new(Notify::new()));
    let (routes, stopped) = (routes(&server, &waiting), Arc::clone(&stop));
    let stopped = async move { stopped.notified().await };
    Running { waiting, stop, serving: tokio::spawn(server.serve(acceptor, routes, stopped)) }
}

/// A server on a free port.
pub(crate) struct AtPort {
    pub(crate) address: SocketAddr,
    pub(crate) running: Running,
}

impl AtPort {
    pub(crate) async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), running: start(listener, limits) }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which this request was sent.
    pub(crate) async fn asked(&self, request: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// A connection that is kept open after one answered request.
    pub(crate) async fn resting(&self) -> TcpStream {
        let mut stream = self.asked(GET).await;
        read_until(&mut stream, "ok\n").await;
        stream
    }

    /// A connection with a request that is not answered until the test allows it.
    pub(crate) async fn busy(&self) -> TcpStream {
        let stream = self.asked("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let come = self.running.waiting.come.acquire();
        tokio::time::timeout(PATIENCE, come).await.unwrap().unwrap().forget();
        stream
    }

    /// Sends these bytes, and reads until the server closes.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may have answered and closed before it has read everything.
        let _ = stream.write_all(request.as_ref()).await;
        read_all(&mut stream).await
    }

    pub(crate) async fn is_healthy(&self) -> bool {
        let request = GET.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        status(&self.raw(request).await) == 200
    }
}

pub(crate) fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap()
}

pub(crate) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // After an answer to a request that was not read to its end, there may be a reset.
    let _ = read.expect("the server neither answers nor closes");
    String::from_utf8(answer).unwrap()
}

/// Reads until this has arrived.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("no {end:?} in {text:?}")).unwrap();
        assert_ne!(count, 0, "no {end:?} in {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

/// An acceptor of connections made by the test. Each must first send one byte as a handshake.
pub(crate) struct Pipes {
    made: Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
}

impl Acceptor for Pipes {
    type Accepted = DuplexStream;
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<DuplexStream> {
        match self.made.lock().await.recv().await {
            Some(stream) => Ok(stream),
            None => std::future::pending().await,
        }
    }

    async fn handshake(&self, mut accepted: DuplexStream) -> io::Result<DuplexStream> {
        match accepted.read_u8().await? {
            b'!' => Ok(accepted),
            _ => Err(io::Error::other("this is no welcome")),
        }
    }
}

/// A server that is reached through pipes.
pub(crate) struct AtPipe {
    make: mpsc::UnboundedSender<DuplexStream>,
    pub(crate) running: Running,
}

impl AtPipe {
    pub(crate) fn start(limits: Limits) -> Self {
        let (make, made) = mpsc::unbounded_channel();
        Self { make, running: start(Pipes { made: Mutex::new(made) }, limits) }
    }

    /// A connection before its handshake.
    pub(crate) fn bare(&self) -> DuplexStream {
        let (stream, theirs) = duplex(1024);
        self.make.send(theirs).unwrap();
        stream
    }

    pub(crate) async fn connect(&self) -> DuplexStream {
        let mut stream = self.bare();
        stream.write_u8(b'!').await.unwrap();
        stream
    }
}

/// Waits until the server closes, and returns how long that took.
pub(crate) async fn closed_after(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Duration {
    let began = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    began.elapsed()
}

/// Reads one byte at a time up to this text. Has no time limit: on a clock that jumps, it would
/// expire at once.
pub(crate) async fn expect(stream: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut buffer = Vec::new();
    while !buffer.ends_with(text.as_bytes()) {
        buffer.push(stream.read_u8().await.unwrap());
    }
}

/// What follows the head of an answer.
pub(crate) fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}")).1
}
