//! What is observed: metrics, history, events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::Event;
use futures_util::StreamExt;
use jq_api::server::{History, HistoryQuery, ProblemKind};
use jq_http::reply::{Reply, content};

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::app::App;
use crate::admin::extract::{Observed, Query};
use crate::admin::query::Nothing;
use crate::observe::FINE;

/// The type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics for Prometheus
///
/// In the format OpenMetrics. The numbers are a second old at most.
#[utoipa::path(
    get, path = "/metrics", tag = "health", security(("token" = ["read"])),
    responses((
        status = 200, body = String, content_type = "application/openmetrics-text",
        description = "All metrics",
    )),
)]
pub(crate) async fn metrics(Observed(observatory): Observed, _: Query<Nothing>) -> Reply {
    content(StatusCode::OK, OPEN_METRICS, observatory.metrics().await)
}

/// What there was in the last hour or day
///
/// In memory only, so it begins with the server. Some tubes have a history of their own: those in which
/// something happened last.
#[utoipa::path(
    get, path = "/api/v1/history", tag = "observing", security(("token" = ["read"])),
    params(HistoryQuery),
    responses((status = 200, body = History, description = "The points, from the oldest")),
)]
pub(crate) async fn history(
    Observed(observatory): Observed,
    Query(query): Query<HistoryQuery>,
) -> Answer {
    let history = observatory.history(query.tube.as_deref(), query.step.unwrap_or(FINE));
    let tube = query.tube.as_deref().unwrap_or_default();
    ok(&history.ok_or_else(|| Failure::not_found(format_args!("history of a tube {tube}")))?)
}

/// What happens now
///
/// Server-sent events: `server` at the beginning and when what the server is doing changes, `counts`
/// about every second, and `missed` for a reader that was too slow. The stream ends with the server.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "observing", security(("token" = ["read"])),
    responses((
        status = 200, body = String, content_type = "text/event-stream",
        description = "Events whose data are the documents ServerEvent, CountsEvent and MissedEvent",
    )),
)]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Observed(observatory): Observed,
    _: Query<Nothing>,
) -> Result<Reply, Failure> {
    let events = observatory.follow().await;
    let events = events.map(|event| Event::default().event(event.name).data(&*event.data));
    let streams = app.streams.get().ok_or_else(busy)?;
    streams.open(events).map_err(|_| busy())
}

fn busy() -> Failure {
    Failure::new(ProblemKind::Busy, "too many streams of events are open")
}
