//! The configuration of a program that connects.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use crate::files::{FileError, Identity, authorities};
use crate::provider;
use crate::reread::Reread;

/// The files of a program that connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Certificates of the authorities that may have signed the other side's, in PEM. `None`: those that
    /// the system trusts.
    pub authorities: Option<PathBuf>,
    /// What the program shows of itself, if it is asked who it is.
    pub identity: Option<Identity>,
}

/// How a program connects, as its files say.
#[derive(Debug)]
pub struct Client {
    files: ClientFiles,
    protocols: Vec<Vec<u8>>,
    config: Reread<Arc<ClientConfig>>,
}

impl Client {
    /// With these files, offering these protocols (ALPN), if any. Nothing is read yet.
    pub fn new(files: ClientFiles, protocols: &[&str]) -> Self {
        let identity = files.identity.iter().flat_map(|it| [&it.certificate, &it.key]);
        let paths = files.authorities.iter().chain(identity).cloned().collect();
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { files, protocols, config: Reread::new(paths) }
    }

    /// The files.
    pub fn files(&self) -> &ClientFiles {
        &self.files
    }

    /// The configuration. Reads the files if they have changed, which may block.
    ///
    /// # Errors
    /// A file cannot be used, or the system trusts no authority, and there is no earlier configuration.
    pub fn config(&self) -> Result<Arc<ClientConfig>, FileError> {
        self.config.get(|| self.make())
    }

    fn make(&self) -> Result<Arc<ClientConfig>, FileError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let mut config = match &self.files.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = SingleCertAndKey::from(Arc::unwrap_or_clone(identity.load()?));
                config.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(Arc::new(config))
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, FileError> {
        let Some(path) = &self.files.authorities else {
            let system = Verifier::new(provider()).map_err(|error| {
                FileError::new("the certificates of the system's authorities", "".as_ref(), error)
            })?;
            return Ok(Arc::new(system));
        };
        let bad = |why: &dyn std::fmt::Display| {
            FileError::new("the certificates of authorities", path, why)
        };
        let mut roots = RootCertStore::empty();
        for certificate in authorities(path)? {
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(verifier.map_err(|error| bad(&error))?)
    }
}
