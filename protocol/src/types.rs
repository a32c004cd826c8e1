//! The values of the protocol, each validated where it enters and nowhere else.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use bytes::BufMut;

/// Longest command line in bytes, its CRLF included. Longer ones are discarded and answered with
/// `BAD_FORMAT`. It fits the longest name in the longest command: `pause-tube`, 200 bytes and a
/// ten-digit number.
pub const MAX_LINE: usize = 224;

/// Longest tube name in bytes (`doc/protocol.txt`: "a name at most 200 bytes").
pub const MAX_TUBE_NAME: usize = 200;

/// Largest job body that a server accepts by default, in bytes (2^16 - 1).
pub const DEFAULT_MAX_JOB_SIZE: u32 = 65_535;

/// Largest value that the job size limit itself may have, in bytes (1 GiB).
pub const MAX_JOB_SIZE: u32 = 1 << 30;

/// Jobs with a priority below this are counted as urgent.
pub const URGENT_PRIORITY: Priority = 1024;

/// The priority that client libraries use by default (2^31).
pub const DEFAULT_PRIORITY: Priority = 1 << 31;

/// Priority of a job: 0 is the most urgent, 4,294,967,295 the least.
pub type Priority = u32;

/// A duration on the wire, in whole seconds.
pub type Seconds = u32;

/// Id of a job: unique in one server for as long as its log exists, counting up from 1.
pub type JobId = u64;

/// The argument of [`auth`](crate::Request::Auth): 1 to [`MAX_TOKEN`](Token::MAX) visible ASCII
/// characters. It is a secret: `Debug` does not show it. `==` is for tests: the time it takes tells
/// something of what it compares.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

impl Token {
    /// Longest token in bytes: what the longest line has room for.
    pub const MAX: usize = MAX_LINE - b"auth \r\n".len();

    /// Checks `token` against the rules of a token.
    pub fn new(token: &[u8]) -> Result<Self, BadToken> {
        let fits = (1..=Self::MAX).contains(&token.len());
        if fits && token.iter().all(u8::is_ascii_graphic) {
            Ok(Self(token.into()))
        } else {
            Err(BadToken)
        }
    }

    /// The token as it is on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends the command line that shows it to a server.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(b"auth ");
        out.put_slice(&self.0);
        out.put_slice(b"\r\n");
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// A text is not a [`Token`]. The message says what one is, and not what the text was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadToken;

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token has 1 to {} visible ASCII characters, and no spaces", Token::MAX)
    }
}

impl std::error::Error for BadToken {}

/// Name of a tube: 1 to [`MAX_TUBE_NAME`] bytes from `A-Z a-z 0-9 - + / ; . $ _ ( )`, not
/// beginning with `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TubeName(Box<str>);

impl TubeName {
    /// The tube that always exists and that a new connection uses and watches.
    pub fn default_tube() -> Self {
        Self("default".into())
    }

    /// Checks `name` against the rules of a tube name.
    pub fn new(name: &[u8]) -> Result<Self, BadTubeName> {
        if name.is_empty() {
            return Err(BadTubeName::Empty);
        }
        if name.len() > MAX_TUBE_NAME {
            return Err(BadTubeName::TooLong(name.len()));
        }
        if name[0] == b'-' {
            return Err(BadTubeName::LeadingDash);
        }
        if let Some(&byte) = name.iter().find(|&&byte| !is_name_byte(byte)) {
            return Err(BadTubeName::BadByte(byte));
        }
        // Every byte is ASCII here, so the conversion cannot fail; the error arm only names it.
        match std::str::from_utf8(name) {
            Ok(name) => Ok(Self(name.into())),
            Err(_) => Err(BadTubeName::BadByte(name[0])),
        }
    }

    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it is on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Whether a byte is allowed in a tube name.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-+/;.$_()".contains(&byte)
}

impl fmt::Display for TubeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TubeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for TubeName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TubeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for TubeName {
    type Err = BadTubeName;

    fn from_str(name: &str) -> Result<Self, BadTubeName> {
        Self::new(name.as_bytes())
    }
}

/// Why a string is not a tube name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadTubeName {
    /// It is empty.
    Empty,
    /// It has this many bytes, more than [`MAX_TUBE_NAME`].
    TooLong(usize),
    /// It begins with `-`.
    LeadingDash,
    /// This byte is not allowed in a name.
    BadByte(u8),
}

impl fmt::Display for BadTubeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a tube name needs at least one byte"),
            Self::TooLong(len) => {
                write!(f, "a tube name has at most {MAX_TUBE_NAME} bytes, this one has {len}")
            }
            Self::LeadingDash => write!(f, "a tube name may not begin with \"-\""),
            Self::BadByte(byte) => write!(
                f,
                "a tube name may not contain {:?}; allowed are A-Z a-z 0-9 - + / ; . $ _ ( )",
                byte.escape_ascii().to_string()
            ),
        }
    }
}

impl std::error::Error for BadTubeName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_limits() {
        assert!(TubeName::new(&[b'a'; 200]).is_ok());
        assert_eq!(TubeName::new(&[b'a'; 201]), Err(BadTubeName::TooLong(201)));
        assert_eq!(TubeName::new(b""), Err(BadTubeName::Empty));
        assert_eq!(TubeName::new(b"-a"), Err(BadTubeName::LeadingDash));
        assert!(TubeName::new(b"a-+/;.$_()Z9").is_ok());
    }

    #[test]
    fn every_other_byte_is_refused() {
        let allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+/;.$_()";
        for byte in 0..=u8::MAX {
            let ok = TubeName::new(&[b'x', byte]).is_ok();
            assert_eq!(ok, allowed.contains(&byte), "byte {byte}");
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = TubeName::new(b"a b").unwrap_err().to_string();
        assert!(error.contains("\" \""), "{error}");
    }
}
