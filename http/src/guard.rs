//! Authorizing requests by a bearer token (RFC 6750).

use std::fmt;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Accepts requests with the configured token.
pub struct Guard(Option<Token>);

/// A token in a form that is compared in constant time: what is compared is an HMAC of each token,
/// with HMAC's own comparison.
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
    /// With `None` or an empty token, no request is accepted.
    pub fn new(token: Option<&str>) -> Self {
        Self(token.filter(|token| !token.is_empty()).map(Token::new))
    }

    /// Accepts a request with the header `Authorization: Bearer TOKEN`. The comparison takes
    /// constant time.
    ///
    /// # Errors
    ///
    /// Why the request is denied.
    pub fn check(&self, request: &HeaderMap) -> Result<(), Denied> {
        let token = self.0.as_ref().ok_or(Denied::NoToken)?;
        let shown = request.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if shown.is_some_and(|shown| token.is(shown)) { Ok(()) } else { Err(Denied::WrongToken) }
    }
}

impl fmt::Debug for Guard {
    /// Does not show the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.0.as_ref().map(|_| "...")).finish()
    }
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No token is configured, so every request is denied.
    NoToken,
    /// The request has a different token, or none.
    WrongToken,
}

impl Denied {
    /// The status for the answer. An answer with 401 also needs the header `WWW-Authenticate`.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoToken => StatusCode::FORBIDDEN,
            Self::WrongToken => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The token after `Bearer `, which is case-insensitive.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(token: Option<&str>, shown: &str) -> Option<StatusCode> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, shown.parse().unwrap())]);
        Guard::new(token).check(&headers).err().map(Denied::status)
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
    fn the_token_is_not_shown() {
        let guard = Guard::new(Some("secret"));
        assert!(!format!("{guard:?}").contains("secret"));
        assert_eq!(guard.check(&HeaderMap::new()), Err(Denied::WrongToken));
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
