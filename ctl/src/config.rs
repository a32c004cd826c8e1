//! Which server: from flags, the environment (clap reads both), and the configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jq_client::{
    ConnectOptions, ConnectionLimits, Credentials, Endpoint, Identity, TlsFiles, TlsOptions,
    read_secret, read_token,
};
use jq_tls::rustls::ClientConfig;
use serde::Deserialize;
use url::Url;

use crate::cli::Global;
use crate::failed::Failed;

/// Where beanstalkd and jq-server listen unless told otherwise.
const DEFAULT_SERVER: &str = "127.0.0.1:11300";

/// The protocols of the HTTP API (ALPN).
const HTTP: [&str; 2] = ["h2", "http/1.1"];

/// The server that commands go to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) server: Endpoint,
    /// What the queue is shown.
    pub(crate) credentials: Credentials,
    /// Why the queue may not know who this is.
    pub(crate) hint: Option<Hint>,
    /// Its HTTP API, if known.
    pub(crate) http: Option<Url>,
    /// What proves to the API who we are.
    pub(crate) token: Option<String>,
    /// How the API is connected to by TLS, if not as the system says.
    pub(crate) http_tls: Option<Arc<ClientConfig>>,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
}

/// Why a queue may not know who this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hint {
    /// It was shown no token.
    NoToken,
    /// The token in this file is for the HTTP API.
    TokenOfHttp(PathBuf),
}

/// What becomes of `--token-file` where the queue is concerned.
enum TokenFile {
    None,
    Shown(PathBuf),
    /// It is not shown to the queue.
    ForHttp(PathBuf),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str("no token was shown: --token-file FILE has one"),
            Self::TokenOfHttp(path) => write!(
                f,
                "no token was shown: the one in {} is not NAME.SECRET, so it is for the HTTP API only",
                path.display()
            ),
        }
    }
}

/// `ctl.toml`: named servers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    /// The name of the server to use unless another is asked for.
    default: Option<String>,
    #[serde(default)]
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Server {
    server: Option<String>,
    http: Option<Url>,
    token_file: Option<PathBuf>,
    http_token_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
}

impl Server {
    fn shown(&self) -> Shown {
        let Self { token_file, http_token_file, tls_ca, tls_cert, tls_key, .. } = self.clone();
        Shown { token_file, http_token_file, tls_ca, tls_cert, tls_key }
    }
}

/// The files with what is shown to a server.
#[derive(Debug, Clone)]
struct Shown {
    token_file: Option<PathBuf>,
    http_token_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
}

impl Target {
    /// What flags and environment say comes first, then the file's server of the name asked for,
    /// then the file's default.
    pub(crate) fn load(global: &Global) -> Result<Self, Failed> {
        let (path, asked) = match &global.config {
            Some(path) => (Some(path.clone()), true),
            None => (default_path(), false),
        };
        let file = match &path {
            Some(path) => read(path, asked)?,
            None => File::default(),
        };
        let shown = path.as_deref().unwrap_or(Path::new("~/.config/jq/ctl.toml")).display();
        let named = match global.profile.as_ref().or(file.default.as_ref()) {
            Some(name) => file.servers.get(name).cloned().ok_or_else(|| {
                let known: Vec<&str> = file.servers.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                Failed::usage(format!("{shown} has no server {name:?}; it has: {known}"))
            })?,
            None => Server::default(),
        };
        let server = match &global.server {
            Some(server) => server.clone(),
            None => named
                .server
                .as_deref()
                .unwrap_or(DEFAULT_SERVER)
                .parse()
                .map_err(|error| Failed::usage(format!("{shown}: server: {error}")))?,
        };
        let http = global.http.clone().or(named.http.clone());
        // What a named server is shown is for that server, and for nobody whom a flag puts in its place.
        let to_queue = match global.server {
            Some(_) => Shown::of(global),
            None => Shown::of(global).or(&named.shown()),
        };
        let to_http = match global.http {
            Some(_) => Shown::of(global),
            None => Shown::of(global).or(&named.shown()),
        };
        let is_https = http.as_ref().is_some_and(|url| url.scheme() == "https");
        if to_queue.is_for_tls() && !server.is_tls() && !is_https {
            return Err(Failed::usage(
                "certificates are for TLS: neither is the server beanstalks://HOST:PORT, nor the HTTP API https",
            ));
        }
        let mut http_tls = None;
        if is_https && let Some(files) = to_http.tls()? {
            let config = jq_tls::Client::new(files, &HTTP).config();
            http_tls = Some(config.map_err(Failed::usage)?);
        }
        let mut tls = TlsOptions::default();
        if server.is_tls()
            && let Some(files) = to_queue.tls()?
        {
            tls = TlsOptions::new(files);
            tls.config().map_err(Failed::usage)?;
        }
        let (token_file, hint) = match to_queue.token_of_queue(http.is_some())? {
            TokenFile::Shown(path) => (Some(path), None),
            TokenFile::ForHttp(path) => (None, Some(Hint::TokenOfHttp(path))),
            TokenFile::None if server.token().is_some() || to_queue.tls_cert.is_some() => {
                (None, None)
            }
            TokenFile::None => (None, Some(Hint::NoToken)),
        };
        Ok(Self {
            server,
            credentials: Credentials { token_file, tls },
            hint,
            http,
            token: to_http.token_of_http()?,
            http_tls,
            timeout: Duration::from_secs(global.timeout),
        })
    }

    /// How to connect to the queue.
    pub(crate) fn queue(&self) -> ConnectOptions {
        let limits =
            ConnectionLimits { reply_timeout: Some(self.timeout), ..ConnectionLimits::default() };
        self.credentials.connect_to(&self.server).timeout(self.timeout).limits(limits)
    }
}

impl Shown {
    /// What flags and the environment say.
    fn of(global: &Global) -> Self {
        Self {
            token_file: global.token_file.clone(),
            http_token_file: global.http_token_file.clone(),
            tls_ca: global.tls_ca.clone(),
            tls_cert: global.tls_cert.clone(),
            tls_key: global.tls_key.clone(),
        }
    }

    /// This, and what it does not say from there. A certificate and its key are one, and so are both tokens.
    fn or(self, other: &Self) -> Self {
        let has_token = self.token_file.is_some() || self.http_token_file.is_some();
        let has_identity = self.tls_cert.is_some() || self.tls_key.is_some();
        let tokens = if has_token { &self } else { other };
        let identity = if has_identity { &self } else { other };
        Self {
            token_file: tokens.token_file.clone(),
            http_token_file: tokens.http_token_file.clone(),
            tls_cert: identity.tls_cert.clone(),
            tls_key: identity.tls_key.clone(),
            tls_ca: self.tls_ca.as_ref().or(other.tls_ca.as_ref()).cloned(),
        }
    }

    fn is_for_tls(&self) -> bool {
        self.tls_ca.is_some() || self.tls_cert.is_some() || self.tls_key.is_some()
    }

    /// `None`: as the system says.
    fn tls(&self) -> Result<Option<TlsFiles>, Failed> {
        if !self.is_for_tls() {
            return Ok(None);
        }
        let identity = match (&self.tls_cert, &self.tls_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                warn_if_exposed("private key", key);
                Some(Identity { certificate: certificate.clone(), key: key.clone() })
            }
            _ => {
                return Err(Failed::usage(
                    "--tls-cert and --tls-key (tls-cert and tls-key in the file) go together",
                ));
            }
        };
        let authorities = self.tls_ca.clone();
        Ok(Some(TlsFiles { authorities, identity, ..TlsFiles::default() }))
    }

    /// What is not the token of a principal, `NAME.SECRET`, is no token for a queue: those of the API are
    /// not shown to it. `has_http`: there is an API that it may be for.
    fn token_of_queue(&self, has_http: bool) -> Result<TokenFile, Failed> {
        let Some(path) = &self.token_file else { return Ok(TokenFile::None) };
        warn_if_exposed("token", path);
        if read_secret(path).map_err(Failed::usage)?.contains('.') {
            // It is one that fits the command line.
            read_token(path).map_err(Failed::usage)?;
            return Ok(TokenFile::Shown(path.clone()));
        }
        if has_http && self.http_token_file.is_none() {
            return Ok(TokenFile::ForHttp(path.clone()));
        }
        let path = path.display();
        Err(Failed::usage(format!(
            "the token file {path}: expected a token of the queue, NAME.SECRET, as jq-server hash-token makes it; a \
             token of the HTTP API belongs to --http-token-file"
        )))
    }

    fn token_of_http(&self) -> Result<Option<String>, Failed> {
        let path = self.http_token_file.as_ref().or(self.token_file.as_ref());
        path.map(|path| read_secret(path).map_err(Failed::usage)).transpose()
    }
}

fn warn_if_exposed(what: &str, path: &Path) {
    if jq_tls::is_exposed(path) {
        // Nobody may be there to read it.
        let _ = writeln!(
            io::stderr(),
            "jq-ctl: every user of this machine can read the {what} {}",
            path.display()
        );
    }
}

fn default_path() -> Option<PathBuf> {
    let under = |name: &str, rest: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(|value| PathBuf::from(value).join(rest))
    };
    under("XDG_CONFIG_HOME", "jq/ctl.toml").or_else(|| under("HOME", ".config/jq/ctl.toml"))
}

/// Reads the file, which may be missing unless it was asked for.
fn read(path: &Path, asked: bool) -> Result<File, Failed> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !asked => {
            return Ok(File::default());
        }
        Err(error) => return Err(Failed::usage(format!("{}: {error}", path.display()))),
    };
    toml::from_str(&text).map_err(|error| Failed::usage(format!("{}: {error}", path.display())))
}
