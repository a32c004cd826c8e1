//! The output of a running job as server-sent events: `output` with its number as id, `progress`,
//! and `end` when there is no more. A stream that breaks off without `end` is worth asking for again.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::Event;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use jq_http::reply::{Reply, with};
use jq_http::{Full, Streams};
use serde_json::json;
use uuid::Uuid;

use super::{LogEvent, LogStream, failure};

/// At most so many streams at once: each holds a connection for as long as a job runs.
pub(super) const MAX_STREAMS: usize = 64;

/// The answer that is the stream of this job; or that there is no room for it.
pub(super) fn open(streams: &Streams, id: Uuid, log: LogStream) -> Reply {
    streams.open(events(log)).unwrap_or_else(|Full| {
        let error = format!("{MAX_STREAMS} logs are being read already");
        with(
            failure(StatusCode::SERVICE_UNAVAILABLE, &error, Some(id)),
            RETRY_AFTER,
            HeaderValue::from_static("5"),
        )
    })
}

/// What the job says, up to the end.
fn events(log: LogStream) -> impl Stream<Item = Event> + Send {
    unfold(Some(log), |log| async move {
        let mut log = log?;
        let said = log.next().await?;
        let is_end = said == LogEvent::End;
        Some((event(&said), (!is_end).then_some(log)))
    })
}

fn event(event: &LogEvent) -> Event {
    let (name, id, data) = match event {
        LogEvent::Output { seq, stream, text, skipped } => {
            ("output", Some(seq), json!({"stream": stream, "text": text, "skipped": skipped}))
        }
        LogEvent::Progress(percent) => ("progress", None, json!({"progress": percent})),
        LogEvent::End => ("end", None, json!({})),
    };
    // JSON has no line breaks outside of its strings, and escapes those inside.
    let event = Event::default().event(name).data(data.to_string());
    match id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use jq_http::{Limits, Server};

    /// A server that nobody asks, and its streams.
    fn streams() -> (Server, Streams) {
        let server = Server::new(Limits::default());
        let streams = Streams::new(MAX_STREAMS, server.ending());
        (server, streams)
    }

    #[tokio::test]
    async fn events_have_names_ids_and_json() {
        let output = |seq: u64| LogEvent::Output {
            seq,
            stream: "stdout",
            text: format!("{seq}\r\n"),
            skipped: 0,
        };
        let log = stream::iter([output(7), LogEvent::Progress(40.5), LogEvent::End, output(8)]);
        let (_server, streams) = streams();
        let body = open(&streams, Uuid::nil(), Box::pin(log)).into_body();
        let text = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        assert_eq!(
            text,
            "event: output\ndata: {\"skipped\":0,\"stream\":\"stdout\",\"text\":\"7\\r\\n\"}\n\
             id: 7\n\n\
             event: progress\ndata: {\"progress\":40.5}\n\n\
             event: end\ndata: {}\n\n"
        );
    }

    #[tokio::test]
    async fn one_that_finds_no_room_is_told_when_to_come_back() {
        let (_server, streams) = streams();
        let open = || open(&streams, Uuid::nil(), Box::pin(stream::pending()));
        let read: Vec<_> = (0..MAX_STREAMS).map(|_| open()).collect();
        assert!(read.iter().all(|reply| reply.status() == StatusCode::OK));
        let refused = open();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[RETRY_AFTER], "5");
    }
}
