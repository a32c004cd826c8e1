//! The files of `--tls-cert`, `--tls-key` and `--tls-client-ca`, which are read again when they change.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use jq_tls::{ClientVerifiers, FileError, Identity, Stamp, date, server_config};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use tracing::{error, info, warn};

use super::names::validity;
use crate::clock;
use crate::config::{ClientCertificate, ListenTls, TlsConfig};

/// What a client may name in the handshake (ALPN). It need not name anything.
const PROTOCOL: &[u8] = b"beanstalk";

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// The certificate that is shown, its key, and the authorities of clients, whatever becomes of their files.
#[derive(Debug)]
pub struct Certificates {
    files: TlsConfig,
    current: RwLock<Arc<Current>>,
    seen: Mutex<Seen>,
    /// When the certificate that is shown expires, in seconds since 1970.
    expires: AtomicU64,
}

/// What was made of the files when they were last good.
#[derive(Debug)]
struct Current {
    /// For clients that must have a certificate, if there is an authority for these.
    strict: Arc<ServerConfig>,
    /// For clients that may do without.
    lenient: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

/// What was found when the files were last read.
#[derive(Debug)]
struct Seen {
    stamps: Vec<Option<Stamp>>,
    /// Why what is there cannot be used.
    failure: Option<String>,
    /// It is told that the certificate has expired.
    told_expired: bool,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// A file cannot be read or has not in it what is expected, or the key is that of another certificate. A
    /// certificate that has expired is used, and told in the log: a server that does not start is no better.
    pub fn read(files: &TlsConfig) -> Result<Arc<Self>, TlsFileError> {
        let stamps = stamps(files);
        let (current, (from, until)) = make(files)?;
        let told_expired = warn_of_dates(files, from, until);
        Ok(Arc::new(Self {
            files: files.clone(),
            current: RwLock::new(Arc::new(current)),
            seen: Mutex::new(Seen { stamps, failure: None, told_expired }),
            expires: AtomicU64::new(until),
        }))
    }

    /// How TLS is spoken on a listener from now on.
    pub(crate) fn config(&self, listener: ListenTls) -> Arc<ServerConfig> {
        let current = self.current();
        match listener.client_certificate {
            Some(ClientCertificate::Optional) => Arc::clone(&current.lenient),
            Some(ClientCertificate::Required) | None => Arc::clone(&current.strict),
        }
    }

    /// How it is spoken by `--http`. Clients are not asked for a certificate.
    pub(crate) fn http_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().http)
    }

    /// When the certificate that is shown expires, in seconds since 1970.
    pub(crate) fn expires(&self) -> u64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// Why what is in the files is not in use.
    pub(crate) fn failure(&self) -> Option<String> {
        self.seen().failure.clone()
    }

    /// Reads the files again if one of them has changed, or if `must` be. What cannot be used is told in the
    /// log once, and what was read before stays.
    pub(crate) fn look(&self, must: bool) {
        let mut seen = self.seen();
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps = stamps(&self.files);
        if !must && seen.stamps == stamps {
            if !seen.told_expired {
                seen.told_expired = warn_of_dates(&self.files, 0, self.expires());
            }
            return;
        }
        seen.stamps = stamps;
        match make(&self.files) {
            Ok((current, (from, until))) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
                self.expires.store(until, Ordering::Relaxed);
                seen.failure = None;
                let file = self.files.certificate.display();
                info!(%file, expires = %date(until), "the certificate was read again");
                seen.told_expired = warn_of_dates(&self.files, from, until);
            }
            Err(failure) => {
                let failure = failure.to_string();
                if must || seen.failure.as_ref() != Some(&failure) {
                    error!("{failure}: the certificate of before stays");
                }
                seen.failure = Some(failure);
            }
        }
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Whole between any two statements that can panic.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that looks at the files, because a file system may take its time. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch(SyncSender<()>);

impl Watch {
    pub(crate) fn start(certificates: &Arc<Certificates>) -> std::io::Result<Self> {
        let (tell, told) = sync_channel(1);
        let certificates = Arc::clone(certificates);
        let watch = move || {
            loop {
                match told.recv_timeout(LOOK) {
                    Ok(()) => certificates.look(true),
                    Err(RecvTimeoutError::Timeout) => certificates.look(false),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        thread::Builder::new().name("jq-certificates".to_owned()).spawn(watch)?;
        Ok(Self(tell))
    }

    /// Has the files read again.
    pub(crate) fn reload(&self) {
        // If it is told already, that is enough.
        let _ = self.0.try_send(());
    }
}

/// A file cannot be used.
#[derive(Debug)]
pub struct TlsFileError {
    flag: &'static str,
    error: FileError,
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flag, self.error)
    }
}

impl std::error::Error for TlsFileError {}

fn stamps(files: &TlsConfig) -> Vec<Option<Stamp>> {
    let TlsConfig { certificate, key, client_authorities } = files;
    jq_tls::stamps([certificate, key].into_iter().chain(client_authorities))
}

/// All that is made of the files, and when the certificate is valid.
fn make(files: &TlsConfig) -> Result<(Current, (u64, u64)), TlsFileError> {
    let TlsConfig { certificate, key, client_authorities } = files;
    let identity = Identity { certificate: certificate.clone(), key: key.clone() };
    let key = identity.load().map_err(|error| {
        // They may be the same file.
        let flag = if error.what().ends_with("key") { "--tls-key" } else { "--tls-cert" };
        TlsFileError { flag, error }
    })?;
    let (from, until) = key.cert.first().and_then(|first| validity(first)).unwrap_or((0, 0));
    let valid = (u64::try_from(from).unwrap_or(0), u64::try_from(until).unwrap_or(0));
    let verifiers = client_authorities.as_deref().map(ClientVerifiers::read).transpose();
    let verifiers = verifiers.map_err(|error| TlsFileError { flag: "--tls-client-ca", error })?;
    let (required, optional) = verifiers.map(|it| (it.required, it.optional)).unzip();
    let strict = config(&key, required, PROTOCOL);
    let lenient = config(&key, optional, PROTOCOL);
    let http = config(&key, None, jq_http::PROTOCOL.as_bytes());
    Ok((Current { strict, lenient, http }, valid))
}

/// Sessions are not resumed: a client would be let in by a certificate that is no longer accepted.
fn config(
    key: &CertifiedKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    protocol: &[u8],
) -> Arc<ServerConfig> {
    let mut config = server_config(key, clients, &[protocol.to_vec()]);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Tells when clients will not accept the certificate because of its dates. Returns whether it has expired.
fn warn_of_dates(files: &TlsConfig, from: u64, until: u64) -> bool {
    let file = files.certificate.display();
    let now = clock::wall_seconds();
    if until <= now {
        warn!(%file, expired = %date(until), "the certificate of --tls-cert has expired: clients will refuse it");
    } else if from > now {
        warn!(%file, from = %date(from), "the certificate of --tls-cert is not valid yet: clients will refuse it");
    }
    until <= now
}
