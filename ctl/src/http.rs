//! jq-server's HTTP API.

use std::fmt::Write as _;

use jq_api::server::Problem;
use jq_tls::rustls::ClientConfig;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::Target;
use crate::failed::{EXIT_NOT_FOUND, EXIT_UNREACHABLE, EXIT_USAGE, Failed};

/// Largest answer that is read, in bytes: a page of a thousand jobs has some 300,000.
const MAX_ANSWER: usize = 64 << 20;

/// The API of one server.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    base: Url,
    token: Option<String>,
}

impl Api {
    /// The API of the target.
    ///
    /// # Errors
    ///
    /// [`EXIT_USAGE`] if it is not known where it is; `what` needs it.
    pub(crate) fn new(target: &Target, what: &str) -> Result<Self, Failed> {
        let base = target.http.clone().ok_or_else(|| {
            Failed::usage(format!(
                "{what} needs the HTTP API of jq-server: say where it is with --http URL (or JQ_HTTP, or \
                 \"http\" in the configuration file)"
            ))
        })?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(Failed::usage(format!("--http {base}: expected http:// or https://")));
        }
        // Whichever comes first installs it; the others have the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder();
        if let Some(tls) = &target.http_tls {
            builder = builder.tls_backend_preconfigured(ClientConfig::clone(tls));
        }
        let client = builder
            .connect_timeout(target.timeout)
            .read_timeout(target.timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("jq-ctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failed::other(format!("no HTTP client: {error}")))?;
        Ok(Self { client, base, token: target.token.clone() })
    }

    /// The URL of a path, whose segments are encoded.
    fn url(&self, path: &[&str]) -> Result<Url, Failed> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failed::usage(format!("--http {}: no base for a path", self.base)))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, Failed> {
        let request = self.client.request(method, self.url(path)?);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// Asks for a document.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
    ) -> Result<T, Failed> {
        let url = with_query(self.url(path)?, query)?;
        let mut request = self.client.get(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        self.answer(request).await
    }

    /// Sends a request with a document, or with none.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        document: Option<&impl Serialize>,
    ) -> Result<T, Failed> {
        let request = self.request(method, path)?;
        let request = match document {
            Some(document) => {
                let body = serde_json::to_vec(document).map_err(Failed::other)?;
                request.header("content-type", "application/json").body(body)
            }
            None => request,
        };
        self.answer(request).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failed> {
        let response = self.exchange(request).await?;
        let url = response.url().clone();
        let body = read(response).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failed::other(format!("{url}: the answer is not what was expected: {error}"))
        })
    }

    /// Begins to read a stream of events.
    pub(crate) async fn events(&self, path: &[&str]) -> Result<Response, Failed> {
        self.exchange(self.request(Method::GET, path)?).await
    }

    /// Sends a request, and returns the answer if it is a success.
    async fn exchange(&self, request: RequestBuilder) -> Result<Response, Failed> {
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = response.url().clone();
        let body = read(response).await.unwrap_or_default();
        Err(refused(&url, status, &body))
    }
}

/// Why the server refused, in its words.
fn refused(url: &Url, status: StatusCode, body: &[u8]) -> Failed {
    let exit = match status {
        StatusCode::NOT_FOUND => EXIT_NOT_FOUND,
        StatusCode::UNAUTHORIZED => EXIT_USAGE,
        _ => crate::failed::EXIT_FAILED,
    };
    let mut message = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            let mut message = problem.title;
            if let Some(field) = problem.field {
                let _ = write!(message, " ({field})");
            }
            if let Some(detail) = problem.detail {
                let _ = write!(message, ": {detail}");
            }
            message
        }
        Err(_) => format!("{url} answered {status}"),
    };
    if status == StatusCode::UNAUTHORIZED {
        message += "; --token-file says which token to use";
    }
    Failed::new(exit, crate::look::printable(message.as_bytes()))
}

async fn read(mut response: Response) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failed::other(format!("the answer has over {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error with its causes, of which the last says most.
pub(crate) fn unreachable(error: reqwest::Error) -> Failed {
    if let Some(why) = jq_tls::explain_cause(&error) {
        let to = error.url().map_or_else(String::new, |url| format!(" to {url}"));
        return Failed::new(EXIT_UNREACHABLE, format!("no secure connection (TLS){to}: {why}"));
    }
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let _ = write!(message, ": {cause}");
        source = cause.source();
    }
    Failed::new(EXIT_UNREACHABLE, message)
}

/// Adds the members of a document to the URL's query.
fn with_query(mut url: Url, query: &impl Serialize) -> Result<Url, Failed> {
    let value = serde_json::to_value(query).map_err(Failed::other)?;
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        url.query_pairs_mut().append_pair(name, &text);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jq_api::server::{JobQuery, JobState};
    use jq_client::Credentials;

    use super::*;

    #[test]
    fn segments_and_queries_are_encoded() {
        let target = Target {
            server: "a:1".parse().unwrap(),
            http: Some("http://host/base/".parse().unwrap()),
            token: None,
            credentials: Credentials::default(),
            hint: None,
            http_tls: None,
            timeout: Duration::from_secs(1),
        };
        let api = Api::new(&target, "this").unwrap();
        let url = api.url(&["api", "v1", "tubes", "a/b;c+"]).unwrap();
        assert_eq!(url.as_str(), "http://host/base/api/v1/tubes/a%2Fb;c+");
        let query =
            JobQuery { state: Some(JobState::Buried), cursor: Some("a&b".into()), limit: Some(7) };
        let url = with_query(url, &query).unwrap();
        assert_eq!(url.query(), Some("cursor=a%26b&limit=7&state=buried"));
    }

    #[test]
    fn the_servers_reason_is_shown() {
        let url = "http://host/x".parse().unwrap();
        let body = br#"{"type":"/problems/bad-field","title":"A field is wrong","status":422,
            "field":"priority","detail":"expected a number"}"#;
        let failed = refused(&url, StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(failed.message, "A field is wrong (priority): expected a number");
        assert_eq!(failed.status, crate::failed::EXIT_FAILED);
        let failed = refused(&url, StatusCode::NOT_FOUND, b"<html>");
        assert_eq!(failed.message, "http://host/x answered 404 Not Found");
        assert_eq!(failed.status, EXIT_NOT_FOUND);
    }
}
