//! The output of a running job as server-sent events: `output` with its number as id, `progress`,
//! and `end` when there is no more. A stream that breaks off without `end` is worth asking for again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::reply::{Reply, failure, with};
use super::serve::Ending;
use super::{LogEvent, LogStream};

/// At most so many streams at once: each holds a connection for as long as a job runs.
const MAX_STREAMS: usize = 64;

/// A comment is sent after so much silence, so that nobody in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Of a page that reloads: how far it has got.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Proxies of nginx's kind collect an answer before they pass it on, unless told otherwise.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The streams that there are.
pub(super) struct Streams {
    room: Arc<Semaphore>,
    ending: Ending,
}

impl Streams {
    pub(super) fn new(ending: Ending) -> Self {
        Self { room: Arc::new(Semaphore::new(MAX_STREAMS)), ending }
    }

    /// The answer that is the stream of this job; or that there is no room for it.
    pub(super) fn open(&self, id: Uuid, log: LogStream) -> Reply {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            let error = format!("{MAX_STREAMS} logs are being read already");
            return with(
                failure(StatusCode::SERVICE_UNAVAILABLE, &error, Some(id)),
                RETRY_AFTER,
                HeaderValue::from_static("5"),
            );
        };
        let events = events(log, permit).take_until(self.ending.clone().wait());
        let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        let reply =
            with(stream.into_response(), CACHE_CONTROL, HeaderValue::from_static("no-store"));
        with(reply, ACCEL_BUFFERING, HeaderValue::from_static("no"))
    }
}

/// The number of the last piece of output that a reader who comes back has.
pub(super) fn last_event(request: &HeaderMap) -> Option<u64> {
    request.get(LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}

/// What the job says, up to the end. The permit goes with the stream.
fn events(
    log: LogStream,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    unfold(Some((log, permit)), |state| async move {
        let (mut log, permit) = state?;
        let said = log.next().await?;
        let is_end = said == LogEvent::End;
        Some((Ok(event(&said)), (!is_end).then_some((log, permit))))
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
    use super::super::serve::ending;
    use super::*;
    use futures_util::stream;

    fn output(seq: u64) -> LogEvent {
        LogEvent::Output { seq, stream: "stdout", text: format!("{seq}\r\n"), skipped: 0 }
    }

    fn open(streams: &Streams, log: impl Stream<Item = LogEvent> + Send + 'static) -> Reply {
        streams.open(Uuid::nil(), Box::pin(log))
    }

    async fn text(reply: Reply) -> String {
        let bytes = axum::body::to_bytes(reply.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn events_have_names_ids_and_json() {
        let (_end, ending) = ending();
        let log = stream::iter([output(7), LogEvent::Progress(40.5), LogEvent::End, output(8)]);
        let text = text(open(&Streams::new(ending), log)).await;
        assert_eq!(
            text,
            "event: output\ndata: {\"skipped\":0,\"stream\":\"stdout\",\"text\":\"7\\r\\n\"}\n\
             id: 7\n\n\
             event: progress\ndata: {\"progress\":40.5}\n\n\
             event: end\ndata: {}\n\n"
        );
    }

    #[test]
    fn what_a_reader_has_is_a_number_or_nothing() {
        for (last, seq) in
            [("", None), ("0", Some(0)), ("12", Some(12)), ("nonsense", None), ("-1", None)]
        {
            let headers = HeaderMap::from_iter([(LAST_EVENT_ID, last.parse().unwrap())]);
            assert_eq!(last_event(&headers), seq, "{last:?}");
        }
        assert_eq!(last_event(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_again_when_one_has_gone() {
        let (_end, ending) = ending();
        let streams = Streams::new(ending);
        let mut open_ones: Vec<_> =
            (0..MAX_STREAMS).map(|_| open(&streams, stream::pending())).collect();
        assert!(open_ones.iter().all(|reply| reply.status() == StatusCode::OK));
        let refused = open(&streams, stream::pending());
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[RETRY_AFTER], "5");
        open_ones.pop();
        assert_eq!(open(&streams, stream::pending()).status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn streams_end_when_serving_does_and_do_not_say_that_the_job_has() {
        let (end, ending) = ending();
        let log = stream::iter([output(1)]).chain(stream::pending());
        let mut body = open(&Streams::new(ending), log).into_body().into_data_stream();
        assert!(body.next().await.unwrap().unwrap().starts_with(b"event: output\n"));
        end.now();
        assert!(body.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_comments() {
        let (_end, ending) = ending();
        let reply = open(&Streams::new(ending), stream::pending());
        let mut body = reply.into_body().into_data_stream();
        let began = tokio::time::Instant::now();
        let first = body.next().await.unwrap().unwrap();
        assert!(first.starts_with(b":"), "{first:?}");
        assert!(began.elapsed() >= KEEP_ALIVE && began.elapsed() < KEEP_ALIVE * 2);
    }
}
