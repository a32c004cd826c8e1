use super::*;

fn options(token: Option<&str>) -> WebOptions {
    WebOptions { token: token.map(str::to_owned), ..WebOptions::default() }
}

#[tokio::test]
async fn an_operator_with_the_token_controls_the_worker() {
    let server = Server::start(Fake::new(), options(Some("secret"))).await;
    for name in ["hold", "unhold", "halt"] {
        let headers = "Authorization: Bearer secret\r\nContent-Length: 2\r\n";
        let path = format!("/api/v1/{name}");
        // Clients like to send an empty document.
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n{{}}"
        );
        let answer = Answer::read(&server.raw(request).await);
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.json(), serde_json::json!({"accepted": name}));
    }
    let commands = server.worker.commands.lock().unwrap();
    assert_eq!(*commands, [Control::Hold, Control::Unhold, Control::Halt]);
}

#[tokio::test]
async fn nobody_else_does() {
    let server = Server::start(Fake::new(), options(Some("secret"))).await;
    for headers in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic c2VjcmV0\r\n"] {
        let answer = server.ask("POST", "/api/v1/halt", headers).await;
        assert_eq!(answer.status, 401, "{headers}");
        answer.has("www-authenticate", "Bearer realm=\"jq-worker\"");
        answer.has_no("access-control-allow-origin");
    }
    for token in [None, Some("")] {
        let server = Server::start(Fake::new(), options(token)).await;
        let answer = server.ask("POST", "/api/v1/halt", "Authorization: Bearer \r\n").await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("no token is configured"), "{}", answer.body);
        assert!(server.worker.commands.lock().unwrap().is_empty());
    }
    assert!(server.worker.commands.lock().unwrap().is_empty());
}

#[test]
fn the_token_is_not_shown() {
    assert!(!format!("{:?}", options(Some("secret"))).contains("secret"));
}
