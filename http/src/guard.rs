//! Who may do what changes something: who shows the token (RFC 6750).

use std::fmt;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Lets requests pass that show the token, if one was configured.
pub struct Guard(Option<Token>);

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
    pub fn new(token: Option<&str>) -> Self {
        Self(token.filter(|token| !token.is_empty()).map(Token::new))
    }

    /// Lets a request pass that shows the token as `Authorization: Bearer TOKEN`. Comparing takes the
    /// same time wherever the first difference is.
    ///
    /// # Errors
    ///
    /// Why it may not pass.
    pub fn check(&self, request: &HeaderMap) -> Result<(), Denied> {
        let token = self.0.as_ref().ok_or(Denied::NoToken)?;
        let shown = request.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if shown.is_some_and(|shown| token.is(shown)) { Ok(()) } else { Err(Denied::WrongToken) }
    }
}

impl fmt::Debug for Guard {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.0.as_ref().map(|_| "...")).finish()
    }
}

/// Why a request may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// None was configured, so nobody may.
    NoToken,
    /// It shows another one, or none.
    WrongToken,
}

impl Denied {
    /// What the answer's status should be. With 401 it needs a header `WWW-Authenticate`.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoToken => StatusCode::FORBIDDEN,
            Self::WrongToken => StatusCode::UNAUTHORIZED,
        }
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
