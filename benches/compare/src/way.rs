//! How to get into a server: where it is, by TLS or not, and with which token.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jq_tls::{
    Client, ClientFiles, Identity,
    rustls::{ClientConfig, ClientConnection, pki_types::ServerName},
};

use crate::{
    channel::Channel,
    failure::{Context, Failure},
    spec::{Dialect, Secret, Spec, Target},
};

/// How long the reply to a token may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a handshake may take: a server that does not speak TLS says nothing.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The name that the certificate of a server must be for that is started here.
const LOCAL: &str = "localhost";

/// What is shown to servers.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Shown {
    /// Show servers the token in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// By TLS: trust the authorities in this PEM file, instead of those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// By TLS: show servers this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key to it (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// The same, read.
pub(crate) struct Credentials {
    token: Option<String>,
    /// Only if there is a server by TLS.
    config: Option<Arc<ClientConfig>>,
}

impl Credentials {
    /// Reads the files, as far as these servers need them.
    pub(crate) fn read(shown: &Shown, servers: &[Spec]) -> Result<Self, String> {
        let token = shown.token_file.as_ref().map(|path| jq_client::read_token(path));
        let token =
            token.transpose()?.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        let identity = shown.tls_cert.clone().zip(shown.tls_key.clone());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        let is_set = shown.tls_ca.is_some() || identity.is_some();
        let is_tls = servers.iter().any(|spec| spec.tls.is_some());
        if is_set && !is_tls {
            return Err(
                "certificates are for TLS: no server is tls:NAME=... or beanstalks://".into()
            );
        }
        let files =
            ClientFiles { authorities: shown.tls_ca.clone(), identity, ..ClientFiles::default() };
        let config = is_tls.then(|| Client::new(files, &["beanstalk"]).config());
        let config = config.transpose().map_err(|error| error.to_string())?;
        Ok(Self { token, config })
    }

    /// How to get into this server, at this address.
    pub(crate) fn way_to(&self, spec: &Spec, addr: SocketAddr) -> Result<Way, Failure> {
        let tls = match (&spec.tls, &self.config) {
            (Some(host), Some(config)) => {
                let host = if host.is_empty() { LOCAL } else { host };
                let name = ServerName::try_from(host.to_owned()).map_err(|_| {
                    Failure::Server(format!("no certificate can be for the name {host:?}"))
                })?;
                Some((Arc::clone(config), name))
            }
            _ => None,
        };
        let own = match &spec.target {
            Target::Running { token, .. } => token.as_ref().map(|Secret(token)| token),
            _ => None,
        };
        let token = own.or(self.token.as_ref()).filter(|_| spec.dialect == Dialect::Queue);
        Ok(Way { addr, tls, token: token.map(|token| token.as_str().into()) })
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) addr: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    token: Option<Arc<str>>,
}

/// Without TLS and without a token.
impl From<SocketAddr> for Way {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, tls: None, token: None }
    }
}

impl Way {
    /// Shakes hands, if that is to be done.
    pub(crate) fn secure(
        &self,
        stream: &mut TcpStream,
    ) -> Result<Option<Box<ClientConnection>>, Failure> {
        let Some((config, name)) = &self.tls else { return Ok(None) };
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Server(format!("no secure connection (TLS) to {}: {error}", self.addr))
        };
        let mut tls = ClientConnection::new(Arc::clone(config), name.clone())
            .map_err(|error| failed(&error))?;
        tls.set_buffer_limit(None);
        stream.set_read_timeout(Some(HANDSHAKE)).map_err(|error| failed(&error))?;
        while tls.is_handshaking() {
            tls.complete_io(stream).map_err(|error| {
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                    return failed(&format_args!(
                        "it did not answer the handshake within {HANDSHAKE:?}; does it speak TLS there?"
                    ));
                }
                failed(&jq_tls::explain(&error).unwrap_or_else(|| error.to_string()))
            })?;
        }
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| failed(&error))?;
        Ok(Some(Box::new(tls)))
    }

    /// Shows the token, if there is one. A server that does not know the command does not ask for it.
    pub(crate) fn authenticate(&self, channel: &mut Channel) -> Result<(), Failure> {
        let Some(token) = &self.token else { return Ok(()) };
        channel.send(format!("auth {token}\r\n").as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            if let Some(end) = channel.unread().windows(2).position(|pair| pair == b"\r\n") {
                break end;
            }
            if !channel.fill()? && Instant::now() > deadline {
                return Err(Failure::Silent(PATIENCE));
            }
        };
        match &channel.unread()[..end] {
            b"AUTHENTICATED" | b"UNKNOWN_COMMAND" => {}
            other => return Err(Failure::wrong("AUTHENTICATED", other)),
        }
        channel.consume(end + 2);
        Ok(())
    }
}

/// For errors of a connection that stands.
pub(crate) fn explained<T>(result: std::io::Result<T>, doing: &'static str) -> Result<T, Failure> {
    result
        .map_err(|error| match jq_tls::explain(&error) {
            Some(why) => std::io::Error::new(error.kind(), why),
            None => error,
        })
        .during(|| doing.to_owned())
}
