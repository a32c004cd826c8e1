//! What a result says.
//!
//! Owns: the members of the document and their order. Must not know: how a result came about or
//! where it goes.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

use crate::job::JobType;

/// A result document. Every member is always there, except `custom` and `progress`; what is not
/// known is null.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobResult {
    /// The job's.
    pub id: Uuid,
    /// The job's; null if it could not be read.
    #[serde(rename = "type")]
    pub kind: Option<JobType>,
    /// What became of it.
    pub status: Status,
    /// When this was true. With a final status it equals `finished`.
    #[serde(with = "milliseconds")]
    pub timestamp: Timestamp,
    /// When the job was queued: as its producer says, or else as its age in the queue tells.
    #[serde(with = "milliseconds::optional")]
    pub created: Option<Timestamp>,
    /// When the process of its last attempt was started.
    #[serde(with = "milliseconds::optional")]
    pub started: Option<Timestamp>,
    /// When it was over.
    #[serde(with = "milliseconds::optional")]
    pub finished: Option<Timestamp>,
    /// The first is 1.
    pub attempt: u32,
    /// The exit status, if the process exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the process, if one did.
    pub signal: Option<i32>,
    /// The worker that ran it.
    pub worker: WorkerName,
    /// Where it was queued. Null for a job that was run from a file.
    pub queue: Option<QueuePlace>,
    /// The input that was fetched for it.
    pub input: Option<InputUsed>,
    /// The output of the process: any JSON.
    pub output: Option<Box<RawValue>>,
    /// The end of its standard output.
    pub stdout: Option<Written>,
    /// The end of its standard error.
    pub stderr: Option<Written>,
    /// Time and memory that it took.
    pub usage: Option<Usage>,
    /// From 0 to 100, as the process reports it. Only while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// The job's, as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Box<RawValue>>,
    /// Why it did not succeed.
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
            exit_code: None,
            signal: None,
            worker,
            queue,
            input: None,
            output: None,
            stdout: None,
            stderr: None,
            usage: None,
            progress: None,
            custom: None,
            error: None,
        }
    }

    /// The document as it is served and sent.
    pub fn to_json(&self) -> Bytes {
        let mut text = serde_json::to_vec(self).expect("a result has no keys that are not text");
        text.push(b'\n');
        text.into()
    }
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// This worker has it, and has not started its process yet.
    Accepted,
    /// Its process runs.
    Running,
    /// Its process succeeded.
    Successful,
    /// It failed, and is not tried again.
    Failed,
    /// It expired before it was run.
    Dismissed,
}

/// What became of a job that is over: a [`Status`] that does not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinalStatus {
    /// See [`Status::Successful`].
    Successful,
    /// See [`Status::Failed`].
    Failed,
    /// See [`Status::Dismissed`].
    Dismissed,
}

impl From<FinalStatus> for Status {
    fn from(status: FinalStatus) -> Self {
        match status {
            FinalStatus::Successful => Self::Successful,
            FinalStatus::Failed => Self::Failed,
            FinalStatus::Dismissed => Self::Dismissed,
        }
    }
}

impl FinalStatus {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        Status::from(self).as_str()
    }
}

impl Status {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Successful => "successful",
            Self::Failed => "failed",
            Self::Dismissed => "dismissed",
        }
    }
}

/// Why a job did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it was.
    pub kind: FailureKind,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure of this kind. A message beyond [`MAX_MESSAGE`] is cut.
    pub fn new(kind: FailureKind, message: impl ToString) -> Self {
        Self { kind, message: shortened(message.to_string()) }
    }
}

/// Longest message of a failure, in bytes. Messages are in results, logs and memory, and strangers can
/// write parts of them.
pub const MAX_MESSAGE: usize = 4096;

/// A message, cut where it is too long.
pub fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
        message.push_str(" ...");
    }
    message
}

/// Whose fault it was that a job did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The process said so, or a signal ended it, or its output cannot be used.
    Executor,
    /// The process reached its time limit.
    Timeout,
    /// The job is malformed, expired or of an unknown type, or its input cannot be fetched.
    Input,
    /// The result cannot be sent to its URL, or must not be.
    Publish,
    /// This machine is at fault: no process could be started, the disk is full.
    System,
    /// The lease was lost: another worker may have the job.
    LeaseLost,
    /// Workers died while it ran.
    Crashed,
}

impl FailureKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executor => "executor",
            Self::Timeout => "timeout",
            Self::Input => "input",
            Self::Publish => "publish",
            Self::System => "system",
            Self::LeaseLost => "lease_lost",
            Self::Crashed => "crashed",
        }
    }
}

/// The worker that ran a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerName {
    /// As configured; by default the host's name.
    pub id: String,
    /// The version of this program.
    pub version: String,
}

impl WorkerName {
    /// This program's, under this id.
    pub fn ours(id: &str) -> Self {
        Self { id: id.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// Where a job was queued.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueuePlace {
    /// Its number there.
    pub job: u64,
    /// Its tube.
    pub tube: String,
    /// The server, as configured.
    pub server: String,
}

/// What was fetched for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputUsed {
    /// Where it was.
    pub url: Url,
    /// Its digest (RFC 9530); null if it was not fetched.
    pub digest: Option<String>,
}

/// What a process wrote to standard output or standard error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Written {
    /// The end of it. Bytes that are not UTF-8 are replaced.
    pub tail: String,
    /// How much it wrote in all, in bytes.
    pub bytes: u64,
    /// Whether `tail` is not all of it.
    pub truncated: bool,
}

/// Time and memory that a process took, with all of its descendants as far as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end, in milliseconds.
    pub wall_ms: u64,
    /// Processor time in milliseconds. Null for a persistent process, which runs many jobs.
    pub cpu_ms: Option<u64>,
    /// Largest resident memory of one process. Null as above.
    pub max_rss_bytes: Option<u64>,
}

/// The entity tag of a document, without its quotes: strong, so the bytes decide.
pub fn entity_tag(body: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(body);
    hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Times in results are in UTC and have milliseconds, always: `2026-11-22T12:03:10.120Z`.
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
            exit_code: Some(0),
            signal: None,
            worker: WorkerName { id: "w".into(), version: "0.1.0".into() },
            queue: Some(QueuePlace { job: 77, tube: "t".into(), server: "s:1".into() }),
            input: None,
            output: Some(RawValue::from_string("{\"series\":[]}".into()).unwrap()),
            stdout: Some(Written { tail: "x".into(), bytes: 812, truncated: true }),
            stderr: None,
            usage: Some(Usage {
                wall_ms: 4120,
                cpu_ms: Some(3900),
                max_rss_bytes: Some(52_428_800),
            }),
            progress: None,
            custom: None,
            error: Some(Failure::new(FailureKind::LeaseLost, "gone")),
        };
        let expected = concat!(
            r#"{"id":"13775310-8f59-412e-aa2c-549a20077664","type":"sailor","status":"successful","#,
            r#""timestamp":"2026-11-22T12:03:10.120Z","created":null,"#,
            r#""started":"2026-11-22T12:03:06.000Z","finished":"2026-11-22T12:03:10.120Z","#,
            r#""attempt":1,"exit_code":0,"signal":null,"worker":{"id":"w","version":"0.1.0"},"#,
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
    }

    #[test]
    fn a_tag_is_of_the_bytes() {
        let tag = entity_tag(b"abc");
        assert_eq!(tag, "ba7816bf8f01cfea414140de5dae2223");
        assert_ne!(entity_tag(b"abd"), tag);
    }
}
