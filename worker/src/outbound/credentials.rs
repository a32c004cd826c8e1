//! Credentials: what the worker shows of itself to those whose URLs have a certain beginning.
//!
//! A job cannot name them, so it cannot have them sent elsewhere; and as no redirect is followed, nobody whom
//! they are sent to can either. Their values are in no result, log or error: headers are marked as sensitive,
//! and what can be printed has where a secret is, and not the secret.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jq_tls::Identity;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::error::Failure;
use super::policy::{BadRule, UrlPolicy};
use super::secret::{BadSource, Secret, Source};
use super::token::{TokenError, TokenRequest, Tokens};

/// What is shown to those whose URLs have this beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// As an entry of `allow_urls`.
    pub prefix: String,
    /// Whole values of headers.
    pub headers: Vec<(HeaderName, Source)>,
    /// What `Authorization` has, unless `headers` has it.
    pub authorization: Authorization,
    /// Shown in the handshake of TLS. Read again when it has changed.
    pub identity: Option<Identity>,
}

/// Ways to make an `Authorization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// There is none.
    None,
    /// A user's name and a password.
    Basic {
        /// Without a colon.
        user: String,
        /// To it.
        password: Source,
    },
    /// A token that does not change by itself.
    Bearer(Source),
    /// A token that is fetched, and fetched anew before it expires: OAuth 2.0, client credentials.
    Token(TokenRequest),
}

/// Headers that have a meaning of their own in each exchange.
const RESERVED: [&str; 17] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// The name of a header that can be among credentials.
///
/// # Errors
/// It is no name, or means something in each exchange: `Host`, `Content-Length`, `webhook-signature`.
pub fn header_name(text: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::try_from(text).map_err(|_| "is not the name of a header")?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("webhook-") {
        return Err("is a header that the worker sets itself");
    }
    Ok(name)
}

/// Whether there can be a URL that has this prefix and that `allow_urls` allows.
///
/// # Errors
/// The prefix is none, is not of https although a certificate is to be shown, or no URL with it is allowed.
pub fn check_prefix(
    prefix: &str,
    allow_urls: &[String],
    shows_certificate: bool,
) -> Result<(), BadRule> {
    let rule = UrlPolicy::for_credentials("credentials: prefix", prefix, shows_certificate)?;
    // What is wrong with these is said elsewhere.
    let Ok(policy) = UrlPolicy::new(allow_urls) else { return Ok(()) };
    policy.meets(&rule)
}

/// Ready to be shown.
#[derive(Debug)]
pub(super) struct Ready {
    rule: UrlPolicy,
    headers: Vec<(HeaderName, Secret)>,
    authorization: ReadyAuthorization,
}

#[derive(Debug)]
enum ReadyAuthorization {
    None,
    Basic { user: String, password: Secret },
    Bearer(Secret),
    Token(Arc<Tokens>),
}

/// What one request shows.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) headers: HeaderMap,
    /// Which of the tokens it was, if it is one that was fetched.
    pub(super) token: Option<u64>,
}

/// Why a request cannot show what it should.
#[derive(Debug)]
pub(super) enum ShowError {
    Secret(BadSource),
    Token(TokenError),
}

impl From<ShowError> for Failure {
    fn from(error: ShowError) -> Self {
        let (why, retry_after) = match error {
            ShowError::Secret(error) => (error.to_string(), None),
            ShowError::Token(error) => (error.to_string(), error.retry_after()),
        };
        Self::Credentials { why, retry_after }
    }
}

impl Ready {
    pub(super) fn new(credential: &Credential) -> Result<Self, BadCredential> {
        let Credential { prefix, headers, authorization, identity } = credential;
        let setting = "credentials: prefix";
        let rule = UrlPolicy::for_credentials(setting, prefix, identity.is_some());
        let rule = rule.map_err(BadCredential::Prefix)?;
        let bad = |why| BadCredential::Secret(prefix.clone(), why);
        let secret = |source: &Source| Secret::new(source.clone()).map_err(bad);
        let headers = headers.iter().map(|(name, source)| Ok((name.clone(), secret(source)?)));
        let authorization = match authorization {
            Authorization::None => ReadyAuthorization::None,
            Authorization::Bearer(source) => ReadyAuthorization::Bearer(secret(source)?),
            Authorization::Basic { user, password } => {
                ReadyAuthorization::Basic { user: user.clone(), password: secret(password)? }
            }
            Authorization::Token(request) => {
                let tokens = Tokens::new(request.clone()).map_err(bad)?;
                ReadyAuthorization::Token(Arc::new(tokens))
            }
        };
        Ok(Self { rule, headers: headers.collect::<Result<_, _>>()?, authorization })
    }

    pub(super) fn is_for(&self, url: &Url) -> bool {
        self.rule.has_rule_for(url)
    }

    /// The headers of one request. `client` fetches a token, if one is needed.
    pub(super) async fn show(&self, client: &Client) -> Result<Shown, ShowError> {
        let mut shown = Shown { headers: HeaderMap::new(), token: None };
        for (name, secret) in &self.headers {
            let value = secret.get().map_err(ShowError::Secret)?;
            shown.headers.insert(name.clone(), sensitive(value.show()));
        }
        let authorization = match &self.authorization {
            ReadyAuthorization::None => return Ok(shown),
            ReadyAuthorization::Basic { user, password } => {
                basic(user, password.get().map_err(ShowError::Secret)?.show())
            }
            ReadyAuthorization::Bearer(secret) => {
                bearer(secret.get().map_err(ShowError::Secret)?.show())
            }
            ReadyAuthorization::Token(tokens) => {
                let (value, number) = tokens.get(client).await.map_err(ShowError::Token)?;
                shown.token = Some(number);
                value
            }
        };
        shown.headers.insert(AUTHORIZATION, authorization);
        Ok(shown)
    }

    /// The token of this number was refused: the next request shows another.
    pub(super) async fn discard(&self, number: u64) {
        if let ReadyAuthorization::Token(tokens) = &self.authorization {
            tokens.discard(number).await;
        }
    }
}

/// Credentials that cannot be used.
#[derive(Debug)]
pub enum BadCredential {
    /// For no URL.
    Prefix(BadRule),
    /// For URLs with this prefix, and a secret is missing.
    Secret(String, BadSource),
}

impl fmt::Display for BadCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(error) => write!(f, "{error}"),
            Self::Secret(prefix, error) => write!(f, "credentials: {prefix}: {error}"),
        }
    }
}

/// A user and a password, as they are shown.
pub(super) fn basic(user: &str, password: &str) -> HeaderValue {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A token, as it is shown.
pub(super) fn bearer(token: &str) -> HeaderValue {
    sensitive(&format!("Bearer {token}"))
}

/// A value that no log shows.
fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::try_from(text).expect("a secret is visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_and_nothing_is_shown() {
        // RFC 7617, section 2.
        let value = basic("Aladdin", "open sesame");
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{value:?} {:?}", bearer("s3cret")), "Sensitive Sensitive");
    }

    #[test]
    fn names_of_headers() {
        assert_eq!(header_name("X-Api-Key").unwrap(), "x-api-key");
        for name in ["", "a b", "a:", "\u{e9}", "a\r\nb"] {
            assert_eq!(header_name(name), Err("is not the name of a header"), "{name}");
        }
        for name in ["Host", "content-length", "Webhook-Signature", "Transfer-Encoding"] {
            assert!(header_name(name).unwrap_err().contains("sets itself"), "{name}");
        }
    }

    #[test]
    fn a_prefix_needs_a_url_that_is_allowed() {
        let check = |prefix: &str, allowed: &[&str]| {
            let allowed: Vec<_> = allowed.iter().map(|&it| it.to_owned()).collect();
            check_prefix(prefix, &allowed, false).map_err(|error| error.to_string())
        };
        for (prefix, allowed) in [
            ("https://site.example/in/", &[][..]),
            ("https://site.example/in/", &["https://site.example/"]),
            ("https://site.example/", &["https://site.example/in/"]),
            ("https://site.example/in", &["https://site.example/in/"]),
            ("https://a.site.example/", &["https://*.site.example/"]),
            ("https://*.site.example/", &["https://a.site.example/in/"]),
            ("https://*.a.example/", &["https://*.b.a.example/"]),
            ("http://10.0.0.5/", &["http://site.example/", "http://10.0.0.5/"]),
            ("http://localhost:1/", &["http://localhost:1/in"]),
        ] {
            assert_eq!(check(prefix, allowed), Ok(()), "{prefix} {allowed:?}");
        }
        for (prefix, allowed) in [
            ("https://site.example/in/", &["https://site.example/out/"][..]),
            ("https://site.example/inside", &["https://site.example/in"]),
            ("https://site.example/", &["http://site.example/"]),
            ("https://site.example:1/", &["https://site.example/"]),
            ("https://other.example/", &["https://*.site.example/"]),
            ("https://*.other.example/", &["https://*.site.example/"]),
            // Without rules, only what is public is spoken to.
            ("http://10.0.0.5/", &[]),
            ("http://localhost:1/", &[]),
        ] {
            let said = check(prefix, allowed).unwrap_err();
            assert!(said.contains(prefix) && said.contains("allow_urls"), "{said}");
        }
    }
}
