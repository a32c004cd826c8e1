//! Requests that are too large, malformed, or pipelined.

use super::support::{AtPort, GET, body_of, limits, status};

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = AtPort::start(limits()).await;
    let long = |count| "a".repeat(count);
    let many: String = (0..100).map(|number| format!("X-{number}: a\r\n")).collect();
    for request in [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", long(100_000)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", long(1_000_000)),
    ] {
        let answer = server.raw(request).await;
        // The rest of what was sent may cause a reset before the answer is read.
        assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    }
    assert!(server.is_healthy().await);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = AtPort::start(limits()).await;
    for request in [
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}",
    ] {
        let answer = server.raw(request).await;
        assert!(answer.is_empty() || status(&answer) == 400, "{request:?}: {answer}");
    }
    assert!(server.is_healthy().await);
}

#[tokio::test]
async fn a_body_is_whole_or_refused_with_a_problem() {
    let server = AtPort::start(limits()).await;
    let head = "POST /length HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let too_long = concat!(
        r#"{"type":"about:blank","title":"Payload Too Large","status":413,"#,
        r#""detail":"the body of the request is too long"}"#
    );
    let broken = concat!(
        r#"{"type":"about:blank","title":"Bad Request","status":400,"#,
        r#""detail":"the body of the request cannot be read"}"#
    );
    let a = |count| "a".repeat(count);
    for (request, expected, body) in [
        (format!("Content-Length: 1024\r\n\r\n{}", a(1024)), 200, "1024"),
        (format!("Content-Length: 1025\r\n\r\n{}", a(1025)), 413, too_long),
        // The server does not wait for it.
        ("Content-Length: 100000000000\r\n\r\n".to_owned(), 413, too_long),
        ("Content-Length: 2000\r\nExpect: 100-continue\r\n\r\n".to_owned(), 413, too_long),
        (format!("Transfer-Encoding: chunked\r\n\r\n400\r\n{}\r\n0\r\n\r\n", a(1024)), 200, "1024"),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n400\r\n{}\r\n1\r\na\r\n", a(1024)),
            413,
            too_long,
        ),
        ("Transfer-Encoding: chunked\r\n\r\nthis is no length\r\n".to_owned(), 400, broken),
    ] {
        let answer = server.raw(format!("{head}{request}")).await;
        assert_eq!((status(&answer), body_of(&answer)), (expected, body), "{answer}");
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
        let is_problem = answer.contains("content-type: application/problem+json\r\n");
        assert_eq!(is_problem, expected != 200, "{answer}");
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let server = AtPort::start(limits()).await;
    let request = format!(
        "{GET}GET /nothing HTTP/1.1\r\nHost: a\r\n\r\nHEAD /large HTTP/1.1\r\nHost: a\r\n\r\n\
         {}GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        GET.repeat(20)
    );
    let text = server.raw(request).await;
    let statuses: Vec<_> =
        text.match_indices("HTTP/1.1 ").map(|(at, _)| status(&text[at..])).collect();
    let expected: Vec<_> = [200, 404, 200].into_iter().chain([200; 20]).chain([404]).collect();
    assert_eq!(statuses, expected);
}
