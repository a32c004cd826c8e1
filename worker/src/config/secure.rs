//! What the worker shows of itself to others, and whom it trusts: tokens, certificates and keys.
//!
//! Files that cannot be used are mistakes of the configuration. Those that can are read again by whoever uses
//! them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jq_client::{Credentials, Endpoint, Identity, TlsFiles, TlsOptions, read_token};
use serde::Deserialize;
use tracing::warn;

use super::ConfigError;

/// What is shown to the servers that jobs come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ServerFlags {
    /// Show the servers the token in this file. One in the URL of --server can be seen in ps
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// With beanstalks://: trust the authorities in this PEM file, instead of those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// With beanstalks://: show the servers this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key to it (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl ServerFlags {
    /// What they come to, for these servers. Reads the files, to find mistakes.
    ///
    /// # Errors
    ///
    /// A file cannot be used, or is for TLS and there is no server by TLS.
    pub fn credentials(&self, servers: &[Endpoint]) -> Result<Credentials, ConfigError> {
        self.named(servers, |name| format!("--{}", name.replace('_', "-")))
    }

    /// The same; `name` is what a setting is called where these come from.
    pub(super) fn named(
        &self,
        servers: &[Endpoint],
        name: impl Fn(&str) -> String,
    ) -> Result<Credentials, ConfigError> {
        let bad = |setting: &str, why: &dyn std::fmt::Display| {
            ConfigError(format!("{}: {why}", name(setting)))
        };
        if let Some(path) = &self.token_file {
            read_token(path).map_err(|why| bad("token_file", &why))?;
            if jq_tls::is_exposed(path) {
                warn!(file = %path.display(), "every user of this machine can read the token");
            }
        }
        let identity = identity(&self.tls_cert, &self.tls_key)
            .map_err(|missing| bad(missing, &"expected both a certificate and the key to it"))?;
        let setting = if self.tls_ca.is_some() { "tls_ca" } else { "tls_cert" };
        let is_set = self.tls_ca.is_some() || identity.is_some();
        let is_used = servers.iter().any(Endpoint::is_tls);
        if is_set && !is_used {
            return Err(bad(setting, &"no server begins with beanstalks://"));
        }
        let files = TlsFiles { authorities: self.tls_ca.clone(), identity, ..TlsFiles::default() };
        let tls = TlsOptions::new(files);
        if is_set {
            tls.config().map_err(|error| bad(setting, &error))?;
        }
        Ok(Credentials { token_file: self.token_file.clone(), tls })
    }
}

/// A certificate for URLs with this beginning.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientCertificate {
    pub(super) prefix: String,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// What the worker shows to those who read its results. Reads the files.
pub(super) fn listen_tls(
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
    base: &Path,
) -> Result<Option<Arc<jq_tls::Server>>, ConfigError> {
    let identity = identity(cert, key).map_err(|missing| {
        ConfigError(format!("http.{missing}: expected both a certificate and the key to it"))
    })?;
    let Some(Identity { certificate, key }) = identity else { return Ok(None) };
    let identity = Identity { certificate: base.join(certificate), key: base.join(key) };
    let files = jq_tls::ServerFiles { identity, client_authorities: None };
    let server = jq_tls::Server::open(files, &[jq_http::PROTOCOL]);
    Ok(Some(Arc::new(server.map_err(|error| ConfigError(format!("http.tls_cert: {error}")))?)))
}

/// Both or none. `Err` is the setting that is there without the other.
fn identity(
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Result<Option<Identity>, &'static str> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(Identity { certificate: certificate.clone(), key: key.clone() }))
        }
        (Some(_), None) => Err("tls_cert"),
        (None, Some(_)) => Err("tls_key"),
    }
}
