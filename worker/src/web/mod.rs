//! HTTP that others start: results, logs of running jobs, what the worker is doing, and control.
//!
//! Owns: the routes, every status and header of an answer, who may read across origins and who may
//! control, and what the limits of connections are, which `jq-http` keeps. Must not know: what a job is,
//! where results lie, or how a process runs; it asks a [`Worker`], which can as well be a fake.
//!
//! Results are for everybody who knows the UUID, which is what makes a link to one work. Everything
//! that changes something takes a token.

mod answer;
mod artifact;
mod control;
mod log;
mod page;
mod route;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{HeaderName, StatusCode};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future};
use jiff::Timestamp;
use jq_api::artifact::ArtifactName;
use jq_api::result::FinalStatus;
use jq_http::reply::{Reply, json_bytes};
use jq_http::{Acceptor, Limits, Server};
use uuid::Uuid;

use answer::App;

pub use artifact::{ArtifactContent, FoundArtifact, Pieces};
pub use jq_api::status::{
    FailureStatus, ResourceStatus, RunStatus, ServerStatus, State, Status, TypeStatus,
};

/// Says in a request that another worker asks for what this one has itself.
pub const FROM_PEER: HeaderName = HeaderName::from_static("jq-peer");

/// Of the body of a request, in bytes. No request to us has one, but a client may send an empty
/// document with a POST.
const MAX_BODY: usize = 1024;

/// What a client may take of us.
fn limits() -> Limits {
    Limits { body_bytes: MAX_BODY, ..Limits::default() }
}

/// Answers HTTP at this socket until `stop`. Then it accepts no more connections, ends the streams,
/// lets what is being answered be answered for at most two seconds, and returns.
///
/// # Errors
/// If the prefix in the options is not a path. What goes wrong on a connection ends that connection.
pub async fn serve<W: Worker>(
    listener: impl Acceptor,
    worker: Arc<W>,
    options: WebOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_within(limits(), listener, worker, options, stop).await
}

/// As [`serve`], within other limits.
async fn serve_within<W: Worker>(
    limits: Limits,
    listener: impl Acceptor,
    worker: Arc<W>,
    options: WebOptions,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = Server::new(limits);
    let app = App::new(worker, &options, server.ending())?;
    server.serve(listener, app, stop).await;
    Ok(())
}

/// An answer that says why there is no better one.
fn failure(status: StatusCode, error: &str, id: Option<Uuid>) -> Reply {
    let mut body = serde_json::Map::from_iter([("error".to_owned(), error.into())]);
    if let Some(id) = id {
        body.insert("id".to_owned(), id.to_string().into());
    }
    json_bytes(status, serde_json::Value::from(body).to_string().into())
}

/// What the HTTP side asks of the worker. Every method may be called at any time by many
/// connections at once, and should answer quickly.
pub trait Worker: Send + Sync + 'static {
    /// What is known of a job.
    fn lookup(&self, id: Uuid) -> impl Future<Output = Lookup> + Send;

    /// The same, as far as this worker has it itself: another one asks, and asks all.
    fn lookup_here(&self, id: Uuid) -> impl Future<Output = Lookup> + Send {
        self.lookup(id)
    }

    /// The result that a job had before it was run again, while there is no new one.
    fn previous(&self, id: Uuid) -> impl Future<Output = Lookup> + Send;

    /// Cancels a job, wherever it is. It takes some seconds at most.
    fn cancel(&self, id: Uuid) -> impl Future<Output = Cancelled> + Send;

    /// Queues a job anew that is over.
    fn rerun(&self, id: Uuid) -> impl Future<Output = Rerun> + Send;

    /// A file that belongs to the result of a job.
    fn artifact(&self, id: Uuid, name: &ArtifactName)
    -> impl Future<Output = FoundArtifact> + Send;

    /// As [`artifact`](Self::artifact), as far as this worker has it itself.
    fn artifact_here(
        &self,
        id: Uuid,
        name: &ArtifactName,
    ) -> impl Future<Output = FoundArtifact> + Send {
        self.artifact(id, name)
    }

    /// The output of a job that another worker runs, from as early as it is still there, or from behind the piece
    /// with this number. `None`: nobody is known that runs it.
    fn log_elsewhere(
        &self,
        _id: Uuid,
        _after: Option<u64>,
    ) -> impl Future<Output = Option<LogStream>> + Send {
        future::ready(None)
    }

    /// The output of a running job, from as early as it is still there; `None` if it is not running
    /// here.
    fn log(&self, id: Uuid) -> Option<LogStream>;

    /// As [`Worker::log`], for a reader that comes back and has everything up to and including the
    /// piece with this number. To be provided where pieces may be cut differently the next time;
    /// otherwise leaving out those that the reader has will do.
    fn log_after(&self, id: Uuid, seq: u64) -> Option<LogStream> {
        let new = move |event: &LogEvent| {
            future::ready(!matches!(event, LogEvent::Output { seq: of, .. } if *of <= seq))
        };
        Some(Box::pin(self.log(id)?.filter(new)))
    }

    /// What the worker is doing, for people and programs.
    fn status(&self) -> impl Future<Output = Status> + Send;

    /// Whether it takes jobs.
    ///
    /// # Errors
    /// The reasons why it does not, one sentence each.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// Its metrics, as OpenMetrics 1.0 text with its `# EOF`.
    fn metrics(&self) -> String;

    /// Does as an operator says, or begins to: it returns at once.
    fn command(&self, command: Control);
}

/// What is known of a job.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// It has a result.
    Done(Document),
    /// This worker has the job, and no result of it yet.
    Pending {
        /// A JSON document that says how far it is.
        body: Bytes,
        /// When it is worth asking again, in seconds.
        retry_after: u32,
    },
    /// There was a result, and its time is over.
    Gone,
    /// Nothing.
    Unknown,
    /// It cannot be told at present.
    Unavailable,
    /// It is not here, and whoever may have it cannot be asked at present, for this reason.
    Unreachable(String),
}

/// What became of a job that is to be cancelled.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// It is cancelled, and this is its result.
    Done(Document),
    /// It will be.
    Accepted(Later),
    /// It was over before.
    Over(FinalStatus),
    /// It was over, and its result has been removed after its time.
    Gone,
    /// It cannot be, at present, for this reason.
    Unavailable(String),
}

/// When a job will be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// As soon as what is done with it here has come to its end.
    Ends,
    /// When it comes here: it was not found.
    Comes,
}

/// What became of a job that is to be run again.
#[derive(Debug, Clone)]
pub enum Rerun {
    /// It is queued, and this is its document now.
    Queued(Bytes),
    /// It is not, for this reason.
    Not(String),
    /// There is no result of it here.
    Unknown,
    /// Its result has been removed after its time.
    Gone,
    /// It cannot be, at present, for this reason.
    Unavailable(String),
}

/// A result as it is served.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON.
    pub body: Bytes,
    /// When it came into being. HTTP tells whole seconds.
    pub modified: Timestamp,
    /// What tells it from any other result of the job, without quotes: visible ASCII characters
    /// except `"`. With any other character in it, it is not sent.
    pub etag: String,
}

/// The output of a running job, as it comes.
pub type LogStream = Pin<Box<dyn Stream<Item = LogEvent> + Send>>;

/// Something that a running job has said.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// A piece of output.
    Output {
        /// Grows with every piece of the job. A reader that comes back says up to where it has read.
        seq: u64,
        /// "stdout" or "stderr".
        stream: &'static str,
        /// Not necessarily whole lines.
        text: String,
        /// Bytes that are missing before this piece, because the reader or the memory was not large
        /// or fast enough.
        skipped: u64,
    },
    /// How far it is, in percent.
    Progress(f64),
    /// It has ended. Nothing comes after it.
    End,
}

/// What an operator can tell the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// To take no new jobs.
    Hold,
    /// To take jobs again.
    Unhold,
    /// To take no new jobs, finish what runs, and exit.
    Halt,
}

/// How results are served, and to whom.
#[derive(Clone)]
pub struct WebOptions {
    /// What an operator has to show. Without one (or with an empty one) nobody can control the
    /// worker over HTTP.
    pub token: Option<String>,
    /// Origins whose pages may read results and logs, such as `https://site.example`. A `*` among
    /// them stands for any.
    pub cors_origins: Vec<String>,
    /// A path under which results are served too, because that is where the public URL points:
    /// `/results`. Empty: only at the top.
    pub prefix: String,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self { token: None, cors_origins: vec!["*".to_owned()], prefix: String::new() }
    }
}

impl std::fmt::Debug for WebOptions {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebOptions")
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("cors_origins", &self.cors_origins)
            .field("prefix", &self.prefix)
            .finish()
    }
}
