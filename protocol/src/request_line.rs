//! Whether the first line of a connection is that of an HTTP request.
//!
//! Browsers send such lines to any port that a web page names, with a body that the page chooses. It is
//! looked at beside the decoder, so that it costs the requests after it nothing.

use crate::request_decoder::{Rejection, Request};

/// What the last word of such a line begins with.
const VERSION: &[u8] = b"HTTP/";

/// Looks at a line while it passes, in whatever pieces, and keeps none of it: a line over the limit is
/// recognised too. The line is a method, a target and a version, as in `POST /jobs HTTP/1.1`.
#[derive(Debug, Default)]
pub struct RequestLine {
    /// Bytes of the first word, all of which a method may have.
    method: usize,
    /// The first word has a byte that no method has.
    is_other: bool,
    /// Spaces so far.
    spaces: usize,
    /// How much of [`VERSION`] the current word begins with; `None` if it begins otherwise.
    version: Option<usize>,
    /// A bare LF came. What follows is a header.
    ended: bool,
}

impl RequestLine {
    /// Takes the next bytes of the line; its CRLF may be among them, and nothing behind that.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.ended => return,
                b'\n' => self.ended = true,
                b' ' => {
                    self.spaces += 1;
                    self.version = Some(0);
                }
                byte if self.spaces == 0 => {
                    self.method += 1;
                    self.is_other |= !is_token_byte(*byte);
                }
                byte => {
                    self.version = match self.version {
                        Some(len) if len == VERSION.len() => Some(len),
                        Some(len) if VERSION[len] == *byte => Some(len + 1),
                        _ => None,
                    };
                }
            }
        }
    }

    /// Whether the line, which [`RequestDecoder`](crate::RequestDecoder) has made this request of, is no
    /// command but the first line of an HTTP request.
    pub fn is_http_in_place_of(&self, request: &Request) -> bool {
        use Rejection::{BadFormat, UnknownCommand};
        matches!(request, Request::Rejected(UnknownCommand | BadFormat)) && self.is_http()
    }

    /// Whether the line, now that it has ended, is the first of a request.
    fn is_http(&self) -> bool {
        self.method > 0 && !self.is_other && self.spaces >= 2 && self.version == Some(VERSION.len())
    }
}

/// RFC 9110 says what a method may consist of.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::request_decoder::RequestDecoder;

    fn is_http(line: &[u8]) -> bool {
        let mut whole = RequestLine::default();
        whole.feed(line);
        let mut pieces = RequestLine::default();
        line.chunks(1).for_each(|piece| pieces.feed(piece));
        assert_eq!(whole.is_http(), pieces.is_http(), "{}", line.escape_ascii());
        whole.is_http()
    }

    /// Whether a connection that begins so is closed, however it is cut.
    fn is_closed(stream: &str, piece: usize) -> bool {
        let mut decoder = RequestDecoder::new(Dialect::default(), 100);
        let mut line = RequestLine::default();
        for piece in stream.as_bytes().chunks(piece) {
            let mut at = 0;
            let request = decoder.decode(piece, &mut at);
            line.feed(&piece[..at]);
            if let Some(request) = request {
                return line.is_http_in_place_of(&request);
            }
        }
        false
    }

    #[test]
    fn only_what_is_no_command() {
        let long = format!("POST /{} HTTP/1.1\r\nHost: here\r\n\r\n", "put 0 0 60 1".repeat(100));
        let http = ["GET / HTTP/1.1\r\nx", "delete /1 HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", &long];
        let others = ["stats\r\nGET / HTTP/1.1\r\n", "quit / HTTP/1.1\r\n", "x\r\n", "GET / HTT"];
        for piece in [1, 7, 10_000] {
            assert!(http.iter().all(|stream| is_closed(stream, piece)), "{piece}");
            assert!(!others.iter().any(|stream| is_closed(stream, piece)), "{piece}");
        }
    }

    #[test]
    fn requests() {
        for method in "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH M-SEARCH x".split(' ') {
            for rest in ["/ HTTP/1.1\r\n", "/a?b HTTP/1.0\r\n", "* HTTP/1.1", "a:1 HTTP/1.1\r\n"] {
                let line = format!("{method} {rest}");
                assert!(is_http(line.as_bytes()), "{line}");
            }
        }
        assert!(is_http(b"PRI * HTTP/2.0\r\n"));
        assert!(is_http(b"GET /a b HTTP/1.1\r\n"), "a target that is not encoded");
        assert!(is_http(b"GET / HTTP/1.1\nHost: here\r\n"), "a line that LF ends");
        assert!(is_http(format!("GET /{} HTTP/1.1\r\n", "a".repeat(9999)).as_bytes()));
    }

    #[test]
    fn others() {
        let lines: [&[u8]; 12] = [
            b"",
            b"\r\n",
            b"GET /\r\n",
            b"GET HTTP/1.1\r\n",
            b" / HTTP/1.1\r\n",
            b"GET / HTTP\r\n",
            b"GET / http/1.1\r\n",
            b"GET / xHTTP/1.1\r\n",
            b"GET / HTTP/1.1 x\r\n",
            b"G:T / HTTP/1.1\r\n",
            b"\x16\x03\x01 / HTTP/1.1\r\n",
            b"HTTP/1.1 200 OK\r\n",
        ];
        for line in lines {
            assert!(!is_http(line), "{}", line.escape_ascii());
        }
    }
}
