//! The server as a whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PolicyCounts;

/// Whether the server does its work: `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Readiness {
    /// Whether new jobs are accepted and reserved.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<Reason>,
}

/// A reason why the server does not do all of its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reason {
    /// The name, for programs: the same in `/readyz`, the metrics and the log lines.
    pub name: String,
    /// In words, for people.
    pub detail: String,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The release of beanstalkd that it behaves like on the wire.
    pub compat: String,
}

/// What the server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// It reads its log and serves nobody yet.
    Replaying,
    /// It serves.
    Running,
    /// It serves, and refuses new jobs until that is undone.
    Draining,
    /// It is about to exit.
    Stopping,
}

/// A server at one moment: `/api/v1/server`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Server {
    /// The version of the program.
    pub version: String,
    /// The release of beanstalkd that it behaves like on the wire.
    pub compat: String,
    /// Random, and another after each start.
    pub id: String,
    /// Of the machine.
    pub hostname: String,
    /// Of the process.
    pub pid: u32,
    /// When it was started.
    pub started: Timestamp,
    /// Since then, in seconds.
    pub uptime: u64,
    /// What it is doing.
    pub state: ServerState,
    /// Why it does not do all of its work, as in `/readyz`.
    pub reasons: Vec<Reason>,
    /// The jobs of all tubes.
    pub jobs: JobCounts,
    /// The number of tubes.
    pub tubes: u64,
    /// The clients of the queue.
    pub connections: ConnectionCounts,
    /// Jobs that were put since the start.
    pub total_jobs: u64,
    /// How often a reserved job timed out, since the start.
    pub timeouts: u64,
    /// How often a connection vanished that had a job reserved, once for each job, since the start.
    pub disconnects: u64,
    /// How many requests were refused since the start, by the reason: `draining`, `max_jobs`,
    /// `tube_max_jobs`, `bad_format` and so on, as in the metric `jq_refusals_total`.
    pub refusals: BTreeMap<String, u64>,
    /// What the policies of all tubes have brought about since the start.
    pub policy_counts: PolicyCounts,
    /// How often each command was received since the start, by the names of the protocol.
    pub commands: BTreeMap<String, u64>,
    /// Bytes in the bodies of all jobs.
    pub body_bytes: u64,
    /// Resident memory of the process, in bytes.
    pub resident_bytes: u64,
    /// About what all jobs take, with their bodies, in bytes: what `--max-memory` limits.
    #[serde(default)]
    pub job_memory_bytes: u64,
    /// The largest body that is accepted, in bytes.
    pub max_job_size: u32,
    /// The limits of the server that are set: of `jobs`, of the `memory` that they take, in bytes, and of
    /// `connections`.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    /// The log of `-b`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

/// Numbers of jobs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobCounts {
    /// Ready.
    pub ready: u64,
    /// Ready with a priority below 1024; they count as ready too.
    pub urgent: u64,
    /// Reserved.
    pub reserved: u64,
    /// Delayed.
    pub delayed: u64,
    /// Buried.
    pub buried: u64,
}

/// Numbers of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionCounts {
    /// Open.
    pub open: u64,
    /// Those that have put a job.
    pub producers: u64,
    /// Those that have asked for a job.
    pub workers: u64,
    /// Those that wait for a job.
    pub waiting: u64,
    /// How many there have been since the start.
    pub total: u64,
    /// How many were closed at once since the start, because there were as many as `--max-connections`
    /// allows. They are not among the others.
    pub refused: u64,
}

/// The log of `-b`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Log {
    /// Whether it can be written to.
    pub health: LogHealth,
    /// What the system says, unless it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often writing or syncing has failed.
    pub failures: u64,
    /// Bytes that are not committed yet.
    pub pending_bytes: u64,
    /// Bytes that would be lost in a power cut.
    pub unsynced_bytes: u64,
    /// The number of files.
    pub segments: u64,
    /// Their size.
    pub bytes: u64,
    /// How much of that is needed for the jobs that there are.
    pub live_bytes: u64,
}

/// Whether a log can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogHealth {
    /// It can.
    Good,
    /// There is no space for new jobs.
    Full,
    /// It cannot.
    Failed,
}
