//! A server as people write it: its address, whether by TLS, and who one is there.

use std::fmt;
use std::str::FromStr;

use beanstalk_protocol::Token;

use crate::address::{Address, BadAddress, DEFAULT_PORT, Reason};

/// A server as flags and files name it: `HOST:PORT`, `unix:PATH`, or a URL,
/// `beanstalk://[TOKEN@]HOST[:PORT]`, which is `beanstalks://` for TLS. The port of a URL is
/// [`DEFAULT_PORT`] unless it says otherwise.
///
/// The token, if there is one, is a secret: neither `Display` nor `Debug` shows it, nor does the error for
/// a text that is none. A `%` and two hexadecimal digits in it stand for a character.
///
/// ```
/// use jq_client::{ConnectOptions, Endpoint};
///
/// let endpoint: Endpoint = "beanstalk://site.k3y@queue.example".parse()?;
/// assert_eq!(endpoint.to_string(), "queue.example:11300");
/// assert!(endpoint.token().is_some() && !endpoint.is_tls());
/// let options = ConnectOptions::from(endpoint);
/// # Ok::<(), jq_client::BadAddress>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    address: Address,
    is_tls: bool,
    token: Option<Token>,
}

impl Endpoint {
    /// Where the server listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is connected to by TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// What tells the server who this program is.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    pub(crate) fn into_parts(self) -> (Address, bool, Option<Token>) {
        (self.address, self.is_tls, self.token)
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self { address, is_tls: false, token: None }
    }
}

impl FromStr for Endpoint {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(text.parse::<Address>()?.into());
        };
        let bad = |reason| BadAddress::new(text, reason);
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "beanstalk" => false,
            #[cfg(feature = "tls")]
            "beanstalks" => true,
            #[cfg(not(feature = "tls"))]
            "beanstalks" => return Err(bad(Reason::NoTls)),
            _ => return Err(bad(Reason::Scheme)),
        };
        // The last one: a token may have the character in it.
        let (token, place) = match rest.rsplit_once('@') {
            Some((token, place)) => (Some(token), place),
            None => (None, rest),
        };
        let token = match token.map(|it| decoded(it).and_then(|it| Token::new(&it).ok())) {
            Some(None) => return Err(bad(Reason::Token)),
            Some(token) => token,
            None => None,
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#']) {
            return Err(bad(Reason::Rest));
        }
        let has_port = match place.rsplit_once(']') {
            Some((_, port)) => !port.is_empty(),
            None => place.contains(':'),
        };
        let place = if has_port { place.to_owned() } else { format!("{place}:{DEFAULT_PORT}") };
        // Its own error would show the default port as if it had been given.
        let address: Address = place.parse().map_err(|error: BadAddress| error.of(text))?;
        if !matches!(address, Address::Tcp { .. }) {
            return Err(bad(Reason::Host));
        }
        Ok(Self { address, is_tls, token })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "beanstalks://" } else { "" };
        write!(f, "{scheme}{}", self.address)
    }
}

/// `None` for a `%` without two hexadecimal digits.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            u8::try_from(16 * high + low).ok()?
        } else {
            byte
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_endpoint() {
        for (text, shown, token) in [
            ("localhost:7", "localhost:7", None),
            ("unix:/run/q", "unix:/run/q", None),
            ("beanstalk://q", "q:11300", None),
            ("BEANSTALK://q/", "q:11300", None),
            ("beanstalk://q:7", "q:7", None),
            ("beanstalk://site.x@q:7", "q:7", Some("site.x")),
            ("beanstalk://a@b@[::1]", "[::1]:11300", Some("a@b")),
            ("beanstalk://a%2fb%40%25@[::1]:7", "[::1]:7", Some("a/b@%")),
            #[cfg(feature = "tls")]
            ("beanstalks://site.x@q", "beanstalks://q:11300", Some("site.x")),
            #[cfg(feature = "tls")]
            ("beanstalks://[fe80::1%eth0]:7", "beanstalks://[fe80::1%eth0]:7", None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown, "{text}");
            assert_eq!(endpoint.is_tls(), shown.starts_with("beanstalks"), "{text}");
            let found = endpoint.token().map(|token| token.as_bytes().to_vec());
            assert_eq!(found.as_deref(), token.map(str::as_bytes), "{text}");
            assert!(token.is_none_or(|token| !format!("{endpoint:?}").contains(token)), "{text}");
        }
    }

    #[test]
    fn what_is_none_and_why() {
        let long = format!("beanstalk://{}@q", "t".repeat(Token::MAX + 1));
        for (text, why) in [
            ("localhost", "a port is missing"),
            ("http://s3cret@q", "begins with beanstalk://"),
            ("beanstalk://", "before the port"),
            ("beanstalk://s3cret@", "before the port"),
            ("beanstalk://@q", "a token before the @"),
            ("beanstalk://s3cret é@q", "a token before the @"),
            ("beanstalk://s3cret%zz@q", "a token before the @"),
            ("beanstalk://s3cret%2@q", "a token before the @"),
            (&long, "a token before the @"),
            ("beanstalk://s3cret@q/tube", "nothing may follow"),
            ("beanstalk://s3cret@q?x", "nothing may follow"),
            ("beanstalk://s3cret@q:0", "1 to 65535"),
            ("beanstalk://s3cret@q:", "1 to 65535"),
            ("beanstalk://s3cret@::1", "in brackets"),
            ("beanstalk://s3cret@[::1", "in brackets"),
            ("beanstalk://s3cret@unix:/run/q", "nothing may follow"),
            ("beanstalk://s3cret@q:x", "1 to 65535"),
            ("beanstalk://unix:q", "before the port"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains(why), "{text:?}: {error}");
            assert!(!format!("{error}{error:?}").contains("s3cret"), "{text:?}: {error:?}");
        }
    }
}
