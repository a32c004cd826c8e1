//! Access tokens that are fetched: OAuth 2.0, the grant of client credentials (RFC 6749, section 4.4).
//!
//! One token for each entry of `credentials`. It is fetched when it is needed first, anew before it expires,
//! and when it was refused. However many jobs need it, one request is under way at a time, and all who wait
//! get what became of it.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::client::{next_chunk, retry_after_of};
use super::credentials::{basic, bearer};
use super::error::{ExchangeError, Failure};
use super::secret::{BadSource, Secret, Source};

/// Longest answer to a request for a token, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Longest token, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// A token is renewed so long before it expires, or when a quarter of its time is left, if that is later.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// If that fails while the token is good, it is tried again after so long.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// A token is kept for at most so long, whatever its server says.
const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// What the codes of errors are (RFC 6749, section 5.2). Nothing else that is answered is shown.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// How to ask for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Where. Unlike URLs of jobs, it may lead anywhere: the operator has named it.
    pub url: Url,
    /// What the worker is called there.
    pub client_id: String,
    /// The secret to it.
    pub client_secret: Source,
    /// What is asked for, if anything is said.
    pub scope: Option<String>,
    /// For whom, if anything is said.
    pub audience: Option<String>,
    /// Whether id and secret are in the request's body, and not in its `Authorization`.
    pub secret_in_body: bool,
}

/// The token of one entry.
#[derive(Debug)]
pub(super) struct Tokens {
    request: TokenRequest,
    secret: Secret,
    state: Mutex<State>,
    /// How many requests for a token have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// What the latest request came to, if that was nothing.
    failed: Option<TokenError>,
    fetched: u64,
}

#[derive(Debug)]
struct Token {
    value: HeaderValue,
    number: u64,
    renew_at: Instant,
    /// Not known: until it is refused.
    expires_at: Option<Instant>,
}

/// There is no token.
#[derive(Debug, Clone)]
pub(super) enum TokenError {
    Secret(BadSource),
    Exchange(ExchangeError),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(error) => write!(f, "{error}"),
            Self::Exchange(error) => write!(f, "{error}"),
        }
    }
}

impl TokenError {
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Secret(_) => None,
            Self::Exchange(error) => error.retry_after(),
        }
    }
}

impl Tokens {
    pub(super) fn new(request: TokenRequest) -> Result<Self, BadSource> {
        let secret = Secret::new(request.client_secret.clone())?;
        Ok(Self { request, secret, state: Mutex::default(), ended: watch::Sender::new(0) })
    }

    /// The token as a header's value, and its number.
    pub(super) async fn get(&self, client: &Client) -> Result<(HeaderValue, u64), TokenError> {
        let before = *self.ended.borrow();
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = &state.token
            && now < token.renew_at
        {
            return Ok((token.value.clone(), token.number));
        }
        // Somebody has just tried, while we waited for that.
        if *self.ended.borrow() != before
            && let Some(error) = &state.failed
        {
            return Err(error.clone());
        }
        let fetched = self.fetch(client).await;
        self.ended.send_modify(|ended| *ended += 1);
        match fetched {
            Ok(answer) => {
                state.fetched += 1;
                state.failed = None;
                let token = answer.into_token(state.fetched, now);
                let shown = (token.value.clone(), token.number);
                state.token = Some(token);
                Ok(shown)
            }
            Err(error) => {
                if let Some(token) = &mut state.token
                    && token.expires_at.is_some_and(|end| Instant::now() < end)
                {
                    token.renew_at = Instant::now() + RENEW_AGAIN;
                    tracing::warn!(%error, "an access token cannot be renewed; the earlier one is good still");
                    return Ok((token.value.clone(), token.number));
                }
                state.token = None;
                state.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The token of this number was refused. A later one stays.
    pub(super) async fn discard(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|token| token.number == number) {
            state.token = None;
        }
    }

    /// As if it were time to renew the token.
    #[cfg(test)]
    pub(super) async fn make_due(&self) {
        if let Some(token) = &mut self.state.lock().await.token {
            token.renew_at = Instant::now();
        }
    }

    async fn fetch(&self, client: &Client) -> Result<Answer, TokenError> {
        let request = self.request(client).map_err(TokenError::Secret)?;
        read(&self.request.url, request.send().await).await.map_err(TokenError::Exchange)
    }

    fn request(&self, client: &Client) -> Result<RequestBuilder, BadSource> {
        const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
        const JSON: HeaderValue = HeaderValue::from_static("application/json");

        let secret = self.secret.get()?;
        let TokenRequest { url, client_id, scope, audience, secret_in_body, .. } = &self.request;
        let request = client.post(url.clone()).header(CONTENT_TYPE, FORM).header(ACCEPT, JSON);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("scope", scope), ("audience", audience)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        if *secret_in_body {
            form.append_pair("client_id", client_id).append_pair("client_secret", secret.show());
            return Ok(request.body(form.finish()));
        }
        // Both are encoded before they are put together: they may have a colon in them.
        let encoded =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let value = basic(&encoded(client_id), &encoded(secret.show()));
        Ok(request.header(AUTHORIZATION, value).body(form.finish()))
    }
}

/// What is answered to a request for a token.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Value,
}

impl Answer {
    /// `asked`: when it was asked for. Its time cannot have begun before.
    fn into_token(self, number: u64, asked: Instant) -> Token {
        // Some write it as a text.
        let seconds = match &self.expires_in {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let life = seconds
            .filter(|seconds: &f64| seconds.is_finite())
            .map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, MAX_LIFE.as_secs_f64())));
        let expires_at = life.map(|life| asked + life);
        let life = life.unwrap_or(MAX_LIFE);
        let renew_at = asked + (life - RENEW_BEFORE.min(life / 4));
        Token { value: bearer(&self.access_token), number, renew_at, expires_at }
    }
}

async fn read(
    url: &Url,
    answer: reqwest::Result<reqwest::Response>,
) -> Result<Answer, ExchangeError> {
    let fail = |failure| ExchangeError::new(url, failure);
    let broken = |why: &str| fail(Failure::Broken(why.to_owned()));
    let mut response = answer.map_err(|error| ExchangeError::from_reqwest(url, &error))?;
    let status = response.status();
    let retry_after = retry_after_of(response.headers());
    let mut content = Vec::new();
    while let Some(chunk) = next_chunk(url, &mut response).await? {
        if content.len() + chunk.len() > MAX_ANSWER {
            return Err(fail(Failure::TooBig(MAX_ANSWER as u64)));
        }
        content.extend_from_slice(&chunk);
    }
    if status != StatusCode::OK {
        let said: Option<Value> = serde_json::from_slice(&content).ok();
        let said = said.as_ref().and_then(|said| said["error"].as_str());
        return Err(match said.and_then(|said| ERRORS.iter().find(|&&known| known == said)) {
            Some(code) => fail(Failure::Denied(status, code)),
            None => fail(Failure::Status { status, retry_after }),
        });
    }
    // What serde would say can have the token in it.
    let answer: Answer = serde_json::from_slice(&content)
        .map_err(|_| broken("expected JSON with an \"access_token\""))?;
    let is_token = |byte: u8| matches!(byte, b'!'..=b'~');
    let token = &answer.access_token;
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(is_token) {
        return Err(broken("its \"access_token\" is not one word of visible ASCII characters"));
    }
    if answer.token_type.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(broken("its \"token_type\" is not \"Bearer\""));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_expires() {
        let now = Instant::now();
        let token = |expires_in: &str| {
            let text = format!(r#"{{"access_token":"s3cret","expires_in":{expires_in}}}"#);
            let answer: Answer = serde_json::from_str(&text).unwrap();
            answer.into_token(1, now)
        };
        for (text, renew, end) in [
            ("3600", 3540, Some(3600)),
            ("\"3600\"", 3540, Some(3600)),
            ("100", 75, Some(100)),
            ("0", 0, Some(0)),
            ("-5", 0, Some(0)),
            ("1e300", MAX_LIFE.as_secs() - 60, Some(MAX_LIFE.as_secs())),
            ("null", MAX_LIFE.as_secs() - 60, None),
            ("\"soon\"", MAX_LIFE.as_secs() - 60, None),
            ("\"NaN\"", MAX_LIFE.as_secs() - 60, None),
            ("[]", MAX_LIFE.as_secs() - 60, None),
        ] {
            let token = token(text);
            assert_eq!(token.renew_at, now + Duration::from_secs(renew), "{text}");
            assert_eq!(token.expires_at, end.map(|end| now + Duration::from_secs(end)), "{text}");
            assert!(!format!("{token:?}").contains("s3cret"));
        }
    }
}
