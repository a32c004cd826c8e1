//! What is shown to those whose URLs have a certain beginning, and the proxy on the way to them.
//!
//! Secrets are in files or in the environment. Who writes one into the configuration all the same is told so
//! by the number of the line, and not by what is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jq_tls::Identity;
use reqwest::header::{AUTHORIZATION, HeaderName};
use serde::Deserialize;
use toml::Spanned;
use tracing::warn;
use url::Url;

use super::ConfigError;
use crate::outbound::{self, Authorization, Credential, Secret, Source, TokenRequest};

/// A table `[[credentials]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialSettings {
    prefix: Spanned<String>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<SecretSource>>,
    basic: Option<Spanned<Basic>>,
    bearer: Option<Spanned<SecretSource>>,
    oauth: Option<Spanned<Oauth>>,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
}

/// Where a secret is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ file = \"PATH\" } or { env = \"NAME\" }")]
pub(super) struct SecretSource {
    file: Option<PathBuf>,
    env: Option<String>,
}

/// A user's name and where the password is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ user = \"NAME\", password = { file = \"PATH\" } }")]
pub(super) struct Basic {
    user: String,
    password: SecretSource,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with token_url, client_id and client_secret")]
struct Oauth {
    token_url: String,
    client_id: String,
    client_secret: SecretSource,
    scope: Option<String>,
    audience: Option<String>,
    #[serde(default)]
    client_auth: ClientAuth,
}

/// How a client shows its secret to the server of tokens.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientAuth {
    #[default]
    Basic,
    Body,
}

/// The tables of a file, which says where they are in it.
pub(super) struct Tables<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// Paths in the file are relative to this.
    pub(super) base: &'a Path,
    pub(super) allow_urls: &'a [String],
}

impl Tables<'_> {
    /// The tables, checked. Reads the files that they name.
    pub(super) fn read(
        &self,
        tables: &[CredentialSettings],
    ) -> Result<Vec<Credential>, ConfigError> {
        tables.iter().map(|table| self.one(table)).collect()
    }

    fn one(&self, table: &CredentialSettings) -> Result<Credential, ConfigError> {
        let CredentialSettings { prefix, cert, key, .. } = table;
        let at_prefix = |why: &dyn std::fmt::Display| self.bad(prefix, why);
        let shows_certificate = cert.is_some() || key.is_some();
        outbound::check_prefix(prefix.as_ref(), self.allow_urls, shows_certificate)
            .map_err(|error| at_prefix(&error))?;
        let identity = match (cert, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(self.identity(cert, key)?),
            (Some(path), None) | (None, Some(path)) => {
                let why = "credentials: expected both a cert and the key to it";
                return Err(self.bad(path, &why));
            }
        };
        let headers = self.headers(&table.headers)?;
        let authorization = self.authorization(table, &headers)?;
        if headers.is_empty() && matches!(authorization, Authorization::None) && identity.is_none()
        {
            let why = "credentials: expected headers, basic, bearer, oauth, or cert and key";
            return Err(at_prefix(&why));
        }
        let is_plain = Url::parse(prefix.as_ref()).is_ok_and(|url| is_readable_by_all(&url));
        if is_plain {
            let prefix = prefix.as_ref();
            warn!(prefix, "credentials are sent without TLS: everybody on the way can read them");
        }
        Ok(Credential { prefix: prefix.as_ref().clone(), headers, authorization, identity })
    }

    fn headers(
        &self,
        headers: &BTreeMap<String, Spanned<SecretSource>>,
    ) -> Result<Vec<(HeaderName, Source)>, ConfigError> {
        let mut named: Vec<(HeaderName, Source)> = Vec::new();
        for (text, source) in headers {
            let bad = |why: &dyn std::fmt::Display| {
                self.bad(source, &format!("credentials: headers: {text:?} {why}"))
            };
            let name = outbound::header_name(text).map_err(|why| bad(&why))?;
            if named.iter().any(|(of, _)| *of == name) {
                return Err(bad(&"is there twice"));
            }
            let source = self.source(source, source.as_ref(), &format!("headers: {text}"))?;
            named.push((name, source));
        }
        Ok(named)
    }

    fn authorization(
        &self,
        table: &CredentialSettings,
        headers: &[(HeaderName, Source)],
    ) -> Result<Authorization, ConfigError> {
        let CredentialSettings { prefix, basic, bearer, oauth, .. } = table;
        let is_header = headers.iter().any(|(name, _)| name == AUTHORIZATION);
        let ways = [is_header, basic.is_some(), bearer.is_some(), oauth.is_some()];
        if ways.into_iter().filter(|is| *is).count() > 1 {
            let why =
                "credentials: expected only one of basic, bearer, oauth and a header Authorization";
            return Err(self.bad(prefix, &why));
        }
        if let Some(basic) = basic {
            let Basic { user, password } = basic.as_ref();
            check_user(user)
                .map_err(|why| self.bad(basic, &format!("credentials: basic: {why}")))?;
            let password = self.source(basic, password, "basic: password")?;
            return Ok(Authorization::Basic { user: user.clone(), password });
        }
        if let Some(bearer) = bearer {
            return Ok(Authorization::Bearer(self.source(bearer, bearer.as_ref(), "bearer")?));
        }
        let Some(place) = oauth else { return Ok(Authorization::None) };
        let oauth = place.as_ref();
        let bad = |why: &str| self.bad(place, &format!("credentials: oauth: {why}"));
        let url = Url::parse(&oauth.token_url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none()
        });
        let url = url.filter(|_| !oauth.token_url.contains('@'));
        let why =
            "token_url: expected http or https, without a user name, a password or a fragment";
        let url = url.ok_or_else(|| bad(why))?;
        if oauth.client_id.is_empty() || oauth.client_id.contains(char::is_control) {
            return Err(bad(
                "client_id: expected one or more characters, none of them a control character",
            ));
        }
        if is_readable_by_all(&url) {
            let url = oauth.token_url.split('?').next();
            warn!(url, "the client secret is sent without TLS: everybody on the way can read it");
        }
        let client_secret = self.source(place, &oauth.client_secret, "oauth: client_secret")?;
        Ok(Authorization::Token(TokenRequest {
            url,
            client_id: oauth.client_id.clone(),
            client_secret,
            scope: oauth.scope.clone(),
            audience: oauth.audience.clone(),
            secret_in_body: matches!(oauth.client_auth, ClientAuth::Body),
        }))
    }

    fn identity(
        &self,
        cert: &Spanned<PathBuf>,
        key: &Spanned<PathBuf>,
    ) -> Result<Identity, ConfigError> {
        let certificate = self.base.join(cert.as_ref());
        let identity = Identity { certificate, key: self.base.join(key.as_ref()) };
        let place =
            |error: &jq_tls::FileError| if error.path() == identity.key { key } else { cert };
        identity
            .load()
            .map_err(|error| self.bad(place(&error), &format!("credentials: {error}")))?;
        Ok(identity)
    }

    /// Reads it, to find mistakes.
    fn source<T>(
        &self,
        place: &Spanned<T>,
        source: &SecretSource,
        setting: &str,
    ) -> Result<Source, ConfigError> {
        let bad = |why: &dyn std::fmt::Display| {
            self.bad(place, &format!("credentials: {setting}: {why}"))
        };
        let source = source.at(self.base).map_err(|why| bad(&why))?;
        Secret::new(source.clone()).map_err(|error| bad(&error))?;
        Ok(source)
    }

    fn bad<T>(&self, place: &Spanned<T>, why: &dyn std::fmt::Display) -> ConfigError {
        let line = line_of(self.text, place.span().start);
        ConfigError(format!("{}: line {line}: {why}", self.path.display()))
    }
}

impl SecretSource {
    /// Where it is, with a path relative to `base`.
    fn at(&self, base: &Path) -> Result<Source, &'static str> {
        match (&self.file, &self.env) {
            (Some(path), None) => Ok(Source::File(base.join(path))),
            (None, Some(name)) if !name.is_empty() && !name.contains(['=', '\0']) => {
                Ok(Source::Env(name.clone()))
            }
            (None, Some(_)) => Err("env: expected the name of a variable"),
            _ => Err("expected either { file = \"PATH\" } or { env = \"NAME\" }"),
        }
    }
}

/// The proxy that the settings name. Reads the password, to find mistakes.
pub(super) fn proxy(
    url: Option<&str>,
    basic: Option<&Basic>,
    base: &Path,
) -> Result<Option<outbound::Proxy>, ConfigError> {
    let bad = |why: &dyn std::fmt::Display| ConfigError(format!("http.proxy_basic: {why}"));
    let Some(url) = url else {
        return match basic {
            None => Ok(None),
            Some(_) => Err(bad(&"there is no http.proxy")),
        };
    };
    let url = outbound::Proxy::url(url).map_err(|why| ConfigError(format!("http.proxy: {why}")))?;
    let user = match basic {
        None => None,
        Some(Basic { user, password }) => {
            check_user(user).map_err(|why| bad(&why))?;
            let password = password.at(base).map_err(|why| bad(&why))?;
            Secret::new(password.clone()).map_err(|error| bad(&error))?;
            Some((user.clone(), password))
        }
    };
    Ok(Some(outbound::Proxy { url, user }))
}

/// A message of the parser about a file that has, or seems to have, credentials. The parser would show the line,
/// and what it found there, in which somebody may have written a secret.
pub(super) fn without_secrets(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let why = match message.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid") => format!("expected {expected}"),
        _ => message.to_owned(),
    };
    match error.span() {
        Some(span) => format!("line {}: {why}", line_of(text, span.start)),
        None => why,
    }
}

/// Numbers of lines begin with 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() || user.contains(':') || user.contains(char::is_control) {
        return Err("user: expected one or more characters, no colon and no control character");
    }
    Ok(())
}

/// Without TLS, and not to this machine itself.
fn is_readable_by_all(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "http" && !is_local
}
