//! Commands about the server as a whole, over HTTP.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::Cell;
use jq_api::server::{Action, Changed, Connection, ConnectionList, PageQuery};
use reqwest::Method;
use serde::Serialize;

use super::Context;
use crate::cli::ConnectionsArgs;
use crate::failed::{EXIT_NOT_FOUND, Failed};
use crate::http::Api;
use crate::look::{Align, number, print, table};

/// Number of watched tubes that the table has for each connection. It would be as wide as the longest list.
const SHOWN: usize = 4;

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

pub(super) async fn connections(context: &Context, args: &ConnectionsArgs) -> Result<(), Failed> {
    let api = Api::new(&context.target, "connections")?;
    if !args.close.is_empty() {
        return close(context, &api, &args.close, false).await;
    }
    let mut connections = all_connections(&api).await?;
    if let Some(host) = &args.from {
        connections.retain(|connection| host_of(&connection.address) == host);
    }
    if args.close_all {
        let ids: Vec<u64> = connections.iter().map(|connection| connection.id).collect();
        if ids.is_empty() {
            let host = args.from.as_deref().unwrap_or_default();
            return Err(Failed::not_found(format!("connection from {host}")));
        }
        // Some may have closed by themselves meanwhile.
        return close(context, &api, &ids, true).await;
    }
    if args.by_host {
        return context.look.show(&hosts(&connections), |hosts, out| print_hosts(hosts, out));
    }
    context.look.show(&connections, |connections, out| print_connections(connections, out))
}

async fn all_connections(api: &Api) -> Result<Vec<Connection>, Failed> {
    let mut connections = Vec::new();
    let mut cursor = None;
    loop {
        let query = PageQuery { cursor, limit: Some(PageQuery::MAX_LIMIT) };
        let page: ConnectionList = api.get(&["api", "v1", "connections"], &query).await?;
        connections.extend(page.connections);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(connections);
        }
    }
}

/// The part of a client's address without the port, and without the brackets of IPv6.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The connections of a host, in sum.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Host {
    host: String,
    connections: u64,
    /// How many of them wait for a job.
    waiting: u64,
    /// How many jobs they have reserved.
    reserved: u64,
    /// Seconds since something came from any of them, if that is known.
    idle: Option<u64>,
}

/// Those with the most connections first.
fn hosts(connections: &[Connection]) -> Vec<Host> {
    let mut hosts: BTreeMap<&str, Host> = BTreeMap::new();
    for connection in connections {
        let host = host_of(&connection.address);
        let sum = hosts.entry(host).or_insert_with(|| Host {
            host: host.to_owned(),
            connections: 0,
            waiting: 0,
            reserved: 0,
            idle: connection.idle,
        });
        sum.connections += 1;
        sum.waiting += u64::from(connection.waiting);
        sum.reserved += connection.reserved;
        sum.idle = sum.idle.min(connection.idle);
    }
    let mut hosts: Vec<Host> = hosts.into_values().collect();
    hosts.sort_by_key(|host| std::cmp::Reverse(host.connections));
    hosts
}

fn print_hosts(hosts: &[Host], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = table(&[
        ("HOST", Align::Left),
        ("CONNECTIONS", Align::Right),
        ("WAITING", Align::Right),
        ("HOLDS", Align::Right),
        ("IDLE", Align::Right),
    ]);
    for host in hosts {
        rows.add_row(vec![
            Cell::new(&host.host),
            Cell::new(number(host.connections)),
            Cell::new(number(host.waiting)),
            Cell::new(number(host.reserved)),
            Cell::new(seconds(host.idle)),
        ]);
    }
    print(&rows, out)
}

/// A time, if it is known.
fn seconds(time: Option<u64>) -> String {
    time.map(|time| format!("{} s", number(time))).unwrap_or_default()
}

fn print_connections(connections: &[Connection], out: &mut dyn Write) -> io::Result<()> {
    // Only a server that knows its clients has something to say there.
    let has_principals = connections.iter().any(|connection| connection.principal.is_some());
    let mut columns = vec![
        ("ID", Align::Right),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("USES", Align::Left),
        ("WATCHES", Align::Left),
        ("HOLDS", Align::Right),
        ("IDLE", Align::Right),
        ("AGE", Align::Right),
        ("UNSENT", Align::Right),
    ];
    if has_principals {
        columns.push(("PRINCIPAL", Align::Left));
    }
    let mut rows = table(&columns);
    for connection in connections {
        let state = match connection {
            Connection { waiting: true, .. } => "waits",
            Connection { reserved: 1.., .. } => "works",
            _ => "",
        };
        let shown = &connection.watching[..connection.watching.len().min(SHOWN)];
        let mut watches = shown.join(" ");
        let more = connection.watched.saturating_sub(shown.len() as u64);
        if more > 0 {
            watches += &format!(" and {more} more");
        }
        let mut row = vec![
            Cell::new(connection.id),
            Cell::new(connection.address.as_str()),
            Cell::new(state),
            Cell::new(&connection.using),
            Cell::new(watches),
            Cell::new(number(connection.reserved)),
            Cell::new(seconds(connection.idle)),
            Cell::new(seconds(Some(connection.age))),
            Cell::new(number(connection.unsent_bytes)),
        ];
        if has_principals {
            row.push(Cell::new(connection.principal.as_deref().unwrap_or("-")));
        }
        rows.add_row(row);
    }
    print(&rows, out)
}

async fn close(context: &Context, api: &Api, ids: &[u64], may_be_gone: bool) -> Result<(), Failed> {
    let (what, whose) = match ids.len() {
        1 => ("this connection".to_owned(), "Its"),
        count => (format!("{count} connections"), "Their"),
    };
    context.look.confirm(&format!("Close {what}? {whose} reserved jobs go to others."))?;
    for id in ids {
        let path = ["api", "v1", "connections", &id.to_string()];
        let changed: Result<Changed, Failed> = api.send(Method::DELETE, &path, NOTHING).await;
        match changed {
            Err(failed) if may_be_gone && failed.status == EXIT_NOT_FOUND => {}
            Err(failed) => return Err(failed),
            Ok(changed) => {
                context.look.show(&changed, |_, out| writeln!(out, "connection {id} closed"))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that watches many tubes does not make the table wider than any screen.
    #[test]
    fn a_long_list_of_tubes_is_cut() {
        let connection = json(100, 64);
        let mut shown = Vec::new();
        print_connections(&[connection], &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("  t0 t1 t2 t3 and 96 more  "), "{shown}");
        let mut shown = Vec::new();
        print_connections(&[json(2, 2)], &mut shown).unwrap();
        assert!(String::from_utf8(shown).unwrap().contains("  t0 t1  "));
    }

    /// A connection that watches so many tubes, of which so many are listed.
    fn json(watched: u64, listed: usize) -> Connection {
        let watching: Vec<String> = (0..listed).map(|number| format!("t{number}")).collect();
        serde_json::from_value(serde_json::json!({
            "id": 1, "address": "192.0.2.7:1", "age": 1,
            "using": "default", "watching": watching, "watched": watched, "reserved": 0,
            "waiting": false, "producer": false, "worker": true, "unsent_bytes": 0,
            "unread_bytes": 0,
        }))
        .unwrap()
    }

    #[test]
    fn hosts_of_addresses() {
        for (address, host) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("unix", "unix"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
