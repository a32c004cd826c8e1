//! HTTPS: the same server behind TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jq_http::{Limits, PROTOCOL, Tls};
use jq_tls::{Client, ClientFiles, Identity, ServerFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::{Authority, Valid};
use super::support::{GET, PATIENCE, Running, expect, limits, start};

struct Secure {
    authority: Authority,
    address: SocketAddr,
    running: Running,
}

impl Secure {
    async fn start(limits: Limits, clients: Option<PathBuf>) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.sign("server", "localhost", Valid::Now);
        let identity = Identity { certificate, key };
        let files = ServerFiles { identity, client_authorities: clients };
        let files = Arc::new(jq_tls::Server::open(files, &[PROTOCOL]).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = start(Tls::with_files(listener, files), limits);
        Self { authority, address, running }
    }

    async fn connect(&self, identity: Option<Identity>) -> std::io::Result<TlsStream<TcpStream>> {
        let files = ClientFiles {
            authorities: Some(self.authority.file()),
            identity,
            ..ClientFiles::default()
        };
        let config = Client::new(files, &["h2", "http/1.1"]).config().unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await.unwrap()
    }
}

#[tokio::test]
async fn requests_are_answered_over_tls() {
    let server = Secure::start(limits(), None).await;
    let mut stream = server.connect(None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(PROTOCOL.as_bytes()));
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut stream, "ok\n").await;
    // Larger than all buffers.
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // An end without close_notify would be an error here.
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(&[b'a'; 1 << 20]), "{}", answer.len());
}

#[tokio::test]
async fn who_speaks_no_tls_or_says_nothing_harms_nobody() {
    let limits = Limits { head_time: std::time::Duration::from_secs(2), ..limits() };
    let server = Secure::start(limits, None).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(GET.as_bytes()).await.unwrap();
    for stream in [&mut plain, &mut silent] {
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    }
    let mut stream = server.connect(None).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut stream, "ok\n").await;
}

#[tokio::test]
async fn a_certificate_is_exchanged_while_connections_are_served() {
    let server = Secure::start(limits(), None).await;
    let mut old = server.connect(None).await.unwrap();
    server.authority.sign("server", "localhost", Valid::Formerly);
    let error = server.connect(None).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    // What cannot be used leaves all as it was.
    std::fs::write(server.authority.folder().join("server.key.pem"), "nonsense").unwrap();
    let error = server.connect(None).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    server.authority.sign("server", "localhost", Valid::Now);
    for stream in [&mut server.connect(None).await.unwrap(), &mut old] {
        stream.write_all(GET.as_bytes()).await.unwrap();
        expect(stream, "ok\n").await;
    }
    server.running.stop.notify_one();
}

#[tokio::test]
async fn only_clients_with_a_certificate() {
    let clients = Authority::new();
    let server = Secure::start(limits(), Some(clients.file())).await;
    let (certificate, key) = clients.sign("client", "console", Valid::Now);
    let mut stream = server.connect(Some(Identity { certificate, key })).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut stream, "ok\n").await;
    // With TLS 1.3 the client has shaken hands before the server has seen what it lacks.
    if let Ok(mut stream) = server.connect(None).await {
        let _ = stream.write_all(GET.as_bytes()).await;
        let read = timeout(PATIENCE, stream.read_u8()).await.unwrap();
        assert!(read.is_err(), "{read:?}");
    }
}
