//! The configuration of a program that is connected to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::files::{AUTHORITIES, FileError, Identity, roots};
use crate::provider;
use crate::reread::Reread;

/// The files of a program that is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// What it shows of itself.
    pub identity: Identity,
    /// Certificates of the authorities one of which must have signed that of a client, in PEM. `None`:
    /// clients are not asked for a certificate.
    pub client_authorities: Option<PathBuf>,
}

/// How a program is connected to, as its files say.
#[derive(Debug)]
pub struct Server {
    files: ServerFiles,
    protocols: Vec<Vec<u8>>,
    config: Reread<Arc<ServerConfig>>,
}

impl Server {
    /// With these files, which are read, speaking these protocols (ALPN); a client need not name one.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(files: ServerFiles, protocols: &[&str]) -> Result<Self, FileError> {
        let Identity { certificate, key } = files.identity.clone();
        let paths = [certificate, key].into_iter().chain(files.client_authorities.clone());
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let server = Self { config: Reread::new(paths.collect()), files, protocols };
        server.config()?;
        Ok(server)
    }

    /// The files.
    pub fn files(&self) -> &ServerFiles {
        &self.files
    }

    /// The configuration. Reads the files if they have changed, which may block. What cannot be used then
    /// is logged, and the earlier configuration stays.
    ///
    /// # Errors
    /// Only of [`Server::open`]: afterwards there always is an earlier one.
    pub fn config(&self) -> Result<Arc<ServerConfig>, FileError> {
        self.config.get(|| self.make())
    }

    fn make(&self) -> Result<Arc<ServerConfig>, FileError> {
        let clients = self.files.client_authorities.as_deref();
        let clients = clients.map(ClientVerifiers::read).transpose()?;
        let key = self.files.identity.load()?;
        Ok(Arc::new(server_config(&key, clients.map(|it| it.required), &self.protocols)))
    }
}

/// What is asked of clients that these authorities have signed certificates for.
#[derive(Debug, Clone)]
pub struct ClientVerifiers {
    /// A certificate.
    pub required: Arc<dyn ClientCertVerifier>,
    /// A certificate of theirs, or none.
    pub optional: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifiers {
    /// With the authorities in this PEM file.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let bad = |error| FileError::new(AUTHORITIES, path, error);
        let roots = Arc::new(roots(path)?);
        let of = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
        Ok(Self {
            required: of().build().map_err(bad)?,
            optional: of().allow_unauthenticated().build().map_err(bad)?,
        })
    }
}

/// TLS 1.2 and 1.3 with this certificate, speaking these protocols (ALPN), of which a client need not name one.
/// `None`: clients are not asked for a certificate.
pub fn server_config(
    key: &CertifiedKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    protocols: &[Vec<u8>],
) -> ServerConfig {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of both versions");
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(verifier) => config.with_client_cert_verifier(verifier),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
    config.alpn_protocols = protocols.to_vec();
    config
}
