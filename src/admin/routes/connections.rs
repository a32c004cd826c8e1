//! Clients of the queue.

use axum::Extension;
use jq_api::server::{Action, Changed, Connection, ConnectionList, PageQuery};
use jq_engine::{self as engine, ConnInfo, Nanos};
use jq_http::Peer;

use crate::admin::answer::{Answer, Failure, ok};
use crate::admin::cursor::{self, Listing};
use crate::admin::extract::{Change, Id, NoContent, Query, Queue};
use crate::admin::query::Nothing;
use crate::admin::routes::change::changed;
use crate::admin::routes::{documents, limit};
use crate::admin::walk::walk;
use crate::server::hub::Hub;

/// A connection is a few system calls, and up to 64 names: so many are looked at under one lock.
const AT_ONCE: usize = 32;

/// Connections of clients of the queue
#[utoipa::path(
    get, path = "/api/v1/connections", tag = "connections", security(("token" = ["read"])),
    params(PageQuery),
    responses((status = 200, body = ConnectionList, description = "A page of connections")),
)]
pub(crate) async fn connections(Queue(hub): Queue, Query(query): Query<PageQuery>) -> Answer {
    let from = cursor::place(Listing::Connections, query.cursor.as_deref())?;
    let page = walk(from, limit(query.limit), |from, size| {
        let size = engine::PageSize { items: size.items.min(AT_ONCE), ..size };
        hub.read(|engine, now| {
            let page = engine.connections_page(from, size);
            let found = page.items.iter().filter_map(|conn| document(&hub, now, conn));
            Some(engine::Page { items: found.collect(), next: page.next })
        })
    });
    let page = page.await.ok_or_else(|| Failure::not_found("connection"))?;
    let next = page.next.map(|next| cursor::of_place(Listing::Connections, next));
    ok(&ConnectionList { connections: page.items, next })
}

/// A connection. To be called while the queue is locked.
fn document(hub: &Hub, now: Nanos, conn: &ConnInfo) -> Option<Connection> {
    let peer = hub.peers()?.get(conn.id)?;
    Some(documents::connection(now, conn, peer))
}

/// The connection with this number, at this moment.
fn find(hub: &Hub, number: u64) -> Option<(engine::ConnId, Connection)> {
    hub.read(|engine, now| {
        let conn = engine.connection(hub.peers()?.find(number)?)?;
        let found = document(hub, now, &conn)?;
        (found.id == number).then_some((conn.id, found))
    })
}

/// A connection of a client of the queue
#[utoipa::path(
    get, path = "/api/v1/connections/{id}", tag = "connections", security(("token" = ["read"])),
    params(("id" = u64, Path, description = "The number of a connection")),
    responses((status = 200, body = Connection, description = "The connection")),
)]
pub(crate) async fn connection(Queue(hub): Queue, Id(id): Id, _: Query<Nothing>) -> Answer {
    let found = find(&hub, id);
    let (_, found) = found.ok_or_else(|| Failure::not_found(format_args!("connection {id}")))?;
    ok(&found)
}

/// Closes a connection
///
/// The jobs that it had reserved are ready again.
#[utoipa::path(
    delete, path = "/api/v1/connections/{id}", tag = "connections",
    security(("token" = ["operate"])),
    params(("id" = u64, Path, description = "The number of a connection")),
    responses((status = 200, body = Changed, description = "The connection as it was before")),
)]
pub(crate) async fn close(
    change: Change,
    Id(id): Id,
    peer: Option<Extension<Peer>>,
    _: Query<Nothing>,
    _: NoContent,
) -> Answer {
    let hub = &change.hub;
    let found = find(hub, id).filter(|(conn, _)| hub.close(*conn));
    let (_, found) = found.ok_or_else(|| Failure::not_found(format_args!("connection {id}")))?;
    let what = format!("connection {id} from {}", found.address);
    let changed = Changed { connection: Some(found), ..changed(Action::Close, 1) };
    change.log(&what, peer.as_deref(), &changed);
    ok(&changed)
}
