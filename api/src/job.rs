//! The body of a queued job: its schema, its older forms, and why a body is invalid.
//!
//! A job names a *type*, never a command, an environment or a secret: the worker's configuration
//! says what a type runs. So nothing that is read here is ever a path or a program.
//!
//! Owns: the names, formats and limits of the members. Must not know: the queue, or the outcome of
//! a job.

mod files;
mod identity;
mod then;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

use crate::artifact::ArtifactName;

pub use then::{Filling, Follower, Following, MAX_THEN, MAX_THEN_DEPTH};

/// Maximum length of a job type, in bytes.
pub const MAX_TYPE: usize = 100;

/// Maximum length of a URL in a job, in bytes.
pub const MAX_URL: usize = 8192;

/// Maximum time limit of a job, in seconds: 90 days.
pub const MAX_TIMEOUT: u32 = 90 * 24 * 3600;

/// Maximum number of retries that a job can request.
pub const MAX_RETRY: u32 = 1000;

/// Most further inputs of a job, and most artifacts that it wants to be sent.
pub const MAX_FILES: usize = 100;

/// Maximum length of the name of a further input, in bytes.
pub const MAX_INPUT_NAME: usize = 255;

/// A validated job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Identifies the job and its result; chosen by the producer.
    pub id: Uuid,
    /// What to run, by its name in the worker's configuration.
    pub kind: JobType,
    /// The input to fetch.
    pub input: Option<Input>,
    /// Further inputs to fetch, by the names that their files get; at most [`MAX_FILES`].
    pub inputs: BTreeMap<String, Input>,
    /// Where to send artifacts, by their names; at most [`MAX_FILES`].
    pub artifacts: BTreeMap<ArtifactName, Target>,
    /// Where to send the result. `None`: only the worker serves it.
    pub result: Option<Target>,
    /// Inline input: any JSON, as it was written.
    pub args: Option<Box<RawValue>>,
    /// When it was queued, according to its producer.
    pub created_at: Option<Timestamp>,
    /// After this moment the result is of no use: the job is dismissed.
    pub expires_at: Option<Timestamp>,
    /// Time limit of the process, at most [`MAX_TIMEOUT`] seconds. `None`: as configured.
    pub timeout: Option<Duration>,
    /// Maximum number of retries after a failure. `None`: as configured.
    pub retry: Option<u32>,
    /// The URLs to call when it is over.
    pub callback: Callback,
    /// Any JSON that the producer wants to find in the result, as it was written.
    pub custom: Option<Box<RawValue>>,
    /// When it was queued anew: no result of before answers it. It makes the job no other one.
    pub rerun_at: Option<Timestamp>,
    /// What is queued when it is successful.
    pub then: Vec<Follower>,
    /// What of it was left out, and why: members that only inform, and are not what they should be.
    pub notes: Vec<String>,
}

impl Job {
    /// Parses the body of a queued job.
    ///
    /// # Errors
    ///
    /// If the body is invalid: which member is wrong, what was expected, and as much of the job's
    /// identity as could be read.
    pub fn parse(body: &[u8]) -> Result<Self, Box<BadJob>> {
        wire::parse(body)
    }

    /// Where its result goes; or, if it goes nowhere, the first of its artifacts.
    pub fn first_target(&self) -> Option<&Target> {
        self.result.as_ref().or_else(|| self.artifacts.values().next())
    }

    /// What it asks for, in 32 hexadecimal digits: all of its members but the time at which it was queued.
    /// `args` and `custom` count as they are written.
    pub fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        let text = |it: Option<&dyn fmt::Display>| it.map(ToString::to_string);
        let url = |url: Option<&Url>| url.map(ToString::to_string);
        let raw = |raw: Option<&RawValue>| raw.map(|raw| raw.get().to_owned());
        let (input, result) = (self.input.as_ref(), self.result.as_ref());
        let seconds = self.timeout.map(|it| it.as_secs());
        let mut members = vec![
            text(Some(&self.id)),
            text(Some(&self.kind)),
            url(input.map(|input| &input.url)),
            input.and_then(|input| input.digest.clone()),
            url(result.map(|target| &target.url)),
            result.map(|target| format!("{:?}", target.method)),
            raw(self.args.as_deref()),
            text(self.expires_at.as_ref().map(|it| it as _)),
            text(seconds.as_ref().map(|it| it as _)),
            text(self.retry.as_ref().map(|it| it as _)),
            url(self.callback.success.as_ref()),
            url(self.callback.failed.as_ref()),
            raw(self.custom.as_deref()),
        ];
        // Without any, the digest is as it was before there were such members.
        for (name, input) in &self.inputs {
            members.push(Some(format!("input {name}")));
            members.extend([url(Some(&input.url)), input.digest.clone()]);
        }
        for (name, target) in &self.artifacts {
            members.push(Some(format!("artifact {name}")));
            members.extend([url(Some(&target.url)), Some(format!("{:?}", target.method))]);
        }
        for follower in &self.then {
            members.extend([Some("then".to_owned()), follower.tube.clone(), Some(follower.text())]);
        }
        let mut hasher = Sha256::new();
        for member in members {
            // With their lengths, so that none can look like the end of another.
            let length = member.as_ref().map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(length.to_le_bytes());
            hasher.update(member.unwrap_or_default());
        }
        hasher.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The job as its process reads it: one JSON object on one line, in the current form. `data` is
    /// the fetched input, any JSON, if there is any.
    pub fn document(&self, attempt: u32, data: Option<&RawValue>) -> Vec<u8> {
        let input = self.input.as_ref().map(|input| wire::DocumentInput::of(input, data));
        let inputs = self.inputs.iter();
        let inputs = inputs.map(|(name, input)| (&**name, wire::DocumentInput::of(input, None)));
        let document = wire::Document {
            id: self.id,
            kind: &self.kind,
            attempt,
            input,
            inputs: inputs.collect(),
            args: self.args.as_deref(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            custom: self.custom.as_deref(),
        };
        let mut text = serde_json::to_vec(&document).expect("a job has no keys that are not text");
        // Persistent handlers read lines. Only white space between tokens can be a line feed here:
        // within strings, JSON escapes it.
        for byte in &mut text {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        text
    }
}

/// The name of a job type: 1 to [`MAX_TYPE`] letters, digits, `_`, `-` and `.`, beginning with a
/// letter, digit or `_`. So it is never a path, an option or a hidden file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobType(String);

impl JobType {
    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobType {
    type Err = BadType;

    fn from_str(text: &str) -> Result<Self, BadType> {
        let first = text.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_');
        let rest = text.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it));
        if first && rest && text.len() <= MAX_TYPE {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadType(text.chars().take(MAX_TYPE).collect()))
        }
    }
}

impl TryFrom<String> for JobType {
    type Error = BadType;

    fn try_from(text: String) -> Result<Self, BadType> {
        text.parse()
    }
}

impl From<JobType> for String {
    fn from(kind: JobType) -> Self {
        kind.0
    }
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A string is not a [`JobType`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadType(String);

impl fmt::Display for BadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a job type: expected 1 to {MAX_TYPE} letters, digits, '_', '-' and '.', \
             not beginning with '-' or '.'",
            self.0
        )
    }
}

impl std::error::Error for BadType {}

/// An input to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// An absolute URL.
    pub url: Url,
    /// The expected digest in the form of RFC 9530: `sha-256=:BASE64:`. Not validated yet.
    pub digest: Option<String>,
}

/// Where to send a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// An absolute URL.
    pub url: Url,
    /// The HTTP method; by default PUT.
    #[serde(default)]
    pub method: Method,
}

/// The HTTP method that delivers a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Stores the result at the URL. Idempotent.
    #[default]
    Put,
    /// Submits the result to the resource at the URL.
    Post,
}

/// The URLs to call when a job is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Callback {
    /// Called when it succeeded.
    pub success: Option<Url>,
    /// Called when it failed or was dismissed.
    pub failed: Option<Url>,
}

/// A body is no job.
#[derive(Debug, Clone, Default)]
pub struct BadJob {
    /// What is wrong, and what was expected.
    pub reason: String,
    /// Its id, if that could be read.
    pub id: Option<Uuid>,
    /// Its type, if that could be read.
    pub kind: Option<JobType>,
    /// Where its result was to go, if that could be read.
    pub result: Option<Target>,
    /// Who is told that it failed, if that could be read.
    pub callback: Callback,
    /// See [`Job::custom`], if that could be read.
    pub custom: Option<Box<RawValue>>,
}

impl fmt::Display for BadJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for BadJob {}

#[cfg(test)]
mod tests;
