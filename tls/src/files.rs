//! What is in the files: certificates, and the key to one.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tracing::warn;

use crate::provider;

/// Largest file that is read, in bytes: room for every authority of a system several times over.
pub const MAX_FILE: u64 = 4 << 20;

/// What a file of authorities has in it, for people.
pub(crate) const AUTHORITIES: &str = "the certificates of authorities";

/// A file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    why: String,
}

impl FileError {
    /// Says what is wrong with a file that `what` names.
    pub fn new(what: &'static str, path: &Path, why: impl fmt::Display) -> Self {
        Self { what, path: path.to_owned(), why: why.to_string() }
    }

    /// What the file is to have in it, for people.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.as_os_str().is_empty() {
            return write!(f, "{}: {}", self.what, self.why);
        }
        write!(f, "{} {}: {}", self.what, self.path.display(), self.why)
    }
}

impl std::error::Error for FileError {}

/// The files with which a program shows who it is. Both are PEM; they may be the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its certificate, and then those of authorities between it and one that the other side knows.
    pub certificate: PathBuf,
    /// The private key to it, not encrypted.
    pub key: PathBuf,
}

impl Identity {
    /// Reads both. A key that every user of the machine can read is logged.
    ///
    /// # Errors
    /// A file cannot be read, or has not in it what is expected, or the key belongs to another certificate.
    pub fn load(&self) -> Result<Arc<CertifiedKey>, FileError> {
        const WHAT: &str = "the private key";
        let chain = certificates("the certificate", &self.certificate)?;
        let text = read(WHAT, &self.key)?;
        let bad = |why: &dyn fmt::Display| FileError::new(WHAT, &self.key, why);
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
            bad(&"expected a private key in PEM, not encrypted (\"-----BEGIN PRIVATE KEY-----\")")
        })?;
        if is_exposed(&self.key) {
            warn!(file = %self.key.display(), "every user of this machine can read the private key");
        }
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                bad(&format!("it is not the key to {}", self.certificate.display()))
            }
            error => bad(&error),
        })?;
        Ok(Arc::new(certified))
    }
}

/// The certificates of authorities in a PEM file, of which there is at least one.
///
/// # Errors
/// The file cannot be read, or has none.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates(AUTHORITIES, path)
}

/// The same, as what certificates are verified with.
///
/// # Errors
/// The file cannot be read, or has none, or one that is none of an authority.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities(path)? {
        roots.add(certificate).map_err(|error| FileError::new(AUTHORITIES, path, error))?;
    }
    Ok(roots)
}

/// Whether every user of the machine can read this file. `false` also if that cannot be told.
pub fn is_exposed(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| FileError::new(what, path, error))?;
    if found.is_empty() {
        let why = "expected certificates in PEM (\"-----BEGIN CERTIFICATE-----\")";
        return Err(FileError::new(what, path, why));
    }
    Ok(found)
}

/// What is in a regular file of at most [`MAX_FILE`] bytes, which is to hold `what`.
///
/// # Errors
/// It cannot be read, or is none, or larger.
pub fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let bad = |why: &dyn fmt::Display| FileError::new(what, path, why);
    // Opening a pipe would wait for its other end.
    let kind = std::fs::metadata(path).map_err(|error| bad(&error))?;
    if !kind.is_file() {
        return Err(bad(&"it is not a regular file"));
    }
    let file = File::open(path).map_err(|error| bad(&error))?;
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|error| bad(&error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(bad(&format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(text)
}
