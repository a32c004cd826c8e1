//! The server as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use beanstalk_protocol::{BinlogHealth, BinlogUse, CommandCounts};
use jq_api::server::{Action, Changed, ConnectionCounts, JobCounts, Log, LogHealth, Server};
use jq_engine::{Cause, Change as Changes, Refusal, Refusals};
use jq_http::Peer;
use jq_http::reply::{Reply, json_bytes};

use crate::admin::answer::{Answer, ok};
use crate::admin::app::App;
use crate::admin::extract::{Change, NoContent, Query, Queue};
use crate::admin::query::Nothing;
use crate::admin::readiness::{self, Reason};
use crate::admin::routes::change::changed;
use crate::admin::routes::documents::{policy_counts, timestamp};
use crate::server::hub::Hub;

/// This description
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "server", security(("token" = ["read"])),
    responses((status = 200, body = serde_json::Value, description = "OpenAPI 3.1")),
)]
pub(crate) async fn openapi(State(app): State<Arc<App>>, _: Query<Nothing>) -> Reply {
    json_bytes(StatusCode::OK, app.openapi.text())
}

/// The server at this moment
#[utoipa::path(
    get, path = "/api/v1/server", tag = "server", security(("token" = ["read"])),
    responses((status = 200, body = Server, description = "The server")),
)]
pub(crate) async fn server(
    State(app): State<Arc<App>>,
    Queue(hub): Queue,
    _: Query<Nothing>,
) -> Answer {
    ok(&document(&app, &hub))
}

fn document(app: &App, hub: &Hub) -> Server {
    let numbers = hub.stats();
    let (state, reasons) = readiness::state(Some(hub), Some(&numbers));
    let (queue, log) = numbers;
    let (identity, clock) = (hub.identity(), hub.clock());
    Server {
        version: crate::VERSION.to_owned(),
        compat: app.dialect.version().to_owned(),
        id: identity.id().to_owned(),
        hostname: identity.hostname().to_owned(),
        pid: std::process::id(),
        started: timestamp(clock.started()),
        uptime: clock.now().seconds_since(clock.started()),
        state,
        reasons: reasons.iter().map(Reason::document).collect(),
        jobs: JobCounts {
            ready: queue.ready,
            urgent: queue.urgent,
            reserved: queue.reserved,
            delayed: queue.delayed,
            buried: queue.buried,
        },
        tubes: queue.tubes,
        connections: ConnectionCounts {
            open: queue.connections,
            producers: queue.producers,
            workers: queue.workers,
            waiting: queue.waiting,
            total: queue.total_connections,
            refused: hub.crowd().total(),
        },
        total_jobs: queue.total_jobs,
        timeouts: queue.timeouts,
        disconnects: queue.disconnects,
        refusals: hub.read(|engine, _| refusals(&engine.refusals())),
        policy_counts: policy_counts(&queue.policies),
        commands: commands(&queue.commands),
        body_bytes: queue.body_bytes,
        resident_bytes: identity.resident_bytes(),
        job_memory_bytes: hub.read(|engine, _| engine.held_bytes()),
        max_job_size: hub.max_job_size(),
        limits: hub.limits().into_iter().map(|(name, most)| (name.to_owned(), most)).collect(),
        log: log.own.as_deref().map(log_document),
    }
}

fn commands(counts: &CommandCounts) -> BTreeMap<String, u64> {
    let named = |(key, count): (&str, u64)| (key.trim_start_matches("cmd-").to_owned(), count);
    counts.by_key().into_iter().map(named).collect()
}

fn refusals(refusals: &Refusals) -> BTreeMap<String, u64> {
    Cause::ALL.map(|cause| (cause.as_str().to_owned(), refusals.of(cause))).into()
}

fn log_document(log: &BinlogUse) -> Log {
    let (health, error) = match &log.health {
        BinlogHealth::Good => (LogHealth::Good, None),
        BinlogHealth::Full(error) => (LogHealth::Full, Some(error.clone())),
        BinlogHealth::Failed(error) => (LogHealth::Failed, Some(error.clone())),
    };
    Log {
        health,
        error,
        failures: log.failures,
        pending_bytes: log.pending_bytes,
        unsynced_bytes: log.unsynced_bytes,
        segments: log.segments,
        bytes: log.bytes,
        live_bytes: log.live_bytes,
    }
}

/// Refuses new jobs
///
/// As SIGUSR1 does: jobs that there are can still be reserved. With a log it outlives a restart.
#[utoipa::path(
    post, path = "/api/v1/server/drain", tag = "server", security(("token" = ["operate"])),
    responses((status = 200, body = Changed, description = "What was changed")),
)]
pub(crate) async fn drain(
    change: Change,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    set_draining(&change, peer, true).await
}

/// Accepts new jobs again
#[utoipa::path(
    post, path = "/api/v1/server/undrain", tag = "server", security(("token" = ["operate"])),
    responses((status = 200, body = Changed, description = "What was changed")),
)]
pub(crate) async fn undrain(
    change: Change,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    set_draining(&change, peer, false).await
}

async fn set_draining(change: &Change, peer: Option<Extension<Peer>>, draining: bool) -> Answer {
    let (action, what) = if draining {
        (Action::Drain, "draining: new jobs are refused")
    } else {
        (Action::Undrain, "draining has ended: new jobs are accepted again")
    };
    change
        .make(what, peer.as_deref(), |engine, mut sink, _| {
            let is_new = engine.server_stats().draining != draining;
            if !sink.admits(Changes::Settings) {
                return Err(Refusal::NotRecorded);
            }
            engine.set_draining(draining, &mut sink);
            Ok(changed(action, u64::from(is_new)))
        })
        .await
}
