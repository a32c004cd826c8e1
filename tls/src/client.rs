//! The configuration of a program that connects.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
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
    /// Files with more of them.
    pub more_authorities: Vec<PathBuf>,
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
        let authorities = files.authorities.iter().chain(&files.more_authorities);
        let paths = authorities.chain(identity).cloned().collect();
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
        self.config.get(|| {
            let key = match &self.files.identity {
                Some(identity) => Some(Arc::unwrap_or_clone(identity.load()?)),
                None => None,
            };
            let shown = key.map(|key| Arc::new(SingleCertAndKey::from(key)) as _);
            self.make(shown).map(Arc::new)
        })
    }

    /// A configuration for somebody who keeps it: what the program shows of itself is read again when it has
    /// changed, the authorities are not. Reads the files, which may block, now as in a handshake.
    ///
    /// # Errors
    /// As those of [`Client::config`].
    pub fn lasting_config(&self) -> Result<ClientConfig, FileError> {
        let shown = match &self.files.identity {
            Some(identity) => {
                let shown = Shown::new(identity.clone());
                shown.get()?;
                Some(Arc::new(shown) as _)
            }
            None => None,
        };
        self.make(shown)
    }

    fn make(&self, shown: Option<Arc<dyn ResolvesClientCert>>) -> Result<ClientConfig, FileError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => config.with_client_cert_resolver(shown),
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(config)
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, FileError> {
        let mut more = Vec::new();
        for path in &self.files.more_authorities {
            more.extend(authorities(path)?);
        }
        let Some(path) = &self.files.authorities else {
            let system = Verifier::new_with_extra_roots(more, provider()).map_err(|error| {
                FileError::new("the certificates of the system's authorities", "".as_ref(), error)
            })?;
            return Ok(Arc::new(system));
        };
        let bad = |why: &dyn std::fmt::Display| {
            FileError::new("the certificates of authorities", path, why)
        };
        let mut roots = RootCertStore::empty();
        for certificate in authorities(path)?.into_iter().chain(more) {
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(verifier.map_err(|error| bad(&error))?)
    }
}

/// An identity that is read again when its files have changed.
#[derive(Debug)]
struct Shown {
    identity: Identity,
    key: Reread<Arc<CertifiedKey>>,
}

impl Shown {
    fn new(identity: Identity) -> Self {
        let paths = vec![identity.certificate.clone(), identity.key.clone()];
        Self { identity, key: Reread::new(paths) }
    }

    fn get(&self) -> Result<Arc<CertifiedKey>, FileError> {
        self.key.get(|| self.identity.load())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.get().ok()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
