//! Server-sent events: answers that continue for as long as there is something to send.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use tokio::sync::Semaphore;

use crate::reply::{Reply, with};
use crate::serve::Ending;

/// After this much silence a comment is sent, so that no proxy considers the connection dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Sent by a client that reconnects: the last event that it received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx and similar proxies not to buffer the answer.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The open event streams. Each occupies a connection for as long as it lasts, so their number has
/// a limit of its own. Set it well below [`Limits::connections`](crate::Limits::connections).
#[derive(Debug, Clone)]
pub struct Streams {
    room: Arc<Semaphore>,
    ending: Ending,
}

/// The maximum number of streams is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Streams {
    /// Allows at most `most` streams at a time. They end when the server does.
    pub fn new(most: usize, ending: Ending) -> Self {
        Self { room: Arc::new(Semaphore::new(most)), ending }
    }

    /// An answer that sends this stream. It counts as open until it ends or the client is gone.
    /// After every 15 seconds of silence a comment is sent.
    ///
    /// To the client, a stream that is cut off because the server ends looks like one that is
    /// complete. If the difference matters, mark the last event as such.
    ///
    /// # Errors
    ///
    /// If the maximum number of streams is open.
    pub fn open(&self, events: impl Stream<Item = Event> + Send + 'static) -> Result<Reply, Full> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Full)?;
        let events = events.map(move |event| {
            let _held = &permit;
            Ok::<_, Infallible>(event)
        });
        let events = events.take_until(self.ending.clone().wait());
        let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        let reply =
            with(stream.into_response(), CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(with(reply, ACCEL_BUFFERING, HeaderValue::from_static("no")))
    }
}

/// The id of the last event that a reconnecting client received, if it is a number.
pub fn last_event_id(request: &HeaderMap) -> Option<u64> {
    request.get(LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Server};
    use futures_util::stream;

    const MOST: usize = 3;

    /// A server without clients, and its streams.
    fn streams() -> (Server, Streams) {
        let server = Server::new(Limits::default());
        let streams = Streams::new(MOST, server.ending());
        (server, streams)
    }

    #[tokio::test]
    async fn events_are_sent_as_they_are() {
        let (_server, streams) = streams();
        let events = [
            Event::default().event("output").data("{}").id("7"),
            Event::default().event("end").data("two\nlines"),
        ];
        let reply = streams.open(stream::iter(events)).unwrap();
        let bytes = axum::body::to_bytes(reply.into_body(), 1 << 20).await.unwrap();
        assert_eq!(
            bytes,
            "event: output\ndata: {}\nid: 7\n\nevent: end\ndata: two\ndata: lines\n\n"
        );
    }

    #[test]
    fn what_a_reader_has_is_a_number_or_nothing() {
        for (last, seq) in
            [("", None), ("0", Some(0)), ("12", Some(12)), ("nonsense", None), ("-1", None)]
        {
            let headers = HeaderMap::from_iter([(LAST_EVENT_ID, last.parse().unwrap())]);
            assert_eq!(last_event_id(&headers), seq, "{last:?}");
        }
        assert_eq!(last_event_id(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_again_when_one_has_gone() {
        let (_server, streams) = streams();
        let mut open: Vec<_> =
            (0..MOST).map(|_| streams.open(stream::pending()).unwrap()).collect();
        assert_eq!(streams.open(stream::pending()).err(), Some(Full));
        open.pop();
        assert!(streams.open(stream::pending()).is_ok());
    }

    #[tokio::test]
    async fn streams_end_when_serving_does() {
        let (server, streams) = streams();
        let events = stream::iter([Event::default().data("x")]).chain(stream::pending());
        let mut body = streams.open(events).unwrap().into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "data: x\n\n");
        drop(server);
        assert!(body.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_comments() {
        let (_server, streams) = streams();
        let mut body = streams.open(stream::pending()).unwrap().into_body().into_data_stream();
        let began = tokio::time::Instant::now();
        let first = body.next().await.unwrap().unwrap();
        assert!(first.starts_with(b":"), "{first:?}");
        assert!(began.elapsed() >= KEEP_ALIVE && began.elapsed() < KEEP_ALIVE * 2);
    }
}
