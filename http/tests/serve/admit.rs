use std::ops::ControlFlow;

use axum::body::Bytes;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use jq_http::reply::{Reply, content};
use jq_http::{Handler, Peer, Problem, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{body_of, limits, read_all, status};

/// Takes bodies of four bytes from the host `short`, of any length from others, and none from
/// `nobody`. Answers with the length and the client's address.
struct Picky;

impl Handler for Picky {
    fn admit(&self, head: &Parts) -> ControlFlow<Reply, usize> {
        match head.headers.get(HOST).and_then(|host| host.to_str().ok()) {
            Some("nobody") => ControlFlow::Break(Problem::new(StatusCode::UNAUTHORIZED).into()),
            Some("short") => ControlFlow::Continue(4),
            _ => ControlFlow::Continue(usize::MAX),
        }
    }

    async fn answer(&self, request: Request<Bytes>) -> Reply {
        let peer = request.extensions().get::<Peer>().map(|Peer(address)| address.to_string());
        let text = format!("{} {}", request.body().len(), peer.unwrap_or_default());
        content(StatusCode::OK, "text/plain", text)
    }
}

#[tokio::test]
async fn the_head_decides_whether_the_body_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::new(limits()).serve(listener, Picky, std::future::pending::<()>()));
    for (host, length, sent, expected) in [
        ("short", 4, "four", 200),
        ("short", 5, "fives", 413),
        ("any", 1024, "", 200),
        // The limit of the server holds too.
        ("any", 1025, "", 413),
        // Neither of these is waited for.
        ("nobody", 4, "", 401),
        ("nobody", 100_000, "", 401),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let own = stream.local_addr().unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        let sent = if expected == 200 { "a".repeat(length) } else { sent.to_owned() };
        let request = format!("{head}Content-Length: {length}\r\n\r\n{sent}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert_eq!(status(&answer), expected, "{host}: {answer}");
        if expected == 200 {
            assert_eq!(body_of(&answer), format!("{length} {own}"));
        }
    }
}
