//! Answers, ready to be sent.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

/// An answer.
pub(super) type Reply = Response<Body>;

/// An answer with nothing in it.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// An answer with content of this type.
pub(super) fn content(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = Reply::new(Body::from(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An answer with a JSON document that is there already.
pub(super) fn json_bytes(status: StatusCode, body: Bytes) -> Reply {
    content(status, "application/json", body)
}

/// An answer with this as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, body.into()),
        // Nothing here has keys that are not strings. If it ever does, it is said.
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
    }
}

/// An answer that says why there is no better one.
pub(super) fn failure(status: StatusCode, error: &str, id: Option<Uuid>) -> Reply {
    let mut body = serde_json::Map::from_iter([("error".to_owned(), error.into())]);
    if let Some(id) = id {
        body.insert("id".to_owned(), id.to_string().into());
    }
    json_bytes(status, serde_json::Value::from(body).to_string().into())
}

/// The answer with a header more.
pub(super) fn with(mut reply: Reply, name: HeaderName, value: HeaderValue) -> Reply {
    reply.headers_mut().insert(name, value);
    reply
}
