//! Who may control the worker: who shows the token.

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::reply::{Reply, failure, with};

/// The token, if one was configured.
pub(super) struct Guard(Option<Token>);

/// A token in a form in which comparing takes the same time wherever the first difference is: not
/// the tokens are compared, but codes of them under a key, by HMAC's own comparison.
struct Token {
    keyed: Hmac<Sha256>,
    code: Vec<u8>,
}

impl Token {
    fn new(token: &str) -> Self {
        let keyed = Hmac::<Sha256>::new_from_slice(token.as_bytes())
            .expect("HMAC takes a key of any length");
        let code = keyed.clone().chain_update(token).finalize().into_bytes().to_vec();
        Self { keyed, code }
    }

    fn is(&self, shown: &[u8]) -> bool {
        self.keyed.clone().chain_update(shown).verify_slice(&self.code).is_ok()
    }
}

impl Guard {
    /// An empty token is none: everybody would have it.
    pub(super) fn new(token: Option<&str>) -> Self {
        Self(token.filter(|token| !token.is_empty()).map(Token::new))
    }

    /// Lets a request pass that shows the token; for any other, gives the answer.
    pub(super) fn refusal(&self, request: &HeaderMap) -> Option<Reply> {
        let Some(token) = &self.0 else {
            return Some(failure(
                StatusCode::FORBIDDEN,
                "this worker is not controlled over HTTP, because no token is configured for it; \
                 set one, or send the process a signal",
                None,
            ));
        };
        let shown = request.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if shown.is_some_and(|shown| token.is(shown)) {
            return None;
        }
        Some(with(
            failure(StatusCode::UNAUTHORIZED, "this takes the worker's token", None),
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"jq-worker\""),
        ))
    }
}

/// What follows `Bearer `, which may be written in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(token: Option<&str>, shown: &str) -> Option<StatusCode> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, shown.parse().unwrap())]);
        Guard::new(token).refusal(&headers).map(|reply| reply.status())
    }

    #[test]
    fn who_shows_the_token_passes() {
        for shown in ["Bearer secret", "bearer  secret "] {
            assert_eq!(status(Some("secret"), shown), None, "{shown}");
        }
        for shown in [
            "Bearer secre",
            "Bearer secrets",
            "Bearer SECRET",
            "Bearer ",
            "Bearer",
            "",
            "secret",
            "Basic secret",
            "Bearersecret",
        ] {
            assert_eq!(status(Some("secret"), shown), Some(StatusCode::UNAUTHORIZED), "{shown}");
        }
    }

    #[test]
    fn without_a_token_nobody_passes() {
        for token in [None, Some("")] {
            for shown in ["Bearer ", "Bearer x", ""] {
                assert_eq!(status(token, shown), Some(StatusCode::FORBIDDEN), "{shown}");
            }
        }
    }
}
