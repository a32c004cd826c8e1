//! The proxy through which other machines are reached, if the configuration names one.

use std::fmt;

use url::{Host, Url};

use super::client::BuildError;
use super::credentials::basic;
use super::secret::{Secret, Source};

/// A proxy: https URLs are reached through it by `CONNECT`, http URLs by asking it for them.
///
/// It resolves the names in URLs, so which addresses these may lead to is its decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://HOST:PORT`, checked by [`Proxy::url`].
    pub url: Url,
    /// The user, and where the password is.
    pub user: Option<(String, Source)>,
}

/// A text does not name a proxy. The message does not show it: it may have a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadProxy;

impl fmt::Display for BadProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected http://HOST:PORT, without a user name, a password or a path")
    }
}

impl std::error::Error for BadProxy {}

impl Proxy {
    /// Where a proxy is.
    ///
    /// # Errors
    /// It is not a URL of http, or has more in it than a host and a port.
    pub fn url(text: &str) -> Result<Url, BadProxy> {
        let url = Url::parse(text).map_err(|_| BadProxy)?;
        let is_plain = url.scheme() == "http" && url.path() == "/" && url.has_host();
        if !is_plain || text.contains(['@', '?', '#']) {
            return Err(BadProxy);
        }
        Ok(url)
    }

    /// As the client wants it. Reads the password.
    pub(super) fn ready(&self) -> Result<reqwest::Proxy, BuildError> {
        let proxy = reqwest::Proxy::all(self.url.clone()).map_err(BuildError::Client)?;
        let Some((user, password)) = &self.user else { return Ok(proxy) };
        let password = Secret::new(password.clone()).and_then(|secret| secret.get());
        let password = password.map_err(BuildError::Proxy)?;
        Ok(proxy.custom_http_auth(basic(user, password.show())))
    }
}

/// Whether a URL's host is this machine by its name (RFC 6761). A proxy would take that for itself.
pub(super) fn is_localhost(url: &Url) -> bool {
    let Some(Host::Domain(name)) = url.host() else { return false };
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for text in ["http://proxy.example:3128", "http://proxy.example/", "http://[::1]:1"] {
            assert!(Proxy::url(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "proxy.example:3128",
            "proxy.example",
            "https://proxy.example",
            "socks5://proxy.example",
            "http://user:s3cret@proxy.example",
            "http://@proxy.example",
            "http://proxy.example/path",
            "http://proxy.example?",
        ] {
            assert_eq!(Proxy::url(text), Err(BadProxy), "{text}");
        }
    }

    #[test]
    fn localhost_is_told_by_its_name() {
        for (url, is) in [
            ("http://localhost/", true),
            ("http://a.LOCALHOST.:8000/", true),
            ("http://localhost.example/", false),
            ("http://127.0.0.1/", false),
        ] {
            assert_eq!(is_localhost(&url.parse().unwrap()), is, "{url}");
        }
    }
}
