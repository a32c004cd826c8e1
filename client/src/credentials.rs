//! What a program shows to servers of itself, and whom it trusts.

use std::path::{Path, PathBuf};
#[cfg(feature = "tls")]
use std::sync::Arc;

use beanstalk_protocol::Token;

use crate::endpoint::Endpoint;
use crate::options::ConnectOptions;

/// Longest line of a token file that is read, in bytes.
const MAX_LINE: u64 = 4096;

/// How a program connects by TLS. Cloning it is cheap, and the clones share what was read.
///
/// The files are read at the first connect, and again when they have changed. If that fails, it is logged, and
/// what was read before stays in use.
#[cfg(feature = "tls")]
#[derive(Debug, Clone)]
pub struct TlsOptions(Arc<jq_tls::Client>);

/// The protocol that is offered (ALPN). A server need not know it.
#[cfg(feature = "tls")]
const PROTOCOL: &str = "beanstalk";

#[cfg(feature = "tls")]
impl TlsOptions {
    /// With these files.
    pub fn new(files: jq_tls::ClientFiles) -> Self {
        Self(Arc::new(jq_tls::Client::new(files, &[PROTOCOL])))
    }

    /// The files.
    pub fn files(&self) -> &jq_tls::ClientFiles {
        self.0.files()
    }

    /// The configuration for a handshake. Reads the files if they have changed, which may block.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn config(&self) -> Result<Arc<jq_tls::rustls::ClientConfig>, jq_tls::FileError> {
        self.0.config()
    }
}

/// With the same files.
#[cfg(feature = "tls")]
impl PartialEq for TlsOptions {
    fn eq(&self, other: &Self) -> bool {
        self.files() == other.files()
    }
}

/// With the authorities that the system trusts, and without a certificate of its own.
#[cfg(feature = "tls")]
impl Default for TlsOptions {
    fn default() -> Self {
        Self::new(jq_tls::ClientFiles::default())
    }
}

/// What a program shows to all servers that it connects to, as its flags say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Credentials {
    /// The file with its token, for servers whose [`Endpoint`] has none.
    pub token_file: Option<PathBuf>,
    /// For servers that are connected to by TLS.
    #[cfg(feature = "tls")]
    pub tls: TlsOptions,
}

impl Credentials {
    /// How to connect to this server.
    pub fn connect_to(&self, endpoint: &Endpoint) -> ConnectOptions {
        let mut options = ConnectOptions::from(endpoint.clone());
        if let (None, Some(path)) = (endpoint.token(), &self.token_file) {
            options = options.token_file(path);
        }
        #[cfg(feature = "tls")]
        if endpoint.is_tls() {
            options = options.tls(self.tls.clone());
        }
        options
    }
}

/// The token on the first line of this file, without the blanks around it.
///
/// # Errors
/// Why there is none, with the name of the file.
pub fn read_token(path: &Path) -> Result<Token, String> {
    let secret = read_secret(path)?;
    Token::new(secret.as_bytes()).map_err(|_| {
        let most = Token::MAX;
        format!("the token file {}: expected a token of at most {most} characters", path.display())
    })
}

/// A secret of any kind, such as a token of an HTTP API: what is on the first line of this file, without the
/// blanks around it. It is at most 4095 bytes long, with its line end.
///
/// # Errors
/// Why there is none, with the name of the file.
pub fn read_secret(path: &Path) -> Result<String, String> {
    use std::io::{BufRead, BufReader, Read};

    let bad = |why: &dyn std::fmt::Display| format!("the token file {}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|error| bad(&error))?;
    let mut line = Vec::new();
    let mut start = BufReader::new(file.take(MAX_LINE));
    start.read_until(b'\n', &mut line).map_err(|error| bad(&error))?;
    if line.len() as u64 >= MAX_LINE {
        return Err(bad(&format!("its first line is longer than {} bytes", MAX_LINE - 1)));
    }
    let secret = line.trim_ascii();
    if secret.is_empty() || !secret.iter().all(u8::is_ascii_graphic) {
        return Err(bad(
            &"expected a token on its first line: visible ASCII characters, without blanks",
        ));
    }
    Ok(String::from_utf8_lossy(secret).into_owned())
}
