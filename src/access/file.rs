//! The file of `--auth`: who there is, how each is known, and what each may do.
//!
//! ```toml
//! [[principal]]
//! name = "site"
//! tokens = ["$argon2id$v=19$m=19456,t=2,p=1$...$..."]
//! put = ["mail", "sim.*"]
//! ```

use std::collections::{HashMap, HashSet};
use std::hash::Hash as Key;
use std::path::Path;
use std::sync::Arc;

use beanstalk_protocol::{MAX_TUBE_NAME, TubeName};
use nix::unistd::User;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::directory::{Directory, Entry, canonical};
use super::principal::{Limits, Patterns, Principal};
use super::token::{self, Hash};
use crate::settings_file::{FileError, Mistake, SettingsFile, from_toml};

/// The largest file that is read, in bytes: some 10,000 principals.
const MAX_FILE: u64 = 4 << 20;

/// Most tokens of a principal: each is a hash to compute for everybody who says to be it.
const MAX_TOKENS: usize = 4;

impl Directory {
    /// Reads the file of `--auth`.
    ///
    /// # Errors
    ///
    /// Those of the system, a mistake in the file with its line and column, and a file that every user may
    /// write.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let file = SettingsFile { flag: "--auth", path, most: MAX_FILE };
        file.read_protected(parse)
    }
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    principal: Vec<Spanned<Written>>,
    #[serde(default)]
    address: WrittenLimits,
}

/// A principal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: Spanned<String>,
    #[serde(default)]
    tokens: Vec<Spanned<String>>,
    #[serde(default)]
    certificates: Vec<Spanned<String>>,
    #[serde(default)]
    uids: Vec<Spanned<Value>>,
    #[serde(default)]
    put: Vec<Spanned<String>>,
    #[serde(default)]
    reserve: Vec<Spanned<String>>,
    #[serde(default)]
    peek: Vec<Spanned<String>>,
    #[serde(default)]
    kick: Vec<Spanned<String>>,
    #[serde(default)]
    pause: Vec<Spanned<String>>,
    #[serde(default)]
    delete: Vec<Spanned<String>>,
    #[serde(default)]
    operate: bool,
    max_connections: Option<Spanned<i64>>,
    commands_per_second: Option<Spanned<i64>>,
    max_bytes: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenLimits {
    max_connections: Option<Spanned<i64>>,
    commands_per_second: Option<Spanned<i64>>,
    max_bytes: Option<Spanned<i64>>,
}

/// The principals in a text.
fn parse(text: &str) -> Result<Directory, Mistake> {
    let file: File = from_toml(text)?;
    if file.principal.is_empty() {
        return Err(Mistake::at(text, 0, "expected at least one [[principal]]"));
    }
    let reading = Reading { text };
    let WrittenLimits { max_connections, commands_per_second, max_bytes } = &file.address;
    let limits = [max_connections, commands_per_second, max_bytes].map(Option::as_ref);
    let mut directory = Directory { per_address: reading.limits(limits)?, ..Directory::default() };
    let mut hashes = HashSet::new();
    for written in &file.principal {
        let written = written.get_ref();
        let at = directory.entries.len();
        let name = reading.name(&written.name)?;
        reading.only(&mut directory.by_name, Arc::clone(&name), at, &written.name, || {
            format!("name: there are two principals named \"{name}\"")
        })?;
        let tokens = reading.tokens(&written.tokens, &mut hashes)?;
        for shown in &written.certificates {
            let identity = canonical(shown.get_ref()).ok_or_else(|| {
                let expected = "expected CN=NAME, DNS:NAME, URI:URI, IP:ADDRESS or EMAIL:ADDRESS";
                reading.mistake(shown, format!("certificates: {expected}"))
            })?;
            let told = format!("certificates: \"{identity}\" is there twice");
            let known = &mut directory.by_certificate;
            reading.only(known, identity.into(), at, shown, || told)?;
        }
        for shown in &written.uids {
            let uid = reading.uid(shown)?;
            reading.only(&mut directory.by_uid, uid, at, shown, || {
                format!("uids: user {uid} is there twice")
            })?;
        }
        let Written { put, reserve, peek, kick, pause, delete, .. } = written;
        let [put, reserve, peek, kick, pause, delete] = [
            reading.patterns("put", put)?,
            reading.patterns("reserve", reserve)?,
            reading.patterns("peek", peek)?,
            reading.patterns("kick", kick)?,
            reading.patterns("pause", pause)?,
            reading.patterns("delete", delete)?,
        ];
        let limits = reading.limits([
            written.max_connections.as_ref(),
            written.commands_per_second.as_ref(),
            written.max_bytes.as_ref(),
        ])?;
        let principal = Principal {
            name,
            operates: written.operate,
            // In the order of `Rights::NAMED`.
            tubes: [put, reserve, peek, kick, pause, delete],
            limits,
        };
        if !tokens.is_empty() {
            directory.with_tokens.push(at);
        }
        directory.entries.push(Entry { principal: principal.into(), tokens });
    }
    Ok(directory)
}

/// A text that is being read, for the places of mistakes.
#[derive(Debug, Clone, Copy)]
struct Reading<'a> {
    text: &'a str,
}

impl Reading<'_> {
    fn mistake<T>(self, place: &Spanned<T>, message: impl Into<String>) -> Mistake {
        Mistake::at(self.text, place.span().start, message)
    }

    /// Enters what may be there once, in the whole file.
    fn only<K: Key + Eq, T>(
        self,
        known: &mut HashMap<K, usize>,
        key: K,
        of: usize,
        place: &Spanned<T>,
        told: impl FnOnce() -> String,
    ) -> Result<(), Mistake> {
        match known.insert(key, of) {
            None => Ok(()),
            Some(_) => Err(self.mistake(place, told())),
        }
    }

    fn name(self, name: &Spanned<String>) -> Result<Arc<str>, Mistake> {
        if token::is_name(name.get_ref().as_bytes()) {
            Ok(name.get_ref().as_str().into())
        } else {
            Err(self.mistake(name, format!("name: {}", token::EXPECTED_NAME)))
        }
    }

    fn tokens<'a>(
        self,
        written: &'a [Spanned<String>],
        known: &mut HashSet<&'a str>,
    ) -> Result<Vec<Hash>, Mistake> {
        if let Some(more) = written.get(MAX_TOKENS) {
            let message = format!("tokens: expected at most {MAX_TOKENS} for one principal");
            return Err(self.mistake(more, message));
        }
        let hash = |token: &'a Spanned<String>| {
            let hash = Hash::parse(token.get_ref())
                .map_err(|why| self.mistake(token, format!("tokens: {why}")))?;
            if known.insert(token.get_ref()) {
                Ok(hash)
            } else {
                Err(self.mistake(token, "tokens: this hash is there twice"))
            }
        };
        written.iter().map(hash).collect()
    }

    /// The id of a user, who may be named.
    fn uid(self, written: &Spanned<Value>) -> Result<u32, Mistake> {
        let expected = "uids: expected the number or the name of a user";
        match written.get_ref() {
            Value::Integer(number) => {
                u32::try_from(*number).map_err(|_| self.mistake(written, expected))
            }
            Value::String(name) => match User::from_name(name) {
                Ok(Some(user)) => Ok(user.uid.as_raw()),
                Ok(None) => {
                    Err(self.mistake(written, format!("uids: there is no user \"{name}\"")))
                }
                Err(error) => {
                    let message = format!("uids: cannot look up the user \"{name}\": {error}");
                    Err(self.mistake(written, message))
                }
            },
            _ => Err(self.mistake(written, expected)),
        }
    }

    fn patterns(self, right: &str, written: &[Spanned<String>]) -> Result<Patterns, Mistake> {
        for pattern in written {
            let is_byte = |byte: u8| byte == b'*' || TubeName::new(&[b'a', byte]).is_ok();
            let text = pattern.get_ref();
            if !(1..=MAX_TUBE_NAME).contains(&text.len()) || !text.bytes().all(is_byte) {
                let message = format!(
                    "{right}: expected 1 to {MAX_TUBE_NAME} characters from A-Z a-z 0-9 - + / ; . $ _ ( ), \
                     and * for any"
                );
                return Err(self.mistake(pattern, message));
            }
            if text.starts_with('-') {
                let message = format!("{right}: no name of a tube begins with -");
                return Err(self.mistake(pattern, message));
            }
        }
        Ok(Patterns::new(written.iter().map(|pattern| pattern.get_ref().as_str().into())))
    }

    fn limits(self, written: [Option<&Spanned<i64>>; 3]) -> Result<Limits, Mistake> {
        let [connections, commands, bytes] = written;
        Ok(Limits {
            connections: self.limit("max-connections", connections, u32::MAX)?,
            commands_per_second: self.limit("commands-per-second", commands, u32::MAX)?,
            bytes: self.limit("max-bytes", bytes, u64::MAX)?,
        })
    }

    /// A number of at least 1; TOML has none above 2^63 - 1.
    fn limit<T: TryFrom<i64> + Into<u64>>(
        self,
        name: &str,
        written: Option<&Spanned<i64>>,
        most: T,
    ) -> Result<Option<T>, Mistake> {
        let Some(written) = written else { return Ok(None) };
        let number = Some(*written.get_ref()).filter(|number| *number > 0);
        if let Some(number) = number.and_then(|number| T::try_from(number).ok()) {
            return Ok(Some(number));
        }
        let most = most.into().min(i64::MAX as u64);
        let message =
            format!("{name}: expected a whole number from 1 to {most}, not {}", written.get_ref());
        Err(self.mistake(written, message))
    }
}

#[cfg(test)]
pub(super) mod tests;
