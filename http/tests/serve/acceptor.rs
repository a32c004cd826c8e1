//! Connections with a handshake, as with TLS.

use jq_http::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{AtPipe, GET, closed_after, expect, limits};

#[tokio::test(start_paused = true)]
async fn a_handshake_holds_up_nobody_else() {
    let server = AtPipe::start(limits());
    let mut silent = server.bare();
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut stream, "ok\n").await;

    let Limits { head_time, .. } = limits();
    let took = closed_after(&mut silent).await;
    assert!((head_time..head_time * 2).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_fails_ends_its_connection() {
    let server = AtPipe::start(limits());
    let mut wrong = server.bare();
    wrong.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = wrong.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{answer:?}");
    let mut right = server.connect().await;
    right.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut right, "ok\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_ends_when_serving_does() {
    let server = AtPipe::start(limits());
    let mut silent = server.bare();
    server.running.stop.notify_one();
    server.running.serving.await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
}
