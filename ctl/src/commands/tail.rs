//! `tail`: what passes, second by second.

use std::io::Write;

use jq_api::server::{CountsEvent, EventCounts, MissedEvent, ServerEvent};
use jq_client::TubeName;
use serde_json::{Value, json};

use super::Context;
use crate::failed::{EXIT_UNREACHABLE, Failed};
use crate::http::{Api, unreachable};
use crate::look::{WARN, number};

/// Longest event that is read, in bytes: that of a second with very many tubes.
const MAX_EVENT: usize = 16 << 20;

pub(super) async fn tail(context: &Context, tubes: &[TubeName]) -> Result<(), Failed> {
    let api = Api::new(&context.target, "tail")?;
    let mut stream = api.events(&["api", "v1", "events"]).await?;
    let mut unread = Vec::new();
    while let Some(chunk) = stream.chunk().await.map_err(unreachable)? {
        unread.extend_from_slice(&chunk);
        while let Some(end) = find(&unread, b"\n\n") {
            let event: Vec<u8> = unread.drain(..end + 2).collect();
            let (name, data) = parse(&event);
            show(context, tubes, &name, &data)?;
        }
        if unread.len() > MAX_EVENT {
            return Err(Failed::other(format!("an event has over {MAX_EVENT} bytes")));
        }
    }
    Err(Failed::new(EXIT_UNREACHABLE, "the server has ended the stream of events"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The name and the data of an event.
fn parse(event: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(event);
    let (mut name, mut data) = (String::new(), String::new());
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => {
                if !data.is_empty() {
                    data.push('\n');
                }
                data += value;
            }
            _ => {}
        }
    }
    (name, data)
}

fn show(context: &Context, tubes: &[TubeName], name: &str, data: &str) -> Result<(), Failed> {
    let wanted = |tube: &str| tubes.is_empty() || tubes.iter().any(|it| it.as_str() == tube);
    let malformed = |error: serde_json::Error| {
        Failed::other(format!("the event {name:?} is not what was expected: {error}"))
    };
    if context.look.json {
        let value: Value = match name {
            "" => return Ok(()),
            "counts" => {
                let mut event: CountsEvent = serde_json::from_str(data).map_err(malformed)?;
                event.tubes.retain(|it| wanted(&it.tube));
                serde_json::to_value(event).map_err(malformed)?
            }
            _ => serde_json::from_str(data).map_err(malformed)?,
        };
        return context.look.document(&json!({"event": name, "data": value}));
    }
    let mut out = anstream::stdout().lock();
    match name {
        "counts" => {
            let event: CountsEvent = serde_json::from_str(data).map_err(malformed)?;
            let time = event.at.strftime("%H:%M:%S");
            for it in event.tubes.iter().filter(|it| wanted(&it.tube)) {
                writeln!(out, "{time}  {}  {}", it.tube, in_words(it.counts))?;
            }
            if event.unlisted > 0 && tubes.is_empty() {
                let unlisted = number(event.unlisted);
                writeln!(
                    out,
                    "{time}  and in {unlisted} more tubes; in all  {}",
                    in_words(event.all)
                )?;
            }
        }
        "server" => {
            let event: ServerEvent = serde_json::from_str(data).map_err(malformed)?;
            let time = event.at.strftime("%H:%M:%S");
            let state = format!("{:?}", event.state).to_lowercase();
            let reasons: Vec<String> = event.reasons.into_iter().map(|it| it.detail).collect();
            match reasons.as_slice() {
                [] => writeln!(out, "{time}  the server is {state}")?,
                _ => writeln!(
                    out,
                    "{time}  {WARN}the server is {state}: {}{WARN:#}",
                    reasons.join("; ")
                )?,
            }
        }
        "missed" => {
            let event: MissedEvent = serde_json::from_str(data).map_err(malformed)?;
            writeln!(out, "{WARN}{} seconds were missed{WARN:#}", number(event.events))?;
        }
        _ => {}
    }
    Ok(out.flush()?)
}

/// What happened, without what did not.
fn in_words(counts: EventCounts) -> String {
    let EventCounts { put, reserve, delete, bury, timeout } = counts;
    let all = [
        (put, "put"),
        (reserve, "reserved"),
        (delete, "deleted"),
        (bury, "buried"),
        (timeout, "timed out"),
    ];
    let said = all.into_iter().filter(|(count, _)| *count > 0);
    said.map(|(count, what)| format!("{} {what}", number(count))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_a_name_and_data() {
        let (name, data) = parse(b"id: 4\nevent: counts\ndata: {\"a\":\ndata: 1}\n\n");
        assert_eq!((name.as_str(), data.as_str()), ("counts", "{\"a\":\n1}"));
        assert_eq!(parse(b": a comment\n\n"), (String::new(), String::new()));
    }

    #[test]
    fn what_did_not_happen_is_not_said() {
        let counts = EventCounts { put: 1200, timeout: 1, ..EventCounts::default() };
        assert_eq!(in_words(counts), "1,200 put, 1 timed out");
    }
}
