//! Whole exchanges, with another side that is made up and behaves as its path says.

mod credentials;
mod deliver;
mod fetch;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::*;

/// What is fetched.
const CONTENT: &str = "{\"x\":[1,2,3]}";

/// The other side: an HTTP server on a free port that ends with the test.
struct Peer {
    address: SocketAddr,
    /// One list of requests for each connection.
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seen_here = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = {
                    let mut seen = seen_here.lock().unwrap();
                    seen.push(Vec::new());
                    seen.len() - 1
                };
                let seen = Arc::clone(&seen_here);
                let see = move |request| seen.lock().unwrap()[number].push(request);
                tokio::spawn(talk(stream, see));
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// What may speak to it.
    fn options(&self) -> Options {
        Options { allow_urls: vec![self.url("/").into()], ..Options::default() }
    }

    fn outbound(&self) -> Outbound {
        Outbound::new(&self.options()).unwrap()
    }

    /// The requests of each connection that had any.
    fn requests(&self) -> Vec<Vec<String>> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|requests| !requests.is_empty()).cloned().collect()
    }
}

/// Answers one connection until either side has enough.
async fn talk(mut stream: TcpStream, see: impl Fn(String)) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        see(request);
        if behave(&mut stream, path.split('?').next().unwrap_or_default()).await.is_err() {
            return;
        }
    }
}

/// A request with the body that it announces.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let whole = head.len() + 4 + length;
            if buffer.len() >= whole {
                return Some(String::from_utf8(buffer.drain(..whole).collect()).unwrap());
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// [`CONTENT`] in each encoding, as other programs make it, and four million zeros.
const ENCODED: [(&str, &[u8]); 6] = [
    ("cut", b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabV"),
    (
        "gzip",
        b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabV\xaaP\xb2\x8a6\xd41\xd21\x8e\xad\x05\0\xdf\xe0\xaaR\r\0\0\0",
    ),
    ("deflate", b"x\x9c\xabV\xaaP\xb2\x8a6\xd41\xd21\x8e\xad\x05\0\x19\x1b\x03\x95"),
    ("br", b"\x0b\x06\x80{\"x\":[1,2,3]}\x03"),
    ("zstd", b"(\xb5/\xfd\x04Xi\0\0{\"x\":[1,2,3]}\xe3\xf0\xfff"),
    ("bomb", include_bytes!("bomb.gz")),
];

async fn behave_encoded(stream: &mut TcpStream, name: &str) -> std::io::Result<()> {
    let found = ENCODED.iter().find(|(of, _)| *of == name);
    let (name, body) = found.copied().unwrap_or((name, b"whatever"));
    let name = if matches!(name, "bomb" | "cut") { "gzip" } else { name };
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-encoding: {name}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

async fn behave(stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
    if let Some(name) = path.strip_prefix("/encoded/") {
        return behave_encoded(stream, name).await;
    }
    let answer = |status: &str, headers: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
    };
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let text = match path {
        "/content" => answer("200 OK", "content-type: application/json\r\n", CONTENT),
        "/chunked" => {
            format!("{chunked}6\r\n{}\r\n7\r\n{}\r\n0\r\n\r\n", &CONTENT[..6], &CONTENT[6..])
        }
        "/created" => answer("201 Created", "", "{}"),
        "/redirect" => {
            answer("302 Found", "location: http://169.254.169.254/latest/meta-data/\r\n", "")
        }
        "/missing" => answer("404 Not Found", "", "no"),
        "/busy" => answer("503 Service Unavailable", "retry-after: 20\r\n", ""),
        "/announced" => "HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n".to_owned(),
        "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned(),
        "/garbage" => "This is not HTTP.\r\n\r\n".to_owned(),
        "/closed" => String::new(),
        "/endless" => {
            stream.write_all(chunked.as_bytes()).await?;
            let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
        "/trickle" => {
            stream.write_all(chunked.as_bytes()).await?;
            loop {
                stream.write_all(b"1\r\na\r\n").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        "/silent" => return std::future::pending().await,
        "/stops" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc").await?;
            return std::future::pending().await;
        }
        path => panic!("nobody behaves as {path}"),
    };
    stream.write_all(text.as_bytes()).await?;
    match path {
        "/short" | "/garbage" | "/closed" => Err(std::io::ErrorKind::ConnectionAborted.into()),
        _ => Ok(()),
    }
}
