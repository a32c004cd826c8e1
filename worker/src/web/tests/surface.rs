use serde_json::json;

use super::*;

#[tokio::test]
async fn health_readiness_metrics_and_status() {
    let server = Server::plain().await;

    let health = server.get("/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    health.has("content-type", "text/plain; charset=utf-8");

    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true})));

    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    metrics.has("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(metrics.body.ends_with("# EOF\n"));

    let status = server.get("/api/v1/status").await;
    assert_eq!(status.status, 200);
    let body = status.json();
    assert_eq!(body["worker"], "worker1.example");
    assert_eq!(body["state"], "running");
    assert_eq!(body["servers"][0]["connected"], true);

    for answer in [health, ready, metrics, status] {
        answer.has("x-content-type-options", "nosniff");
        answer.has("cache-control", "no-store");
        answer.has_no("access-control-allow-origin");
    }
}

#[tokio::test]
async fn a_worker_that_is_not_ready_says_why() {
    let reasons = vec!["no server is connected".to_owned(), "it holds".to_owned()];
    let worker = Fake { reasons: reasons.clone(), ..Fake::new() };
    let server = Server::start(worker, WebOptions::default()).await;
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), json!({"ready": false, "reasons": reasons}));
    // It is alive all the same.
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn the_page_brings_all_that_it_needs() {
    let server = Server::plain().await;
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    page.has("content-type", "text/html; charset=utf-8");
    page.has("referrer-policy", "no-referrer");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(page.body.contains("worker1.example") && page.body.contains("queue.example:11300"));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_whatever_is_tried() {
    let server = Server::plain().await;
    for path in ["/favicon.ico", "/index.html", "/api/v1/", "/..%2f..%2fetc/passwd", "/%00", "//"] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = server.ask(method, path, "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.json(), json!({"error": "there is nothing here"}));
            answer.has_no("access-control-allow-origin");
        }
    }
}

#[tokio::test]
async fn a_method_that_is_not_taken_is_told_those_that_are() {
    let server = Server::plain().await;
    let (result, log) = (format!("/{DONE}"), format!("/{DONE}/log"));
    for (path, method, allow) in [
        ("/", "POST", "GET, HEAD"),
        ("/", "OPTIONS", "GET, HEAD"),
        ("/healthz", "PUT", "GET, HEAD"),
        ("/metrics", "DELETE", "GET, HEAD"),
        ("/api/v1/status", "POST", "GET, HEAD"),
        ("/api/v1/halt", "GET", "POST"),
        ("/api/v1/hold", "OPTIONS", "POST"),
        (&result, "PUT", "DELETE, GET, HEAD, OPTIONS"),
        (&result, "get", "DELETE, GET, HEAD, OPTIONS"),
        (&log, "POST", "GET, HEAD, OPTIONS"),
        (&result, "PROPFIND", "DELETE, GET, HEAD, OPTIONS"),
    ] {
        let answer = server.ask(method, path, "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        answer.has("allow", allow);
        assert_eq!(answer.json()["error"], format!("this takes {allow}"));
    }
    assert!(server.worker.commands.lock().unwrap().is_empty());
}
