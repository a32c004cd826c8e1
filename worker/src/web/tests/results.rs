use serde_json::json;

use super::*;

#[tokio::test]
async fn a_result_is_served_with_what_tells_its_age() {
    let server = Server::plain().await;
    let answer = server.get(format_args!("/{DONE}")).await;
    assert_eq!((answer.status, answer.body.as_bytes()), (200, BODY));
    answer.has("content-type", "application/json");
    answer.has("etag", "\"abc\"");
    answer.has("last-modified", MODIFIED);
    answer.has("cache-control", "no-cache");
    answer.has("x-content-type-options", "nosniff");
    answer.has("access-control-allow-origin", "*");
    answer.has("access-control-expose-headers", "Content-Range, ETag, Last-Modified, Retry-After");
    answer.has_no("vary");
}

#[tokio::test]
async fn head_says_the_same_without_the_body() {
    let server = Server::plain().await;
    let answer = server.ask("HEAD", &format!("/{DONE}"), "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    answer.has("content-length", &BODY.len().to_string());
    answer.has("content-type", "application/json");
    answer.has("etag", "\"abc\"");
    for path in ["/", "/healthz", "/readyz", "/metrics", "/api/v1/status", &format!("/{UNKNOWN}")] {
        let (head, get) = (server.ask("HEAD", path, "").await, server.get(path).await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn a_job_without_a_result_says_when_to_come_back() {
    let server = Server::plain().await;
    let answer = server.get(format_args!("/{PENDING}")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json(), json!({"status": "running"}));
    answer.has("retry-after", "7");
    answer.has("cache-control", "no-store");
    answer.has("access-control-allow-origin", "*");
}

#[tokio::test]
async fn what_is_gone_or_unknown_says_so() {
    let server = Server::plain().await;
    for (id, status, word) in [(GONE, 410, "removed"), (UNKNOWN, 404, "knows of no such job")] {
        let answer = server.get(format_args!("/{id}")).await;
        assert_eq!(answer.status, status);
        let body = answer.json();
        assert_eq!(body["id"], json!(id));
        assert!(body["error"].as_str().unwrap().contains(word), "{body}");
        answer.has("cache-control", "no-store");
        answer.has("access-control-allow-origin", "*");
    }
}

#[tokio::test]
async fn what_the_asker_has_is_not_sent_again() {
    let server = Server::plain().await;
    let path = format!("/{DONE}");
    let old = "Sun, 22 Nov 2020 12:00:00 GMT";
    for (headers, status) in [
        ("If-None-Match: \"abc\"\r\n".to_owned(), 304),
        ("If-None-Match: \"x\", W/\"abc\"\r\n".to_owned(), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        (format!("If-Modified-Since: {MODIFIED}\r\n"), 304),
        (format!("If-None-Match: \"abc\"\r\nIf-Modified-Since: {old}\r\n"), 304),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {MODIFIED}\r\n"), 200),
        (format!("If-Modified-Since: {old}\r\n"), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = server.ask(method, &path, &headers).await;
            assert_eq!(answer.status, status, "{method} {headers}");
            answer.has("etag", "\"abc\"");
            answer.has("last-modified", MODIFIED);
            answer.has("cache-control", "no-cache");
            answer.has("access-control-allow-origin", "*");
            if status == 304 || method == "HEAD" {
                assert_eq!(answer.body, "", "{method} {headers}");
            }
        }
    }
    // There is nothing yet that the asker could have.
    let answer = server.ask("GET", &format!("/{PENDING}"), "If-None-Match: *\r\n").await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn other_spellings_of_a_uuid_lead_to_the_one() {
    let server = Server::start(
        Fake::new(),
        WebOptions { prefix: "/results/".to_owned(), ..WebOptions::default() },
    )
    .await;
    let (upper, simple) = (DONE.to_string().to_uppercase(), DONE.simple().to_string());
    for (path, location) in [
        (format!("/{upper}"), DONE.to_string()),
        (format!("/{simple}"), DONE.to_string()),
        (format!("/results/{simple}?a=b"), DONE.to_string()),
        (format!("/{upper}/log"), format!("../{DONE}/log")),
        (format!("/results/{upper}/log"), format!("../{DONE}/log")),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 308, "{path}");
        answer.has("location", &location);
        answer.has("access-control-allow-origin", "*");
        // Where a browser arrives.
        let base = url::Url::parse("http://localhost").unwrap().join(&path).unwrap();
        let target = base.join(&location).unwrap();
        let log = if path.ends_with("/log") { "/log" } else { "" };
        let prefix = if path.starts_with("/results") { "/results" } else { "" };
        assert_eq!(target.path(), format!("{prefix}/{DONE}{log}"), "{path}");
    }
    assert_eq!(server.get(format_args!("/results/{DONE}")).await.status, 200);
    assert_eq!(server.get(format_args!("/{DONE}")).await.status, 200);
}

#[tokio::test]
async fn a_prefix_that_is_no_path_is_refused() {
    for prefix in ["results", "/re sults", "/results?", "/#", "/\u{e9}"] {
        let options = WebOptions { prefix: prefix.to_owned(), ..WebOptions::default() };
        let server = Server::start(Fake::new(), options).await;
        let error = server.serving.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{prefix}");
        assert!(error.to_string().contains(&format!("{prefix:?}")), "{error}");
    }
}

#[tokio::test]
async fn pages_of_configured_origins_may_read_and_no_others() {
    let cors_origins = vec!["https://site.example".to_owned(), "http://localhost:8000/".to_owned()];
    let server =
        Server::start(Fake::new(), WebOptions { cors_origins, ..WebOptions::default() }).await;
    let path = format!("/{DONE}");
    for (origin, allowed) in [
        ("https://site.example", true),
        ("http://localhost:8000", true),
        ("http://site.example", false),
        ("https://site.example.evil.example", false),
        ("null", false),
        ("", false),
    ] {
        for method in ["GET", "OPTIONS"] {
            let answer = server.ask(method, &path, &format!("Origin: {origin}\r\n")).await;
            answer.has("vary", "origin");
            let header = answer.header("access-control-allow-origin");
            assert_eq!(header, allowed.then_some(origin), "{method}");
        }
    }
    let answer = server.get(&path).await;
    answer.has_no("access-control-allow-origin");
    answer.has("vary", "origin");
}

#[tokio::test]
async fn a_browser_that_asks_beforehand_is_told() {
    let server = Server::plain().await;
    for path in [format!("/{DONE}"), format!("/{UNKNOWN}/log")] {
        let headers = "Origin: https://site.example\r\nAccess-Control-Request-Method: GET\r\n\
                       Access-Control-Request-Headers: if-none-match\r\n";
        let answer = server.ask("OPTIONS", &path, headers).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        answer.has("access-control-allow-origin", "*");
        answer.has("access-control-allow-methods", "GET, HEAD");
        answer.has("access-control-max-age", "86400");
        let allowed = answer.header("access-control-allow-headers").unwrap();
        assert!(allowed.contains("If-None-Match"), "{allowed}");
        answer.has_no("access-control-allow-credentials");
    }
}
