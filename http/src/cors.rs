//! Cross-origin access: which pages of other origins may read the answers.
//!
//! By default only reading is allowed, with GET and HEAD. Requests with a visitor's credentials, such as
//! cookies, are never allowed; a page that knows a token may send it where that is allowed.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use crate::reply::{Reply, empty};

/// The methods that a page may use by default.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// The headers that a page may send by default: those of conditional requests, ranges and resumed streams.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Cache-Control, If-Modified-Since, If-None-Match, If-Range, Last-Event-ID, Range",
);

/// The headers that a page may see.
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("Content-Range, ETag, Last-Modified, Retry-After");

/// How long a browser may cache a preflight, in seconds: a day, which browsers may shorten.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// The origins whose pages may read, and what they may do.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Origins,
    methods: HeaderValue,
    request_headers: HeaderValue,
}

#[derive(Debug, Clone)]
enum Origins {
    Any,
    These(Vec<String>),
}

impl Cors {
    /// Allows pages of these origins, such as `https://site.example`. If one of them is `*`, any
    /// origin is allowed.
    pub fn new(origins: &[String]) -> Self {
        let origins = if origins.iter().any(|origin| origin == "*") {
            Origins::Any
        } else {
            // People add a trailing slash, which an origin does not have.
            Origins::These(origins.iter().map(|o| o.trim_end_matches('/').to_owned()).collect())
        };
        Self { origins, methods: METHODS, request_headers: REQUEST_HEADERS }
    }

    /// Allows these pages these methods and headers instead, such as `GET, POST` and `Authorization`.
    #[must_use]
    pub fn allowing(self, methods: &'static str, request_headers: &'static str) -> Self {
        Self {
            methods: HeaderValue::from_static(methods),
            request_headers: HeaderValue::from_static(request_headers),
            ..self
        }
    }

    /// Adds headers to the answer that say whether the requesting page may read it.
    pub fn write(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let allowed = match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::These(origins) => {
                // The answer depends on the origin, even if this one is not allowed or missing.
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

    /// The answer to a preflight request (OPTIONS). Call [`Cors::write`] for it too: that decides
    /// whether the page is allowed.
    pub fn preflight(&self) -> Reply {
        let mut reply = empty(StatusCode::NO_CONTENT);
        let headers = reply.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.request_headers.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], asking: Option<&str>) -> (Option<String>, bool) {
        let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
        let request = asking.map(|asking| (ORIGIN, asking.parse().unwrap()));
        let mut answer = HeaderMap::new();
        Cors::new(&origins).write(&HeaderMap::from_iter(request), &mut answer);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        (answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(text), answer.contains_key(VARY))
    }

    #[test]
    fn a_star_allows_any_page_and_the_same_to_all() {
        for asking in [None, Some("https://a.example")] {
            assert_eq!(allowed(&["https://b.example", "*"], asking), (Some("*".into()), false));
        }
    }

    #[test]
    fn others_are_allowed_by_their_whole_name() {
        for (asking, expected) in [
            (Some("https://a.example"), Some("https://a.example")),
            (Some("http://a.example"), None),
            (Some("https://a.example.evil.example"), None),
            (Some("null"), None),
            (None, None),
        ] {
            let expected = (expected.map(str::to_owned), true);
            assert_eq!(allowed(&["https://a.example/"], asking), expected, "{asking:?}");
        }
        assert_eq!(allowed(&[], Some("https://a.example")), (None, true));
    }
}
