//! Slow, huge and malformed HTTP, clients that stand still, and the queue beside them.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::client::Http;
use crate::support::{PATIENCE, Process, eventually};

fn is_unharmed(http: &Http) {
    let mut queue = http.queue();
    queue.send("put 0 0 60 1\r\nx\r\n");
    assert!(queue.reply().line().starts_with(b"INSERTED "));
    assert_eq!(queue.ask("reserve-with-timeout 0").body(), Some(&b"x"[..]));
    assert_eq!(http.get("/healthz").status, 200);
}

#[test]
fn what_is_not_http() {
    let http = Http::operating(&[]);
    for bytes in [
        &b"put 0 0 60 1\r\nx\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /api/v1/bulk HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /\xff\xff HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let mut stream = http.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // It may close without a word.
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{bytes:?}: {text}");
    }
    is_unharmed(&http);
}

#[test]
fn heads_and_bodies_that_are_too_large() {
    let http = Http::operating(&[]);
    let head = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    assert!([414, 431].contains(&http.raw(head.as_bytes()).status));
    let fields = "X-A: b\r\n".repeat(100);
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    assert_eq!(http.raw(head.as_bytes()).status, 431);
    let announce = |token: &str, path: &str, length: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
        http.raw(format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n").as_bytes())
    };
    // None of it is waited for.
    let operate = crate::client::token("operate");
    announce(&operate, "/api/v1/tubes/t/jobs", "100000000000").is_problem(413, "too-big");
    announce(&operate, "/api/v1/bulk", "65537").is_problem(413, "too-big");
    announce("nobody-has-this-token", "/api/v1/tubes/t/jobs", "1000")
        .is_problem(401, "unauthorized");
    announce(&crate::client::token("read"), "/api/v1/tubes/t/jobs", "1000")
        .is_problem(403, "forbidden");
    is_unharmed(&http);
}

/// More clients than there are places, none of which completes a request.
#[test]
fn a_crowd_that_does_not_ask() {
    let http = Http::operating(&[]);
    let mut crowd: Vec<TcpStream> = Vec::new();
    for number in 0..300 {
        let mut stream = http.connect();
        let half = b"GET /healthz HTTP/1.1\r\nHo";
        let _ = stream.write_all(&half[..number % half.len()]);
        crowd.push(stream);
    }
    is_unharmed(&http);
}

/// Answers that nobody reads.
#[test]
fn clients_that_do_not_read() {
    let http = Http::operating(&["-z", "5000000"]);
    let body = vec![b'x'; 4_000_000];
    let put = http.send("POST", "/api/v1/tubes/t/jobs", &[], &body).expect(201);
    let token = crate::client::token("read");
    let request = format!(
        "GET /api/v1/jobs/{}/body HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n",
        put["id"]
    );
    let deaf: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = http.connect();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    is_unharmed(&http);
    // The body is there once, whoever is being sent it.
    let resident = || http.get("/api/v1/server").expect(200)["resident_bytes"].as_u64().unwrap();
    assert!(resident() < 150_000_000, "{}", resident());
    drop(deaf);
    is_unharmed(&http);
}

/// A client that is stopped and then killed in the middle of a request.
#[test]
fn clients_that_are_stopped_and_killed() {
    let http = Http::operating(&[]);
    let script = "exec 3<>\"/dev/tcp/127.0.0.1/$1\"; printf 'POST /api/v1/tubes/t/jobs HTTP/1.1\\r\\n\
                  Host: x\\r\\nAuthorization: Bearer %s\\r\\nContent-Length: 100\\r\\n\\r\\nhalf' \"$2\" >&3; \
                  echo sent; exec sleep infinity";
    let mut command = std::process::Command::new("bash");
    let port = http.address.port().to_string();
    command.args(["-c", script, "bash", &port, &crate::client::token("submit")]);
    let mut client = Process::spawn(command);
    client.await_output("sent");
    client.signal(Signal::SIGSTOP);
    is_unharmed(&http);
    client.signal(Signal::SIGKILL);
    assert!(client.exit_status(PATIENCE).is_some());
    is_unharmed(&http);
    let tubes = http.get("/api/v1/tubes/t");
    assert_eq!(tubes.status, 404, "half a request puts no job");
}

/// A client that is gone before it is answered has put its job all the same, once.
#[test]
fn a_client_that_does_not_wait_for_the_answer() {
    let http = Http::operating(&[]);
    let token = crate::client::token("submit");
    let request = format!(
        "POST /api/v1/tubes/t/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Idempotency-Key: k\r\nContent-Length: 1\r\n\r\nx"
    );
    let mut stream = http.connect();
    stream.write_all(request.as_bytes()).unwrap();
    drop(stream);
    let again = || {
        http.send_as(
            Some(&token),
            "POST",
            "/api/v1/tubes/t/jobs",
            &[("Idempotency-Key", "k")],
            b"x",
        )
    };
    // The first may not have been read before its client was gone.
    eventually("it is put", || [200, 201].contains(&again().status));
    let stats = http.get("/api/v1/tubes/t").expect(200);
    assert_eq!(stats["total_jobs"], 1);
}
