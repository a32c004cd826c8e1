//! Building answers.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;

use crate::Problem;

/// An answer.
pub type Reply = Response<Body>;

/// An answer without content.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// An answer with content of this type.
pub fn content(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(Body::from(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An answer with JSON that is already serialized.
pub fn json_bytes(status: StatusCode, body: Bytes) -> Reply {
    content(status, "application/json", body)
}

/// An answer with this value as JSON. For a value that JSON cannot represent, such as a map whose
/// keys are not strings, it is a [`Problem`] with status 500.
pub fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, body.into()),
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR).detail(error.to_string()).into()
        }
    }
}

/// Sets a header of an answer.
pub fn with(mut reply: Reply, name: HeaderName, value: HeaderValue) -> Reply {
    reply.headers_mut().insert(name, value);
    reply
}

/// Adds the headers that every answer has.
pub(crate) fn finished(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Most answers describe the current state, so they must not be cached.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_json_does_not_have_is_our_fault() {
        assert_eq!(json(StatusCode::OK, &"text").status(), StatusCode::OK);
        let reply = json(StatusCode::OK, &HashMap::from([(vec![1], 1)]));
        assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn an_answer_is_not_kept_unless_it_says_so() {
        let reply = finished(empty(StatusCode::OK));
        assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(reply.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        let kept = HeaderValue::from_static("max-age=60");
        let reply = finished(with(empty(StatusCode::OK), CACHE_CONTROL, kept.clone()));
        assert_eq!(reply.headers()[CACHE_CONTROL], kept);
    }
}
