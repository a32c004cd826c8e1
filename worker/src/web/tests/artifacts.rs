use super::*;

const NAME: &str = "plots/a b.svg";
const PATH: &str = "plots/a%20b.svg";
const SVG: &[u8] = b"<svg>0123456789</svg>";
const TAG: &str = "\"ab/c+d==\"";

async fn server() -> Server {
    let file = |name: &str, what| ((DONE, name.to_owned()), what);
    let artifacts = HashMap::from([
        file(NAME, Some(("image/svg+xml", SVG))),
        file("page.html", Some(("text/html; charset=utf-8", &b"<html>"[..]))),
        file("empty", Some(("application/octet-stream", &b""[..]))),
        file("old", None),
    ]);
    Server::start(Fake { artifacts, ..Fake::default() }, WebOptions::default()).await
}

#[tokio::test]
async fn an_artifact_is_served_so_that_nothing_in_it_runs() {
    let server = server().await;
    for method in ["GET", "HEAD"] {
        let answer = server.ask(method, &format!("/{DONE}/{PATH}"), "").await;
        let body = if method == "GET" { SVG } else { b"" };
        assert_eq!((answer.status, answer.body.as_bytes()), (200, body));
        answer.has("content-type", "image/svg+xml");
        answer.has("content-length", &SVG.len().to_string());
        answer.has("content-disposition", "inline; filename=\"a b.svg\"");
        answer.has("x-content-type-options", "nosniff");
        answer.has("etag", TAG);
        answer.has("last-modified", MODIFIED);
        answer.has("repr-digest", "sha-256=:ab/c+d==:");
        answer.has("accept-ranges", "bytes");
        answer.has("cache-control", "no-cache");
        answer.has("access-control-allow-origin", "*");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.ends_with("; sandbox"), "{policy}");
    }
    let page = server.get(format_args!("/{DONE}/page.html")).await;
    page.has("content-disposition", "attachment; filename=\"page.html\"");
    let empty = server.get(format_args!("/{DONE}/empty")).await;
    assert_eq!((empty.status, empty.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_part_of_it() {
    let server = server().await;
    let ask = |headers: &str| {
        let (headers, path) = (headers.to_owned(), format!("/{DONE}/{PATH}"));
        let server = &server;
        async move { server.ask("GET", &path, &headers).await }
    };
    let answer = ask("Range: bytes=5-9\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (206, "01234"));
    answer.has("content-range", "bytes 5-9/21");
    answer.has("content-length", "5");
    answer.has("content-type", "image/svg+xml");
    let answer = ask(&format!("Range: bytes=-6\r\nIf-Range: {TAG}\r\n")).await;
    assert_eq!((answer.status, answer.body.as_str()), (206, "</svg>"));
    let answer = ask("Range: bytes=5-9\r\nIf-Range: \"other\"\r\n").await;
    assert_eq!((answer.status, answer.body.as_bytes()), (200, SVG));
    let answer = ask("Range: bytes=21-\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (416, ""));
    answer.has("content-range", "bytes */21");
    answer.has_no("content-type");
    let answer = ask(&format!("If-None-Match: {TAG}\r\nRange: bytes=5-9\r\n")).await;
    assert_eq!((answer.status, answer.body.as_str()), (304, ""));
    answer.has("etag", TAG);
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let server = server().await;
    for (name, status) in [("old", 410), ("other", 404), ("../x", 404), ("plots", 404)] {
        let answer = server.get(format_args!("/{DONE}/{name}")).await;
        assert_eq!(answer.status, status, "{name}");
    }
    let answer = server.ask("POST", &format!("/{DONE}/{PATH}"), "").await;
    assert_eq!(answer.status, 405);
    answer.has("allow", "GET, HEAD, OPTIONS");
    let answer = server.ask("OPTIONS", &format!("/{DONE}/{PATH}"), "Origin: http://x\r\n").await;
    assert_eq!(answer.status, 204);
    let upper = DONE.to_string().to_uppercase();
    let answer = server.get(format_args!("/{upper}/{PATH}")).await;
    assert_eq!(answer.status, 308);
    answer.has("location", &format!("../../{DONE}/{PATH}"));
}
