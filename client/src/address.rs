//! Where a server listens, in text form.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The port that beanstalkd listens on by default.
pub const DEFAULT_PORT: u16 = 11300;

/// Where a server listens: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
///
/// ```
/// use jq_client::Address;
///
/// let address: Address = "[::1]:11300".parse()?;
/// assert_eq!(address, Address::Tcp { host: "::1".into(), port: 11300 });
/// assert_eq!(address.to_string(), "[::1]:11300");
/// assert!("localhost".parse::<Address>().is_err());
/// # Ok::<(), jq_client::BadAddress>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port. The host is a name or an IP address, IPv6 without brackets. A name is resolved
    /// at every connect, and all of its addresses are tried.
    Tcp {
        /// Name or IP address.
        host: String,
        /// Port, 1 or more.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |reason| BadAddress::new(text, reason);
        if text.contains("://") {
            return Err(bad(Reason::Url));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(bad(Reason::Path))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| bad(Reason::NoPort))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let number = rest.strip_suffix(']').ok_or_else(|| bad(Reason::Brackets))?;
                // A link-local address may name its interface: fe80::1%eth0.
                let (digits, _interface) = number.split_once('%').unwrap_or((number, ""));
                digits.parse::<Ipv6Addr>().map_err(|_| bad(Reason::Brackets))?;
                number
            }
            None if host.contains([':', '[', ']']) => return Err(bad(Reason::Brackets)),
            None if host.is_empty() || host.contains(char::is_whitespace) => {
                return Err(bad(Reason::Host));
            }
            None => host,
        };
        // `parse` accepts a leading plus sign, which nobody intends.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        Ok(Self::Tcp { host: host.to_owned(), port: port.ok_or_else(|| bad(Reason::Port))? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        // By way of text, which keeps the scope of a link-local address.
        let text = address.to_string();
        let host = text.rsplit_once(':').map_or("", |(host, _port)| host);
        Self::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port: address.port() }
    }
}

/// A string is not an [`Address`], or not an [`Endpoint`](crate::Endpoint); the message says what one
/// looks like, and shows no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAddress {
    text: String,
    reason: Reason,
}

impl BadAddress {
    pub(crate) fn new(text: &str, reason: Reason) -> Self {
        Self { text: without_token(text), reason }
    }

    /// The same of another text, of which the one here is a part.
    pub(crate) fn of(self, text: &str) -> Self {
        Self { text: without_token(text), ..self }
    }
}

/// What comes between the scheme and an `@` is a token, or would be one.
fn without_token(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        _ => text.to_owned(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Url,
    Scheme,
    Token,
    Rest,
    #[cfg(not(feature = "tls"))]
    NoTls,
    Path,
    NoPort,
    Brackets,
    Host,
    Port,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, reason } = self;
        write!(f, "{text:?} is no server address: ")?;
        match reason {
            Reason::Url => write!(f, "expected HOST:PORT or unix:PATH, not a URL"),
            Reason::Scheme => {
                write!(f, "a URL of a server begins with beanstalk:// or beanstalks://")
            }
            Reason::Token => {
                let most = beanstalk_protocol::Token::MAX;
                write!(f, "a token before the @ is 1 to {most} visible ASCII characters")
            }
            Reason::Rest => write!(f, "nothing may follow the host and the port"),
            #[cfg(not(feature = "tls"))]
            Reason::NoTls => write!(f, "this program was built without TLS"),
            Reason::Path => write!(f, "a path must follow \"unix:\""),
            Reason::NoPort => write!(f, "a port is missing, as in \"{text}:{DEFAULT_PORT}\""),
            Reason::Brackets => {
                write!(f, "an IPv6 address is written in brackets, as in \"[::1]:{DEFAULT_PORT}\"")
            }
            Reason::Host => write!(f, "a host name or IP address must come before the port"),
            Reason::Port => write!(f, "the port must be a number from 1 to 65535"),
        }
    }
}

impl std::error::Error for BadAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn what_is_an_address() {
        for (text, address) in [
            ("localhost:11300", tcp("localhost", 11300)),
            ("10.0.0.1:1", tcp("10.0.0.1", 1)),
            ("[2001:db8::7]:65535", tcp("2001:db8::7", 65535)),
            ("[fe80::1%eth0]:11300", tcp("fe80::1%eth0", 11300)),
            ("unix:/run/queue.sock", Address::Unix("/run/queue.sock".into())),
            ("unix:a:1", Address::Unix("a:1".into())),
        ] {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_none_and_why() {
        for (text, reason) in [
            ("", "port is missing"),
            ("localhost", "as in \"localhost:11300\""),
            ("::1", "in brackets"),
            ("::1:11300", "in brackets"),
            ("[::1]", "in brackets"),
            ("[localhost]:11300", "in brackets"),
            ("[::1:11300", "in brackets"),
            (":11300", "before the port"),
            ("a b:1", "before the port"),
            ("localhost:", "1 to 65535"),
            ("localhost:0", "1 to 65535"),
            ("localhost:+1", "1 to 65535"),
            ("localhost:65536", "1 to 65535"),
            ("unix:", "path must follow"),
            ("beanstalk://localhost:1", "not a URL"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn from_a_socket_address() {
        for text in ["127.0.0.1:5", "[::1]:5", "[fe80::1%3]:5"] {
            let address = Address::from(text.parse::<SocketAddr>().unwrap());
            assert_eq!(address.to_string(), text);
        }
    }
}
