//! Who may do what: tokens with names and roles, from a file that is read again on SIGHUP.
//!
//! A token is compared by its SHA-256, with that of every token of the file, in constant time. The file
//! has either the token itself or the hash; the process keeps hashes only.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use jq_api::server::Role;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use toml::Spanned;
use tracing::warn;

use crate::settings_file::{FileError, Mistake, SettingsFile, from_toml, read_aside};

/// The flag that names the file of tokens.
const FLAG: &str = "--http-token-file";

/// The largest file of tokens, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The longest name of a token, in bytes.
const MAX_NAME: usize = 64;

/// A shorter token could be guessed.
const MIN_TOKEN: usize = 16;

/// Who made a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// The name of the token; empty without tokens.
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
}

/// The tokens that there are now.
#[derive(Debug)]
pub(crate) struct Access {
    file: Option<PathBuf>,
    tokens: RwLock<Arc<[Token]>>,
}

/// A token, with its name and what it allows.
#[derive(Debug)]
struct Token {
    hash: [u8; 32],
    who: Who,
}

/// Why a request may not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has no token.
    Missing,
    /// It has one that is not in the file.
    Unknown,
    /// There is no file of tokens, so that only reading is possible.
    OnlyReading,
    /// The role is not enough: this one is needed.
    Role(Role),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("expected the header \"Authorization: Bearer TOKEN\""),
            Self::Unknown => f.write_str("the token is not one of the server's"),
            Self::OnlyReading => f.write_str(
                "only reading is possible: the server was started without --http-token-file",
            ),
            Self::Role(role) => write!(f, "a token with the role {} is needed", role.as_str()),
        }
    }
}

/// The role that a request needs; `None` for what is open to everybody.
pub(crate) fn role_for(method: &Method, path: &str) -> Option<Role> {
    match path {
        "/healthz" | "/readyz" => None,
        _ if method == Method::GET || method == Method::HEAD => Some(Role::Read),
        _ => {
            let tube =
                path.strip_prefix("/api/v1/tubes/").and_then(|rest| rest.strip_suffix("/jobs"));
            let is_put = method == Method::POST && tube.is_some_and(|tube| !tube.contains('/'));
            Some(if is_put { Role::Submit } else { Role::Operate })
        }
    }
}

impl Access {
    /// With the tokens of this file; without one, everybody may read.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self, FileError> {
        let tokens = file.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { file, tokens: RwLock::new(tokens.into()) })
    }

    /// Whether everybody may read, and nobody may do anything else.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_none()
    }

    /// Reads the file again, if there is one, and returns the number of tokens. With a mistake in the
    /// file, those of before stay.
    pub(crate) async fn reload(&self) -> Result<Option<usize>, FileError> {
        let Some(file) = self.file.clone() else { return Ok(None) };
        let tokens = read_aside(FLAG, file, read).await?;
        let count = tokens.len();
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens.into();
        Ok(Some(count))
    }

    /// Who makes a request that needs this role.
    pub(crate) fn check(&self, headers: &HeaderMap, needed: Role) -> Result<Who, Denied> {
        if self.is_open() {
            let who = Who { name: "".into(), role: Role::Read };
            return if needed == Role::Read { Ok(who) } else { Err(Denied::OnlyReading) };
        }
        let shown = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let hash: [u8; 32] = Sha256::digest(shown.ok_or(Denied::Missing)?).into();
        let tokens = Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner));
        let who = find(&tokens, &hash).ok_or(Denied::Unknown)?;
        if who.role >= needed { Ok(who.clone()) } else { Err(Denied::Role(needed)) }
    }
}

/// Compares with all tokens, whichever it is.
fn find<'a>(tokens: &'a [Token], hash: &[u8; 32]) -> Option<&'a Who> {
    let mut found = None;
    for token in tokens {
        let is_it: Choice = token.hash.ct_eq(hash);
        if is_it.into() {
            found = Some(&token.who);
        }
    }
    found
}

/// The token after `Bearer `, which is case-insensitive.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Spanned<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    role: Role,
    token: Option<Spanned<String>>,
    hash: Option<Spanned<String>>,
}

/// Reads the file of tokens.
fn read(path: &Path) -> Result<Vec<Token>, FileError> {
    let file = SettingsFile { flag: FLAG, path, most: MAX_FILE };
    let ((tokens, has_plain), is_open) = file.read(parse)?;
    if has_plain && is_open {
        warn!(
            file = %path.display(),
            "the file of tokens can be read by other users: expected mode 600 or hashes"
        );
    }
    Ok(tokens)
}

/// The tokens of a file, and whether it has some that are not hashed.
fn parse(text: &str) -> Result<(Vec<Token>, bool), Mistake> {
    let mistake = |at: usize, message: String| Mistake::at(text, at, message);
    let file: File = from_toml(text)?;
    let (mut tokens, mut has_plain) = (Vec::<Token>::new(), false);
    for entry in &file.token {
        let at = entry.span().start;
        let Entry { name, role, token, hash } = entry.get_ref();
        let (name_at, name) = (name.span().start, name.get_ref());
        let is_name = (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control);
        if !is_name {
            let message =
                format!("name: expected 1 to {MAX_NAME} bytes without control characters");
            return Err(mistake(name_at, message));
        }
        if tokens.iter().any(|other| *other.who.name == **name) {
            return Err(mistake(name_at, format!("name: there are two tokens named \"{name}\"")));
        }
        let hash = match (token, hash) {
            (Some(token), None) => {
                has_plain = true;
                plain(token.get_ref()).map_err(|why| mistake(token.span().start, why))?
            }
            (None, Some(hash)) => {
                hashed(hash.get_ref()).map_err(|why| mistake(hash.span().start, why))?
            }
            _ => return Err(mistake(at, "expected either token or hash".to_owned())),
        };
        if tokens.iter().any(|other| other.hash == hash) {
            return Err(mistake(at, "another entry has the same token".to_owned()));
        }
        tokens.push(Token { hash, who: Who { name: name.as_str().into(), role: *role } });
    }
    if tokens.is_empty() {
        return Err(mistake(0, "expected at least one [[token]]".to_owned()));
    }
    Ok((tokens, has_plain))
}

fn plain(token: &str) -> Result<[u8; 32], String> {
    if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "token: expected at least {MIN_TOKEN} visible ASCII characters, as from: openssl rand -hex 32"
        ));
    }
    Ok(Sha256::digest(token).into())
}

/// A hash, after the name of its kind.
fn hashed(hash: &str) -> Result<[u8; 32], String> {
    let bytes = hash.strip_prefix("sha256:").and_then(from_hex);
    bytes.ok_or_else(|| "hash: expected \"sha256:\" and 64 hexadecimal digits".to_owned())
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PLAIN: &str = "0123456789abcdef";
    /// Of "another-long-token".
    const HASH: &str = "sha256:5e6c5bd3d6ec30d0c8b2b1ce0a6f0e2e0de4b2a1c7c7b1a8a0f5d9f8f1a2b3c4";

    fn access(text: &str) -> Access {
        let (tokens, _) = parse(text).unwrap();
        Access { file: Some("f".into()), tokens: RwLock::new(tokens.into()) }
    }

    fn check(access: &Access, header: &str, needed: Role) -> Result<Who, Denied> {
        let value = HeaderValue::from_str(header).unwrap();
        access.check(&HeaderMap::from_iter([(AUTHORIZATION, value)]), needed)
    }

    #[test]
    fn a_role_may_do_what_those_before_it_may() {
        let hash: [u8; 32] = Sha256::digest("another-long-token").into();
        let hash: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        let access = access(&format!(
            "[[token]]\nname = \"grafana\"\nrole = \"read\"\ntoken = \"{PLAIN}\"\n\
             [[token]]\nname = \"site\"\nrole = \"submit\"\nhash = \"sha256:{hash}\"\n"
        ));
        let allowed =
            |header: &str, role| check(&access, header, role).map(|who| who.name.to_string());
        let plain = format!("Bearer {PLAIN}");
        assert_eq!(allowed(&plain, Role::Read), Ok("grafana".to_owned()));
        assert_eq!(allowed(&plain, Role::Submit), Err(Denied::Role(Role::Submit)));
        for header in ["bearer another-long-token", "BEARER  another-long-token "] {
            assert_eq!(allowed(header, Role::Read), Ok("site".to_owned()));
            assert_eq!(allowed(header, Role::Submit), Ok("site".to_owned()));
            assert_eq!(allowed(header, Role::Operate), Err(Denied::Role(Role::Operate)));
        }
        for header in ["Bearer 0123456789abcde", "Bearer 0123456789abcdefg", "Bearer x"] {
            assert_eq!(allowed(header, Role::Read), Err(Denied::Unknown), "{header}");
        }
        for header in ["", "Bearer", "Bearer ", PLAIN, "Basic 0123456789abcdef"] {
            assert_eq!(allowed(header, Role::Read), Err(Denied::Missing), "{header}");
        }
        assert!(!format!("{access:?}").contains(PLAIN));
    }

    #[test]
    fn without_a_file_everybody_may_read() {
        let access = Access::open(None).unwrap();
        assert!(access.check(&HeaderMap::new(), Role::Read).is_ok());
        for role in [Role::Submit, Role::Operate] {
            assert_eq!(access.check(&HeaderMap::new(), role), Err(Denied::OnlyReading));
        }
    }

    #[test]
    fn what_needs_which_role() {
        let needed = |method: &str, path| role_for(&method.parse().unwrap(), path);
        assert_eq!(needed("GET", "/healthz"), None);
        assert_eq!(needed("HEAD", "/api/v1/server"), Some(Role::Read));
        assert_eq!(needed("GET", "/nothing"), Some(Role::Read));
        assert_eq!(needed("POST", "/api/v1/tubes/a%2Fb/jobs"), Some(Role::Submit));
        for path in ["/api/v1/tubes/a/b/jobs", "/api/v1/tubes/jobs", "/api/v1/jobs/1/kick", "/"] {
            assert_eq!(needed("POST", path), Some(Role::Operate), "{path}");
        }
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "EAT"] {
            assert_eq!(needed(method, "/api/v1/tubes/a/jobs"), Some(Role::Operate), "{method}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let entry = |rest: &str| format!("[[token]]\nname = \"a\"\n{rest}");
        let read = format!("role = \"read\"\ntoken = \"{PLAIN}\"\n");
        for (text, place, message) in [
            (String::new(), (1, 1), "at least one [[token]]"),
            ("\n token = 1".to_owned(), (2, 10), "expected a sequence"),
            ("x = 1\n".to_owned(), (1, 1), "unknown field `x`"),
            (entry("role = \"root\"\n"), (3, 8), "expected one of `read`, `submit`, `operate`"),
            (entry("role = \"read\"\n"), (1, 1), "either token or hash"),
            (entry("role = \"read\"\ntoken = \"short\"\n"), (4, 9), "at least 16"),
            (entry("role = \"read\"\nhash = \"md5:00\"\n"), (4, 8), "\"sha256:\" and 64"),
            (entry(&format!("{read}hash = \"{HASH}\"\n")), (1, 1), "either token or hash"),
            (entry(&read).repeat(2), (6, 8), "two tokens named \"a\""),
            (entry(&read) + &entry(&read).replace("\"a\"", "\"b\""), (5, 1), "the same token"),
            (entry(&read).replace("\"a\"", "\"\\u0007\""), (2, 8), "name: expected 1 to 64"),
            ("# \u{e9}\n\u{e9}\u{e9} x".to_owned(), (2, 4), ""),
        ] {
            let Err(Mistake { line, column, message: told }) = parse(&text) else {
                panic!("{text}");
            };
            assert_eq!((line, column), place, "{text}: {told}");
            assert!(told.contains(message), "{text}: {told}");
        }
        assert!(hashed(HASH).is_ok() && hashed(&HASH[..70]).is_err());
    }
}
