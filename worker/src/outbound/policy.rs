//! Which URLs of jobs are allowed.
//!
//! Rules are URL prefixes, written by the operator: `https://site.example/in/`,
//! `https://*.site.example/`, `http://127.0.0.1:8000/`. Without rules, any public address is
//! allowed; with rules, only URLs that match one of them. Even then, an address that is not public
//! is refused, because a DNS name can point anywhere. The exception is a rule that names the host
//! exactly: `http://10.0.0.5/` or `http://localhost:8000/` is written on purpose.
//!
//! This module knows nothing of sockets: it decides about URLs, and about addresses that others
//! have resolved.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::address::not_public;

/// The rules, applied to URLs.
#[derive(Debug, Clone)]
pub struct UrlPolicy {
    rules: Vec<Rule>,
}

/// Which addresses the connection for an allowed URL may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only public addresses: every address that the name resolves to must be checked.
    Public,
    /// Any address, because a rule names this exact host.
    Anywhere,
}

/// Why a URL of a job is refused. A retry helps in none of these cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Its scheme is this one, neither `http` nor `https`.
    Scheme(String),
    /// It contains a user name or a password, which would end up in results and logs.
    Credentials,
    /// It has no host.
    NoHost,
    /// There are rules, and it matches none of them.
    NoRule,
    /// The host is, or resolves only to, an address that is not public.
    NotPublic {
        /// The first such address.
        address: IpAddr,
        /// Its kind, in words such as "a loopback address".
        kind: &'static str,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => {
                write!(f, "not allowed: only http and https are spoken, not {scheme:?}")
            }
            Self::Credentials => {
                f.write_str("not allowed: a URL in a job must not have a user name or a password")
            }
            Self::NoHost => f.write_str("not allowed: it has no host"),
            Self::NoRule => f.write_str("not allowed: it begins as none of allow_urls does"),
            Self::NotPublic { address, kind } => write!(
                f,
                "not allowed: {address} is {kind}, and allow_urls does not name this host exactly"
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// An entry of `allow_urls` is not a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRule {
    setting: &'static str,
    rule: String,
    why: &'static str,
}

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} {}", self.setting, self.rule, self.why)
    }
}

impl std::error::Error for BadRule {}

impl UrlPolicy {
    /// Parses the rules as the operator wrote them.
    ///
    /// # Errors
    /// If a rule is not the prefix of an http or https URL, or contains something that could never
    /// match or would match more than it seems to: credentials, a query, a fragment, or a `*` that
    /// is not the first label of a host.
    pub fn new(allow_urls: &[String]) -> Result<Self, BadRule> {
        let rules = allow_urls
            .iter()
            .map(|text| {
                let setting = "allow_urls";
                Rule::parse(text).map_err(|why| BadRule { setting, rule: text.clone(), why })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// One rule, for URLs whose servers are shown something, which `setting` says.
    ///
    /// # Errors
    /// As those of [`UrlPolicy::new`], or it is not of https and they are shown a certificate.
    pub(super) fn for_credentials(
        setting: &'static str,
        prefix: &str,
        shows_certificate: bool,
    ) -> Result<Self, BadRule> {
        let rule = Rule::parse(prefix).and_then(|rule| match rule.scheme.as_str() {
            "http" if shows_certificate => {
                Err("is not of https: nobody is shown a certificate without TLS")
            }
            _ => Ok(rule),
        });
        match rule {
            Ok(rule) => Ok(Self { rules: vec![rule] }),
            // There may be a password before it.
            Err(why) if prefix.contains('@') => {
                Err(BadRule { setting, rule: "...@...".to_owned(), why })
            }
            Err(why) => Err(BadRule { setting, rule: prefix.to_owned(), why }),
        }
    }

    /// Whether a rule is for this URL.
    pub(super) fn has_rule_for(&self, url: &Url) -> bool {
        self.rules.iter().any(|rule| rule.matches(url))
    }

    /// Whether there can be a URL for which `credentials` has a rule and that this allows.
    ///
    /// # Errors
    /// If there is none: the credentials are of no use.
    pub(super) fn meets(&self, credentials: &Self) -> Result<(), BadRule> {
        for rule in &credentials.rules {
            let is_reached = if self.rules.is_empty() {
                rule.host.can_be_public()
            } else {
                self.rules.iter().any(|allowed| allowed.overlaps(rule))
            };
            if !is_reached {
                let why = "is for no URL that allow_urls allows";
                return Err(BadRule {
                    setting: "credentials: prefix",
                    rule: rule.to_string(),
                    why,
                });
            }
        }
        Ok(())
    }

    /// Checks whether the URL is allowed, and which addresses the connection may lead to. An
    /// address in the URL itself is checked here. The addresses that a name resolves to must be
    /// checked with [`UrlPolicy::check_address`] before connecting.
    ///
    /// # Errors
    /// Why the URL is refused.
    pub fn check(&self, url: &Url) -> Result<Reach, Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let host = url.host().ok_or(Refused::NoHost)?;
        if !self.rules.is_empty() {
            let mut matching = self.rules.iter().filter(|rule| rule.matches(url)).peekable();
            if matching.peek().is_none() {
                return Err(Refused::NoRule);
            }
            if matching.any(|rule| matches!(rule.host, HostRule::Exactly(_))) {
                return Ok(Reach::Anywhere);
            }
        }
        match host {
            Host::Ipv4(address) => Self::check_address(address.into())?,
            Host::Ipv6(address) => Self::check_address(address.into())?,
            Host::Domain(_) => {}
        }
        Ok(Reach::Public)
    }

    /// Whether a connection of [`Reach::Public`] may lead to this address.
    ///
    /// # Errors
    /// If the address is not public.
    pub fn check_address(address: IpAddr) -> Result<(), Refused> {
        match not_public(address) {
            Some(kind) => Err(Refused::NotPublic { address, kind }),
            None => Ok(()),
        }
    }

    /// Whether any rule can lead to [`Reach::Anywhere`].
    pub(super) fn names_hosts(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.host, HostRule::Exactly(_)))
    }
}

/// The prefix of a URL.
#[derive(Debug, Clone)]
struct Rule {
    scheme: String,
    host: HostRule,
    port: Option<u16>,
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostRule {
    Exactly(Host<String>),
    /// The suffix that a host must have, including the dot: `.site.example` for `*.site.example`.
    Below(String),
}

impl Rule {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text)
            .map_err(|_| "is not the beginning of a URL, such as https://site.example/in/")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("is neither http nor https");
        }
        // An empty pair (`http://@host/`) disappears in parsing, so look for the '@' too.
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err("must not have a user name or a password (or any '@')");
        }
        if url.query().is_some() {
            return Err("must not have a query: a URL is matched up to the end of its path");
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment: it is never sent");
        }
        if url.path().contains('*') {
            return Err("must not have a '*' in its path: all that begins with the path matches");
        }
        if steps_in_disguise(url.path()) {
            return Err("must not have an encoded slash, or \"..;\", in its path");
        }
        Ok(Self {
            scheme: url.scheme().to_owned(),
            host: HostRule::parse(normal_host(&url).ok_or("has no host")?)?,
            port: url.port_or_known_default(),
            path: url.path().to_owned(),
        })
    }

    fn matches(&self, url: &Url) -> bool {
        url.scheme() == self.scheme
            && url.port_or_known_default() == self.port
            && normal_host(url).is_some_and(|host| self.host.matches(&host))
            && self.matches_path(url.path())
    }

    /// Whether a URL can match both.
    fn overlaps(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.port == other.port
            && self.host.overlaps(&other.host)
            && (self.matches_path(&other.path) || other.matches_path(&self.path))
    }

    /// By whole segments: `/in` matches `/in` and `/in/42`, but not `/inside`.
    fn matches_path(&self, path: &str) -> bool {
        if self.path == "/" {
            return true;
        }
        // The parser has resolved `..` and `%2e%2e`. Anything else that a server may interpret as
        // such a step could lead out of the directory of the rule.
        !steps_in_disguise(path)
            && path.strip_prefix(self.path.as_str()).is_some_and(|rest| {
                self.path.ends_with('/') || rest.is_empty() || rest.starts_with('/')
            })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match &self.host {
            HostRule::Exactly(host) => write!(f, "{host}")?,
            HostRule::Below(base) => write!(f, "*{base}")?,
        }
        let is_usual =
            matches!((self.scheme.as_str(), self.port), ("http", Some(80)) | ("https", Some(443)));
        if let Some(port) = self.port.filter(|_| !is_usual) {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

impl HostRule {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (rule, Self::Exactly(host)) | (Self::Exactly(host), rule) => rule.matches(host),
            (Self::Below(one), Self::Below(another)) => {
                one.ends_with(another.as_str()) || another.ends_with(one.as_str())
            }
        }
    }

    /// `false` if it is clear without resolving anything that it is not.
    fn can_be_public(&self) -> bool {
        match self {
            Self::Exactly(Host::Ipv4(address)) => not_public((*address).into()).is_none(),
            Self::Exactly(Host::Ipv6(address)) => not_public((*address).into()).is_none(),
            Self::Exactly(Host::Domain(name)) => {
                name != "localhost" && !name.ends_with(".localhost")
            }
            Self::Below(_) => true,
        }
    }

    fn parse(host: Host<String>) -> Result<Self, &'static str> {
        let Host::Domain(name) = &host else {
            return Ok(Self::Exactly(host));
        };
        let Some(base) = name.strip_prefix('*') else {
            return if name.contains('*') {
                Err("may have a '*' only as the whole first part of the host")
            } else {
                Ok(Self::Exactly(host))
            };
        };
        match base.strip_prefix('.') {
            Some(parent) if !parent.is_empty() && !parent.contains('*') => {
                Ok(Self::Below(base.to_owned()))
            }
            _ => Err("may have a '*' only as the whole first part of a host, as *.site.example"),
        }
    }

    fn matches(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (Self::Exactly(named), host) => named == host,
            // There must be something before the dot.
            (Self::Below(base), Host::Domain(name)) => {
                name.strip_suffix(base.as_str()).is_some_and(|label| !label.is_empty())
            }
            (Self::Below(_), _) => false,
        }
    }
}

/// The host without the trailing dot of a fully qualified name: `localhost.` is `localhost`. The
/// parser has converted it to lower case, and to an address if it looks like one (`0x7f.1`,
/// `2130706433`).
fn normal_host(url: &Url) -> Option<Host<String>> {
    Some(match url.host()? {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
        address => address.to_owned(),
    })
}

/// Whether a path contains something that some servers interpret as `/` or `..` although it is
/// neither: an encoded slash or backslash, or `..;`.
fn steps_in_disguise(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["%2f", "%5c", "..;"].iter().any(|disguise| path.contains(disguise))
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
