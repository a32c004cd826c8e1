//! What keeps one client from taking the server away from the others. Those that are about time run
//! on a clock that jumps, over a pipe.

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::answer::App;
use super::super::connection::attend;
use super::super::pace::{HEAD_TIME, STALL_TIME};
use super::super::serve::{End, ending};
use super::*;

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::plain().await;
    let long = |count| "a".repeat(count);
    let many: String = (0..100).map(|number| format!("X-{number}: a\r\n")).collect();
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", long(100_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", long(1_000_000)), 431),
    ] {
        let answer = server.raw(request).await;
        // The rest of what was sent may make a reset of it before the answer is read.
        assert!(answer.is_empty() || Answer::read(&answer).status == status, "{answer}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = Server::plain().await;
    for request in [
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}",
    ] {
        let answer = server.raw(request).await;
        assert!(answer.is_empty() || Answer::read(&answer).status == 400, "{request:?}: {answer}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

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
async fn there_is_room_for_so_many_connections_and_the_next_waits() {
    let server = Server::plain().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = server.connect().await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_until(&mut stream, "ok\n").await;
        open.push(stream);
    }
    let mut waiting = server.connect().await;
    waiting.write_all(GET.as_bytes()).await.unwrap();
    // All others are answered again, and this one is not.
    for stream in &mut open {
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_until(stream, "ok\n").await;
    }
    assert!(waiting.try_read(&mut [0; 1]).is_err());
    open.pop();
    read_until(&mut waiting, "ok\n").await;
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

/// One connection to a server that has no other.
struct Pipe {
    stream: DuplexStream,
    _end: End,
}

fn pipe(worker: Fake) -> Pipe {
    let (end, ending) = ending();
    let app = App::new(Arc::new(worker), &WebOptions::default(), ending.clone()).unwrap();
    let (stream, theirs) = duplex(1024);
    tokio::spawn(attend(theirs, Arc::new(app), ending));
    Pipe { stream, _end: end }
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut buffer = Vec::new();
    while !buffer.ends_with(text.as_bytes()) {
        buffer.push(stream.read_u8().await.unwrap());
    }
}

/// Waits until the server closes, and says how long that took.
async fn closed_after(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    began.elapsed()
}

/// Sends a request byte by byte, and says for how long the server lets it.
async fn trickle(stream: &mut (impl AsyncWrite + Unpin), request: &str) -> Duration {
    let began = Instant::now();
    for byte in request.bytes().cycle() {
        if stream.write_u8(byte).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_cut_off() {
    let mut pipe = pipe(Fake::new());
    pipe.stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let took = closed_after(&mut pipe.stream).await;
    assert!((HEAD_TIME..HEAD_TIME * 2).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_cut_off_on_the_second_request_too() {
    let mut pipe = pipe(Fake::new());
    pipe.stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut pipe.stream, "ok\n").await;
    // Between them it may rest for longer than a head may take.
    tokio::time::sleep(HEAD_TIME * 3).await;
    let took = trickle(&mut pipe.stream, "GET /healthz HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaa").await;
    assert!((HEAD_TIME..HEAD_TIME * 2).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_rest_for_75_seconds() {
    let mut pipe = pipe(Fake::new());
    for _ in 0..3 {
        pipe.stream.write_all(GET.as_bytes()).await.unwrap();
        expect(&mut pipe.stream, "ok\n").await;
        tokio::time::sleep(Duration::from_secs(70)).await;
    }
    pipe.stream.write_all(GET.as_bytes()).await.unwrap();
    expect(&mut pipe.stream, "ok\n").await;
    let took = closed_after(&mut pipe.stream).await;
    assert!((Duration::from_secs(75)..Duration::from_secs(77)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let mut pipe = pipe(Fake::new());
    let request = "POST /api/v1/hold HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    pipe.stream.write_all(request.as_bytes()).await.unwrap();
    let began = Instant::now();
    expect(&mut pipe.stream, "HTTP/1.1 408").await;
    assert!((HEAD_TIME..HEAD_TIME * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(closed_after(&mut pipe.stream).await < IDLE);
}

const IDLE: Duration = Duration::from_secs(80);

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_is_not_kept() {
    let mut worker = Fake::new();
    let large = Document {
        body: vec![b'a'; 1 << 20].into(),
        modified: Timestamp::UNIX_EPOCH,
        etag: "large".to_owned(),
    };
    worker.found.insert(DONE, Lookup::Done(large));
    let mut pipe = pipe(worker);
    let request = format!("GET /{DONE} HTTP/1.1\r\nHost: a\r\n\r\n");
    pipe.stream.write_all(request.as_bytes()).await.unwrap();
    // Slow reading is fine.
    for _ in 0..10 {
        tokio::time::sleep(STALL_TIME - Duration::from_secs(1)).await;
        let mut some = [0; 600];
        pipe.stream.read_exact(&mut some).await.unwrap();
    }
    tokio::time::sleep(STALL_TIME * 2).await;
    let mut rest = Vec::new();
    let _ = pipe.stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 10_000, "{} bytes came after a stall", rest.len());
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_all_limits_while_it_is_read() {
    let worker = Fake::new();
    let say = worker.run(PENDING);
    let mut pipe = pipe(worker);
    let request = format!("GET /{PENDING}/log HTTP/1.1\r\nHost: a\r\n\r\n{GET}");
    pipe.stream.write_all(request.as_bytes()).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(600) {
        expect(&mut pipe.stream, ":\n\n").await;
    }
    say.send(LogEvent::End).unwrap();
    // What was asked for in the meantime gets its answer.
    expect(&mut pipe.stream, "event: end\ndata: {}\n\n\r\n0\r\n\r\n").await;
    expect(&mut pipe.stream, "ok\n").await;
}
