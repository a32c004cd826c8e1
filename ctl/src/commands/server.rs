//! Commands about the server as a whole, over HTTP.

use std::io::{self, Write};

use comfy_table::Cell;
use jq_api::server::{Action, Changed, Connection, ConnectionList, PageQuery};
use reqwest::Method;

use super::Context;
use crate::failed::Failed;
use crate::http::Api;
use crate::look::{Align, number, print, table};

/// The body of a request that has none.
pub(super) const NOTHING: Option<&()> = None;

pub(super) async fn set_draining(context: &Context, draining: bool) -> Result<(), Failed> {
    let (command, what) = if draining { ("drain", "drain") } else { ("undrain", "undrain") };
    if draining {
        context.look.confirm("Let the server refuse all new jobs?")?;
    }
    let api = Api::new(&context.target, what)?;
    let changed: Changed =
        api.send(Method::POST, &["api", "v1", "server", command], NOTHING).await?;
    context.look.show(&changed, |changed, out| {
        let was_so = if changed.changed == 0 { " already" } else { "" };
        match changed.action {
            Action::Drain => writeln!(out, "The server refuses new jobs{was_so}"),
            _ => writeln!(out, "The server accepts new jobs{was_so}"),
        }
    })
}

pub(super) async fn connections(context: &Context, close: &[u64]) -> Result<(), Failed> {
    let api = Api::new(&context.target, "connections")?;
    if !close.is_empty() {
        return close_all(context, &api, close).await;
    }
    let mut connections = Vec::new();
    let mut cursor = None;
    loop {
        let query = PageQuery { cursor, limit: Some(PageQuery::MAX_LIMIT) };
        let page: ConnectionList = api.get(&["api", "v1", "connections"], &query).await?;
        connections.extend(page.connections);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    context.look.show(&connections, |connections, out| print_connections(connections, out))
}

fn print_connections(connections: &[Connection], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = table(&[
        ("ID", Align::Right),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("USES", Align::Left),
        ("WATCHES", Align::Left),
        ("HOLDS", Align::Right),
        ("IDLE", Align::Right),
        ("AGE", Align::Right),
        ("UNSENT", Align::Right),
    ]);
    for connection in connections {
        let state = match connection {
            Connection { waiting: true, .. } => "waits",
            Connection { reserved: 1.., .. } => "works",
            _ => "",
        };
        let mut watches = connection.watching.join(" ");
        let more = connection.watched.saturating_sub(connection.watching.len() as u64);
        if more > 0 {
            watches += &format!(" and {more} more");
        }
        rows.add_row(vec![
            Cell::new(connection.id),
            Cell::new(connection.address.as_str()),
            Cell::new(state),
            Cell::new(&connection.using),
            Cell::new(watches),
            Cell::new(number(connection.reserved)),
            Cell::new(
                connection.idle.map(|idle| format!("{} s", number(idle))).unwrap_or_default(),
            ),
            Cell::new(format!("{} s", number(connection.age))),
            Cell::new(number(connection.unsent_bytes)),
        ]);
    }
    print(&rows, out)
}

async fn close_all(context: &Context, api: &Api, ids: &[u64]) -> Result<(), Failed> {
    context.look.confirm(&format!(
        "Close {}? Its reserved jobs go to others.",
        if ids.len() == 1 {
            "this connection".into()
        } else {
            format!("{} connections", ids.len())
        }
    ))?;
    for id in ids {
        let path = ["api", "v1", "connections", &id.to_string()];
        let changed: Changed = api.send(Method::DELETE, &path, NOTHING).await?;
        context.look.show(&changed, |_, out| writeln!(out, "connection {id} closed"))?;
    }
    Ok(())
}
