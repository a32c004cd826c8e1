//! Who may control the worker: who shows the token.

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue};
use jq_http::reply::{Reply, with};
use jq_http::{Denied, Guard};

use super::failure;

/// Lets a request pass that shows the token; for any other, gives the answer.
pub(super) fn refusal(guard: &Guard, request: &HeaderMap) -> Option<Reply> {
    let denied = guard.check(request).err()?;
    Some(match denied {
        Denied::NoToken => failure(
            denied.status(),
            "this worker is not controlled over HTTP, because no token is configured for it; set \
             one, or send the process a signal",
            None,
        ),
        Denied::WrongToken => with(
            failure(denied.status(), "this takes the worker's token", None),
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"jq-worker\""),
        ),
    })
}
