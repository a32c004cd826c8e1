//! From a request to its answer.

use std::io;
use std::sync::Arc;

use axum::http::header::{ALLOW, CACHE_CONTROL, LOCATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use jq_api::result::FinalStatus;
use jq_http::reply::{Reply, content, empty, json, json_bytes, with};
use jq_http::{Cors, Ending, Guard, Handler, Refusal, Streams, Validators, last_event_id};
use serde_json::json;
use uuid::Uuid;

use super::control::refusal;
use super::log::{MAX_STREAMS, open};
use super::page;
use super::route::{Part, Route};
use super::{
    Cancelled, Control, Document, FROM_PEER, FoundArtifact, Later, Lookup, Rerun, WebOptions,
    Worker, artifact, failure,
};

/// When it is worth asking again while nothing can be told, in seconds.
const UNAVAILABLE_RETRY_AFTER: u32 = 5;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// All that answers are made from.
pub(super) struct App<W> {
    worker: Arc<W>,
    prefix: String,
    cors: Cors,
    guard: Guard,
    streams: Streams,
}

impl<W: Worker> App<W> {
    /// # Errors
    /// If the prefix is not a path.
    pub(super) fn new(worker: Arc<W>, options: &WebOptions, ending: Ending) -> io::Result<Self> {
        let prefix = options.prefix.trim_end_matches('/');
        let is_path = prefix.is_empty() || prefix.starts_with('/');
        if !is_path || prefix.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#".contains(&byte))
        {
            let error = format!("results cannot be served under {prefix:?}: it is not a path");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        Ok(Self {
            worker,
            prefix: prefix.to_owned(),
            cors: Cors::new(&options.cors_origins),
            guard: Guard::new(options.token.as_deref()),
            streams: Streams::new(MAX_STREAMS, ending),
        })
    }

    /// The answer to a request, the body of which does not matter.
    async fn answer_head(&self, request: &Parts) -> Reply {
        let route = Route::of(request.uri.path(), &self.prefix);
        let mut reply = match route.allow() {
            Some(allow) if !route.takes(&request.method) => {
                let error = format!("this takes {allow}");
                let reply = failure(StatusCode::METHOD_NOT_ALLOWED, &error, None);
                with(reply, ALLOW, HeaderValue::from_static(allow))
            }
            _ if request.method == Method::OPTIONS && route.is_shared() => self.cors.preflight(),
            _ => self.answer_route(route, request).await,
        };
        if route.is_shared() {
            self.cors.write(&request.headers, reply.headers_mut());
        }
        reply
    }

    async fn answer_route(&self, route: Route<'_>, request: &Parts) -> Reply {
        match route {
            Route::Page => page::answer(&self.worker.status().await, Timestamp::now()),
            Route::Health => content(StatusCode::OK, PLAIN_TEXT, "ok\n"),
            Route::Ready => self.ready(),
            Route::Metrics => content(StatusCode::OK, OPENMETRICS, self.worker.metrics()),
            Route::Status => json(StatusCode::OK, &self.worker.status().await),
            Route::Control(control) => self.control(control, &request.headers),
            Route::Result(id) if request.method == Method::DELETE => {
                self.cancel(id, &request.headers).await
            }
            Route::Result(id) => self.result(id, request).await,
            Route::Log(id) => self.log(id, &request.headers).await,
            Route::Artifact(id, path) => self.artifact(id, path, &request.headers).await,
            Route::Rerun(id) => self.rerun(id, &request.headers).await,
            Route::Elsewhere { id, part } => elsewhere(id, part, request.uri.query()),
            Route::Unknown => failure(StatusCode::NOT_FOUND, "there is nothing here", None),
        }
    }

    async fn result(&self, id: Uuid, request: &Parts) -> Reply {
        let found = match request.uri.query() {
            Some("previous") => match self.worker.previous(id).await {
                Lookup::Unknown => {
                    let error = "there is no earlier result, or the job is not being run again";
                    return failure(StatusCode::NOT_FOUND, error, Some(id));
                }
                found => found,
            },
            _ if is_from_peer(&request.headers) => self.worker.lookup_here(id).await,
            _ => self.worker.lookup(id).await,
        };
        self.found(id, found, &request.headers)
    }

    fn found(&self, id: Uuid, found: Lookup, request: &HeaderMap) -> Reply {
        match found {
            Lookup::Done(document) => done(document, request),
            Lookup::Pending { body, retry_after } => with(
                json_bytes(StatusCode::ACCEPTED, body),
                RETRY_AFTER,
                HeaderValue::from(retry_after),
            ),
            Lookup::Gone => {
                failure(StatusCode::GONE, "the result has been removed after its time", Some(id))
            }
            Lookup::Unknown => {
                failure(StatusCode::NOT_FOUND, "this worker knows of no such job", Some(id))
            }
            Lookup::Unavailable => {
                unavailable(id, "the worker cannot use its state directory at present")
            }
            Lookup::Unreachable(why) => unavailable(id, &why),
        }
    }

    async fn cancel(&self, id: Uuid, request: &HeaderMap) -> Reply {
        if let Some(refusal) = refusal(&self.guard, request) {
            return refusal;
        }
        match self.worker.cancel(id).await {
            Cancelled::Done(document) => done(document, &HeaderMap::new()),
            Cancelled::Accepted(Later::Ends) => {
                let body = json!({"accepted": "cancel", "id": id, "job": "here"});
                json(StatusCode::ACCEPTED, &body)
            }
            Cancelled::Accepted(Later::Comes) => {
                let body = json!({"accepted": "cancel", "id": id, "job": "not found"});
                json(StatusCode::ACCEPTED, &body)
            }
            Cancelled::Over(status) => over(id, status),
            Cancelled::Gone => {
                let error = "the job is over, and its result has been removed after its time";
                failure(StatusCode::GONE, error, Some(id))
            }
            Cancelled::Unavailable(why) => unavailable(id, &why),
        }
    }

    async fn rerun(&self, id: Uuid, request: &HeaderMap) -> Reply {
        if let Some(refusal) = refusal(&self.guard, request) {
            return refusal;
        }
        match self.worker.rerun(id).await {
            Rerun::Queued(body) => json_bytes(StatusCode::ACCEPTED, body),
            Rerun::Not(why) => failure(StatusCode::CONFLICT, &why, Some(id)),
            Rerun::Unknown => {
                failure(StatusCode::NOT_FOUND, "this worker has no result of such a job", Some(id))
            }
            Rerun::Gone => {
                failure(StatusCode::GONE, "the result has been removed after its time", Some(id))
            }
            Rerun::Unavailable(why) => unavailable(id, &why),
        }
    }

    async fn artifact(&self, id: Uuid, path: &str, request: &HeaderMap) -> Reply {
        let found = match artifact::name_in_path(path) {
            Some(name) if is_from_peer(request) => self.worker.artifact_here(id, &name).await,
            Some(name) => self.worker.artifact(id, &name).await,
            None => FoundArtifact::Unknown,
        };
        artifact::answer(id, found, request)
    }

    async fn log(&self, id: Uuid, request: &HeaderMap) -> Reply {
        let after = last_event_id(request);
        let mut log = match after {
            Some(seq) => self.worker.log_after(id, seq),
            None => self.worker.log(id),
        };
        if log.is_none() && !is_from_peer(request) {
            log = self.worker.log_elsewhere(id, after).await;
        }
        match log {
            Some(log) => open(&self.streams, id, log),
            None => failure(StatusCode::NOT_FOUND, "no such job is running here", Some(id)),
        }
    }

    fn ready(&self) -> Reply {
        match self.worker.ready() {
            Ok(()) => json(StatusCode::OK, &json!({"ready": true})),
            Err(reasons) => {
                let body = json!({"ready": false, "reasons": reasons});
                json(StatusCode::SERVICE_UNAVAILABLE, &body)
            }
        }
    }

    fn control(&self, control: Control, request: &HeaderMap) -> Reply {
        if let Some(refusal) = refusal(&self.guard, request) {
            return refusal;
        }
        self.worker.command(control);
        let name = match control {
            Control::Hold => "hold",
            Control::Unhold => "unhold",
            Control::Halt => "halt",
        };
        json(StatusCode::ACCEPTED, &json!({"accepted": name}))
    }
}

impl<W: Worker> Handler for App<W> {
    async fn answer(&self, request: Request<Bytes>) -> Reply {
        self.answer_head(&request.into_parts().0).await
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        failure(refusal.status(), refusal.reason(), None)
    }
}

/// Whether another worker asks, which asks others too.
fn is_from_peer(request: &HeaderMap) -> bool {
    request.contains_key(FROM_PEER)
}

/// Word that something may be possible later.
pub(super) fn unavailable(id: Uuid, why: &str) -> Reply {
    let reply = failure(StatusCode::SERVICE_UNAVAILABLE, why, Some(id));
    with(reply, RETRY_AFTER, HeaderValue::from(UNAVAILABLE_RETRY_AFTER))
}

/// Word that a job cannot be cancelled any more.
fn over(id: Uuid, status: FinalStatus) -> Reply {
    let status = status.as_str();
    let error = format!("the job is over already: {status}");
    let body = json!({"error": error, "id": id, "status": status});
    json(StatusCode::CONFLICT, &body)
}

/// A result, or word that the asker has it already.
fn done(document: Document, request: &HeaderMap) -> Reply {
    let validators = Validators::new(&document.etag, document.modified);
    let mut reply = if validators.are_known(request) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        json_bytes(StatusCode::OK, document.body)
    };
    validators.write(reply.headers_mut());
    // It may be kept, and has to be asked for: a job that is queued again gets a new result.
    with(reply, CACHE_CONTROL, HeaderValue::from_static("no-cache"))
}

/// Sends the asker on to our spelling of the UUID, relative to where it is: a proxy may have taken
/// something off the front of the path.
fn elsewhere(id: Uuid, part: Part<'_>, query: Option<&str>) -> Reply {
    let suffix = part.suffix();
    let up = "../".repeat(suffix.matches('/').count());
    // The only query that means something.
    let query = if query == Some("previous") { "?previous" } else { "" };
    let location = format!("{up}{id}{suffix}{query}");
    let location = HeaderValue::try_from(location).expect("all of it is ASCII");
    with(empty(StatusCode::PERMANENT_REDIRECT), LOCATION, location)
}
