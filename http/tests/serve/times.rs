//! Time limits, on a clock that jumps.

use std::time::Duration;

use jq_http::Limits;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::support::{AtPipe, GET, closed_after, expect, limits};

/// Sends a request byte by byte, and returns how long the server tolerates it.
async fn trickle(stream: &mut (impl AsyncWrite + Unpin), request: &str) -> Duration {
    let began = Instant::now();
    for byte in request.bytes().cycle() {
        if stream.write_u8(byte).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_cut_off() {
    let Limits { head_time, .. } = limits();
    let mut stream = AtPipe::start(limits()).connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let took = closed_after(&mut stream).await;
    assert!((head_time..head_time * 2).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_cut_off_on_the_second_request_too() {
    let Limits { head_time, .. } = limits();
    let mut stream = AtPipe::start(limits()).connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut stream, "ok\n").await;
    // Between requests, a connection may be idle for longer than a head may take.
    sleep(head_time * 3).await;
    let took = trickle(&mut stream, "GET /healthz HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaa").await;
    assert!((head_time..head_time * 2).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_rest_for_a_while() {
    let Limits { idle_time, .. } = limits();
    let mut stream = AtPipe::start(limits()).connect().await;
    for _ in 0..3 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        expect(&mut stream, "ok\n").await;
        sleep(idle_time - Duration::from_secs(5)).await;
    }
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut stream, "ok\n").await;
    let took = closed_after(&mut stream).await;
    assert!((idle_time..idle_time + Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let Limits { body_time, idle_time, .. } = limits();
    let mut stream = AtPipe::start(limits()).connect().await;
    let request = "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    stream.write_all(request.as_bytes()).await.unwrap();
    let began = Instant::now();
    expect(&mut stream, "HTTP/1.1 408").await;
    assert!((body_time..body_time * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(closed_after(&mut stream).await < idle_time + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_answer_is_not_waited_for() {
    let Limits { request_time, .. } = limits();
    let server = AtPipe::start(limits());
    let mut stream = server.connect().await;
    let began = Instant::now();
    let request = format!("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n{GET}");
    stream.write_all(request.as_bytes()).await.unwrap();
    expect(&mut stream, "HTTP/1.1 503").await;
    assert!((request_time..request_time * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    expect(&mut stream, "the answer took too long\"}").await;
    // The connection still works.
    expect(&mut stream, "ok\n").await;
    // The handler no longer waits.
    server.running.waiting.answered.add_permits(1);
    assert_eq!(server.running.waiting.answered.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_is_not_kept() {
    let Limits { stall_time, .. } = limits();
    let mut stream = AtPipe::start(limits()).connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // A slow reader is fine.
    for _ in 0..10 {
        sleep(stall_time - Duration::from_secs(1)).await;
        stream.read_exact(&mut [0; 600]).await.unwrap();
    }
    sleep(stall_time * 2).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 10_000, "{} bytes came after a stall", rest.len());
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_all_limits_while_it_is_read() {
    let server = AtPipe::start(limits());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(600) {
        expect(&mut stream, ":\n\n").await;
    }
    server.running.stop.notify_one();
    // The end of a complete answer.
    expect(&mut stream, "\r\n0\r\n\r\n").await;
}
