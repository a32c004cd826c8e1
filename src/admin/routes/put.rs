//! Putting a job.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use beanstalk_protocol::TubeName;
use bytes::Bytes;
use jq_api::server::{self, NewJob, ProblemKind, PutQuery};
use jq_engine::{Inserted, PutRefusal};
use jq_http::Peer;
use jq_http::reply::{json, with};
use tracing::{Instrument as _, info};

use crate::admin::answer::{Answer, Failure};
use crate::admin::app::App;
use crate::admin::extract::{self, Change, Query, Tube, content_type};
use crate::admin::idempotency::{Claim, Hash, MAX_KEY, hash};
use crate::admin::readiness::Reason;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Puts a job into a tube
///
/// With the content type `application/json`, the content is a `NewJob`. With any other but
/// `multipart/...`, it is the body of the job, and the parameters have the rest. The job is as safe as
/// one that is put by a client of the queue before this is answered.
///
/// A request that has the same `Idempotency-Key` as one of the last hour, and is the same, answers with
/// the job of that one.
#[utoipa::path(
    post, path = "/api/v1/tubes/{tube}/jobs", tag = "jobs", security(("token" = ["submit"])),
    params(
        ("tube" = String, Path, description = "The name of a tube. It need not exist"),
        PutQuery,
        ("Idempotency-Key" = Option<String>, Header, max_length = 255, min_length = 1,
         pattern = "^[!-~]+$",
         description = "Any text that no other put has, such as a UUID: visible ASCII characters"),
    ),
    request_body(
        description = "The job",
        content((NewJob = "application/json"), (Vec<u8> = "application/octet-stream")),
    ),
    responses(
        (status = 201, body = server::Inserted, description = "The job was put",
         headers(("Location" = String, description = "The path of the job"))),
        (status = 200, body = server::Inserted, description = "It is there already: an earlier request has put it, or the tube takes no body twice",
         headers(("Location" = String, description = "The path of the job"))),
    ),
)]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    change: Change,
    Tube(tube): Tube,
    Query(query): Query<PutQuery>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Answer {
    let (parts, content) = extract::read(request, &app).await?;
    let key = key(&parts)?.map(|key| (key, hash_of(&tube, &parts, &content)));
    let new = new_job(&parts, &query, content, app.max_job_size)?;
    let put = Put { app, change, tube, new, peer: peer.map(|Extension(peer)| peer) };
    // Once it is put, it is seen to its end, even if the client has gone meanwhile: its key must stand
    // for the job.
    let put = tokio::spawn(put.make(key).in_current_span());
    put.await.unwrap_or_else(|_| {
        Err(Failure::new(ProblemKind::Busy, "the request was given up, because the server ends"))
    })
}

/// The `Idempotency-Key`, if there is one.
fn key(parts: &Parts) -> Result<Option<HeaderValue>, Failure> {
    let mut keys = parts.headers.get_all(KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let is_key = (1..=MAX_KEY).contains(&key.len())
        && key.as_bytes().iter().all(u8::is_ascii_graphic)
        && keys.next().is_none();
    if is_key {
        return Ok(Some(key.clone()));
    }
    let detail = format!("Idempotency-Key: expected 1 to {MAX_KEY} visible ASCII characters");
    Err(Failure::field("Idempotency-Key", detail))
}

/// Of all that makes a request another.
fn hash_of(tube: &TubeName, parts: &Parts, content: &[u8]) -> Hash {
    let (query, kind) = (parts.uri.query().unwrap_or_default(), content_type(&parts.headers));
    hash(&[tube.as_bytes(), query.as_bytes(), kind.as_bytes(), content])
}

/// The job that a request has.
fn new_job(
    parts: &Parts,
    query: &PutQuery,
    content: Bytes,
    most: usize,
) -> Result<(jq_engine::NewJob, Box<[u8]>), Failure> {
    let content_type = content_type(&parts.headers);
    if content_type.starts_with("multipart/") {
        let detail =
            "expected application/json, or the body of the job as any other type but multipart";
        return Err(Failure::new(ProblemKind::MediaType, detail).of("Content-Type"));
    }
    let (priority, delay, ttr, body) = if content_type == "application/json" {
        let is_empty = *query == PutQuery::default();
        if !is_empty {
            let detail =
                "with application/json, the parameters of the job are members of the content";
            return Err(Failure::field("priority, delay, ttr", detail));
        }
        let job: NewJob = extract::json(&content)?;
        (job.priority, job.delay, job.ttr, body(job)?)
    } else {
        // Nobody else has it, so it is not copied.
        (query.priority, query.delay, query.ttr, Vec::from(content))
    };
    if body.len() > most {
        let detail = format!("expected a job of at most {most} bytes, not {}", body.len());
        return Err(Failure::new(ProblemKind::TooBig, detail));
    }
    let job = jq_engine::NewJob {
        priority: priority.unwrap_or(NewJob::PRIORITY),
        delay: delay.unwrap_or(0),
        ttr: ttr.unwrap_or(NewJob::TTR),
    };
    Ok((job, body.into_boxed_slice()))
}

/// The body that a document has.
fn body(job: NewJob) -> Result<Vec<u8>, Failure> {
    match (job.json, job.text, job.base64) {
        (Some(json), None, None) => Ok(json.get().as_bytes().to_vec()),
        (None, Some(text), None) => Ok(text.into_bytes()),
        (None, None, Some(base64)) => BASE64
            .decode(base64)
            .map_err(|error| Failure::field("base64", format!("base64: expected base64: {error}"))),
        _ => {
            let detail = "expected exactly one of json, text and base64. To put a JSON document as it \
                          is, send it as application/octet-stream";
            Err(Failure::field("json, text, base64", detail))
        }
    }
}

/// A put that is about to be made.
struct Put {
    app: Arc<App>,
    change: Change,
    tube: TubeName,
    new: (jq_engine::NewJob, Box<[u8]>),
    peer: Option<Peer>,
}

impl Put {
    async fn make(self, key: Option<(HeaderValue, Hash)>) -> Answer {
        let app = Arc::clone(&self.app);
        let claimed = match &key {
            None => None,
            Some((key, request)) => {
                let (now, owner) = (self.change.hub.clock().now(), &*self.change.who.name);
                match app.keys.claim(now, owner, key.as_bytes(), *request) {
                    Claim::First(claimed) => Some(claimed),
                    Claim::Repeated(id) => return Ok(answer(id, &self.tube, true)),
                    Claim::InUse => {
                        let detail = "a request with this key is being carried out";
                        let failure = Failure::new(ProblemKind::KeyInUse, detail);
                        return Err(failure.of("Idempotency-Key"));
                    }
                    Claim::Reused => {
                        let detail = "another request was made with this key";
                        let failure = Failure::new(ProblemKind::KeyReused, detail);
                        return Err(failure.of("Idempotency-Key"));
                    }
                }
            }
        };
        let Self { change, tube, new: (new, body), peer, .. } = self;
        let hub = &change.hub;
        let (inserted, gated) =
            hub.change(|engine, mut sink, now| engine.put(now, &tube, new, body, &mut sink));
        let Inserted { id, is_new } = inserted.map_err(|refusal| match refusal {
            PutRefusal::Draining => Failure::because_of(&Reason::Draining),
            PutRefusal::NotRecorded => Failure::not_recorded(hub),
            PutRefusal::LimitReached(_) => {
                Failure::new(ProblemKind::LimitReached, refusal.to_string())
            }
        })?;
        let peer = peer.as_ref().map_or("", |Peer(address)| address);
        if is_new {
            let token = &*change.who.name;
            info!(token, peer, action = "put", "by HTTP: job {id} in tube {tube}");
        }
        hub.committed(gated).await.map_err(|_| Failure::not_committed(hub))?;
        if let Some(claimed) = claimed {
            claimed.done(id);
        }
        Ok(answer(id, &tube, !is_new))
    }
}

fn answer(id: u64, tube: &TubeName, repeated: bool) -> jq_http::reply::Reply {
    let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
    let reply = json(status, &server::Inserted { id, tube: tube.as_str().to_owned(), repeated });
    match HeaderValue::try_from(format!("/api/v1/jobs/{id}")) {
        Ok(path) => with(reply, LOCATION, path),
        Err(_) => reply,
    }
}
