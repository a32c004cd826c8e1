//! Who is shown what, tokens that are fetched, and proxies.

use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::header::HeaderMap;

use super::*;

/// What a made-up server answers to a request. `None`: nothing, ever.
type Answers = dyn Fn(&str) -> Option<String> + Send + Sync;

/// An HTTP server that answers so.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen_here): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen_here));
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    while let Some(request) = read_request(&mut stream, &mut buffer).await {
                        seen.lock().unwrap().push(request.clone());
                        let Some(answer) = answers(&request) else {
                            return std::future::pending().await;
                        };
                        stream.write_all(answer.as_bytes()).await.ok()?;
                    }
                    Some(())
                });
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// How many requests begin with this.
    fn count(&self, start: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|request| request.starts_with(start)).count()
    }

    /// The latest request.
    fn last(&self) -> String {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

#[allow(clippy::unnecessary_wraps)]
fn answer(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// A file with a secret, which goes with the test.
struct SecretFile(std::path::PathBuf);

impl SecretFile {
    fn new(text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("jq-secret-{}", uuid::Uuid::new_v4())));
        file.write(text);
        file
    }

    /// Puts another in its place.
    fn write(&self, text: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    fn source(&self) -> Source {
        Source::File(self.0.clone())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn credential(prefix: &Url, authorization: Authorization) -> Credential {
    Credential { prefix: prefix.to_string(), headers: Vec::new(), authorization, identity: None }
}

fn outbound(allowed: &Url, credentials: Vec<Credential>) -> Outbound {
    let allow_urls = vec![allowed.to_string()];
    Outbound::new(&Options { allow_urls, credentials, ..Options::default() }).unwrap()
}

fn token_request(url: Url, secret: &SecretFile) -> TokenRequest {
    TokenRequest {
        url,
        client_id: "worker:1".to_owned(),
        client_secret: secret.source(),
        scope: Some("in out".to_owned()),
        audience: None,
        secret_in_body: false,
    }
}

#[tokio::test]
async fn the_first_prefix_that_fits_counts_and_nobody_else_is_shown_anything() {
    let server = Server::start(|_| answer("200 OK", "{}")).await;
    let (one, two) = (SecretFile::new("s3cret-one\n"), SecretFile::new("s3cret two"));
    let mut with_headers = credential(&server.url("/in/a"), Authorization::None);
    with_headers.headers = vec![(header_name("X-Key").unwrap(), two.source())];
    let basic = Authorization::Basic { user: "w".to_owned(), password: one.source() };
    let credentials = vec![
        with_headers,
        credential(&server.url("/in/"), Authorization::Bearer(one.source())),
        credential(&server.url("/out/"), basic),
    ];
    let outbound = outbound(&server.url("/"), credentials);
    for (path, shown) in [
        ("/in/a", Some("x-key: s3cret two")),
        ("/in/a/b", Some("x-key: s3cret two")),
        ("/in/ab", Some("authorization: Bearer s3cret-one")),
        ("/in/?a=/out/", Some("authorization: Bearer s3cret-one")),
        ("/out/1", Some("authorization: Basic dzpzM2NyZXQtb25l")),
        ("/in", None),
        ("/inside", None),
        ("/", None),
        ("/in/../other", None),
        ("/in/..%2fother", None),
    ] {
        outbound.fetch(&server.url(path), None).await.unwrap();
        let request = server.last();
        let found: Vec<_> = request
            .lines()
            .filter(|line| line.starts_with("x-key") || line.starts_with("authorization"))
            .collect();
        assert_eq!(found, shown.into_iter().collect::<Vec<_>>(), "{path}");
    }
    // What is sent has them too.
    let body = bytes::Bytes::from_static(b"{}");
    let url = server.url("/out/1");
    outbound.deliver(Method::Put, &url, body, HeaderMap::new()).await.unwrap();
    assert!(server.last().contains("authorization: Basic dzpzM2NyZXQtb25l\r\n"));
    assert!(!format!("{outbound:?}").contains("s3cret"), "{outbound:?}");
}

#[tokio::test]
async fn a_secret_is_read_again_and_a_bad_one_is_not_taken_over() {
    let server = Server::start(|_| answer("200 OK", "{}")).await;
    let file = SecretFile::new("s3cret-1");
    let bearer = credential(&server.url("/"), Authorization::Bearer(file.source()));
    let outbound = outbound(&server.url("/"), vec![bearer]);
    let shown = async || {
        outbound.fetch(&server.url("/"), None).await.unwrap();
        let request = server.last();
        request.split_once("Bearer ").unwrap().1.split_once("\r\n").unwrap().0.to_owned()
    };
    assert_eq!(shown().await, "s3cret-1");
    file.write("s3cret-number-2");
    assert_eq!(shown().await, "s3cret-number-2");
    for bad in ["", "two\nlines", "\u{e9}"] {
        file.write(bad);
        assert_eq!(shown().await, "s3cret-number-2", "{bad:?}");
    }
    std::fs::remove_file(&file.0).unwrap();
    assert_eq!(shown().await, "s3cret-number-2");
    file.write("s3cret-3");
    assert_eq!(shown().await, "s3cret-3");
}

/// A server of tokens, which counts them, and beside it one for whom only the latest is good, once it is told
/// so by `/revoke`.
async fn token_server(expires_in: u32) -> (Server, Arc<AtomicU32>) {
    let good = Arc::new(AtomicU32::new(0));
    let (given, least) = (AtomicU32::new(0), Arc::clone(&good));
    let server = Server::start(move |request| {
        if request.starts_with("POST /token ") {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            let body = format!(
                r#"{{"access_token":"s3cret-{number}","token_type":"bearer","expires_in":{expires_in}}}"#
            );
            return answer("200 OK", &body);
        }
        let shown = request.split_once("authorization: Bearer s3cret-");
        let number: Option<u32> = shown.and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        match number.is_some_and(|number| number >= least.load(Ordering::SeqCst)) {
            true => answer("200 OK", "{}"),
            false => answer("401 Unauthorized", ""),
        }
    });
    (server.await, good)
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_was_refused() {
    let (server, good) = token_server(3600).await;
    let secret = SecretFile::new("s3cret&: 1");
    let request = token_request(server.url("/token?s3cret"), &secret);
    // The server of tokens is no place that a job may speak to.
    let authorization = Authorization::Token(TokenRequest { url: server.url("/token"), ..request });
    let outbound =
        outbound(&server.url("/in/"), vec![credential(&server.url("/in/"), authorization)]);
    let error = outbound.fetch(&server.url("/token"), None).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::Refused(_)), "{error}");
    let url = server.url("/in/1");
    let many = futures_util::future::join_all((0..20).map(|_| outbound.fetch(&url, None))).await;
    many.into_iter().for_each(|fetched| drop(fetched.unwrap()));
    assert_eq!(server.count("POST /token "), 1);
    let asked = server.seen.lock().unwrap()[0].clone();
    // RFC 6749, section 2.3.1: both parts are encoded first.
    assert!(
        asked.contains("authorization: Basic d29ya2VyJTNBMTpzM2NyZXQlMjYlM0ErMQ==\r\n"),
        "{asked}"
    );
    assert!(asked.ends_with("\r\n\r\ngrant_type=client_credentials&scope=in+out"), "{asked}");
    // It was revoked.
    good.store(2, Ordering::SeqCst);
    let many = futures_util::future::join_all((0..20).map(|_| outbound.fetch(&url, None))).await;
    many.into_iter().for_each(|fetched| drop(fetched.unwrap()));
    assert_eq!(server.count("POST /token "), 2);
    // A new one helps nobody: each asks for one, and no more.
    good.store(100, Ordering::SeqCst);
    let body = bytes::Bytes::from_static(b"{}");
    let put = outbound.deliver(Method::Put, &url, body, HeaderMap::new()).await;
    assert_eq!(put.unwrap_err().status().unwrap(), 401);
    assert_eq!((server.count("POST /token "), server.count("PUT ")), (3, 2));
    assert!(!format!("{outbound:?}").contains("s3cret"), "{outbound:?}");
}

#[tokio::test]
async fn a_token_that_has_expired_is_renewed_and_one_that_is_good_is_kept() {
    let (server, _) = token_server(0).await;
    let secret = SecretFile::new("s3cret");
    let get = |url: Url| {
        let request = TokenRequest { secret_in_body: true, ..token_request(url, &secret) };
        let entry = credential(&server.url("/in/"), Authorization::Token(request));
        outbound(&server.url("/in/"), vec![entry])
    };
    let outbound = get(server.url("/token"));
    for count in 1..4 {
        outbound.fetch(&server.url("/in/1"), None).await.unwrap();
        assert_eq!(server.count("POST /token "), count);
    }
    let asked = server.seen.lock().unwrap()[0].clone();
    assert!(asked.ends_with("&scope=in+out&client_id=worker%3A1&client_secret=s3cret"), "{asked}");
    assert!(!asked.contains("authorization"), "{asked}");
    // It cannot be renewed: it is good still, and its server is not asked each time.
    let given = AtomicU32::new(0);
    let once = Server::start(move |request| {
        if !request.starts_with("POST ") {
            return answer("200 OK", "{}");
        }
        match given.fetch_add(1, Ordering::SeqCst) {
            0 => answer("200 OK", r#"{"access_token":"s3cret-1","expires_in":1e9}"#),
            _ => answer("503 x", ""),
        }
    });
    let once = once.await;
    let tokens =
        crate::outbound::token::Tokens::new(token_request(once.url("/"), &secret)).unwrap();
    let client = reqwest::Client::new();
    let (value, number) = tokens.get(&client).await.unwrap();
    tokens.make_due().await;
    for _ in 0..3 {
        assert_eq!(tokens.get(&client).await.unwrap(), (value.clone(), number));
    }
    assert_eq!(once.count("POST "), 2);
    // Of an earlier number: the present one stays.
    tokens.discard(number + 1).await;
    assert_eq!(tokens.get(&client).await.unwrap().1, number);
    tokens.discard(number).await;
    assert!(tokens.get(&client).await.is_err());
}

#[tokio::test]
async fn whatever_a_server_of_tokens_answers_no_secret_is_shown() {
    let token = |members: &str| format!(r#"{{"access_token":{members}}}"#);
    let long = token(&format!("\"{}\"", "s3cret".repeat(3000)));
    let endless = "s3cret".repeat(20_000);
    for (status, body, words) in [
        (
            "401 x",
            r#"{"error":"invalid_client","error_description":"s3cret"}"#,
            "401 Unauthorized (invalid_client)",
        ),
        ("400 x", r#"{"error":"s3cret"}"#, "answered 400 Bad Request"),
        ("400 x", r#"{"error":["s3cret"]}"#, "answered 400 Bad Request"),
        ("503 x", "s3cret", "answered 503 Service Unavailable"),
        ("302 x\r\nlocation: http://127.0.0.1:1/s3cret", "", "redirects are not followed"),
        ("201 x", r#"{"access_token":"s3cret"}"#, "answered 201 Created"),
        ("200 OK", "s3cret", "expected JSON"),
        ("200 OK", r#"["s3cret"]"#, "expected JSON"),
        ("200 OK", "", "expected JSON"),
        ("200 OK", &token("17"), "expected JSON"),
        ("200 OK", &token("\"\""), "not one word"),
        ("200 OK", &token("\"s3cret\\r\\nx: y\""), "not one word"),
        ("200 OK", &token("\"s3cret \u{e9}\""), "not one word"),
        ("200 OK", &long, "not one word"),
        ("200 OK", &token("\"s3cret\",\"token_type\":\"mac\""), "not \"Bearer\""),
        ("200 OK", &endless, "longer than 65536"),
    ] {
        let (status, body) = (status.to_owned(), body.to_owned());
        let server = Server::start(move |_| answer(&status, &body)).await;
        let secret = SecretFile::new("s3cret");
        let request = token_request(server.url("/token?s3cret"), &secret);
        let entry = credential(&server.url("/in/"), Authorization::Token(request));
        let outbound = outbound(&server.url("/in/"), vec![entry]);
        let error = outbound.fetch(&server.url("/in/1"), None).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains(words) && !said.contains("s3cret"), "{words}: {said}");
        assert!(said.contains("/in/1: no credentials for it: http"), "{said}");
        assert!(error.is_temporary(), "{said}");
        assert_eq!(server.count("GET "), 0, "{words}");
    }
}

#[tokio::test]
async fn one_asks_for_a_token_and_all_get_what_became_of_it() {
    let server = Server::start(|_| None).await;
    let secret = SecretFile::new("s3cret");
    let request = token_request(server.url("/token"), &secret);
    let entry = credential(&server.url("/in/"), Authorization::Token(request));
    let outbound = Outbound::new(&Options {
        allow_urls: vec![server.url("/in/").to_string()],
        credentials: vec![entry],
        timeout: Duration::from_millis(300),
        ..Options::default()
    });
    let (outbound, url) = (outbound.unwrap(), server.url("/in/1"));
    let many = futures_util::future::join_all((0..50).map(|_| outbound.fetch(&url, None))).await;
    for fetched in many {
        let said = fetched.unwrap_err().to_string();
        assert!(said.ends_with("/token: timed out waiting for the answer"), "{said}");
    }
    assert_eq!(server.count("POST /token "), 1);
}

/// It answers for everybody, and passes CONNECT on to the other side.
async fn proxy(password: Option<&'static str>) -> Server {
    Server::start(move |request| {
        let is_shown =
            password.is_none_or(|it| request.contains(&format!("proxy-authorization: {it}\r\n")));
        match (is_shown, request.starts_with("CONNECT ")) {
            (false, _) => answer("407 x", ""),
            (true, false) => answer("200 OK", "\"from the proxy\""),
            (true, true) => answer("502 x", ""),
        }
    })
    .await
}

#[tokio::test]
async fn through_a_proxy_names_are_not_resolved_here_and_addresses_are_still_checked() {
    let server = proxy(Some("Basic dzpzM2NyZXQ=")).await;
    let secret = SecretFile::new("s3cret");
    let port = server.address.port();
    for (host, user) in [("127.0.0.1", true), ("localhost", true), ("127.0.0.1", false)] {
        let url = Proxy::url(&format!("http://{host}:{port}")).unwrap();
        let user = user.then(|| ("w".to_owned(), secret.source()));
        let is_known = user.is_some();
        let proxy = Some(Proxy { url, user });
        let outbound = Outbound::new(&Options { proxy, ..Options::default() }).unwrap();
        let get = async |url: &str| outbound.fetch(&url.parse().unwrap(), None).await;
        // Nobody but the proxy knows this name.
        let fetched = get("http://site.invalid/in/1?a=b").await;
        if !is_known {
            let error = fetched.unwrap_err();
            assert_eq!(error.status().unwrap(), 407);
            assert!(error.is_temporary());
            continue;
        }
        assert_eq!(fetched.unwrap().bytes, "\"from the proxy\"");
        assert!(server.last().starts_with("GET http://site.invalid/in/1?a=b HTTP/1.1\r\n"));
        let error = get("https://site.invalid/in/1").await.unwrap_err();
        assert!(matches!(error.failure(), Failure::Connection(_)), "{error:?}");
        assert!(server.last().starts_with("CONNECT site.invalid:443 HTTP/1.1\r\n"));
        let before = server.seen.lock().unwrap().len();
        for url in [
            "http://127.0.0.1/",
            "http://10.0.0.5/",
            "http://[::1]/",
            "http://localhost/",
            "https://a.localhost./",
            "http://169.254.169.254/latest/meta-data/",
        ] {
            let error = get(url).await.unwrap_err();
            let refused = matches!(error.failure(), Failure::Refused(Refused::NotPublic { .. }));
            assert!(refused, "{url}: {error}");
        }
        assert_eq!(server.seen.lock().unwrap().len(), before);
        assert!(!format!("{outbound:?}").contains("s3cret"), "{outbound:?}");
    }
}
