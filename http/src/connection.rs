//! One connection: requests in, answers out, within limits.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::debug;

use crate::pace::{Paced, Requests};
use crate::reply::{Reply, finished};
use crate::room::Seat;
use crate::serve::Ending;
use crate::{Acceptor, Handler, Limits, Peer, Refusal};

/// The smallest read buffer that hyper accepts, in bytes.
const LEAST_HEAD: usize = 8 * 1024;

/// A request came too late: its connection was already closed to make room.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed to make room")
    }
}

impl std::error::Error for Closed {}

fn made_room() {
    debug!("closed an idle HTTP connection to make room for another");
}

/// What all connections of a server share.
pub(crate) struct Service<H> {
    pub(crate) handler: H,
    pub(crate) limits: Arc<Limits>,
    pub(crate) ending: Ending,
}

impl<H: Handler> Service<H> {
    /// Answers the requests on this connection until it or the server ends.
    pub(crate) async fn attend<A: Acceptor>(
        self: Arc<Self>,
        acceptor: Arc<A>,
        accepted: A::Accepted,
        seat: Arc<Seat>,
    ) {
        let peer = acceptor.peer(&accepted).map(|address| Peer(address.into()));
        let handshake = timeout(self.limits.head_time, acceptor.handshake(accepted));
        let closed = async {
            // The handshake waits for the client.
            seat.rest();
            seat.closed().await;
        };
        let stream = tokio::select! {
            biased;
            made = handshake => made,
            () = self.ending.clone().wait() => return,
            () = closed => return made_room(),
        };
        // The listener must be closed when serving ends, even if clients are still connected.
        drop(acceptor);
        match stream {
            Ok(Ok(stream)) => self.attend_stream(stream, seat, peer).await,
            Ok(Err(error)) => debug!(%error, "a handshake failed"),
            Err(_) => debug!("a handshake took too long"),
        }
    }

    async fn attend_stream(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        seat: Arc<Seat>,
        peer: Option<Peer>,
    ) {
        let requests = Arc::new(Requests::new(Arc::clone(&seat)));
        let stream = TokioIo::new(Paced::new(stream, Arc::clone(&requests), &self.limits));
        let ending = self.ending.clone();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // Counted from the last answer, so this limits how long a connection can be idle.
            .header_read_timeout(self.limits.idle_time)
            .max_buf_size(self.limits.head_bytes.max(LEAST_HEAD))
            .max_headers(self.limits.header_fields);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (service, open) = (Arc::clone(&self), requests.begin());
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            async move {
                let open = open.ok_or(Closed)?;
                let reply = service.answer(request).await;
                Ok::<_, Closed>(finished(reply).map(|body| open.until_end_of(body)))
            }
        });
        let connection = builder.serve_connection(stream, service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            // Nothing is cut off: the connection is idle, and its last answer has been sent.
            () = seat.closed() => return made_room(),
            () = ending.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            debug!(%error, "HTTP connection ended");
        }
    }

    /// Reads a request to its end, and answers it.
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let most = match self.handler.admit(&head) {
            ControlFlow::Continue(most) => most.min(self.limits.body_bytes),
            ControlFlow::Break(reply) => return reply,
        };
        match self.read(body, most).await {
            Ok(body) => {
                let answer = self.handler.answer(Request::from_parts(head, body));
                let answer = timeout(self.limits.request_time, answer).await;
                answer.unwrap_or_else(|_| self.handler.refuse(Refusal::Overdue))
            }
            Err(refusal) => self.handler.refuse(refusal),
        }
    }

    async fn read(&self, body: Incoming, most: usize) -> Result<Bytes, Refusal> {
        // Do not wait for a body that is announced as too long.
        if body.size_hint().lower() > most as u64 {
            return Err(Refusal::BodyTooLong);
        }
        let body = timeout(self.limits.body_time, collect(body, most)).await;
        body.unwrap_or(Err(Refusal::BodyTooSlow))
    }
}

/// A body of at most this many bytes. Its memory grows with what arrives, up to what is announced: a
/// client that announces much and sends little holds little.
async fn collect<B>(mut body: B, most: usize) -> Result<Bytes, Refusal>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        // Trailers are of no interest.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > most - bytes.len() {
            return Err(Refusal::BodyTooLong);
        }
        let left = announced.saturating_sub(bytes.len());
        let reserved = if left > bytes.len() || left < data.len() {
            bytes.try_reserve(data.len())
        } else {
            bytes.try_reserve_exact(left)
        };
        reserved.map_err(|_| Refusal::BodyNotHeld)?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    #[tokio::test]
    async fn a_body_takes_as_much_memory_as_has_come() {
        let whole = collect(Full::new(Bytes::from(vec![7; 1000])), 1000).await.unwrap();
        assert_eq!(whole.len(), 1000);
        assert_eq!(Vec::from(whole).capacity(), 1000);
        let pieces = |count: usize| {
            let piece = || Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"piece")));
            StreamBody::new(stream::iter((0..count).map(move |_| piece())))
        };
        assert_eq!(collect(pieces(200), 1000).await.map(|body| body.len()), Ok(1000));
        assert_eq!(collect(pieces(201), 1000).await, Err(Refusal::BodyTooLong));
        assert_eq!(collect(pieces(0), 0).await.map(|body| body.len()), Ok(0));
        let broken = stream::iter([Err::<Frame<Bytes>, _>(std::io::Error::other("gone"))]);
        assert_eq!(collect(StreamBody::new(broken), 9).await, Err(Refusal::BodyBroken));
    }
}
