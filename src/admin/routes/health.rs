//! Whether the server is alive, and does all of its work.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use jq_api::server::{Readiness, Version};
use jq_http::reply::{Reply, content, json};

use crate::admin::answer::{Answer, ok};
use crate::admin::app::App;
use crate::admin::extract::Query;
use crate::admin::query::Nothing;
use crate::admin::readiness::{self, Reason};

/// Whether the server is alive
///
/// Open to everybody.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain", description = "It is")),
)]
pub(crate) async fn healthz(_: Query<Nothing>) -> Reply {
    content(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Whether the server does all of its work
///
/// Open to everybody.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = Readiness, description = "It does"),
        (status = 503, body = Readiness, description = "It does not, for these reasons"),
    ),
)]
pub(crate) async fn readyz(State(app): State<Arc<App>>, _: Query<Nothing>) -> Reply {
    let (_, reasons) = readiness::state_now(app.hub().map(|hub| &**hub));
    let ready = reasons.is_empty();
    let reasons = reasons.iter().map(Reason::document).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Readiness { ready, reasons })
}

/// The program and its version
#[utoipa::path(
    get, path = "/version", tag = "health", security(("token" = ["read"])),
    responses((status = 200, body = Version, description = "The program")),
)]
pub(crate) async fn version(State(app): State<Arc<App>>, _: Query<Nothing>) -> Answer {
    ok(&Version {
        name: "jq-server".to_owned(),
        version: crate::VERSION.to_owned(),
        compat: app.dialect.version().to_owned(),
    })
}
