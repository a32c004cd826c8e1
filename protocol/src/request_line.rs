//! Whether a line is the first of an HTTP request.

/// What the last word of such a line begins with.
const VERSION: &[u8] = b"HTTP/";

/// Looks at a line while it passes, in whatever pieces, and keeps none of it: a line over the limit is
/// recognised too. The line is a method, a target and a version, as in `POST /jobs HTTP/1.1`.
#[derive(Debug, Default)]
pub(crate) struct RequestLine {
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
    /// Takes the next bytes of the line; its CRLF may be among them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
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

    /// Whether the line, now that it has ended, is the first of a request.
    pub(crate) fn is_http(&self) -> bool {
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

    fn is_http(line: &[u8]) -> bool {
        let mut whole = RequestLine::default();
        whole.feed(line);
        let mut pieces = RequestLine::default();
        line.chunks(1).for_each(|piece| pieces.feed(piece));
        assert_eq!(whole.is_http(), pieces.is_http(), "{}", line.escape_ascii());
        whole.is_http()
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
