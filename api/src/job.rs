//! What a queued job says: the schema, its older forms, and why a body is none.
//!
//! A job names a *type*, never a command, an environment or a secret: what a type runs is the
//! worker's configuration. So nothing that is read here is ever a path or a program.
//!
//! Owns: names, forms and limits of the members. Must not know: the queue, or what becomes of a
//! job.

mod wire;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

/// Longest job type, in bytes.
pub const MAX_TYPE: usize = 100;

/// Longest URL in a job, in bytes.
pub const MAX_URL: usize = 8192;

/// Longest time limit of a job, in seconds: 90 days.
pub const MAX_TIMEOUT: u32 = 90 * 24 * 3600;

/// Most retries that a job can ask for.
pub const MAX_RETRY: u32 = 1000;

/// A job, checked.
#[derive(Debug, Clone)]
pub struct Job {
    /// Names the job and its result; chosen by who queues it.
    pub id: Uuid,
    /// What is to be run, by its name in the worker's configuration.
    pub kind: JobType,
    /// Where its input is.
    pub input: Option<Input>,
    /// Where its result goes. `None`: it is served by the worker only.
    pub result: Option<Target>,
    /// Inline input, any JSON, as it was written.
    pub args: Option<Box<RawValue>>,
    /// When it was queued, as its producer says.
    pub created_at: Option<Timestamp>,
    /// From when on nobody wants the result any more: the job is dismissed then.
    pub expires_at: Option<Timestamp>,
    /// How long the process may run, at most [`MAX_TIMEOUT`] seconds. `None`: as configured.
    pub timeout: Option<Duration>,
    /// How often it is tried again after it failed. `None`: as configured.
    pub retry: Option<u32>,
    /// Who is told when it is over.
    pub callback: Callback,
    /// Whatever its producer wants to see again in the result, as it was written.
    pub custom: Option<Box<RawValue>>,
}

impl Job {
    /// Reads the body of a queued job.
    ///
    /// # Errors
    ///
    /// Says which member is wrong and what was expected, and whose result could be told so.
    pub fn parse(body: &[u8]) -> Result<Self, Box<BadJob>> {
        wire::parse(body)
    }

    /// The job as its process reads it: one JSON object on one line, in the current form. `data`,
    /// if there is any, is the fetched input, any JSON.
    pub fn document(&self, attempt: u32, data: Option<&RawValue>) -> Vec<u8> {
        let input = self.input.as_ref().map(|input| wire::DocumentInput {
            url: &input.url,
            digest: input.digest.as_deref(),
            data,
        });
        let document = wire::Document {
            id: self.id,
            kind: &self.kind,
            attempt,
            input,
            args: self.args.as_deref(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            custom: self.custom.as_deref(),
        };
        let mut text = serde_json::to_vec(&document).expect("a job has no keys that are not text");
        // A line is what persistent handlers read. Only white space between tokens can be a line
        // feed here: within a string JSON escapes it.
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
    /// Its text.
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

/// A text is no [`JobType`].
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

/// Where an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Whole, with its scheme.
    pub url: Url,
    /// What it must hash to, as in RFC 9530: `sha-256=:BASE64:`. Not checked yet.
    pub digest: Option<String>,
}

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Whole, with its scheme.
    pub url: Url,
    /// How it is sent: PUT unless the job says otherwise.
    #[serde(default)]
    pub method: Method,
}

/// How a result is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Puts it there: doing it twice is as doing it once.
    #[default]
    Put,
    /// Hands it to what is there.
    Post,
}

/// Who is told when a job is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Callback {
    /// When it succeeded.
    pub success: Option<Url>,
    /// When it failed or was dismissed.
    pub failed: Option<Url>,
}

/// A body is no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadJob {
    /// What is wrong, and what was expected.
    pub reason: String,
    /// Its id, if that could be read.
    pub id: Option<Uuid>,
    /// Its type, if that could be read.
    pub kind: Option<JobType>,
    /// Where its result was to go, if that could be read.
    pub result: Option<Target>,
}

impl fmt::Display for BadJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for BadJob {}

#[cfg(test)]
mod tests;
