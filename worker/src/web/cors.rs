//! Which pages of other origins may read what belongs to a job.
//!
//! A result is for whoever knows its UUID, so by default any page may read it. Nothing is ever sent
//! with a visitor's credentials, and what controls the worker is not shared at all.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::reply::{Reply, empty};

/// What a page may send: what conditional requests and streams that go on need.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Cache-Control, If-Modified-Since, If-None-Match, Last-Event-ID");

/// What a page may see besides the content.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("ETag, Last-Modified, Retry-After");

/// How long a browser need not ask again, in seconds: a day, which browsers cut to what they like.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Whose pages may read.
pub(super) enum Origins {
    Any,
    These(Vec<String>),
}

impl Origins {
    pub(super) fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            Self::Any
        } else {
            // An origin has no slash at its end, and people write one.
            Self::These(origins.iter().map(|o| o.trim_end_matches('/').to_owned()).collect())
        }
    }

    /// Writes into the answer whether the page that asks may read it.
    pub(super) fn write(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let allowed = match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::These(origins) => {
                // The answer differs by origin, even if this one is not allowed, or has none.
                answer.append(VARY, HeaderValue::from_name(ORIGIN));
                request
                    .get(ORIGIN)
                    .filter(|asking| {
                        origins.iter().any(|origin| origin.as_bytes() == asking.as_bytes())
                    })
                    .cloned()
            }
        };
        if let Some(origin) = allowed {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
    }
}

/// The answer to a browser that asks beforehand, but for the origin.
pub(super) fn preflight() -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    reply
}
