//! The end of serving.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::support::{AtPipe, AtPort, PATIENCE, closed_after, limits, read_all, read_until};

#[tokio::test]
async fn serving_ends_soon_whoever_is_connected() {
    let server = AtPort::start(limits()).await;
    let mut resting = server.resting().await;
    let mut slow = server.asked("GET / HTTP/1.1\r\n").await;
    let mut silent = server.connect().await;

    server.running.stop.notify_one();
    timeout(PATIENCE, server.running.serving).await.unwrap().unwrap();
    for stream in [&mut resting, &mut slow, &mut silent] {
        assert_eq!(read_all(stream).await, "");
    }
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn what_is_being_answered_is_answered() {
    let server = AtPort::start(limits()).await;
    let mut busy = server.busy().await;
    let mut events = server.asked("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    read_until(&mut events, "\r\n\r\n").await;
    server.running.stop.notify_one();
    // The stream ends when serving does, which shows that it has ended.
    assert!(read_all(&mut events).await.ends_with("0\r\n\r\n"));
    server.running.waiting.answered.add_permits(1);
    assert!(read_all(&mut busy).await.ends_with("waited\n"));
    timeout(PATIENCE, server.running.serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_to_an_end_is_cut_off() {
    let server = AtPipe::start(limits());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.running.waiting.come.acquire().await.unwrap().forget();
    let began = Instant::now();
    server.running.stop.notify_one();
    server.running.serving.await.unwrap();
    let grace = limits().grace;
    assert!((grace..grace * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(closed_after(&mut stream).await < grace);
}
