//! The whole of the HTTP side, over real sockets, with a worker that is made up.

mod artifacts;
mod control;
mod limits;
mod log;
mod results;
mod surface;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::artifact::Artifact;

/// Longer than anything here takes on a loaded machine; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room at a server, so that a test can fill it with the file descriptors that it has.
const CONNECTIONS: usize = 16;

const DONE: Uuid = Uuid::from_u128(0x13775310_8f59_412e_aa2c_549a20077664);
const PENDING: Uuid = Uuid::from_u128(2);
const GONE: Uuid = Uuid::from_u128(3);
const UNKNOWN: Uuid = Uuid::from_u128(4);
const BODY: &[u8] = br#"{"id":"13775310-8f59-412e-aa2c-549a20077664","output":{"series":[1,2]}}"#;
const MODIFIED: &str = "Sun, 22 Nov 2026 12:03:10 GMT";

/// What an artifact of the made-up worker is.
type TypeAndText = (&'static str, &'static [u8]);

/// A worker that knows what it is told to.
#[derive(Default)]
struct Fake {
    found: HashMap<Uuid, Lookup>,
    /// For each running job, what it says when.
    logs: Mutex<HashMap<Uuid, mpsc::UnboundedReceiver<LogEvent>>>,
    reasons: Vec<String>,
    previous: HashMap<Uuid, Lookup>,
    /// Their types and what is in them. `None`: gone.
    artifacts: HashMap<(Uuid, String), Option<TypeAndText>>,
    /// What somebody wanted to be cancelled, and run again.
    cancelled: Mutex<Vec<Uuid>>,
    rerun: Mutex<Vec<Uuid>>,
    commands: Mutex<Vec<Control>>,
}

impl Fake {
    fn new() -> Self {
        let done = Document {
            body: Bytes::from_static(BODY),
            modified: "2026-11-22T12:03:10.12Z".parse().unwrap(),
            etag: "abc".to_owned(),
        };
        let pending = Lookup::Pending {
            body: Bytes::from_static(b"{\"status\":\"running\"}"),
            retry_after: 7,
        };
        let found =
            HashMap::from([(DONE, Lookup::Done(done)), (PENDING, pending), (GONE, Lookup::Gone)]);
        Self { found, ..Self::default() }
    }

    /// Makes a job run, and gives what it speaks through.
    fn run(&self, id: Uuid) -> mpsc::UnboundedSender<LogEvent> {
        let (say, said) = mpsc::unbounded_channel();
        self.logs.lock().unwrap().insert(id, said);
        say
    }
}

impl Worker for Fake {
    async fn lookup(&self, id: Uuid) -> Lookup {
        self.found.get(&id).cloned().unwrap_or(Lookup::Unknown)
    }

    async fn previous(&self, id: Uuid) -> Lookup {
        self.previous.get(&id).cloned().unwrap_or(Lookup::Unknown)
    }

    async fn cancel(&self, id: Uuid) -> Cancelled {
        self.cancelled.lock().unwrap().push(id);
        match self.found.get(&id) {
            Some(Lookup::Done(_)) => Cancelled::Over(FinalStatus::Failed),
            Some(Lookup::Pending { .. }) => Cancelled::Accepted(Later::Ends),
            Some(_) => Cancelled::Gone,
            None => Cancelled::Accepted(Later::Comes),
        }
    }

    async fn rerun(&self, id: Uuid) -> Rerun {
        self.rerun.lock().unwrap().push(id);
        match self.found.get(&id) {
            Some(Lookup::Done(_)) => {
                Rerun::Queued(Bytes::from_static(b"{\"status\":\"accepted\"}"))
            }
            Some(Lookup::Pending { .. }) => Rerun::Not("it runs".to_owned()),
            Some(_) => Rerun::Gone,
            None => Rerun::Unknown,
        }
    }

    async fn artifact(&self, id: Uuid, name: &ArtifactName) -> FoundArtifact {
        match self.artifacts.get(&(id, name.to_string())) {
            None => FoundArtifact::Unknown,
            Some(None) => FoundArtifact::Gone,
            Some(Some((media_type, text))) => {
                let artifact = Artifact {
                    name: name.clone(),
                    media_type: (*media_type).to_owned(),
                    bytes: text.len() as u64,
                    digest: "sha-256=:ab/c+d==:".to_owned(),
                    url: None,
                };
                let text = *text;
                let read = move |range: std::ops::Range<u64>| {
                    let part = &text[range.start as usize..range.end as usize];
                    let piece = |piece| Ok(Bytes::from_static(piece));
                    Box::pin(stream::iter(part.chunks(2).map(piece))) as Pieces
                };
                let modified = "2026-11-22T12:03:10.12Z".parse().unwrap();
                FoundArtifact::Here(ArtifactContent { artifact, modified, read: Box::new(read) })
            }
        }
    }

    fn log(&self, id: Uuid) -> Option<LogStream> {
        let said = self.logs.lock().unwrap().remove(&id)?;
        Some(Box::pin(stream::unfold(said, |mut said| async {
            let event = said.recv().await?;
            Some((event, said))
        })))
    }

    async fn status(&self) -> Status {
        Status {
            worker: "worker1.example".to_owned(),
            version: "0.1.0".to_owned(),
            state: State::Running,
            reasons: Vec::new(),
            started: "2026-11-22T10:00:00Z".parse().unwrap(),
            concurrency: 4,
            unpublished: 0,
            servers: vec![ServerStatus {
                address: "queue.example:11300".to_owned(),
                tubes: vec!["simulations".to_owned()],
                connected: true,
                error: None,
            }],
            running: Vec::new(),
            types: Vec::new(),
            resources: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        if self.reasons.is_empty() { Ok(()) } else { Err(self.reasons.clone()) }
    }

    fn metrics(&self) -> String {
        "# TYPE jobs counter\njobs_total 1\n# EOF\n".to_owned()
    }

    fn command(&self, command: Control) {
        self.commands.lock().unwrap().push(command);
    }
}

/// A server on a free port, that ends with the test.
struct Server {
    address: SocketAddr,
    worker: Arc<Fake>,
    stop: Arc<Notify>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(worker: Fake, options: WebOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (worker, stop) = (Arc::new(worker), Arc::new(Notify::new()));
        let stopped = Arc::clone(&stop);
        let stopped = async move { stopped.notified().await };
        let limits = Limits { connections: CONNECTIONS, ..limits() };
        let serving = serve_within(limits, listener, Arc::clone(&worker), options, stopped);
        let serving = tokio::spawn(serving);
        Self { address, worker, stop, serving }
    }

    async fn plain() -> Self {
        Self::start(Fake::new(), WebOptions::default()).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends what is given, and reads until the server closes.
    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may have answered and closed before it has read all.
        let _ = stream.write_all(request.as_ref()).await;
        read_all(&mut stream).await
    }

    /// One request on a connection of its own.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        Answer::read(&self.raw(request).await)
    }

    async fn get(&self, path: impl std::fmt::Display) -> Answer {
        self.ask("GET", &path.to_string(), "").await
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // It may end in a reset, after an answer to a request that was not read to its end.
    let _ = read.expect("the server neither answers nor closes");
    String::from_utf8(answer).unwrap()
}

/// Reads until this has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
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

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (this, value) = line.split_once(": ")?;
            this.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    #[track_caller]
    fn has(&self, name: &str, value: &str) {
        assert_eq!(self.header(name), Some(value), "{name} of {self:?}");
    }

    #[track_caller]
    fn has_no(&self, name: &str) {
        assert_eq!(self.header(name), None, "{name} of {self:?}");
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        self.has("content-type", "application/json");
        serde_json::from_str(&self.body).unwrap()
    }
}
