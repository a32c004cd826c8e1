//! A client that speaks TLS, by rustls. It waits for each reply.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::certificates::Authority;
use crate::support::PATIENCE;

/// A connection whose handshake is done.
pub(crate) struct Peer {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
}

/// The files of a certificate and its key.
pub(crate) type Files = (PathBuf, PathBuf);

/// What a client does.
pub(crate) fn config(
    authority: &Authority,
    shown: Option<&Files>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut trusted = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(authority.file()).expect("it is a certificate");
    trusted.add(root).expect("it is one of an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("there are suites for them")
        .with_root_certificates(trusted);
    match shown {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = CertificateDer::pem_file_iter(cert).expect("it can be read");
            let chain = chain.collect::<Result<_, _>>().expect("it has certificates");
            let key = PrivateKeyDer::from_pem_file(key).expect("it is a key");
            config.with_client_auth_cert(chain, key).expect("the key fits")
        }
    }
}

/// Connects and has the handshake, with both versions.
pub(crate) fn connect(
    address: SocketAddr,
    authority: &Authority,
    shown: Option<&Files>,
) -> io::Result<Peer> {
    connect_as(address, config(authority, shown, rustls::ALL_VERSIONS))
}

/// Connects and has the handshake, and proof that the server serves: with TLS 1.3, a client learns only then
/// whether its certificate is accepted.
pub(crate) fn connect_as(address: SocketAddr, config: ClientConfig) -> io::Result<Peer> {
    let mut peer = shake_hands(address, config)?;
    match peer.try_ask("list-tube-used")?.as_str() {
        "USING default" => Ok(peer),
        other => Err(io::Error::other(other.to_owned())),
    }
}

/// Connects and has the handshake.
pub(crate) fn shake_hands(address: SocketAddr, config: ClientConfig) -> io::Result<Peer> {
    let name = "localhost".try_into().expect("it is a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("it may begin");
    let mut stream = StreamOwned::new(client, open(address)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Peer { stream })
}

/// A connection to this address that never waits for ever.
pub(crate) fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl Peer {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes it");
        self.stream.flush().expect("the server takes it");
    }

    /// Asserts that exactly this comes next.
    pub(crate) fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        let mut found = vec![0; expected.len()];
        self.stream.read_exact(&mut found).expect("the server answers");
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(200)].escape_ascii().to_string();
        assert!(found == expected, "{} instead of {}", shown(&found), shown(expected));
    }

    /// Asserts that the server ends the connection, and says so.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("with close_notify");
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }

    /// Sends one line and reads one.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.try_ask(line).expect("the server answers")
    }

    pub(crate) fn try_ask(&mut self, line: &str) -> io::Result<String> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.stream.flush()?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            reply.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&reply).trim_end().to_owned())
    }
}
