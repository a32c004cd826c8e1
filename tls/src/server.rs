//! The configuration of a program that is connected to.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;

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
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of both versions");
        let config = match &self.files.client_authorities {
            None => config.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let clients = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let clients = clients.build();
                let bad = |error| FileError::new(AUTHORITIES, path, error);
                config.with_client_cert_verifier(clients.map_err(bad)?)
            }
        };
        let key = SingleCertAndKey::from(Arc::unwrap_or_clone(self.files.identity.load()?));
        let mut config = config.with_cert_resolver(Arc::new(key));
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(Arc::new(config))
    }
}
