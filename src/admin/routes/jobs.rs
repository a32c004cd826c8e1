//! Jobs: looking at them, and changing one.

use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, HeaderValue};
use bytes::Bytes;
use jq_api::server::{Action, Bury, Changed, JobChange, JobDocument, JobList, JobQuery, Move};
use jq_engine::{self as engine, Body, JobInfo, Refusal};
use jq_http::Peer;
use jq_http::reply::{content, with};

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::cursor::{self, Listing};
use crate::admin::extract::{
    Change, Id, Json, MaybeJson, NoContent, Query, Queue, Tube, tube_name,
};
use crate::admin::query::Nothing;
use crate::admin::routes::change::changed;
use crate::admin::routes::{documents, limit};
use crate::admin::walk::walk;

/// Jobs of a tube
///
/// A job that is there and matches from before the first page to after the last is on one of them, and
/// none is on two. A page may have fewer jobs than were asked for, even none, and not be the last: only
/// one without `next` is.
#[utoipa::path(
    get, path = "/api/v1/tubes/{tube}/jobs", tag = "jobs", security(("token" = ["read"])),
    params(("tube" = String, Path, description = "The name of a tube"), JobQuery),
    responses((status = 200, body = JobList, description = "A page of jobs")),
)]
pub(crate) async fn jobs(
    Queue(hub): Queue,
    Tube(name): Tube,
    Query(query): Query<JobQuery>,
) -> Answer {
    let from = cursor::place(Listing::Jobs, query.cursor.as_deref())?;
    let state = query.state.map(documents::protocol_state);
    let page = walk(from, limit(query.limit), |from, size| {
        let (page, holders, now) = hub.read(|engine, now| {
            let page = engine.jobs_page(name.as_str(), state, from, size)?;
            let holders: Vec<_> =
                page.items.iter().map(|job| documents::holder(job, hub.peers())).collect();
            Some((page, holders, now))
        })?;
        // What can be done without the lock is.
        let jobs = page.items.iter().zip(holders);
        let items = jobs.map(|(job, holder)| documents::job(now, job, holder)).collect();
        Some(engine::Page { items, next: page.next })
    });
    let page = page.await.ok_or_else(|| Failure::not_found(format_args!("tube {name}")))?;
    let next = page.next.map(|next| cursor::of_place(Listing::Jobs, next));
    ok(&JobList { jobs: page.items, next })
}

/// A job, with its body as JSON, text or base64
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs", security(("token" = ["read"])),
    params(("id" = u64, Path, description = "The number of a job")),
    responses((status = 200, body = JobDocument, description = "The job")),
)]
pub(crate) async fn job(Queue(hub): Queue, Id(id): Id, _: Query<Nothing>) -> Answer {
    let found = hub.read(|engine, now| {
        let (job, body) = engine.job(id)?;
        Some((documents::job(now, &job, documents::holder(&job, hub.peers())), body))
    });
    let (job, body) = found.ok_or_else(|| Failure::not_found(format_args!("job {id}")))?;
    ok(&JobDocument { job, body: documents::body(body.as_ref()) })
}

/// The body of a job, as it is
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/body", tag = "jobs", security(("token" = ["read"])),
    params(("id" = u64, Path, description = "The number of a job")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream",
         description = "The body"),
    ),
)]
pub(crate) async fn body(Queue(hub): Queue, Id(id): Id, _: Query<Nothing>) -> Answer {
    let body = hub.read(|engine, _| Some(engine.job(id)?.1));
    let body = body.ok_or_else(|| Failure::not_found(format_args!("job {id}")))?;
    let body = match body {
        Body::Small(bytes) => Bytes::from(bytes),
        // Not copied: it may have a gigabyte.
        Body::Shared(bytes) => Bytes::from_owner(Shared(bytes)),
    };
    // A browser saves it: it must not show what somebody has put as a page of ours.
    let reply = content(StatusCode::OK, "application/octet-stream", body);
    Ok(with(reply, CONTENT_DISPOSITION, HeaderValue::from_static("attachment")))
}

/// Bytes that the queue has too.
struct Shared(Arc<Box<[u8]>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Makes a buried or delayed job ready
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/kick", tag = "jobs", security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of a job")),
    responses((status = 200, body = Changed, description = "The job as it is now")),
)]
pub(crate) async fn kick(
    change: Change,
    id: Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    act(&change, id, peer, Action::Kick, &engine::Action::Kick).await
}

/// Buries a job that is ready, delayed or reserved
///
/// A reserved job is taken from the connection that has it.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/bury", tag = "jobs", security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of a job")), request_body = Option<Bury>,
    responses((status = 200, body = Changed, description = "The job as it is now")),
)]
pub(crate) async fn bury(
    change: Change,
    id: Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    MaybeJson(bury): MaybeJson<Bury>,
) -> Answer {
    act(&change, id, peer, Action::Bury, &engine::Action::Bury(bury.priority)).await
}

/// Takes a reserved job from the connection that has it: it is ready again
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/release", tag = "jobs", security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of a job")),
    responses((status = 200, body = Changed, description = "The job as it is now")),
)]
pub(crate) async fn release(
    change: Change,
    id: Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    act(&change, id, peer, Action::Release, &engine::Action::Release).await
}

/// Moves a job that nobody has reserved to another tube
///
/// It keeps its number, body, counters and state. The tube need not exist.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/move", tag = "jobs", security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of a job")), request_body = Move,
    responses((status = 200, body = Changed, description = "The job as it is now")),
)]
pub(crate) async fn move_to(
    change: Change,
    id: Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    Json(to): Json<Move>,
) -> Answer {
    let tube = tube_name("tube", &to.tube)?;
    act(&change, id, peer, Action::Move, &engine::Action::Move(tube)).await
}

/// Sets the priority of a job, or the delay of one that is ready or delayed
#[utoipa::path(
    patch, path = "/api/v1/jobs/{id}", tag = "jobs", security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of a job")), request_body = JobChange,
    responses((status = 200, body = Changed, description = "The job as it is now")),
)]
pub(crate) async fn set(
    change: Change,
    id: Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    Json(set): Json<JobChange>,
) -> Answer {
    let JobChange { priority, delay } = set;
    if priority.is_none() && delay.is_none() {
        let detail = "expected priority, delay or both";
        return Err(Failure::field("priority", detail));
    }
    let set = engine::JobChange { priority, delay };
    act(&change, id, peer, Action::Set, &engine::Action::Set(set)).await
}

/// Deletes a job in any state
#[utoipa::path(
    delete, path = "/api/v1/jobs/{id}", tag = "jobs", security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of a job")),
    responses((status = 200, body = Changed, description = "The job as it was before")),
)]
pub(crate) async fn delete(
    change: Change,
    id: Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    act(&change, id, peer, Action::Delete, &engine::Action::Delete).await
}

/// Does something to a job, and answers with what it is then, or what it was if it is gone.
async fn act(
    change: &Change,
    Id(id): Id,
    peer: Option<Extension<Peer>>,
    action: Action,
    wanted: &engine::Action,
) -> Answer {
    change
        .make(&format!("job {id}"), peer.as_deref(), |engine, mut sink, now| {
            let peers = change.hub.peers();
            let document = |job: &JobInfo| documents::job(now, job, documents::holder(job, peers));
            let (before, _) = engine.job(id).ok_or(Refusal::NoJob)?;
            let before = document(&before);
            engine.act(now, id, wanted, &mut sink)?;
            let after = engine.job(id).filter(|_| action != Action::Delete);
            let after = after.map(|(job, _)| document(&job));
            Ok(Changed { job: Some(after.unwrap_or(before)), ..changed(action, 1) })
        })
        .await
}
