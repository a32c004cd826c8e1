//! Digests of content, as HTTP writes them (RFC 9530): `sha-256=:BASE64:`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// The expected or actual digest of content: SHA-256 or SHA-512.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Value);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Sha256([u8; 32]),
    // Boxed, because it would double the size of every error that can contain one.
    Sha512(Box<[u8; 64]>),
}

/// A string is not a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadDigest {
    /// Not of the form `NAME=:BASE64:`.
    Form,
    /// Only algorithms that are unknown here or no longer trusted.
    Algorithm,
    /// The part between the colons is not base64.
    Base64,
    /// It decodes to a different number of bytes than the algorithm produces.
    Length {
        /// The length that the algorithm produces, in bytes.
        expected: usize,
        /// The decoded length, in bytes.
        found: usize,
    },
}

impl fmt::Display for BadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("a digest is written as sha-256=:BASE64:"),
            Self::Algorithm => f.write_str("a digest is one of sha-256 and sha-512"),
            Self::Base64 => f.write_str("the digest is not base64 between the colons"),
            Self::Length { expected, found } => {
                write!(f, "the digest has {found} bytes and should have {expected}")
            }
        }
    }
}

impl std::error::Error for BadDigest {}

impl Digest {
    /// The SHA-256 of the content.
    #[must_use]
    pub fn sha256(content: &[u8]) -> Self {
        Self(Value::Sha256(Sha256::digest(content).into()))
    }

    /// Whether the content has this digest.
    #[must_use]
    pub fn matches(&self, content: &[u8]) -> bool {
        let mut hasher = Hasher::like(Some(self));
        hasher.update(content);
        hasher.finish() == *self
    }

    /// The name of its algorithm, such as "sha-256".
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Value::Sha256(_) => "sha-256",
            Value::Sha512(_) => "sha-512",
        }
    }

    fn parse_member(name: &str, value: &str) -> Result<Self, BadDigest> {
        let base64 = value
            .strip_prefix(':')
            .and_then(|rest| rest.strip_suffix(':'))
            .ok_or(BadDigest::Form)?;
        let wrong_length = |found: Vec<u8>, expected| {
            let found = found.len();
            BadDigest::Length { expected, found }
        };
        let decode = || STANDARD.decode(base64).map_err(|_| BadDigest::Base64);
        Ok(Self(match name {
            "sha-256" => {
                Value::Sha256(decode()?.try_into().map_err(|found| wrong_length(found, 32))?)
            }
            "sha-512" => {
                Value::Sha512(decode()?.try_into().map_err(|found| wrong_length(found, 64))?)
            }
            _ => return Err(BadDigest::Algorithm),
        }))
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    /// Parses one digest, or several separated by commas as in the header. The strongest one that
    /// is known here counts.
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut best: Option<Self> = None;
        for member in text.split(',') {
            let (name, value) = member.trim_ascii().split_once('=').ok_or(BadDigest::Form)?;
            match Self::parse_member(name, value) {
                // Names sort by strength.
                Ok(digest) if best.as_ref().is_none_or(|b| b.algorithm() < digest.algorithm()) => {
                    best = Some(digest);
                }
                Ok(_) | Err(BadDigest::Algorithm) => {}
                Err(error) => return Err(error),
            }
        }
        best.ok_or(BadDigest::Algorithm)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match &self.0 {
            Value::Sha256(bytes) => bytes,
            Value::Sha512(bytes) => bytes.as_slice(),
        };
        write!(f, "{}=:{}:", self.algorithm(), STANDARD.encode(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Computes a digest while content arrives.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher of the same algorithm as `expected`; SHA-256 if there is none.
    pub(crate) fn like(expected: Option<&Digest>) -> Self {
        match expected.map(|digest| &digest.0) {
            Some(Value::Sha512(_)) => Self::Sha512(Sha512::new()),
            Some(Value::Sha256(_)) | None => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, content: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(content),
            Self::Sha512(hasher) => hasher.update(content),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(match self {
            Self::Sha256(hasher) => Value::Sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Value::Sha512(Box::new(hasher.finalize().into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 9530, section 2: the digest of `{"hello": "world"}` and a line feed.
    const CONTENT: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const SHA512: &str = "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCs\
                          yRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";

    #[test]
    fn the_examples_of_the_rfc() {
        for text in [SHA256, SHA512] {
            let digest: Digest = text.parse().unwrap();
            assert!(digest.matches(CONTENT), "{text}");
            assert!(!digest.matches(b"{\"hello\": \"world\"}"), "{text}");
            assert_eq!(digest.to_string(), text);
        }
        assert_eq!(Digest::sha256(CONTENT).to_string(), SHA256);
    }

    #[test]
    fn the_strongest_of_several_counts_and_unknown_ones_are_passed_over() {
        for text in [
            format!("{SHA256}, {SHA512}"),
            format!("{SHA512},{SHA256}"),
            format!("md5=:AAAA:, {SHA512}"),
        ] {
            assert_eq!(text.parse::<Digest>().unwrap().to_string(), SHA512, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_digest_is_said_to_be_none() {
        for (text, error) in [
            ("", BadDigest::Form),
            ("sha-256", BadDigest::Form),
            ("sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=", BadDigest::Form),
            ("sha-256=:", BadDigest::Form),
            ("sha-256=::", BadDigest::Length { expected: 32, found: 0 }),
            ("sha-256=:not base64:", BadDigest::Base64),
            ("sha-256=:AAAA:", BadDigest::Length { expected: 32, found: 3 }),
            ("sha-512=:AAAA:", BadDigest::Length { expected: 64, found: 3 }),
            ("md5=:AAAA:", BadDigest::Algorithm),
            ("SHA-256=:AAAA:", BadDigest::Algorithm),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }

    #[test]
    fn as_json_it_is_its_text() {
        let json = format!("{SHA256:?}");
        let digest: Digest = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), json);
        let error = serde_json::from_str::<Digest>("\"sha-256=:AAAA:\"").unwrap_err();
        assert!(error.to_string().contains("should have 32"), "{error}");
    }
}
