//! What a test needs to speak TLS.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite,
    Tls12CipherSuite, Tls13CipherSuite,
};
use tokio::net::TcpStream;

use crate::server::tls::TlsSocket;

/// The version that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Version {
    Tls12,
    Tls13,
}

/// A certificate for `localhost` that only this test trusts.
pub(in crate::server) struct Secrets {
    server: Arc<ServerConfig>,
    trusted: RootCertStore,
}

impl Secrets {
    pub(in crate::server) fn new() -> Arc<Self> {
        Self::with(ring::default_provider())
    }

    /// With keys that are good for so many records.
    pub(in crate::server) fn wearing_out(records: u64) -> Arc<Self> {
        let mut provider = ring::default_provider();
        for suite in &mut provider.cipher_suites {
            // For as long as the test's process.
            *suite = match suite {
                SupportedCipherSuite::Tls12(suite) => {
                    let common =
                        CipherSuiteCommon { confidentiality_limit: records, ..suite.common };
                    let Tls12CipherSuite { prf_provider, kx, sign, aead_alg, .. } = **suite;
                    let suite = Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg };
                    SupportedCipherSuite::Tls12(Box::leak(Box::new(suite)))
                }
                SupportedCipherSuite::Tls13(suite) => {
                    let common =
                        CipherSuiteCommon { confidentiality_limit: records, ..suite.common };
                    let Tls13CipherSuite { hkdf_provider, aead_alg, quic, .. } = **suite;
                    let suite = Tls13CipherSuite { common, hkdf_provider, aead_alg, quic };
                    SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))
                }
            };
        }
        Self::with(provider)
    }

    fn with(provider: CryptoProvider) -> Arc<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("there is randomness");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("it is a key");
        let server = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("there are suites for them")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("the key fits");
        let mut trusted = RootCertStore::empty();
        trusted.add(cert.der().clone()).expect("it is a certificate");
        Arc::new(Self { server: Arc::new(server), trusted })
    }

    /// How the server shows it.
    pub(in crate::server) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// A client that has said nothing yet.
    pub(in crate::server) fn client(&self, version: Version) -> ClientConnection {
        let version = match version {
            Version::Tls12 => &TLS12,
            Version::Tls13 => &TLS13,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("there are suites for it")
            .with_root_certificates(self.trusted.clone())
            .with_no_client_auth();
        // For tests that make records by themselves.
        config.enable_secret_extraction = true;
        let name = "localhost".try_into().expect("it is a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("it may begin");
        client.set_buffer_limit(None);
        client
    }

    /// The server's side of the handshake.
    pub(in crate::server) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<TlsSocket<TcpStream>> {
        let mut socket = TlsSocket::new(stream, Arc::clone(&self.server))?;
        poll_fn(|cx| socket.poll_handshake(cx)).await?;
        Ok(socket)
    }
}
