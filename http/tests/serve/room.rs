//! More connections than the limit allows.

use jq_http::Limits;
use tokio::io::AsyncWriteExt;

use super::support::{
    AtPipe, AtPort, CONNECTIONS, GET, closed_after, expect, limits, read_all, read_until,
};

fn one_place() -> Limits {
    Limits { connections: 1, ..limits() }
}

#[tokio::test]
async fn the_connection_that_has_been_idle_for_longest_makes_room() {
    let server = AtPort::start(limits()).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(server.resting().await);
    }
    // The first is no longer the oldest.
    open[0].write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut open[0], "ok\n").await;

    open.push(server.resting().await);
    assert_eq!(read_all(&mut open.remove(1)).await, "");
    open.push(server.resting().await);
    assert_eq!(read_all(&mut open.remove(1)).await, "");
    assert_eq!(open.len(), CONNECTIONS);
    for stream in &mut open {
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_until(stream, "ok\n").await;
    }
}

#[tokio::test]
async fn one_that_has_not_asked_yet_makes_room() {
    let server = AtPort::start(limits()).await;
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        open.push(match number % 2 {
            0 => server.connect().await,
            _ => server.asked("GET /healthz HTTP/1.1\r\nX: ").await,
        });
    }
    for _ in 0..3 * CONNECTIONS {
        open.push(server.resting().await);
        assert_eq!(read_all(&mut open.remove(0)).await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_as_there_may_be_keep_nobody_out() {
    let server = AtPipe::start(Limits::default());
    let mut silent = Vec::new();
    for _ in 0..Limits::default().connections {
        silent.push(server.bare());
    }
    let mut stream = server.connect().await;
    let began = tokio::time::Instant::now();
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut stream, "ok\n").await;
    closed_after(&mut silent[0]).await;
    assert!(began.elapsed().is_zero(), "{:?}", began.elapsed());
}

#[tokio::test]
async fn those_that_wait_for_an_answer_stay() {
    let server = AtPort::start(limits()).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS - 1 {
        open.push(server.busy().await);
    }
    let mut events = server.asked("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut events, "\r\n\r\n").await;
    let mut next = server.asked(GET).await;
    // It has room once one of them has its answer.
    server.running.waiting.answered.add_permits(1);
    read_until(&mut next, "ok\n").await;
    assert!(read_all(&mut open.remove(0)).await.ends_with("waited\n"));

    server.running.waiting.answered.add_permits(CONNECTIONS);
    for stream in &mut open {
        read_until(stream, "waited\n").await;
    }
    server.running.stop.notify_one();
    assert!(read_all(&mut events).await.ends_with("0\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_to_its_end_before_its_connection_makes_room() {
    let server = AtPipe::start(one_place());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    expect(&mut stream, "\r\n\r\n").await;
    let mut next = server.connect().await;
    next.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(read_all(&mut stream).await.len(), 1 << 20);
    expect(&mut next, "ok\n").await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_have_arrived_are_answered_before_their_connection_makes_room() {
    let server = AtPipe::start(one_place());
    let mut stream = server.bare();
    let requests = format!("!{}", GET.repeat(20));
    let mut next = server.connect().await;
    stream.write_all(requests.as_bytes()).await.unwrap();
    next.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(read_all(&mut stream).await.matches("ok\n").count(), 20);
    expect(&mut next, "ok\n").await;
}
