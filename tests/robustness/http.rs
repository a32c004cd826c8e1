//! Browsers, which connect to any port that a web page names and send what the page has chosen.

use std::time::Instant;

use crate::subject::Subject;
use crate::support::{Conn, eventually};

/// What a page would like to have carried out.
const BODY: &str = "put 0 0 60 1\r\nx\r\npause-tube default 1000\r\nlist-tube-used\r\n";

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "X-OF-A-PAGE"];

with_one_and_four_threads!(requests_are_not_carried_out, a_first_command_is_no_request);

/// A request with this method and target.
fn request(method: &str, target: &str) -> String {
    let length = BODY.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost:11300\r\nContent-Length: {length}\r\n\r\n{BODY}"
    )
}

/// What arrives after the server has closed is answered with a reset, so not all of it may be sent.
fn send_pieces(client: &mut Conn, pieces: impl Iterator<Item = String>) {
    for piece in pieces {
        if client.try_send(piece).is_err() {
            return;
        }
    }
}

fn requests_are_not_carried_out(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let (start, puts) = (Instant::now(), subject.stat("cmd-put"));
    let long = format!("/{}", "a".repeat(100_000));
    let mut requests: Vec<String> = METHODS.map(|method| request(method, "/jobs")).into();
    requests.push(request("POST", &long));
    requests.push(request("GET", &long[..230]));
    requests.push(format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{BODY}"));
    let mut closed = 0;
    for request in &requests {
        // All at once, line by line, and byte by byte.
        let mut whole = subject.connect();
        send_pieces(&mut whole, std::iter::once(request.clone()));
        whole.expect_closed();
        let mut lines = subject.connect();
        send_pieces(&mut lines, request.split_inclusive('\n').map(str::to_owned));
        lines.expect_closed();
        closed += 2;
        if request.len() < 1000 {
            let mut bytes = subject.connect();
            send_pieces(&mut bytes, request.chars().map(String::from));
            bytes.expect_closed();
            closed += 1;
        }
    }
    assert_eq!(subject.stat("cmd-put"), puts);
    assert_eq!(subject.stat("cmd-pause-tube"), 0);
    assert_eq!(subject.stat("current-jobs-ready"), 0);
    subject.serve(10);

    // The log says who it was, and not once for each.
    let mut told = Vec::new();
    eventually("the log tells of it", || {
        let output = subject.server.output();
        let lines = output.lines().filter(|line| line.contains("an HTTP request"));
        told = lines.map(str::to_owned).collect();
        !told.is_empty()
    });
    let most = start.elapsed().as_secs() as usize + 1;
    assert!(told.len() <= most && told.len() < closed, "{closed} closed, {told:?}");
    assert!(told.iter().all(|line| line.contains("127.0.0.1:")), "{told:?}");
    subject.finish();
}

fn a_first_command_is_no_request(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut client = subject.connect();
    // In one packet and behind one that blocks, which is decoded again.
    client.send("list-tube-used\r\nGET / HTTP/1.1\r\nlist-tube-used\r\n");
    client.expect("USING default\r\nUNKNOWN_COMMAND\r\nUSING default\r\n");
    let mut worker = subject.connect();
    worker.send("reserve-with-timeout 1\r\nGET / HTTP/1.1\r\nlist-tube-used\r\n");
    worker.expect("TIMED_OUT\r\nUNKNOWN_COMMAND\r\nUSING default\r\n");
    // Nor is the body of a job.
    client.send("put 0 0 60 14\r\nGET / HTTP/1.1\r\n");
    assert!(client.reply().line().starts_with(b"INSERTED "));
    client.send("reserve\r\n");
    let job = client.reply();
    assert_eq!(job.body(), Some(&b"GET / HTTP/1.1"[..]));
    let line = String::from_utf8_lossy(job.line()).into_owned();
    let id = line.split(' ').nth(1).expect("the number of the job");
    assert_eq!(client.ask(format!("delete {id}")).line(), b"DELETED");
    drop((client, worker));
    subject.serve(1);
    subject.finish();
}
