//! Secrets that the configuration refers to and does not contain: they are in files or in the environment.
//!
//! A secret in a file is read again when the file has changed, when the secret is needed next. What is in the
//! file then may be of no use: the earlier secret stays in use, and the log says so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jq_tls::{FileError, Reread};
use tracing::warn;

/// Longest secret, in bytes: what servers take as a line of a request's head.
const MAX_SECRET: usize = 8 * 1024;

/// What a file with a secret has in it, for people.
const WHAT: &str = "the secret";

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In this file, without the blanks and line ends around it.
    File(PathBuf),
    /// In this variable of the worker's environment.
    Env(String),
}

/// A secret, as it is now. It is not shown, whoever asks.
#[derive(Debug)]
pub struct Secret {
    source: Source,
    kept: Reread<Arc<Hidden>>,
}

/// A text that no log shows.
pub(super) struct Hidden(String);

impl Secret {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// It is not there, is empty, longer than 8 KiB, or has characters other than visible ASCII and blanks in
    /// it. The error does not show it.
    pub fn new(source: Source) -> Result<Self, BadSource> {
        let paths = match &source {
            Source::File(path) => vec![path.clone()],
            Source::Env(_) => Vec::new(),
        };
        let secret = Self { source, kept: Reread::named(["a secret", "secrets"], paths) };
        secret.get()?;
        Ok(secret)
    }

    /// The secret. Reads its file if that has changed.
    pub(super) fn get(&self) -> Result<Arc<Hidden>, BadSource> {
        self.kept.get(|| self.read()).map_err(|error| BadSource(error.to_string()))
    }

    fn read(&self) -> Result<Arc<Hidden>, FileError> {
        let (text, path) = match &self.source {
            Source::Env(name) => {
                let bad = |why: &str| {
                    FileError::new("the environment", Path::new(""), format!("{name} {why}"))
                };
                let text = std::env::var(name).map_err(|error| match error {
                    std::env::VarError::NotPresent => bad("is not set"),
                    std::env::VarError::NotUnicode(_) => bad("is not UTF-8"),
                })?;
                return usable(&text).map_err(|why| bad(&why));
            }
            Source::File(path) => (jq_tls::read(WHAT, path)?, path),
        };
        if jq_tls::is_exposed(path) {
            warn!(file = %path.display(), "every user of this machine can read the secret");
        }
        let text = str::from_utf8(&text).map_err(|_| "is not UTF-8".to_owned());
        let bad = |why| FileError::new(WHAT, path, why);
        text.and_then(usable).map_err(bad)
    }
}

/// A text as a secret, if it can be one.
fn usable(text: &str) -> Result<Arc<Hidden>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() > MAX_SECRET {
        return Err(format!("has more than {MAX_SECRET} bytes"));
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("has more in it than one line of visible ASCII characters".to_owned());
    }
    Ok(Arc::new(Hidden(text.to_owned())))
}

impl Hidden {
    /// The text, for the one to whom it is shown.
    pub(super) fn show(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A secret cannot be had. The message does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSource(String);

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSource {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_secret_is_refused_and_no_secret_is_shown() {
        assert_eq!(usable(" s3cret value\r\n").unwrap().show(), "s3cret value");
        for (text, why) in [
            ("", "empty"),
            (" \n", "empty"),
            ("s3cret\ns3cret", "one line"),
            ("s3cret\u{e9}", "visible ASCII"),
            ("s3cret\0", "visible ASCII"),
            (&"s3cret".repeat(2000), "more than 8192"),
        ] {
            let said = usable(text).unwrap_err();
            assert!(said.contains(why) && !said.contains("s3cret"), "{said}");
        }
        let path = Source::Env("PATH".to_owned());
        let shown = format!("{:?}", Secret::new(path).unwrap());
        assert!(shown.contains("(hidden)") && !shown.contains("/bin"), "{shown}");
        let unset = Secret::new(Source::Env("JQ_NOBODY_SETS_THIS".to_owned())).unwrap_err();
        assert_eq!(unset.to_string(), "the environment: JQ_NOBODY_SETS_THIS is not set");
        let missing = Secret::new(Source::File("/nowhere/secret".into())).unwrap_err();
        assert!(missing.to_string().starts_with("the secret /nowhere/secret: "), "{missing}");
    }
}
