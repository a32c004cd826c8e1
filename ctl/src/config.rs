//! Which server: from flags, the environment (clap reads both), and the configuration file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jq_client::Address;
use serde::Deserialize;
use url::Url;

use crate::cli::Global;
use crate::failed::{EXIT_USAGE, Failed};

/// Where beanstalkd and jq-server listen unless told otherwise.
const DEFAULT_SERVER: &str = "127.0.0.1:11300";

/// The server that commands go to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) server: Address,
    /// Its HTTP API, if known.
    pub(crate) http: Option<Url>,
    /// What proves to the API who we are.
    pub(crate) token: Option<String>,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
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
        let token_file = global.token_file.as_ref().or(named.token_file.as_ref());
        Ok(Self {
            server,
            http: global.http.clone().or(named.http),
            token: token_file.map(|path| read_token(path)).transpose()?,
            timeout: Duration::from_secs(global.timeout),
        })
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

/// The first line of the file.
fn read_token(path: &Path) -> Result<String, Failed> {
    let bad = |why: &dyn std::fmt::Display| {
        Failed::new(EXIT_USAGE, format!("the token file {}: {why}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| bad(&error))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad(&"expected a token on its first line, without blanks"));
    }
    Ok(token.to_owned())
}
