//! The result document.
//!
//! Owns: the members of the document and their order. Must not know: how a result came about or
//! where it goes.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

use crate::artifact::Artifact;
use crate::job::JobType;

/// A result document. Every member is always there, except `output_note`, `notes`, `progress`, `custom`,
/// `job_digest`,
/// `previous`, `inputs` and `artifacts`; what is not known is null.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobResult {
    /// The id of the job.
    pub id: Uuid,
    /// The type of the job; null if it could not be read.
    #[serde(rename = "type")]
    pub kind: Option<JobType>,
    /// The status of the job.
    pub status: Status,
    /// The time of this status. With a final status it equals `finished`.
    #[serde(with = "milliseconds")]
    pub timestamp: Timestamp,
    /// When the job was queued: according to its producer, or otherwise derived from its age in the
    /// queue.
    #[serde(with = "milliseconds::optional")]
    pub created: Option<Timestamp>,
    /// When the process of its last attempt was started.
    #[serde(with = "milliseconds::optional")]
    pub started: Option<Timestamp>,
    /// When the job was over.
    #[serde(with = "milliseconds::optional")]
    pub finished: Option<Timestamp>,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The attempts that this worker knows to be over, oldest first; at most [`MAX_ATTEMPTS`].
    #[serde(default)]
    pub attempts: Vec<AttemptMade>,
    /// The exit status, if the process exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the process, if one did.
    pub signal: Option<i32>,
    /// The worker that ran the job.
    pub worker: WorkerName,
    /// Where the job was queued. Null for a job that was run from a file.
    pub queue: Option<QueuePlace>,
    /// The input that was fetched for the job.
    pub input: Option<InputUsed>,
    /// The further inputs that were fetched for it, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputUsed>,
    /// The output of the process: any JSON.
    pub output: Option<Box<RawValue>>,
    /// Why there is none, where that could surprise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_note: Option<String>,
    /// The files that the process left besides. Only in a final result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// The end of its standard output.
    pub stdout: Option<Written>,
    /// The end of its standard error.
    pub stderr: Option<Written>,
    /// The time and memory that it took.
    pub usage: Option<Usage>,
    /// What of the job, or of the artifacts, was left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// From 0 to 100, as the process reports it. Only while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// The job's `custom`, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Box<RawValue>>,
    /// What the job asked for, as a digest: another job of its id with the same one is the same. Only in a
    /// final result of a job that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_digest: Option<String>,
    /// The result of the job before it was run again. Only until there is a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Why the job did not succeed.
    pub error: Option<Failure>,
}

impl JobResult {
    /// The document of a job whose process was not started. Its timestamp is now.
    pub fn blank(
        id: Uuid,
        kind: Option<JobType>,
        status: Status,
        worker: WorkerName,
        attempt: u32,
        created: Option<Timestamp>,
        queue: Option<QueuePlace>,
    ) -> Self {
        Self {
            id,
            kind,
            status,
            timestamp: Timestamp::now(),
            created,
            started: None,
            finished: None,
            attempt,
            attempts: Vec::new(),
            exit_code: None,
            signal: None,
            worker,
            queue,
            input: None,
            inputs: BTreeMap::new(),
            output: None,
            output_note: None,
            artifacts: Vec::new(),
            stdout: None,
            stderr: None,
            usage: None,
            notes: Vec::new(),
            progress: None,
            custom: None,
            job_digest: None,
            previous: None,
            error: None,
        }
    }

    /// Adds an attempt to the list. When it is full, the oldest goes.
    pub fn record(&mut self, made: AttemptMade) {
        let excess = (self.attempts.len() + 1).saturating_sub(MAX_ATTEMPTS);
        self.attempts.drain(..excess);
        self.attempts.push(made);
    }

    /// The document as it is served and sent.
    pub fn to_json(&self) -> Bytes {
        let mut text = serde_json::to_vec(self).expect("a result has no keys that are not text");
        text.push(b'\n');
        text.into()
    }
}

/// An earlier result of a job that is run again. The document itself is at `?previous` behind the job's URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// What it says.
    pub status: FinalStatus,
    /// When the job was over.
    #[serde(with = "milliseconds")]
    pub finished: Timestamp,
}

/// Most attempts that a result lists.
pub const MAX_ATTEMPTS: usize = 20;

/// An attempt at a job that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptMade {
    /// The first is 1.
    pub attempt: u32,
    /// When its process was started, if it was.
    #[serde(with = "milliseconds::optional")]
    pub started: Option<Timestamp>,
    /// When it was over.
    #[serde(with = "milliseconds")]
    pub finished: Timestamp,
    /// The exit status, if the process exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the process, if one did.
    pub signal: Option<i32>,
    /// Why it failed, if it did; in about 500 bytes.
    pub message: Option<String>,
    /// The name of the worker that made it.
    pub worker: String,
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The worker has accepted the job, but not started its process yet.
    Accepted,
    /// Its process is running.
    Running,
    /// Its process succeeded.
    Successful,
    /// It failed, and will not be retried.
    Failed,
    /// It expired before it was run.
    Dismissed,
    /// Somebody has cancelled it.
    Cancelled,
}

/// The outcome of a job that is over: a [`Status`] that does not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinalStatus {
    /// See [`Status::Successful`].
    Successful,
    /// See [`Status::Failed`].
    Failed,
    /// See [`Status::Dismissed`].
    Dismissed,
    /// See [`Status::Cancelled`].
    Cancelled,
}

impl From<FinalStatus> for Status {
    fn from(status: FinalStatus) -> Self {
        match status {
            FinalStatus::Successful => Self::Successful,
            FinalStatus::Failed => Self::Failed,
            FinalStatus::Dismissed => Self::Dismissed,
            FinalStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl FinalStatus {
    /// The name as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        Status::from(self).as_str()
    }
}

impl Status {
    /// The name as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Successful => "successful",
            Self::Failed => "failed",
            Self::Dismissed => "dismissed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a job did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The cause of the failure.
    pub kind: FailureKind,
    /// A description for people.
    pub message: String,
}

impl Failure {
    /// A failure of this kind. A message longer than [`MAX_MESSAGE`] is truncated.
    pub fn new(kind: FailureKind, message: impl ToString) -> Self {
        Self { kind, message: shortened(message.to_string()) }
    }
}

/// Maximum length of a failure's message, in bytes. Messages are kept in results, logs and memory,
/// and third parties control parts of them.
pub const MAX_MESSAGE: usize = 4096;

/// Truncates a message that is longer than [`MAX_MESSAGE`].
pub fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
        message.push_str(" ...");
        // It may be kept for long.
        message.shrink_to_fit();
    }
    message
}

/// Why a job did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The process reported a failure, was ended by a signal, or its output is unusable.
    Executor,
    /// The process reached its time limit.
    Timeout,
    /// The job is malformed, expired or of an unknown type, or its input cannot be fetched.
    Input,
    /// The result cannot, or must not, be sent to its URL.
    Publish,
    /// A problem of this machine: for example, no process could be started, or the disk is full.
    System,
    /// The lease was lost: another worker may have the job.
    LeaseLost,
    /// Workers died while it ran.
    Crashed,
    /// Somebody has cancelled it.
    Cancelled,
}

impl FailureKind {
    /// The name as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executor => "executor",
            Self::Timeout => "timeout",
            Self::Input => "input",
            Self::Publish => "publish",
            Self::System => "system",
            Self::LeaseLost => "lease_lost",
            Self::Crashed => "crashed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The worker that ran a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerName {
    /// The configured id; by default the host name.
    pub id: String,
    /// The version of jq-worker.
    pub version: String,
}

impl WorkerName {
    /// This program, with this id.
    pub fn ours(id: &str) -> Self {
        Self { id: id.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// Where a job was queued.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueuePlace {
    /// The id of the job in the queue.
    pub job: u64,
    /// The tube.
    pub tube: String,
    /// The server, as configured.
    pub server: String,
}

/// The input that was fetched for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputUsed {
    /// Its URL.
    pub url: Url,
    /// Its digest (RFC 9530); null if it was not fetched.
    pub digest: Option<String>,
}

/// The output of a process to standard output or standard error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Written {
    /// The end of the output. Bytes that are not UTF-8 are replaced.
    pub tail: String,
    /// Total size of the output, in bytes.
    pub bytes: u64,
    /// Whether `tail` is incomplete.
    pub truncated: bool,
}

impl Written {
    /// With no more of its end than so many bytes.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        if self.tail.len() <= bytes {
            return self;
        }
        let mut begins = self.tail.len() - bytes..=self.tail.len();
        let begin = begins.find(|at| self.tail.is_char_boundary(*at)).unwrap_or(self.tail.len());
        Self { tail: self.tail[begin..].to_owned(), truncated: true, ..self }
    }
}

/// Time and memory that a process took, with all of its descendants as far as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end, in milliseconds.
    pub wall_ms: u64,
    /// Processor time in milliseconds. Null for a persistent process, which runs many jobs.
    pub cpu_ms: Option<u64>,
    /// Largest resident memory of one process, in bytes. Null as above.
    pub max_rss_bytes: Option<u64>,
}

/// The strong entity tag of a document, without quotes.
pub fn entity_tag(body: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(body);
    hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Times in results are always in UTC with milliseconds: `2026-11-22T12:03:10.120Z`.
mod milliseconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{time:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(from)
    }

    pub(super) mod optional {
        use super::{Deserialize, Deserializer, Serializer, Timestamp};

        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<Timestamp>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, to),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            Option::deserialize(from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_their_order() {
        let result = JobResult {
            id: "13775310-8f59-412e-aa2c-549a20077664".parse().unwrap(),
            kind: Some("sailor".parse().unwrap()),
            status: Status::Successful,
            timestamp: "2026-11-22T12:03:10.12Z".parse().unwrap(),
            created: None,
            started: Some("2026-11-22T12:03:06Z".parse().unwrap()),
            finished: Some("2026-11-22T12:03:10.12Z".parse().unwrap()),
            attempt: 1,
            attempts: vec![AttemptMade {
                attempt: 1,
                started: Some("2026-11-22T12:03:06Z".parse().unwrap()),
                finished: "2026-11-22T12:03:10.12Z".parse().unwrap(),
                exit_code: Some(0),
                signal: None,
                message: None,
                worker: "w".into(),
            }],
            exit_code: Some(0),
            signal: None,
            worker: WorkerName { id: "w".into(), version: "0.1.0".into() },
            queue: Some(QueuePlace { job: 77, tube: "t".into(), server: "s:1".into() }),
            input: None,
            inputs: BTreeMap::new(),
            output: Some(RawValue::from_string("{\"series\":[]}".into()).unwrap()),
            output_note: None,
            artifacts: Vec::new(),
            stdout: Some(Written { tail: "x".into(), bytes: 812, truncated: true }),
            stderr: None,
            usage: Some(Usage {
                wall_ms: 4120,
                cpu_ms: Some(3900),
                max_rss_bytes: Some(52_428_800),
            }),
            notes: Vec::new(),
            progress: None,
            custom: None,
            job_digest: None,
            previous: None,
            error: Some(Failure::new(FailureKind::LeaseLost, "gone")),
        };
        let expected = concat!(
            r#"{"id":"13775310-8f59-412e-aa2c-549a20077664","type":"sailor","status":"successful","#,
            r#""timestamp":"2026-11-22T12:03:10.120Z","created":null,"#,
            r#""started":"2026-11-22T12:03:06.000Z","finished":"2026-11-22T12:03:10.120Z","#,
            r#""attempt":1,"attempts":[{"attempt":1,"started":"2026-11-22T12:03:06.000Z","#,
            r#""finished":"2026-11-22T12:03:10.120Z","exit_code":0,"signal":null,"message":null,"#,
            r#""worker":"w"}],"exit_code":0,"signal":null,"worker":{"id":"w","version":"0.1.0"},"#,
            r#""queue":{"job":77,"tube":"t","server":"s:1"},"input":null,"#,
            r#""output":{"series":[]},"stdout":{"tail":"x","bytes":812,"truncated":true},"#,
            r#""stderr":null,"usage":{"wall_ms":4120,"cpu_ms":3900,"max_rss_bytes":52428800},"#,
            r#""error":{"kind":"lease_lost","message":"gone"}}"#,
            "\n"
        );
        let text = result.to_json();
        assert_eq!(text, expected);
        let back: JobResult = serde_json::from_slice(&text).unwrap();
        assert_eq!(back.to_json(), expected);
        let made = concat!(
            r#""artifacts":[{"name":"a/plot.png","type":"image/png","bytes":7,"digest":"sha-256=:x:","#,
            r#""url":"http://h/13775310-8f59-412e-aa2c-549a20077664/a/plot.png"}],"stdout""#,
        );
        let inputs = r#""inputs":{"map":{"url":"http://h/m","digest":null}},"output""#;
        let expected = expected.replace(r#""stdout""#, made).replace(r#""output""#, inputs);
        let back: JobResult = serde_json::from_str(&expected).unwrap();
        assert_eq!((back.artifacts.len(), back.inputs.len()), (1, 1));
        assert_eq!(back.to_json(), expected);
    }

    #[test]
    fn the_latest_attempts_are_listed() {
        let worker = WorkerName { id: "w".into(), version: "1".into() };
        let status = Status::Accepted;
        let mut document = JobResult::blank(Uuid::nil(), None, status, worker, 1, None, None);
        for attempt in 1..=50 {
            document.record(AttemptMade {
                attempt,
                started: None,
                finished: document.timestamp,
                exit_code: Some(3),
                signal: None,
                message: None,
                worker: "w".into(),
            });
        }
        let listed: Vec<u32> = document.attempts.iter().map(|made| made.attempt).collect();
        assert_eq!(listed, (31..=50).collect::<Vec<_>>());
    }

    #[test]
    fn a_tail_can_be_cut() {
        let written = |tail: &str| Written { tail: tail.into(), bytes: 99, truncated: false };
        assert_eq!(written("abc").cut(3), written("abc"));
        let cut = written("a\u{e9}bc").cut(3);
        assert_eq!((cut.tail.as_str(), cut.bytes, cut.truncated), ("bc", 99, true));
        assert_eq!(written("abc").cut(0).tail, "");
    }

    #[test]
    fn a_tag_is_of_the_bytes() {
        let tag = entity_tag(b"abc");
        assert_eq!(tag, "ba7816bf8f01cfea414140de5dae2223");
        assert_ne!(entity_tag(b"abd"), tag);
    }
}
