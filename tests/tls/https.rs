//! HTTP over TLS, with the same certificate.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConnection, StreamOwned};

use crate::certificates::{Authority, Valid};
use crate::peer::{config, open};
use crate::secure::{Secure, text};
use crate::support::eventually;

const REQUEST: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// What is served at this path, without TLS.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = open(address).expect("the server accepts");
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the server takes it");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the server answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.") && head.contains(" 200 "), "{head}");
    body.to_owned()
}

fn secure_get(
    address: SocketAddr,
    authority: &Authority,
    protocols: &[&str],
) -> std::io::Result<String> {
    let mut config = config(authority, None, rustls::ALL_VERSIONS);
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let name = "localhost".try_into().expect("it is a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("it may begin");
    let mut stream = StreamOwned::new(client, open(address)?);
    stream.write_all(REQUEST.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn the_same_certificate_also_when_it_is_exchanged() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let server = Secure::with(&cert, &key, &["--http", "https://127.0.0.1:0"]);
    let http = server.http.expect("it was asked for");
    for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let answer = secure_get(http, &authority, protocols).expect("it is served");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    }
    assert!(secure_get(http, &authority, &["beanstalk"]).is_err());

    // Of another authority.
    let other = Authority::new();
    let (new_cert, new_key) = other.sign("server", "localhost", Valid::Now);
    std::fs::copy(new_cert, &cert).expect("the folder is writable");
    std::fs::copy(new_key, &key).expect("the folder is writable");
    eventually("the new one is shown", || secure_get(http, &other, &[]).is_ok());
    assert!(secure_get(http, &authority, &[]).is_err());
}

/// Without TLS there is no answer, and nobody else is held up.
#[test]
fn a_client_without_tls_is_closed() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &["--http", "https://127.0.0.1:0"]);
    let http = server.http.expect("it was asked for");
    let mut stream = open(http).expect("the server accepts");
    stream.write_all(REQUEST.as_bytes()).expect("the server takes it");
    let mut answer = Vec::new();
    // It may be reset, since not all was read.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    assert!(secure_get(http, &authority, &[]).is_ok());
}

#[test]
fn tokens_are_needed_all_the_same() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let flags = ["-l", "127.0.0.1", "-p", "0", "--http", "https://0.0.0.0:0"];
    let mut command = std::process::Command::new(crate::support::jq_server());
    command.args(flags).args(["--tls-cert", text(&cert), "--tls-key", text(&key)]);
    let mut process = crate::support::Process::spawn(command);
    assert_eq!(process.exit_code(), 5);
    assert!(process.output().contains("--http-token-file"), "{}", process.output());
}
