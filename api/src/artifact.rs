//! Artifacts: files that a process leaves besides its output.
//!
//! Owns: their names, and what a result tells of each. Must not know: where they are kept.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Maximum length of an artifact's name, in bytes.
pub const MAX_ARTIFACT_NAME: usize = 512;

/// Names that no artifact can have, because something else is at their URL.
pub const RESERVED_NAMES: [&str; 2] = ["log", "rerun"];

/// What need not be encoded in a path.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A file that a process left besides its output, as a result tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its path below the directory that the process left it in.
    pub name: ArtifactName,
    /// Its media type, guessed from its name.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest, in the form of RFC 9530: `sha-256=:BASE64:`.
    pub digest: String,
    /// Where it is served. Null if the worker serves no results.
    pub url: Option<String>,
}

/// The name of an artifact: a relative path of 1 to [`MAX_ARTIFACT_NAME`] bytes, whose parts are neither empty
/// nor `.` nor `..`, without control characters and backslashes, and none of [`RESERVED_NAMES`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactName(String);

impl ArtifactName {
    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it is behind the slash that follows the job's id in a URL.
    pub fn in_url(&self) -> String {
        utf8_percent_encode(&self.0, IN_PATH).to_string()
    }
}

/// A string is not an [`ArtifactName`]: why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// It is empty, or longer than [`MAX_ARTIFACT_NAME`] bytes.
    Length,
    /// It has a control character or a backslash.
    Character,
    /// One of its parts is empty, `.` or `..`.
    Part,
    /// It is one of [`RESERVED_NAMES`].
    Reserved,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "expected 1 to {MAX_ARTIFACT_NAME} bytes"),
            Self::Character => f.write_str("expected neither control characters nor backslashes"),
            Self::Part => f.write_str(
                "expected a relative path whose parts are neither empty nor \".\" nor \"..\"",
            ),
            Self::Reserved => {
                let [first, second] = RESERVED_NAMES;
                write!(f, "{first:?} and {second:?} have a meaning of their own behind a job's URL")
            }
        }
    }
}

impl std::error::Error for BadName {}

impl FromStr for ArtifactName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() || text.len() > MAX_ARTIFACT_NAME {
            return Err(BadName::Length);
        }
        if text.contains(|it: char| it.is_control() || it == '\\') {
            return Err(BadName::Character);
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(BadName::Part);
        }
        if RESERVED_NAMES.contains(&text) {
            return Err(BadName::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ArtifactName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<ArtifactName> for String {
    fn from(name: ArtifactName) -> Self {
        name.0
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["plot.png", "a/b/c.csv", "log.txt", "a/log", "...", "Größe 1%.csv", ".hidden"]
        {
            assert_eq!(name.parse::<ArtifactName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(MAX_ARTIFACT_NAME + 1);
        for (name, why) in [
            ("", BadName::Length),
            (&*long, BadName::Length),
            ("/etc/passwd", BadName::Part),
            ("a/", BadName::Part),
            ("a//b", BadName::Part),
            ("../a", BadName::Part),
            ("a/../b", BadName::Part),
            (".", BadName::Part),
            ("a\nb", BadName::Character),
            ("a\u{85}b", BadName::Character),
            ("a\\b", BadName::Character),
            ("log", BadName::Reserved),
            ("rerun", BadName::Reserved),
        ] {
            assert_eq!(name.parse::<ArtifactName>(), Err(why), "{name:?}");
        }
    }

    #[test]
    fn in_a_url_only_what_is_plain_stays_as_it_is() {
        let name: ArtifactName = "a b/Größe?1%#.csv".parse().unwrap();
        assert_eq!(name.in_url(), "a%20b/Gr%C3%B6%C3%9Fe%3F1%25%23.csv");
    }
}
