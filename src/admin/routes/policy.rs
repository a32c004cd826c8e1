//! The policies of tubes.

use axum::Extension;
use beanstalk_protocol::TubeName;
use jq_api::server::{Policy, ProblemKind};
use jq_engine::Refusal;
use jq_http::Peer;
use tracing::info;

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::extract::{Change, Json, NoContent, Query, Queue, Tube};
use crate::admin::query::Nothing;
use crate::admin::routes::documents;
use crate::policies::{Mistake, checked};

/// The policy of a tube
///
/// Without a member, if nothing is set.
#[utoipa::path(
    get, path = "/api/v1/tubes/{tube}/policy", tag = "tubes", security(("token" = ["read"])),
    params(("tube" = String, Path, description = "The name of a tube")),
    responses((status = 200, body = Policy, description = "What is set for the tube")),
)]
pub(crate) async fn policy(Queue(hub): Queue, Tube(name): Tube, _: Query<Nothing>) -> Answer {
    let policy = hub.read(|engine, now| {
        engine.tube_stats(now, name.as_str())?;
        Some(documents::policy(&hub, engine, &name))
    });
    ok(&policy.ok_or_else(|| Failure::not_found(format_args!("tube {name}")))?)
}

/// Sets the policy of a tube
///
/// It replaces the one that there is. The tube is created if it does not exist. For a tube of the file of
/// `--tubes`, what the file says stays.
#[utoipa::path(
    put, path = "/api/v1/tubes/{tube}/policy", tag = "tubes", security(("token" = ["operate"])),
    params(("tube" = String, Path, description = "The name of a tube. It need not exist")),
    request_body = Policy,
    responses((status = 200, body = Policy, description = "What is set for the tube from now on")),
)]
pub(crate) async fn set_policy(
    change: Change,
    Tube(name): Tube,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    Json(policy): Json<Policy>,
) -> Answer {
    let policy = checked(&name, &policy).map_err(|mistake| {
        let Mistake { member, is_about_tube, expected } = mistake;
        let kind = if is_about_tube { ProblemKind::WrongState } else { ProblemKind::BadField };
        Failure::new(kind, format!("{member}: {expected}")).of(member)
    })?;
    make(&change, &name, peer.as_deref(), "set-policy", Some(policy)).await
}

/// Removes the policy of a tube
#[utoipa::path(
    delete, path = "/api/v1/tubes/{tube}/policy", tag = "tubes", security(("token" = ["operate"])),
    params(("tube" = String, Path, description = "The name of a tube")),
    responses((status = 200, body = Policy, description = "What is set from now on: nothing")),
)]
pub(crate) async fn remove_policy(
    change: Change,
    Tube(name): Tube,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    make(&change, &name, peer.as_deref(), "remove-policy", None).await
}

/// Sets or removes a policy, logs that, and answers when it is committed.
async fn make(
    change: &Change,
    name: &TubeName,
    peer: Option<&Peer>,
    action: &str,
    policy: Option<jq_engine::Policy<TubeName>>,
) -> Answer {
    let hub = &change.hub;
    let (made, gated) = hub.change(|engine, mut sink, now| {
        // Under the lock: what the file says is set after it is known that it does.
        if let Some(file) = hub.tubes_file().says(name) {
            return Ok(Err(file));
        }
        if policy.is_none() && engine.tube_stats(now, name.as_str()).is_none() {
            return Err(Refusal::NoTube);
        }
        engine.set_policy(now, name, policy, &mut sink)?;
        Ok(Ok(documents::policy(hub, engine, name)))
    });
    let made = made.map_err(|refusal| Failure::refused(hub, refusal, format!("tube {name}")))?;
    let made = made.map_err(|file| {
        let detail = format!("the policy of tube {name} is set by the file {}", file.display());
        Failure::new(ProblemKind::WrongState, detail)
    })?;
    // Before it is committed: the client may be gone by then, and nobody waits for it here.
    let peer = peer.map_or("", |Peer(address)| address);
    info!(token = &*change.who.name, peer, action, "by HTTP: tube {name}");
    hub.committed(gated).await.map_err(|_| Failure::not_committed(hub))?;
    ok(&made)
}
