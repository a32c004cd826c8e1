//! That the limits of `jq-http` count here, and that what they are answered with is ours.

use super::*;

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let server = Server::plain().await;
    let head = "POST /api/v1/hold HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    for (body, status) in [
        (format!("Content-Length: 1024\r\n\r\n{}", "a".repeat(1024)), 403),
        (format!("Content-Length: 1025\r\n\r\n{}", "a".repeat(1025)), 413),
        // It is not waited for.
        ("Content-Length: 100000000000\r\n\r\n".to_owned(), 413),
        ("Content-Length: 2000\r\nExpect: 100-continue\r\n\r\n".to_owned(), 413),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n400\r\n{0}\r\n1\r\na\r\n", "a".repeat(1024)),
            413,
        ),
    ] {
        let answer = Answer::read(&server.raw(format!("{head}{body}")).await);
        assert_eq!(answer.status, status, "{answer:?}");
        answer.has("x-content-type-options", "nosniff");
        if status == 413 {
            let error = "the body of the request is too long";
            assert_eq!(answer.json(), serde_json::json!({ "error": error }));
        }
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let server = Server::plain().await;
    let request = format!(
        "GET /{DONE} HTTP/1.1\r\nHost: a\r\n\r\nGET /{UNKNOWN} HTTP/1.1\r\nHost: a\r\n\r\n\
         HEAD /{DONE} HTTP/1.1\r\nHost: a\r\n\r\n{}GET /{PENDING} HTTP/1.1\r\nHost: a\r\n\
         Connection: close\r\n\r\n",
        GET.repeat(20)
    );
    let text = server.raw(request).await;
    let statuses: Vec<_> = text
        .match_indices("HTTP/1.1 ")
        .map(|(at, mark)| text[at + mark.len()..][..3].parse::<u16>().unwrap())
        .collect();
    let expected: Vec<_> = [200, 404, 200].into_iter().chain([200; 20]).chain([202]).collect();
    assert_eq!(statuses, expected);
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let server = Server::plain().await;
    let mut idle = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = server.connect().await;
        if number % 2 == 0 {
            stream.write_all(GET.as_bytes()).await.unwrap();
            read_until(&mut stream, "ok\n").await;
        }
        idle.push(stream);
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    // One of them had to go.
    let closed = futures_util::future::select_all(idle.iter_mut().map(|it| Box::pin(read_all(it))));
    assert_eq!(closed.await.0, "");
}

#[tokio::test]
async fn readers_of_logs_stay_connected() {
    let server = Server::plain().await;
    let say = server.worker.run(PENDING);
    let mut reader = server.connect().await;
    let request = format!("GET /{PENDING}/log HTTP/1.1\r\nHost: localhost\r\n\r\n");
    reader.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut reader, "\r\n\r\n").await;
    let mut idle = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        let mut stream = server.connect().await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_until(&mut stream, "ok\n").await;
        idle.push(stream);
    }
    say.send(LogEvent::End).unwrap();
    read_until(&mut reader, "event: end").await;
}

#[tokio::test]
async fn serving_ends_soon_whoever_is_connected() {
    let server = Server::plain().await;
    let mut resting = server.connect().await;
    resting.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut resting, "ok\n").await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();

    server.stop.notify_one();
    tokio::time::timeout(PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
    assert_eq!(read_all(&mut resting).await, "");
    assert_eq!(read_all(&mut slow).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// What happens at each of them is tested where it is kept, in `jq-http`.
#[test]
fn limits_are_those_of_the_manual() {
    let docs = include_str!("../../../../docs/worker.md");
    let (limits, seconds) = (super::super::limits(), Duration::from_secs);
    for (is_so, row) in [
        (limits.connections == 512, "HTTP connections | 512 |"),
        (super::super::log::MAX_STREAMS == 64, "concurrent readers of logs | 64 |"),
        (
            (limits.head_bytes, limits.header_fields, limits.head_time)
                == (16 << 10, 64, seconds(10)),
            "head of a request | 16 KiB, 64 fields, 10 seconds |",
        ),
        (limits.request_time == seconds(60), "time until a response begins | 60 seconds |"),
        (
            limits.stall_time == seconds(30),
            "time that a client may stop reading a response | 30 seconds |",
        ),
    ] {
        assert!(is_so && docs.contains(row), "{row}");
    }
}
