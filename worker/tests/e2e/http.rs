//! As much of HTTP as these tests need, of both ends, by hand: a test that used the worker's own
//! library would share its mistakes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::support::PATIENCE;

/// A request or an answer.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// `PUT /x HTTP/1.1`, or `HTTP/1.1 200 OK`.
    start: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The next on a connection; `None` if it was closed before.
    pub(crate) fn read(from: &mut impl BufRead, is_head: bool) -> io::Result<Option<Self>> {
        let mut line = || {
            let mut line = String::new();
            let count = from.by_ref().take(64 * 1024).read_line(&mut line)?;
            Ok::<_, io::Error>((count > 0).then(|| line.trim_end().to_owned()))
        };
        let Some(start) = line()? else { return Ok(None) };
        let mut headers = Vec::new();
        while let Some(line) = line()?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut message = Self { start, headers, body: Vec::new() };
        let length = message.header("content-length").and_then(|length| length.parse().ok());
        message.body = vec![0; if is_head { 0 } else { length.unwrap_or(0) }];
        from.read_exact(&mut message.body)?;
        Ok(Some(message))
    }

    fn word(&self, number: usize) -> &str {
        self.start.split(' ').nth(number).unwrap_or_default()
    }

    /// Of a request.
    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// Of a request.
    pub(crate) fn path(&self) -> &str {
        self.word(1)
    }

    /// Of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().expect("a status is a number")
    }

    /// The header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("not JSON ({error}): {}", String::from_utf8_lossy(&self.body))
        })
    }
}

/// Asks for something. `headers` are whole lines, each with its CRLF.
pub(crate) fn ask(at: SocketAddr, method: &str, path: &str, headers: &str) -> Message {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("it takes the request");
    let answer = Message::read(&mut BufReader::new(stream), method == "HEAD");
    answer.expect("an answer comes").expect("the connection is not closed before")
}
