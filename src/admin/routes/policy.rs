//! The policies of tubes.

use axum::Extension;
use beanstalk_protocol::TubeName;
use jq_api::server::{Policy, ProblemKind};
use jq_engine::Refusal;
use jq_http::Peer;
use tracing::info;

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::extract::{Change, Json, NoContent, Query, Queue, Tube, tube_name};
use crate::admin::query::Nothing;
use crate::admin::routes::documents;

/// The highest rate of reserves: it is kept in thousandths per second, as a number of 32 bits.
const MAX_RATE: f64 = 4_294_967.0;

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
        Some(engine.policy(name.as_str()).map(documents::policy).unwrap_or_default())
    });
    ok(&policy.ok_or_else(|| Failure::not_found(format_args!("tube {name}")))?)
}

/// Sets the policy of a tube
///
/// It replaces the one that there is. The tube is created if it does not exist.
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
    let policy = checked(&name, &policy)?;
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
        if policy.is_none() && engine.tube_stats(now, name.as_str()).is_none() {
            return Err(Refusal::NoTube);
        }
        engine.set_policy(now, name, policy, &mut sink)?;
        Ok(engine.policy(name.as_str()).map(documents::policy).unwrap_or_default())
    });
    let made = made.map_err(|refusal| Failure::refused(hub, refusal, format!("tube {name}")))?;
    // Before it is committed: the client may be gone by then, and nobody waits for it here.
    let peer = peer.map_or("", |Peer(address)| address);
    info!(token = &*change.who.name, peer, action, "by HTTP: tube {name}");
    hub.committed(gated).await.map_err(|_| Failure::not_committed(hub))?;
    ok(&made)
}

/// The policy that a document for this tube says.
fn checked(tube: &TubeName, policy: &Policy) -> Result<jq_engine::Policy<TubeName>, Failure> {
    let numbers = [
        ("max_jobs", policy.max_jobs),
        ("max_bytes", policy.max_bytes),
        ("max_reserves", policy.max_reserves.map(u64::from)),
        ("max_timeouts", policy.max_timeouts.map(u64::from)),
        ("max_disconnects", policy.max_disconnects.map(u64::from)),
        ("expires", policy.expires.map(u64::from)),
        ("default_ttr", policy.default_ttr.map(u64::from)),
    ];
    if let Some((field, _)) = numbers.into_iter().find(|(_, number)| *number == Some(0)) {
        return Err(Failure::field(field, format!("{field}: expected at least 1")));
    }
    let dead_letter = policy.dead_letter.as_deref();
    let dead_letter = dead_letter.map(|name| tube_name("dead_letter", name)).transpose()?;
    if dead_letter.as_ref() == Some(tube) {
        // The member is a good one, but not for this tube.
        let detail = "dead_letter: expected another tube";
        return Err(Failure::new(ProblemKind::WrongState, detail).of("dead_letter"));
    }
    let rate = policy.reserve_rate;
    if rate.is_some_and(|rate| !(0.001..=MAX_RATE).contains(&rate)) {
        let detail = format!("reserve_rate: expected a number from 0.001 to {MAX_RATE}");
        return Err(Failure::field("reserve_rate", detail));
    }
    Ok(jq_engine::Policy {
        max_jobs: policy.max_jobs,
        max_bytes: policy.max_bytes,
        max_reserves: policy.max_reserves,
        max_timeouts: policy.max_timeouts,
        max_disconnects: policy.max_disconnects,
        dead_letter,
        expires: policy.expires,
        unique: policy.unique,
        default_ttr: policy.default_ttr,
        reserve_rate: rate.map(|rate| (rate * 1000.0).round() as u32),
    })
}
