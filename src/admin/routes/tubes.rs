//! Tubes.

use axum::Extension;
use jq_api::server::{Action, Changed, Pause, Tube, TubeList, TubeQuery};
use jq_engine::Refusal;
use jq_http::Peer;

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::extract::{self, Change, Json, NoContent, Observed, Query, Queue};
use crate::admin::query::Nothing;
use crate::admin::routes::change::changed;
use crate::admin::routes::{documents, limit};
use crate::admin::tubes;
use crate::observe::age;

/// Tubes, filtered and sorted
///
/// The numbers may be a few seconds old.
#[utoipa::path(
    get, path = "/api/v1/tubes", tag = "tubes", security(("token" = ["read"])), params(TubeQuery),
    responses((status = 200, body = TubeList, description = "A page of tubes")),
)]
pub(crate) async fn tubes(
    Observed(observatory): Observed,
    Query(query): Query<TubeQuery>,
) -> Answer {
    let snapshot = observatory.fresh().await;
    ok(&tubes::list(&snapshot, &query, limit(query.limit))?)
}

/// A tube
#[utoipa::path(
    get, path = "/api/v1/tubes/{tube}", tag = "tubes", security(("token" = ["read"])),
    params(("tube" = String, Path, description = "The name of a tube")),
    responses((status = 200, body = Tube, description = "The tube at this moment")),
)]
pub(crate) async fn tube(
    Queue(hub): Queue,
    Observed(observatory): Observed,
    extract::Tube(name): extract::Tube,
    _: Query<Nothing>,
) -> Answer {
    let last = observatory.last().await;
    let last = last.tube(name.as_str());
    let known = last.and_then(|row| Some(row.oldest?.job));
    let tube = hub.read(|engine, now| {
        let view = engine.view_tube_named(now, name.as_str())?;
        let oldest = view.oldest_ready(known).map(|oldest| age(now, oldest.since));
        Some((documents::tube_now(&hub, engine, now, &name)?, oldest))
    });
    let (tube, oldest_ready) =
        tube.ok_or_else(|| Failure::not_found(format_args!("tube {name}")))?;
    let rates = last.and_then(|row| row.rates);
    ok(&Tube { rates, oldest_ready, ..tube })
}

/// Pauses a tube: no job of it can be reserved for so long
///
/// A pause that there is already is replaced.
#[utoipa::path(
    post, path = "/api/v1/tubes/{tube}/pause", tag = "tubes", security(("token" = ["operate"])),
    params(("tube" = String, Path, description = "The name of a tube")), request_body = Pause,
    responses((status = 200, body = Changed, description = "The tube")),
)]
pub(crate) async fn pause(
    change: Change,
    extract::Tube(name): extract::Tube,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    Json(pause): Json<Pause>,
) -> Answer {
    if pause.seconds == 0 {
        return Err(Failure::field("seconds", "seconds: expected at least 1"));
    }
    let what = format!("tube {name}");
    change
        .make(&what, peer.as_deref(), |engine, mut sink, now| {
            engine.pause(now, name.as_str(), pause.seconds, &mut sink)?;
            let tube = documents::tube_now(&change.hub, engine, now, &name);
            Ok(Changed { tube, ..changed(Action::Pause, 1) })
        })
        .await
}

/// Ends the pause of a tube
#[utoipa::path(
    post, path = "/api/v1/tubes/{tube}/resume", tag = "tubes", security(("token" = ["operate"])),
    params(("tube" = String, Path, description = "The name of a tube")),
    responses((status = 200, body = Changed, description = "The tube, if it is still there")),
)]
pub(crate) async fn resume(
    change: Change,
    extract::Tube(name): extract::Tube,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    change
        .make(&format!("tube {name}"), peer.as_deref(), |engine, mut sink, now| {
            let before = engine.tube_stats(now, name.as_str()).ok_or(Refusal::NoTube)?;
            let was_paused = before.pause > 0;
            if was_paused {
                engine.pause(now, name.as_str(), 0, &mut sink)?;
            }
            // If there is nothing in it, only the pause has kept it.
            let tube = documents::tube_now(&change.hub, engine, now, &name);
            Ok(Changed { tube, ..changed(Action::Resume, u64::from(was_paused)) })
        })
        .await
}

/// Removes the jobs of a tube
///
/// They are gone at once for everybody, in whatever state, except for those that are reserved: these
/// stay with the connections that have them.
#[utoipa::path(
    post, path = "/api/v1/tubes/{tube}/clear", tag = "tubes", security(("token" = ["operate"])),
    params(("tube" = String, Path, description = "The name of a tube")),
    responses(
        (status = 200, body = Changed,
         description = "How many jobs were removed, and the tube, if it is still there"),
    ),
)]
pub(crate) async fn clear(
    change: Change,
    extract::Tube(name): extract::Tube,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    change
        .make(&format!("tube {name}"), peer.as_deref(), |engine, mut sink, now| {
            let cleared = engine.clear_tube(now, name.as_str(), &mut sink)?;
            let tube = documents::tube_now(&change.hub, engine, now, &name);
            Ok(Changed { tube, ..changed(Action::Clear, cleared) })
        })
        .await
}
