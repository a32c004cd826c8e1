//! A server with a listener for TLS and one without, and an authority.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::{Authority, Valid};
use crate::peer::{Peer, connect};
use crate::support::{Conn, Endpoint, Process, by_shell, jq_server};

/// A running server.
pub(crate) struct Secure {
    pub(crate) process: Process,
    /// Without TLS.
    pub(crate) plain: SocketAddr,
    /// With it.
    pub(crate) tls: SocketAddr,
    /// Of HTTP, if it has been asked for.
    pub(crate) http: Option<SocketAddr>,
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("it is UTF-8")
}

impl Secure {
    /// With a certificate for `localhost`, and more flags.
    pub(crate) fn start(authority: &Authority, flags: &[&str]) -> Self {
        let (cert, key) = authority.sign("server", "localhost", Valid::Now);
        Self::with(&cert, &key, flags)
    }

    /// With this certificate, and more flags.
    pub(crate) fn with(cert: &Path, key: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(jq_server());
        command.args(arguments(cert, key, "")).args(flags);
        Self::of(command, flags)
    }

    /// By a shell command that becomes the server with `exec "$@"`.
    pub(crate) fn by_shell(script: &str, authority: &Authority, flags: &[&str]) -> Self {
        let (cert, key) = authority.sign("server", "localhost", Valid::Now);
        let mut command = by_shell(script);
        command.args(arguments(&cert, &key, "")).args(flags);
        Self::of(command, flags)
    }

    /// For clients with a certificate of `clients`; `options` are those of the listener.
    pub(crate) fn for_clients(authority: &Authority, clients: &Path, options: &str) -> Self {
        let (cert, key) = authority.sign("server", "localhost", Valid::Now);
        let mut command = Command::new(jq_server());
        command.args(arguments(&cert, &key, options)).arg("--tls-client-ca").arg(clients);
        Self::of(command, &[])
    }

    /// The same, for the principals in this file.
    pub(crate) fn for_principals(
        authority: &Authority,
        clients: &Path,
        options: &str,
        auth: &Path,
    ) -> Self {
        let (cert, key) = authority.sign("server", "localhost", Valid::Now);
        let mut command = Command::new(jq_server());
        command.args(arguments(&cert, &key, options)).arg("--tls-client-ca").arg(clients);
        command.arg("--auth").arg(auth);
        Self::of(command, &[])
    }

    fn of(command: Command, flags: &[&str]) -> Self {
        let process = Process::spawn(command);
        let address = |what: &str| address_in(&process.await_output(what));
        let tls = address("tls=true");
        // It is logged first.
        let plain = address("listening address=");
        let http = flags.contains(&"--http").then(|| address("serving HTTP"));
        Self { process, plain, tls, http }
    }

    /// A client without TLS.
    pub(crate) fn connect(&self) -> Conn {
        Conn::open(&Endpoint::Tcp(self.plain)).expect("the server accepts")
    }

    /// A client with TLS that trusts this authority.
    pub(crate) fn secure(&self, authority: &Authority) -> Peer {
        connect(self.tls, authority, None).expect("the handshake succeeds")
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let body = crate::https::get(self.http.expect("it serves HTTP"), "/metrics");
        let line = body.lines().find(|line| line.starts_with(&format!("{series} ")))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }
}

/// The flags of a server that listens on two ports.
pub(crate) fn arguments(cert: &Path, key: &Path, options: &str) -> Vec<PathBuf> {
    let tls = format!("tls://127.0.0.1:0{options}");
    let listen = ["--listen", "tcp://127.0.0.1:0", "--listen", &tls].map(PathBuf::from);
    let files = ["--tls-cert".into(), cert.to_owned(), "--tls-key".into(), key.to_owned()];
    listen.into_iter().chain(files).collect()
}

/// The address that a line of the log tells.
pub(crate) fn address_in(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("address=\"").expect("the address is in quotes");
    let (address, _) = rest.split_once('"').expect("the address is in quotes");
    address.parse().expect("an address and a port")
}
