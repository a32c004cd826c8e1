//! Turning requests into answers.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use tower_service::Service as _;

use crate::{Problem, Reply};

/// Turns requests into answers. Called by many connections at the same time.
pub trait Handler: Send + Sync + 'static {
    /// Decides, by the head of a request alone, whether its body is read: the maximum size of the body
    /// in bytes, which [`Limits::body_bytes`](crate::Limits::body_bytes) limits in any case, or else
    /// the answer. So a request that is refused for what its head says costs no memory.
    fn admit(&self, _head: &Parts) -> ControlFlow<Reply, usize> {
        ControlFlow::Continue(usize::MAX)
    }

    /// Answers a request whose body has arrived completely. The future is dropped when it takes
    /// longer than [`Limits::request_time`](crate::Limits::request_time), or when the connection is
    /// gone.
    ///
    /// The answer is sent with `X-Content-Type-Options: nosniff`, and with `Cache-Control:
    /// no-store` unless it has a `Cache-Control` of its own. The body of an answer to HEAD is not
    /// sent.
    fn answer(&self, request: Request<Bytes>) -> impl Future<Output = Reply> + Send;

    /// The answer to a request that exceeded a limit; by default a [`Problem`].
    fn refuse(&self, refusal: Refusal) -> Reply {
        Problem::new(refusal.status()).detail(refusal.reason()).into()
    }
}

impl<H: Handler> Handler for Arc<H> {
    fn admit(&self, head: &Parts) -> ControlFlow<Reply, usize> {
        H::admit(self, head)
    }

    async fn answer(&self, request: Request<Bytes>) -> Reply {
        H::answer(self, request).await
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        H::refuse(self, refusal)
    }
}

impl Handler for Router {
    async fn answer(&self, request: Request<Bytes>) -> Reply {
        // A router is always ready, and cloning it only copies a reference.
        let answer = self.clone().call(request.map(Body::from)).await;
        answer.unwrap_or_else(|never: Infallible| match never {})
    }
}

/// The address of the client, among the extensions of a request. Missing if the
/// [`Acceptor`](crate::Acceptor) does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer(pub Arc<str>);

/// Why the server answers a request itself, instead of its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its body is longer than [`Limits::body_bytes`](crate::Limits::body_bytes).
    BodyTooLong,
    /// Its body took longer than [`Limits::body_time`](crate::Limits::body_time).
    BodyTooSlow,
    /// Its body ended early, or is not encoded correctly.
    BodyBroken,
    /// There is no memory for its body.
    BodyNotHeld,
    /// Answering it took longer than [`Limits::request_time`](crate::Limits::request_time).
    Overdue,
}

impl Refusal {
    /// The status for the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::BodyNotHeld => StatusCode::INSUFFICIENT_STORAGE,
            Self::Overdue => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The reason, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BodyTooLong => "the body of the request is too long",
            Self::BodyTooSlow => "the request took too long to arrive",
            Self::BodyBroken => "the body of the request cannot be read",
            Self::BodyNotHeld => "there is no memory for the body of the request",
            Self::Overdue => "the answer took too long",
        }
    }
}
