use super::*;

async fn fail(outbound: &Outbound, url: &Url) -> FetchError {
    outbound.fetch(url, None).await.unwrap_err()
}

#[tokio::test]
async fn content_is_fetched_with_its_digest_and_type() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    for (path, content_type) in [("/content", Some("application/json")), ("/chunked", None)] {
        let fetched = outbound.fetch(&peer.url(path), None).await.unwrap();
        assert_eq!(fetched.bytes, CONTENT);
        assert_eq!(fetched.digest, Digest::sha256(CONTENT.as_bytes()));
        assert_eq!(fetched.content_type.as_deref(), content_type);
    }
    let requests = peer.requests();
    assert_eq!(requests.len(), 1, "one connection is enough: {requests:?}");
    let request = &requests[0][0];
    assert!(request.starts_with("GET /content HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("user-agent: jq-worker/"), "{request}");
    assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
}

#[tokio::test]
async fn content_has_the_digest_that_is_asked_for() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    let url = peer.url("/content");
    let right = Digest::sha256(CONTENT.as_bytes());
    assert_eq!(outbound.fetch(&url, Some(&right)).await.unwrap().digest, right);

    let wrong = Digest::sha256(b"something else");
    let error = outbound.fetch(&url, Some(&wrong)).await.unwrap_err();
    assert_eq!(*error.failure(), Failure::Digest { expected: wrong, found: right });
    assert!(!error.is_temporary());

    // The answer is of the algorithm that was asked for.
    let other: Digest = format!("sha-512=:{}==:", "A".repeat(86)).parse().unwrap();
    let error = outbound.fetch(&url, Some(&other)).await.unwrap_err();
    let Failure::Digest { found, .. } = error.failure() else { panic!("{error}") };
    assert_eq!(outbound.fetch(&url, Some(found)).await.unwrap().digest.algorithm(), "sha-512");
}

#[tokio::test]
async fn anything_but_success_is_an_error_and_redirects_are_not_followed() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    for (path, status, temporary, words) in [
        ("/created", 201, false, "/created: answered 201 Created"),
        ("/missing?token=secret", 404, false, "/missing: answered 404 Not Found"),
        ("/busy", 503, true, "/busy: answered 503 Service Unavailable"),
        ("/redirect", 302, false, "answered 302 Found, and redirects are not followed"),
    ] {
        let error = fail(&outbound, &peer.url(path)).await;
        assert_eq!(error.status().unwrap().as_u16(), status);
        assert_eq!(error.is_temporary(), temporary, "{error}");
        assert!(error.to_string().ends_with(words), "{error}");
    }
    assert_eq!(outbound.fetch_any(&peer.url("/created")).await.unwrap().bytes, "{}");
    let error = fail(&outbound, &peer.url("/busy")).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(20)));
}

#[tokio::test]
async fn what_is_encoded_unasked_is_decoded() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    let right = Digest::sha256(CONTENT.as_bytes());
    for name in ["gzip", "deflate", "br", "zstd"] {
        let url = peer.url(&format!("/encoded/{name}"));
        let fetched = outbound.fetch(&url, Some(&right)).await.unwrap();
        assert_eq!(fetched.bytes, CONTENT, "{name}");
    }
    let error = fail(&outbound, &peer.url("/encoded/compress")).await;
    assert_eq!(*error.failure(), Failure::Encoding("compress".into()));
    assert!(!error.is_temporary());
    let error = fail(&outbound, &peer.url("/encoded/cut")).await;
    assert!(matches!(error.failure(), Failure::Broken(_)) && error.is_temporary(), "{error}");
}

#[tokio::test]
async fn a_bomb_is_limited_while_it_is_decoded() {
    let peer = Peer::start().await;
    let limit = 1 << 20;
    let outbound = Outbound::new(&Options { max_input_bytes: limit, ..peer.options() }).unwrap();
    let error = fail(&outbound, &peer.url("/encoded/bomb")).await;
    assert_eq!(*error.failure(), Failure::TooBig(limit));
    assert_eq!(
        peer.outbound().fetch(&peer.url("/encoded/bomb"), None).await.unwrap().bytes.len(),
        4 << 20
    );
}

#[tokio::test]
async fn content_is_limited_while_it_arrives() {
    let peer = Peer::start().await;
    let limited =
        |max_input_bytes| Outbound::new(&Options { max_input_bytes, ..peer.options() }).unwrap();
    let length = CONTENT.len() as u64;
    for path in ["/content", "/chunked"] {
        assert!(limited(length).fetch(&peer.url(path), None).await.is_ok(), "{path}");
        let error = fail(&limited(length - 1), &peer.url(path)).await;
        assert_eq!(*error.failure(), Failure::TooBig(length - 1), "{path}");
        assert!(!error.is_temporary());
    }
    for path in ["/announced", "/endless"] {
        let error = fail(&limited(1 << 20), &peer.url(path)).await;
        assert_eq!(*error.failure(), Failure::TooBig(1 << 20), "{path}");
    }
}

#[tokio::test]
async fn nobody_is_waited_for_without_limit() {
    let peer = Peer::start().await;
    let (soon, late) = (Duration::from_millis(200), Duration::from_secs(600));
    let outbound = |timeout, idle_timeout| {
        Outbound::new(&Options { timeout, idle_timeout, ..peer.options() }).unwrap()
    };
    for (outbound, path, stage) in [
        (outbound(soon, late), "/silent", "waiting for the answer"),
        (outbound(soon, late), "/trickle", "waiting for the rest of the answer"),
        (outbound(soon, late), "/stops", "waiting for the rest of the answer"),
        (outbound(late, soon), "/silent", "waiting for the answer"),
        (outbound(late, soon), "/stops", "waiting for the rest of the answer"),
    ] {
        let error = fail(&outbound, &peer.url(path)).await;
        assert_eq!(*error.failure(), Failure::TimedOut(stage), "{path}");
        assert!(error.is_temporary());
    }
}

#[tokio::test]
async fn what_breaks_is_named() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    for (path, words) in [
        ("/short", "/short: the answer is broken: "),
        ("/garbage", "/garbage: the answer is broken: "),
        ("/closed", "/closed: the answer is broken: "),
    ] {
        let error = fail(&outbound, &peer.url(path)).await;
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_temporary(), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_named() {
    // A port that was free a moment ago, and one where nobody speaks TLS.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (refused, secure) =
        (format!("http://{nobody}/"), format!("https://{}/", plain.local_addr().unwrap()));
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Closing before all has been read would be a reset.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let no_name = format!("http://{}.example/", "a".repeat(70));
    let allow_urls = vec![refused.clone(), secure.clone(), no_name.clone()];
    let outbound = Outbound::new(&Options { allow_urls, ..Options::default() }).unwrap();

    let error = fail(&outbound, &refused.parse().unwrap()).await;
    assert!(matches!(error.failure(), Failure::Connection(_)), "{error:?}");
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
    assert!(error.is_temporary());

    let error = fail(&outbound, &secure.parse().unwrap()).await;
    assert!(matches!(error.failure(), Failure::Tls(_)), "{error:?}");

    // Longer than a part of a name may be, so nobody is asked for it.
    let error = fail(&outbound, &no_name.parse().unwrap()).await;
    assert!(matches!(error.failure(), Failure::Name(_)), "{error:?}");
    assert!(error.is_temporary());
}

#[tokio::test]
async fn without_a_rule_nothing_of_the_inside_is_connected_to() {
    let peer = Peer::start().await;
    let port = peer.address.port();
    for rules in [&[][..], &["http://*.example/"], &["http://*.localhost/"]] {
        let allow_urls = rules.iter().map(|&rule| rule.to_owned()).collect();
        let outbound = Outbound::new(&Options { allow_urls, ..Options::default() }).unwrap();
        for host in ["127.0.0.1", "localhost", "LOCALHOST", "0x7f.1", "[::ffff:127.0.0.1]"] {
            let url = format!("http://{host}:{port}/content").parse().unwrap();
            let error = fail(&outbound, &url).await;
            assert!(matches!(error.failure(), Failure::Refused(_)), "{url}: {error:?}");
            assert!(!error.is_temporary());
        }
    }
    assert!(peer.seen.lock().unwrap().is_empty(), "somebody has connected");
}

#[tokio::test]
async fn a_name_that_a_rule_names_may_be_of_the_inside() {
    let peer = Peer::start().await;
    let rule = format!("http://localhost:{}/", peer.address.port());
    let options = Options { allow_urls: vec![rule.clone()], ..Options::default() };
    let outbound = Outbound::new(&options).unwrap();
    for url in [format!("{rule}content"), rule.replace("localhost", "LOCALHOST") + "content"] {
        let url: Url = url.parse().unwrap();
        assert_eq!(outbound.check(&url), Ok(()));
        assert_eq!(outbound.fetch(&url, None).await.unwrap().bytes, CONTENT, "{url}");
    }
    // Another name for the same is not named.
    let error = fail(&outbound, &peer.url("/content")).await;
    assert_eq!(*error.failure(), Failure::Refused(Refused::NoRule));
    assert_eq!(outbound.check(&peer.url("/content")), Err(Refused::NoRule));
}
