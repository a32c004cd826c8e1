//! Actions on many jobs.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use jq_api::server::{Bulk, BulkList, BulkRequest};
use jq_http::Peer;
use jq_http::reply::{json, with};
use tracing::info;

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::app::App;
use crate::admin::bulk;
use crate::admin::extract::{Change, Id, Json, NoContent, Query};
use crate::admin::query::Nothing;

/// Actions on many jobs: those that go on, and the last 100 that are over
#[utoipa::path(
    get, path = "/api/v1/bulk", tag = "bulk", security(("token" = ["read"])),
    responses((status = 200, body = BulkList, description = "From the newest")),
)]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Query<Nothing>) -> Answer {
    ok(&BulkList { bulk: app.bulks.list() })
}

/// Does something to many jobs of a tube
///
/// It goes on in small steps, at most 4 such actions at a time. Jobs that are put later are left alone,
/// those that are changed meanwhile may be met or not, and none is met twice. `dry_run` only counts.
#[utoipa::path(
    post, path = "/api/v1/bulk", tag = "bulk", security(("token" = ["operate"])),
    request_body = BulkRequest,
    responses(
        (status = 202, body = Bulk, description = "It has begun",
         headers(("Location" = String, description = "Where to ask how far it is"))),
    ),
)]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    change: Change,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    Json(request): Json<BulkRequest>,
) -> Answer {
    let running = app.bulks.start(&change.hub, bulk::check(request)?, &change.who.name)?;
    let document = running.document().clone();
    let id = document.id;
    log(&change, peer.as_deref(), "bulk", &document);
    let reply = json(StatusCode::ACCEPTED, &document);
    Ok(match HeaderValue::try_from(format!("/api/v1/bulk/{id}")) {
        Ok(path) => with(reply, LOCATION, path),
        Err(_) => reply,
    })
}

fn log(change: &Change, peer: Option<&Peer>, action: &str, bulk: &Bulk) {
    let request = serde_json::to_string(&bulk.request).unwrap_or_default();
    let peer = peer.map_or("", |Peer(address)| address);
    info!(token = &*change.who.name, peer, action, bulk = bulk.id, "by HTTP: {request}");
}

/// How far an action on many jobs is
#[utoipa::path(
    get, path = "/api/v1/bulk/{id}", tag = "bulk", security(("token" = ["read"])),
    params(("id" = u64, Path, description = "The number of an action")),
    responses((status = 200, body = Bulk, description = "The action")),
)]
pub(crate) async fn bulk(State(app): State<Arc<App>>, Id(id): Id, _: Query<Nothing>) -> Answer {
    ok(&*find(&app, id)?.document())
}

/// Stops an action on many jobs
///
/// What it has done stays done. One that is over stays as it is.
#[utoipa::path(
    delete, path = "/api/v1/bulk/{id}", tag = "bulk", security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of an action")),
    responses((status = 200, body = Bulk, description = "The action; it may be about to stop")),
)]
pub(crate) async fn stop(
    State(app): State<Arc<App>>,
    change: Change,
    Id(id): Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    let running = find(&app, id)?;
    running.stop();
    let document = running.document().clone();
    log(&change, peer.as_deref(), "stop", &document);
    ok(&document)
}

fn find(app: &App, id: u64) -> Result<Arc<bulk::Running>, Failure> {
    app.bulks.find(id).ok_or_else(|| Failure::not_found(format_args!("action {id}")))
}
