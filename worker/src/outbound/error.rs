//! What has become of an exchange that failed, in words for people and in kinds for code.
//!
//! Messages end up in results, which others read, and in logs. So a URL is shown without its query
//! and fragment, where secrets are, and not at any length.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use url::{Position, Url};

use super::digest::Digest;
use super::policy::Refused;
use super::resolve::ResolveError;

/// At most so many characters of a URL are shown.
const MAX_SHOWN: usize = 200;

/// What [`Outbound::fetch`](super::Outbound::fetch) fails with.
pub type FetchError = ExchangeError;

/// What [`Outbound::deliver`](super::Outbound::deliver) fails with: any kind of failure but
/// [`Failure::TooBig`] and [`Failure::Digest`].
pub type DeliverError = ExchangeError;

/// An exchange with another machine that did not do what it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeError {
    /// Without query and fragment, cut to 200 characters.
    url: String,
    failure: Failure,
}

/// Why it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The policy does not allow it.
    Refused(Refused),
    /// The name could not be resolved, or has no address.
    Name(String),
    /// No connection came about; or there is none any more, before anything was answered.
    Connection(String),
    /// No secure connection came about.
    Tls(String),
    /// A time limit was reached, at this stage: "connecting", "waiting for the whole of the answer".
    TimedOut(&'static str),
    /// What was answered is not HTTP, or ended too early.
    Broken(String),
    /// The answer was this, which is not success.
    Status {
        /// Of the answer.
        status: StatusCode,
        /// How long to stay away, if it says so, cut to an hour.
        retry_after: Option<Duration>,
    },
    /// It was refused, with this code for programs.
    Denied(StatusCode, &'static str),
    /// What the worker would have to show of itself cannot be had.
    Credentials {
        /// The reason.
        why: String,
        /// How long to stay away from whoever gives it, if they say so.
        retry_after: Option<Duration>,
    },
    /// The content is encoded in this way, which is not known here.
    Encoding(String),
    /// The content is longer than this number of bytes.
    TooBig(u64),
    /// The content is not what it should be.
    Digest {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
}

impl ExchangeError {
    pub(super) fn new(url: &Url, failure: Failure) -> Self {
        Self { url: shown(url), failure }
    }

    /// What reqwest says, in our words.
    pub(super) fn from_reqwest(url: &Url, error: &reqwest::Error) -> Self {
        Self::new(url, classify(error))
    }

    /// Why it failed.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Whether the same exchange may well succeed later: the other side could not be reached, was
    /// too slow, or said that it is busy or broken, or not ready yet (202, 408, 425, 429, 5xx). What the
    /// worker or its proxy lacks (407) may be there later too: that is nothing that the job is at fault for.
    /// If not, then somebody has to change the job, the configuration or the other side first.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match &self.failure {
            Failure::Name(_)
            | Failure::Connection(_)
            | Failure::Tls(_)
            | Failure::TimedOut(_)
            | Failure::Broken(_)
            | Failure::Credentials { .. } => true,
            Failure::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 202 | 407 | 408 | 425 | 429)
            }
            Failure::Refused(_)
            | Failure::Denied(..)
            | Failure::Encoding(_)
            | Failure::TooBig(_)
            | Failure::Digest { .. } => false,
        }
    }

    /// How long the other side asks us to stay away, at most an hour.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.failure {
            Failure::Status { retry_after, .. } | Failure::Credentials { retry_after, .. } => {
                retry_after
            }
            _ => None,
        }
    }

    /// What the other side answered, if it did and that was the failure.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self.failure {
            Failure::Status { status, .. } => Some(status),
            _ => None,
        }
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.url, self.failure)
    }
}

impl StdError for ExchangeError {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => write!(f, "{refused}"),
            Self::Name(why) => write!(f, "the host's name does not resolve: {why}"),
            Self::Connection(why) => write!(f, "no connection: {why}"),
            Self::Tls(why) => write!(f, "no secure connection (TLS): {why}"),
            Self::Encoding(encoding) => {
                write!(f, "the content has the encoding {encoding:?}, which is not known here")
            }
            Self::TimedOut(stage) => write!(f, "timed out {stage}"),
            Self::Broken(why) => write!(f, "the answer is broken: {why}"),
            Self::Status { status, .. }
                if status.is_redirection() && *status != StatusCode::NOT_MODIFIED =>
            {
                write!(f, "answered {status}, and redirects are not followed")
            }
            Self::Status { status, .. } => write!(f, "answered {status}"),
            Self::Denied(status, code) => write!(f, "answered {status} ({code})"),
            Self::Credentials { why, .. } => write!(f, "no credentials for it: {why}"),
            Self::TooBig(limit) => write!(f, "the content is longer than {limit} bytes"),
            Self::Digest { expected, found } => {
                write!(f, "the content is {found} and should be {expected}")
            }
        }
    }
}

/// The URL up to its query, without credentials, cut.
fn shown(url: &Url) -> String {
    let start = &url[..Position::BeforeUsername];
    let rest = &url[Position::BeforeHost..Position::AfterPath];
    let mut shown = format!("{start}{rest}");
    // A parsed URL is ASCII, apart from those of other schemes.
    if let Some((cut, _)) = shown.char_indices().nth(MAX_SHOWN) {
        shown.truncate(cut);
        shown.push_str("...");
    }
    shown
}

/// What it comes down to. The errors of the layers below are found in the chain of sources; their
/// own words leave the cause out, or have the URL with its query in them.
fn classify(error: &reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    let mut last = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ResolveError>() {
            return match error {
                ResolveError::Refused(refused) => Failure::Refused(refused.clone()),
                ResolveError::Failed(_) | ResolveError::NoAddress => {
                    Failure::Name(error.to_string())
                }
            };
        }
        if error.is::<rustls::Error>() {
            let why = jq_tls::explain_cause(error);
            return Failure::Tls(why.unwrap_or_else(|| error.to_string()));
        }
        last = Some(error);
        // An I/O error that holds another error gives that one's source as its own, not itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let words = || last.map_or_else(|| "unknown cause".to_owned(), ToString::to_string);
    if error.is_timeout() {
        Failure::TimedOut(if error.is_connect() {
            "connecting"
        } else if error.is_body() || error.is_decode() {
            "waiting for the rest of the answer"
        } else {
            "waiting for the answer"
        })
    } else if error.is_body() || error.is_decode() {
        // Something was answered, but it ended too early or cannot be decoded.
        Failure::Broken(words())
    } else if error.is_connect() || last.is_some_and(<dyn StdError>::is::<io::Error>) {
        Failure::Connection(words())
    } else {
        Failure::Broken(words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str, failure: Failure) -> ExchangeError {
        ExchangeError::new(&url.parse().unwrap(), failure)
    }

    fn status(code: u16) -> Failure {
        Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None }
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        let error = error(
            "https://user:password@site.example:8443/in/42.json?token=secret#also-secret",
            status(404),
        );
        assert_eq!(
            error.to_string(),
            "https://site.example:8443/in/42.json: answered 404 Not Found"
        );
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }

    #[test]
    fn a_long_url_is_cut() {
        let error = error(&format!("https://site.example/{}", "a".repeat(10_000)), status(500));
        assert!(error.to_string().len() < 300);
        assert!(error.to_string().ends_with("aaa...: answered 500 Internal Server Error"));
        let other = Url::parse(&format!("data:{}", "\u{e9}".repeat(500))).unwrap();
        assert_eq!(shown(&other).chars().count(), MAX_SHOWN + 3);
    }

    #[test]
    fn what_may_pass_is_temporary() {
        let refused = Refused::NoRule;
        let digest = Digest::sha256(b"");
        let cases = [
            (Failure::Refused(refused), false),
            (Failure::Name("?".to_owned()), true),
            (Failure::Connection("?".to_owned()), true),
            (Failure::Tls("?".to_owned()), true),
            (Failure::TimedOut("connecting"), true),
            (Failure::Broken("?".to_owned()), true),
            (Failure::Credentials { why: "?".to_owned(), retry_after: None }, true),
            (Failure::Denied(StatusCode::UNAUTHORIZED, "invalid_client"), false),
            (Failure::TooBig(1), false),
            (Failure::Digest { expected: digest.clone(), found: digest }, false),
        ];
        let codes = [
            (202, true),
            (206, false),
            (301, false),
            (304, false),
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (407, true),
            (408, true),
            (410, false),
            (425, true),
            (429, true),
            (500, true),
            (501, true),
            (503, true),
        ];
        let cases = cases.into_iter().chain(codes.map(|(code, is)| (status(code), is)));
        for (failure, temporary) in cases {
            let error = error("http://site.example/", failure);
            assert_eq!(error.is_temporary(), temporary, "{error}");
        }
    }
}
