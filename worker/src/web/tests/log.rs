use super::*;

fn output(seq: u64, text: &str) -> LogEvent {
    LogEvent::Output { seq, stream: "stdout", text: text.to_owned(), skipped: 0 }
}

/// Opens the log of a job, and reads the head of the answer.
async fn open(server: &Server, id: Uuid, headers: &str) -> (TcpStream, Answer) {
    let mut stream = server.connect().await;
    let request = format!("GET /{id}/log HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = Answer::read(&read_until(&mut stream, "\r\n\r\n").await);
    (stream, answer)
}

#[tokio::test]
async fn output_comes_as_it_is_made() {
    let server = Server::plain().await;
    let say = server.worker.run(PENDING);
    let (mut stream, answer) = open(&server, PENDING, "").await;
    assert_eq!(answer.status, 200);
    answer.has("content-type", "text/event-stream");
    answer.has("cache-control", "no-store");
    answer.has("x-accel-buffering", "no");
    answer.has("access-control-allow-origin", "*");
    answer.has("x-content-type-options", "nosniff");

    say.send(output(1, "first\nlines")).unwrap();
    let text = read_until(&mut stream, "id: 1\n\n").await;
    assert!(text.contains("event: output\n") && text.contains("first\\nlines"), "{text}");
    say.send(LogEvent::Progress(50.0)).unwrap();
    read_until(&mut stream, "event: progress\ndata: {\"progress\":50.0}\n\n").await;
    say.send(LogEvent::End).unwrap();
    // The end of the answer, after which the connection can be used again.
    read_until(&mut stream, "\r\n0\r\n\r\n").await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut stream, "ok\n").await;
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_where_it_was() {
    let server = Server::plain().await;
    let say = server.worker.run(PENDING);
    for (seq, text) in [(1, "one"), (2, "two"), (3, "three")] {
        say.send(output(seq, text)).unwrap();
    }
    say.send(LogEvent::End).unwrap();
    let headers = "Last-Event-ID: 2\r\nConnection: close\r\n";
    let (mut stream, answer) = open(&server, PENDING, headers).await;
    let text = answer.body + &read_all(&mut stream).await;
    assert!(text.contains("three") && text.contains("event: end"), "{text}");
    assert!(!text.contains("one") && !text.contains("two"), "{text}");
}

#[tokio::test]
async fn what_does_not_run_has_no_log() {
    let server = Server::plain().await;
    for id in [DONE, UNKNOWN] {
        let answer = server.get(format_args!("/{id}/log")).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["id"], id.to_string());
    }
}

#[tokio::test]
async fn a_reader_that_goes_makes_room() {
    let server = Server::plain().await;
    let say = server.worker.run(PENDING);
    let (stream, _) = open(&server, PENDING, "").await;
    assert!(!say.is_closed());
    drop(stream);
    tokio::time::timeout(PATIENCE, say.closed()).await.expect("the stream is still held");
}

#[tokio::test]
async fn head_opens_no_stream() {
    let server = Server::plain().await;
    let say = server.worker.run(PENDING);
    let answer = server.ask("HEAD", &format!("/{PENDING}/log"), "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    answer.has("content-type", "text/event-stream");
    tokio::time::timeout(PATIENCE, say.closed()).await.expect("the stream is still held");
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let server = Server::plain().await;
    let say = server.worker.run(PENDING);
    let (mut stream, _) = open(&server, PENDING, "").await;
    server.stop.notify_one();
    // A whole answer, and no event that says that the job has ended.
    let text = read_all(&mut stream).await;
    assert!(text.ends_with("0\r\n\r\n") && !text.contains("event: end"), "{text:?}");
    tokio::time::timeout(PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
    assert!(say.is_closed());
}
