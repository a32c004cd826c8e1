//! Handshakes that succeed, and those that must not.

use std::fs;
use std::time::Duration;

use jq_client::{
    Client, ClientOptions, ConnectError, Connection, Endpoint, Error, Identity, TlsFiles,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::{Authority, Valid};
use crate::peer::{Server, credentials, play, soon, trusted, trusting};

const TOUCH: (&str, &str) = ("touch 7\r\n", "TOUCHED\r\n");

/// What a connect fails with, while the server does as it must.
async fn refused(server: &Server, files: TlsFiles) -> ConnectError {
    let options = credentials(files).connect_to(&server.endpoint());
    let (connected, _) = tokio::join!(Connection::connect(&options), server.handshake());
    let error = connected.expect_err("there must be no connection");
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
    error
}

#[tokio::test]
async fn commands_go_over_tls_and_the_protocol_is_offered() {
    let (authority, server) = trusted().await;
    let options = credentials(trusting(&authority)).connect_to(&server.endpoint());
    let client = async {
        let mut connection = Connection::connect(&options).await.unwrap();
        // Larger than any buffer of TLS.
        let body = vec![b'x'; 1 << 20];
        connection.put(&body, Default::default()).await.unwrap();
        assert!(connection.touch(7).await.unwrap().is_done());
        connection.quit().await.unwrap();
    };
    let play = async {
        let mut stream = server.handshake().await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"beanstalk"[..]));
        assert_eq!(stream.get_ref().1.server_name(), Some("localhost"));
        let line = b"put 4294967295 0 60 1048576\r\n".len();
        let mut put = vec![0; line + (1 << 20) + 2];
        stream.read_exact(&mut put).await.unwrap();
        play(&mut stream, &[("", "INSERTED 1\r\n"), TOUCH, ("quit\r\n", "")]).await;
        stream.shutdown().await.unwrap();
    };
    soon(async { tokio::join!(client, play) }).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_an_error_that_says_why() {
    let authority = Authority::new();
    for (host, valid, why) in [
        ("localhost", Valid::Formerly, "its certificate has expired"),
        ("localhost", Valid::Later, "its certificate is not valid yet"),
        ("elsewhere.example", Valid::Now, "its certificate is for another name"),
    ] {
        let server = Server::secure(authority.sign("server", host, valid), None).await;
        let error = refused(&server, trusting(&authority)).await;
        assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(!error.is_permanent());
    }
    let server = Server::secure(authority.sign("server", "localhost", Valid::Now), None).await;
    let error = refused(&server, trusting(&Authority::new())).await.to_string();
    assert!(error.contains("signed by no authority that is trusted here"), "{error}");
}

/// A peer that does not do its part of the handshake.
#[tokio::test]
async fn a_peer_that_speaks_no_tls_or_closes_or_is_silent() {
    let authority = Authority::new();
    let server = Server::plain().await;
    let endpoint = format!("beanstalks://localhost:{}", server.port()).parse().unwrap();
    let connect_within = async |limit| {
        let options = credentials(trusting(&authority)).connect_to(&endpoint);
        Connection::connect(&options.timeout(limit)).await.unwrap_err()
    };
    let connect = async || connect_within(Duration::from_secs(20)).await;
    let plain = async {
        let mut stream = server.accept().await;
        stream.write_all(b"UNKNOWN_COMMAND\r\n").await.unwrap();
        stream
    };
    let (error, _) = soon(async { tokio::join!(connect(), plain) }).await;
    assert!(error.to_string().contains("it does not speak TLS"), "{error}");
    let without = format!("without TLS it is beanstalk://localhost:{}", server.port());
    assert!(error.to_string().ends_with(&without), "{error}");

    let close = async {
        let mut stream = server.accept().await;
        // All that came is read: what is closed with unread bytes is reset.
        let mut bytes = vec![0; 16 * 1024];
        assert!(stream.read(&mut bytes).await.unwrap() > 0);
    };
    let (error, ()) = soon(async { tokio::join!(connect(), close) }).await;
    assert!(error.to_string().contains("closed the connection during the handshake"), "{error}");

    let silent = connect_within(Duration::from_millis(300));
    let (error, _stream) = soon(async { tokio::join!(silent, server.accept()) }).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    let told = "it did not answer the handshake within 300ms; does it speak TLS there? Without, it is beanstalk://";
    assert!(error.to_string().contains(told), "{error}");
    assert!(!error.is_permanent());

    // One of the protocol waits for the end of the line.
    let within = connect_within(Duration::from_millis(300));
    let plain = async {
        let mut stream = server.accept().await;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            assert!(stream.read_buf(&mut line).await.unwrap() > 0);
        }
        stream.write_all(b"BAD_FORMAT\r\n").await.unwrap();
        stream
    };
    let (error, _stream) = soon(async { tokio::join!(within, plain) }).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    let told = format!(
        "it speaks the beanstalk protocol without TLS: it is beanstalk://localhost:{}",
        server.port()
    );
    assert!(error.to_string().ends_with(&told), "{error}");
}

/// The alert of a server that is spoken to without TLS, and then its end; in one piece, and byte by byte.
#[tokio::test]
async fn an_answer_by_tls_is_told() {
    let server = Server::plain().await;
    let endpoint: Endpoint = format!("localhost:{}", server.port()).parse().unwrap();
    for pieces in [&[&b"\x15\x03\x03\x00\x02\x02\x0a"[..]][..], &[b"\x15", b"\x03\x01\x00"]] {
        let command = async {
            let mut connection = Connection::connect(&endpoint.clone().into()).await.unwrap();
            connection.touch(7).await.unwrap_err()
        };
        let alert = async {
            let mut stream = server.accept().await;
            let mut line = [0; 9];
            stream.read_exact(&mut line).await.unwrap();
            for piece in pieces {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (error, ()) = soon(async { tokio::join!(command, alert) }).await;
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        assert!(
            error.to_string().ends_with("it answered by TLS: it is beanstalks://HOST:PORT"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn tls_that_is_cut_off_is_told_from_its_end() {
    let (authority, server) = trusted().await;
    let options = credentials(trusting(&authority)).connect_to(&server.endpoint());
    let lost = async || Connection::connect(&options).await.unwrap().touch(7).await.unwrap_err();
    for in_order in [true, false] {
        let play = async {
            let mut stream = server.handshake().await.unwrap();
            play(&mut stream, &[("touch 7\r\n", "TOU")]).await;
            if in_order {
                stream.shutdown().await.unwrap();
            }
        };
        let (error, ()) = soon(async { tokio::join!(lost(), play) }).await;
        let is_cut = match &error {
            Error::Disconnected { sent: true, source: Some(error) } => {
                assert!(error.to_string().contains("close_notify"), "{error}");
                true
            }
            Error::Disconnected { sent: true, source: None } => false,
            error => panic!("{error:?}"),
        };
        assert_eq!(is_cut, !in_order, "{error}");
    }
}

#[tokio::test]
async fn mutual_tls_is_accepted_and_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let identity = authority.sign("server", "localhost", Valid::Now);
    let server = Server::secure(identity, Some(authority.file())).await;
    let shown = |(certificate, key)| TlsFiles {
        identity: Some(Identity { certificate, key }),
        ..trusting(&authority)
    };
    for (files, why) in [
        (shown(authority.sign("client", "worker", Valid::Now)), None),
        (trusting(&authority), Some("it wants a certificate from this side")),
        (
            shown(stranger.sign("client", "worker", Valid::Now)),
            Some("does not accept this side's certificate"),
        ),
        (
            shown(authority.sign("expired", "worker", Valid::Formerly)),
            Some("does not accept this side's certificate"),
        ),
    ] {
        let options = credentials(files).connect_to(&server.endpoint());
        // With TLS 1.3 the client learns of it when it reads what the server has to say after that.
        let touch = async { Connection::connect(&options).await?.touch(7).await };
        let serve = async {
            if let Ok(mut stream) = server.handshake().await {
                play(&mut stream, &[TOUCH]).await;
            }
        };
        let (touched, ()) = soon(async { tokio::join!(touch, serve) }).await;
        match (touched, why) {
            (Ok(done), None) => assert!(done.is_done()),
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{error}"),
            (touched, why) => panic!("{touched:?}, expected {why:?}"),
        }
    }
}

#[tokio::test]
async fn certificates_are_exchanged_between_connects() {
    let (authority, server) = trusted().await;
    let ca = authority.folder().join("trusted.pem");
    fs::copy(authority.file(), &ca).unwrap();
    let files = TlsFiles { authorities: Some(ca.clone()), ..TlsFiles::default() };
    let credentials = credentials(files);
    let connect = async || {
        let options = credentials.connect_to(&server.endpoint());
        let (connected, _) = tokio::join!(Connection::connect(&options), server.handshake());
        connected
    };
    connect().await.unwrap();
    // What cannot be used leaves all as it was.
    fs::write(&ca, "nonsense").unwrap();
    connect().await.unwrap();
    fs::remove_file(&ca).unwrap();
    connect().await.unwrap();
    fs::copy(Authority::new().file(), &ca).unwrap();
    let error = connect().await.unwrap_err().to_string();
    assert!(error.contains("no authority that is trusted here"), "{error}");
    fs::copy(authority.file(), &ca).unwrap();
    connect().await.unwrap();
    // The server's own.
    authority.sign("server", "localhost", Valid::Formerly);
    let error = connect().await.unwrap_err().to_string();
    assert!(error.contains("has expired"), "{error}");
    authority.sign("server", "localhost", Valid::Now);
    connect().await.unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (authority, server) = trusted().await;
    let (certificate, key) = authority.sign("client", "worker", Valid::Now);
    let (_, other_key) = authority.sign("other", "worker", Valid::Now);
    let shown = |certificate: &_, key: &_| {
        let identity = Identity {
            certificate: fs::canonicalize(certificate).unwrap(),
            key: fs::canonicalize(key).unwrap(),
        };
        TlsFiles { identity: Some(identity), ..trusting(&authority) }
    };
    let missing = authority.folder().join("missing.pem");
    let large = authority.folder().join("large.pem");
    fs::File::create(&large).unwrap().set_len(jq_tls::MAX_FILE + 1).unwrap();
    let trusted =
        |path: &std::path::Path| TlsFiles { authorities: Some(path.into()), ..TlsFiles::default() };
    for (files, why) in [
        (trusted(&missing), "missing.pem: No such file"),
        (trusted(&large), "large.pem: it is larger than 4194304 bytes"),
        (trusted(authority.folder()), "it is not a regular file"),
        (trusted(&key), "client.key.pem: expected certificates in PEM"),
        (shown(&certificate, &certificate), "client.cert.pem: expected a private key in PEM"),
        (shown(&certificate, &other_key), "other.key.pem: it is not the key to"),
    ] {
        let options = credentials(files).connect_to(&server.endpoint());
        let error = Connection::connect(&options).await.unwrap_err();
        assert!(matches!(error, ConnectError::Credentials { .. }), "{error:?}");
        assert!(error.is_permanent() && error.to_string().contains(why), "{error}");
    }
}

/// As an operation that reconnects sees it: the name of the server and the reason are in the error, which
/// comes when its patience is over.
#[tokio::test(start_paused = true)]
async fn a_client_tries_again_until_its_patience_is_over() {
    let authority = Authority::new();
    let server = Server::secure(authority.sign("server", "localhost", Valid::Formerly), None).await;
    let options = credentials(trusting(&authority)).connect_to(&server.endpoint());
    let patience = Some(Duration::from_secs(10));
    let options_ = ClientOptions { give_up_after: patience, ..ClientOptions::default() };
    let mut client = Client::new(options, options_);
    let serve = async {
        let mut count = 0;
        loop {
            assert!(server.handshake().await.is_err());
            count += 1;
            if count == 3 {
                authority.sign("server", "localhost", Valid::Now);
                play(
                    &mut server.handshake().await.unwrap(),
                    &[("stats-job 7\r\n", "NOT_FOUND\r\n")],
                )
                .await;
                return;
            }
        }
    };
    let (found, ()) = tokio::join!(client.stats_job(7), serve);
    assert!(found.unwrap().is_none());
}
