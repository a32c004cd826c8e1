//! The exchanges themselves: fetch an input, deliver a result or a callback.
//!
//! Two HTTP clients, so that their connections do not mix: one may reach public addresses only, the
//! other, made only if the rules name a host exactly, may reach any. And two more for each certificate that is
//! shown to some: it is for nobody else.

use std::error::Error as _;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use jq_api::job::Method;
use jq_tls::{FileError, Identity};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use reqwest::{
    Body, Certificate, Client, ClientBuilder, RequestBuilder, Response, StatusCode, redirect,
};
use tracing::warn;
use url::Url;

use super::credentials::{Authorization, BadCredential, Credential, Ready, ShowError};
use super::digest::{Digest, Hasher};
use super::error::{DeliverError, ExchangeError, Failure, FetchError};
use super::policy::{BadRule, Reach, Refused, UrlPolicy};
use super::proxy::{Proxy, is_localhost};
use super::resolve::Resolver;
use super::secret::BadSource;

/// Idle connections kept to one host: as many as are likely to be used again at the same time.
const MAX_IDLE_PER_HOST: usize = 8;

/// How long an idle connection is kept. With this, how many there can be follows from how many hosts
/// were spoken to within it.
const IDLE_KEPT: Duration = Duration::from_secs(60);

/// Of the answer to a delivery, at most so many bytes are read, and dropped, so that the connection
/// can be used again. A longer answer costs its sender the connection.
const MAX_DRAINED: usize = 64 * 1024;

/// And for at most so long: the delivery has been accepted, and waiting for its answer's body would
/// hold up the job.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The longest that another machine can make us stay away.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A longer `Content-Type` than this, in bytes, is left out.
const MAX_CONTENT_TYPE: usize = 256;

/// Room made for content before it has arrived, whatever its announced length.
const INITIAL_CAPACITY: u64 = 64 * 1024;

/// Limits and rules of all exchanges.
#[derive(Debug, Clone)]
pub struct Options {
    /// Beginnings of URLs that may be spoken to; see [`policy`](super::policy). None: any public
    /// address.
    pub allow_urls: Vec<String>,
    /// For resolving the name and connecting.
    pub connect_timeout: Duration,
    /// For everything from the first to the last byte.
    pub timeout: Duration,
    /// For silence while an answer is awaited or read.
    pub idle_timeout: Duration,
    /// Of a fetched input.
    pub max_input_bytes: u64,
    /// How the worker introduces itself.
    pub user_agent: String,
    /// PEM files with certificates of authorities that are trusted besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// What the worker shows of itself to some; the first whose prefix fits counts.
    pub client_certificates: Vec<ClientCertificate>,
    /// More that is shown to some; the first whose prefix fits counts.
    pub credentials: Vec<Credential>,
    /// Through which all exchanges go. `None`: they go to the other side directly.
    pub proxy: Option<Proxy>,
}

/// A certificate that is shown to those whose URLs have this beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// As an entry of `allow_urls`, of https.
    pub prefix: String,
    /// Read again when it has changed.
    pub identity: Identity,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_urls: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            max_input_bytes: 64 * 1024 * 1024,
            user_agent: concat!("jq-worker/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_files: Vec::new(),
            client_certificates: Vec::new(),
            credentials: Vec::new(),
            proxy: None,
        }
    }
}

/// A delivery's method, as the client calls it.
fn verb(method: Method) -> reqwest::Method {
    match method {
        Method::Put => reqwest::Method::PUT,
        Method::Post => reqwest::Method::POST,
    }
}

/// An input that has arrived whole.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The content.
    pub bytes: Bytes,
    /// Its digest: of the algorithm that was asked for, or else SHA-256.
    pub digest: Digest,
    /// What the other side says it is.
    pub content_type: Option<String>,
}

/// No exchange can be made with these options, or on this machine.
#[derive(Debug)]
pub enum BuildError {
    /// A rule of `allow_urls`.
    Rule(BadRule),
    /// The HTTP client: a user agent that is not a header's value, say.
    Client(reqwest::Error),
    /// A file of `http.ca_files`, `http.client_certificates` or `credentials`.
    File(&'static str, FileError),
    /// An entry of `credentials`.
    Credential(BadCredential),
    /// The password of `http.proxy_basic`.
    Proxy(BadSource),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(error) => write!(f, "{error}"),
            Self::File(setting, error) => write!(f, "{setting}: {error}"),
            Self::Credential(error) => write!(f, "{error}"),
            Self::Proxy(error) => write!(f, "http.proxy_basic: {error}"),
            Self::Client(_) => f.write_str("cannot set up HTTP to other machines"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rule(_) | Self::Credential(_) | Self::Proxy(_) => None,
            Self::Client(error) => Some(error),
            Self::File(_, error) => Some(error),
        }
    }
}

/// What speaks HTTP to other machines, for all jobs. Connections are kept and used again; cloning it
/// is cheap, and the clone shares them.
#[derive(Debug, Clone)]
pub struct Outbound {
    policy: Arc<UrlPolicy>,
    clients: Clients,
    /// Those that show a certificate, each with a rule that says to whom.
    with_certificate: Arc<[(UrlPolicy, Clients)]>,
    /// Each with what shows its certificate, if it has one.
    credentials: Arc<[(Ready, Option<Clients>)]>,
    has_proxy: bool,
    pub(super) timeout: Duration,
    max_input_bytes: u64,
}

/// The HTTP clients that show the same certificate, or none.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    to_public: Client,
    to_anywhere: Option<Client>,
}

impl Outbound {
    /// Reads the rules, the machine's certificates of authorities, and credentials. Makes no connection.
    ///
    /// # Errors
    /// If a rule is none, the user agent cannot be sent, or a file cannot be used.
    pub fn new(options: &Options) -> Result<Self, BuildError> {
        let policy = UrlPolicy::new(&options.allow_urls).map_err(BuildError::Rule)?;
        // Whoever came first in this process has installed one; ours or theirs, both will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let gets_tokens = options
            .credentials
            .iter()
            .any(|it| matches!(it.authorization, Authorization::Token(_)));
        let is_named = policy.names_hosts() || gets_tokens;
        let proxy = options.proxy.as_ref().map(Proxy::ready).transpose()?;
        let clients = |make: &dyn Fn(Reach) -> reqwest::Result<Client>| {
            let client = |reach| make(reach).map_err(BuildError::Client);
            let to_anywhere = is_named.then(|| client(Reach::Anywhere)).transpose()?;
            Ok::<_, BuildError>(Clients { to_public: client(Reach::Public)?, to_anywhere })
        };
        let authorities = authorities(options)?;
        let shows = |setting, identity: &Identity| {
            let config = secure_config(options, setting, identity)?;
            clients(&|reach| {
                let builder = client_builder(options, reach, proxy.as_ref());
                builder.tls_backend_preconfigured(config.clone()).build()
            })
        };
        let mut with_certificate = Vec::new();
        for ClientCertificate { prefix, identity } in &options.client_certificates {
            let setting = "http.client_certificates: prefix";
            let rule = UrlPolicy::for_credentials(setting, prefix, true);
            let rule = rule.map_err(BuildError::Rule)?;
            with_certificate.push((rule, shows("http.client_certificates", identity)?));
        }
        let mut credentials = Vec::new();
        for credential in &options.credentials {
            let ready = Ready::new(credential).map_err(BuildError::Credential)?;
            let identity = credential.identity.as_ref();
            let clients = identity.map(|it| shows("credentials: cert", it)).transpose()?;
            credentials.push((ready, clients));
        }
        Ok(Self {
            clients: clients(&|reach| build(options, reach, proxy.as_ref(), &authorities))?,
            with_certificate: with_certificate.into(),
            policy: Arc::new(policy),
            credentials: credentials.into(),
            has_proxy: options.proxy.is_some(),
            timeout: options.timeout,
            max_input_bytes: options.max_input_bytes,
        })
    }

    /// Whether the URL may be spoken to, as far as that can be told without resolving its host.
    /// The exchanges check it themselves; this is for refusing a job before it is run.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        self.policy.check(url).map(|_| ())
    }

    /// The most bytes that are fetched at once, and for one job.
    pub fn max_input(&self) -> u64 {
        self.max_input_bytes
    }

    /// Fetches the content, into memory. If a digest is given, the content has it.
    ///
    /// # Errors
    /// If the URL is refused, the exchange fails or takes too long, the answer is not the content (any
    /// but 200 and 203), or the content is too long or has another digest.
    pub async fn fetch(&self, url: &Url, expected: Option<&Digest>) -> Result<Fetched, FetchError> {
        // What comes with 202 says that it is not there yet, with 206 it is a part.
        let is_content =
            |status| matches!(status, StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION);
        self.fetch_if(url, expected, is_content).await
    }

    /// Shows a token, and returns the answer, whatever its status is.
    ///
    /// # Errors
    /// There is none, or it is longer than an input may be.
    pub async fn command(
        &self,
        method: reqwest::Method,
        url: &Url,
        token: &str,
    ) -> Result<(StatusCode, Bytes), ExchangeError> {
        let failed = |error: reqwest::Error| ExchangeError::from_reqwest(url, &error);
        let request = self.client_for(url, None)?.request(method, url.clone()).bearer_auth(token);
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = next_chunk(url, &mut response).await? {
            if (body.len() + chunk.len()) as u64 > self.max_input_bytes {
                return Err(ExchangeError::new(url, Failure::TooBig(self.max_input_bytes)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body.into()))
    }

    /// As [`fetch`](Self::fetch), but takes what comes with any 2xx.
    ///
    /// # Errors
    /// As those, but for the status.
    pub async fn fetch_any(&self, url: &Url) -> Result<Fetched, FetchError> {
        self.fetch_if(url, None, |status| status.is_success()).await
    }

    async fn fetch_if(
        &self,
        url: &Url,
        expected: Option<&Digest>,
        is_wanted: impl Fn(StatusCode) -> bool,
    ) -> Result<Fetched, FetchError> {
        let fail = |failure| ExchangeError::new(url, failure);
        let limit = self.max_input_bytes;

        let mut response = self.exchange(url, |client| client.get(url.clone())).await?;
        if !is_wanted(response.status()) {
            return Err(not_so(url, &response));
        }
        // Of what was decoded it is gone.
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(fail(Failure::Encoding(encoding)));
        }
        let announced = response.content_length().unwrap_or(0);
        if announced > limit {
            return Err(fail(Failure::TooBig(limit)));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| {
            value.to_str().ok().filter(|text| text.len() <= MAX_CONTENT_TYPE).map(str::to_owned)
        });

        // What was announced proves nothing, so it is counted as it comes, decoded.
        let mut content = BytesMut::with_capacity(announced.min(INITIAL_CAPACITY) as usize);
        let mut hasher = Hasher::like(expected);
        while let Some(chunk) = next_chunk(url, &mut response).await? {
            if content.len() as u64 + chunk.len() as u64 > limit {
                return Err(fail(Failure::TooBig(limit)));
            }
            hasher.update(&chunk);
            content.extend_from_slice(&chunk);
        }
        let digest = hasher.finish();
        if let Some(expected) = expected.filter(|&expected| *expected != digest) {
            return Err(fail(Failure::Digest { expected: expected.clone(), found: digest }));
        }
        Ok(Fetched { bytes: content.freeze(), digest, content_type })
    }

    /// Delivers the body; as JSON, unless `headers` has a `Content-Type`. What is answered besides
    /// 2xx does not matter.
    ///
    /// # Errors
    /// If the URL is refused, the exchange fails or takes too long, or the answer is not 2xx. Unless
    /// there was an answer, the other side may have got it all the same.
    pub async fn deliver(
        &self,
        method: Method,
        url: &Url,
        body: Bytes,
        mut headers: HeaderMap,
    ) -> Result<(), DeliverError> {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        self.send(method, url, headers, || body.clone().into(), None).await
    }

    /// Sends what `body` makes, with as much time as usual or `within` this one.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: impl Fn() -> Body,
        within: Option<Duration>,
    ) -> Result<(), DeliverError> {
        let request = |client: &Client| {
            let mut request = client.request(verb(method), url.clone());
            if let Some(within) = within {
                request = request.timeout(within);
            }
            request.headers(headers.clone()).body(body())
        };
        let mut response = self.exchange(url, request).await?;
        // A failure now, or too slow an end, takes nothing back: it only costs the connection.
        let _ = tokio::time::timeout(DRAIN_TIME, async {
            let mut drained = 0;
            while let Some(chunk) = next_chunk(url, &mut response).await? {
                drained += chunk.len();
                if drained > MAX_DRAINED {
                    break;
                }
            }
            Ok::<_, ExchangeError>(())
        })
        .await;
        Ok(())
    }

    /// The answer to a request, which shows the credentials of this URL, if its status is 2xx.
    async fn exchange(
        &self,
        url: &Url,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, ExchangeError> {
        let entry = self.credentials.iter().find(|(credential, _)| credential.is_for(url));
        let client = self.client_for(url, entry.and_then(|(_, clients)| clients.as_ref()))?;
        let Some((credential, _)) = entry else {
            return successful(url, request(client).send().await);
        };
        let lacking = |error: ShowError| ExchangeError::new(url, error.into());
        let for_tokens = self.clients.to_anywhere.as_ref().unwrap_or(&self.clients.to_public);
        let shown = credential.show(for_tokens).await.map_err(lacking)?;
        let answer = request(client).headers(shown.headers).send().await;
        // Before it expires, a token can have been revoked. One that was just fetched is no better.
        if let (Ok(response), Some(number)) = (&answer, shown.token)
            && response.status() == StatusCode::UNAUTHORIZED
        {
            credential.discard(number).await;
            let shown = credential.show(for_tokens).await.map_err(lacking)?;
            return successful(url, request(client).headers(shown.headers).send().await);
        }
        successful(url, answer)
    }

    /// `own`: those that show the certificate of its credentials.
    pub(super) fn client_for<'a>(
        &'a self,
        url: &Url,
        own: Option<&'a Clients>,
    ) -> Result<&'a Client, ExchangeError> {
        let reach = self.policy.check(url).and_then(|reach| {
            // A proxy would take that for itself; without one, what it resolves to is refused.
            if self.has_proxy && reach == Reach::Public && is_localhost(url) {
                UrlPolicy::check_address(Ipv4Addr::LOCALHOST.into())?;
            }
            Ok(reach)
        });
        let reach = reach.map_err(|refused| ExchangeError::new(url, Failure::Refused(refused)))?;
        let of_rule = || self.with_certificate.iter().find(|(rule, _)| rule.has_rule_for(url));
        let clients = own.or_else(|| of_rule().map(|(_, clients)| clients));
        let clients = clients.unwrap_or(&self.clients);
        Ok(match reach {
            Reach::Public => &clients.to_public,
            Reach::Anywhere => {
                clients.to_anywhere.as_ref().expect("a rule that names a host makes this client")
            }
        })
    }
}

/// The certificates of `http.ca_files`.
fn authorities(options: &Options) -> Result<Vec<Certificate>, BuildError> {
    let mut found = Vec::new();
    for path in &options.ca_files {
        let bad = |error| BuildError::File("http.ca_files", error);
        for certificate in jq_tls::authorities(path).map_err(bad)? {
            found.push(Certificate::from_der(&certificate).map_err(BuildError::Client)?);
        }
    }
    Ok(found)
}

/// TLS for those to whom the certificate is shown.
fn secure_config(
    options: &Options,
    setting: &'static str,
    identity: &Identity,
) -> Result<rustls::ClientConfig, BuildError> {
    let files = jq_tls::ClientFiles {
        authorities: None,
        more_authorities: options.ca_files.clone(),
        identity: Some(identity.clone()),
    };
    let config = jq_tls::Client::new(files, &["h2", "http/1.1"]).lasting_config();
    config.map_err(|error| BuildError::File(setting, error))
}

fn build(
    options: &Options,
    reach: Reach,
    proxy: Option<&reqwest::Proxy>,
    authorities: &[Certificate],
) -> reqwest::Result<Client> {
    let builder =
        client_builder(options, reach, proxy).tls_certs_merge(authorities.iter().cloned());
    builder.build().or_else(|error| {
        // Most likely a container without certificates of authorities. Plain HTTP works without.
        let client = client_builder(options, reach, proxy).tls_certs_only([]).build()?;
        let cause = error.source().map(ToString::to_string);
        warn!(cause, "no certificates of authorities found: https URLs cannot be spoken to");
        Ok(client)
    })
}

fn client_builder(
    options: &Options,
    reach: Reach,
    proxy: Option<&reqwest::Proxy>,
) -> ClientBuilder {
    // A proxy resolves names itself, and may reach what we may not: no environment decides on it. If there is
    // one, its own name is the only one that is resolved here.
    let reach = if proxy.is_some() { Reach::Anywhere } else { reach };
    let builder =
        proxy.cloned().into_iter().fold(Client::builder().no_proxy(), ClientBuilder::proxy);
    builder
        .redirect(redirect::Policy::none())
        .referer(false)
        .dns_resolver(Resolver { reach })
        .connect_timeout(options.connect_timeout)
        .timeout(options.timeout)
        .read_timeout(options.idle_timeout)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .pool_idle_timeout(IDLE_KEPT)
        .user_agent(&options.user_agent)
        // What is encoded all the same is decoded.
        .default_headers(HeaderMap::from_iter([(
            ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        )]))
}

/// The response, if its status is 2xx.
fn successful(url: &Url, answer: reqwest::Result<Response>) -> Result<Response, ExchangeError> {
    let response = answer.map_err(|error| ExchangeError::from_reqwest(url, &error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(not_so(url, &response))
}

/// This status is not what is wanted.
fn not_so(url: &Url, response: &Response) -> ExchangeError {
    let status = response.status();
    let retry_after = retry_after_of(response.headers());
    ExchangeError::new(url, Failure::Status { status, retry_after })
}

/// What these headers ask for: how long to stay away, at most an hour.
pub(super) fn retry_after_of(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers, Timestamp::now())
}

pub(super) async fn next_chunk(
    url: &Url,
    response: &mut Response,
) -> Result<Option<Bytes>, ExchangeError> {
    response.chunk().await.map_err(|error| ExchangeError::from_reqwest(url, &error))
}

/// What `Retry-After` asks for: a number of seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than there are numbers ask for a long time.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or_default()
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("3601", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 22 Nov 2026 12:00:30 GMT", Some(30)),
            ("Sun, 22 Nov 2026 18:00:00 GMT", Some(3600)),
            ("Sun, 22 Nov 2026 11:59:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
