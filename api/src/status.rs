//! What a worker is doing: the document at `/api/v1/status`, which the status page shows too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The state of a worker at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of the worker.
    pub worker: String,
    /// The version of the program.
    pub version: String,
    /// Whether it takes jobs.
    pub state: State,
    /// Why it takes no jobs, or not all, as in `/readyz`. Empty from older workers.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// When the worker was started.
    pub started: Timestamp,
    /// The maximum number of jobs that run at the same time.
    pub concurrency: usize,
    /// The number of results that are not published yet.
    pub unpublished: u64,
    /// The servers that it takes jobs from.
    pub servers: Vec<ServerStatus>,
    /// The running jobs, in the order in which they started.
    pub running: Vec<RunStatus>,
    /// The job types that it can run, with counts since the start.
    pub types: Vec<TypeStatus>,
    /// What jobs have for themselves while they run. Empty from older workers.
    #[serde(default)]
    pub resources: Vec<ResourceStatus>,
    /// The most recent failures, the latest first; as many as the worker remembers.
    pub failures: Vec<FailureStatus>,
}

/// Whether the worker takes jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It takes jobs.
    Running,
    /// It takes no jobs until something works again.
    Waiting,
    /// It takes no jobs until it is resumed.
    Holding,
    /// It takes no jobs, and exits when the running ones are over.
    Draining,
}

/// A queue server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Host and port.
    pub address: String,
    /// The tubes that are watched there.
    pub tubes: Vec<String>,
    /// Whether the worker is connected to it.
    pub connected: bool,
    /// If not: why the last attempt to connect failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A running job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Of the job.
    pub id: Uuid,
    /// Of the job.
    #[serde(rename = "type")]
    pub job_type: String,
    /// Counted from 1.
    pub attempt: u32,
    /// When this attempt began.
    pub started: Timestamp,
    /// In percent, if the process reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
}

/// A type of job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeStatus {
    /// The name that jobs use.
    pub name: String,
    /// The number of running jobs.
    pub running: usize,
    /// At most so many run at the same time.
    pub concurrency: usize,
    /// The number of jobs that succeeded.
    pub successful: u64,
    /// The number of jobs that failed.
    pub failed: u64,
    /// The number of failed attempts that were or will be retried.
    pub retried: u64,
}

/// Something that jobs have for themselves while they run, so many units each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// The name that the configuration gives it.
    pub name: String,
    /// How many units there are.
    pub total: usize,
    /// How many units jobs have now. It exceeds `total` if there were more units when these jobs began.
    pub in_use: usize,
    /// The number of jobs that need some of it and that the worker knows to wait in the queue.
    pub waiting: usize,
}

/// A failed job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureStatus {
    /// Of the job, if it had one that could be read.
    pub id: Option<Uuid>,
    /// Of the job, if it had one that could be read.
    #[serde(rename = "type")]
    pub job_type: Option<String>,
    /// When it failed.
    pub at: Timestamp,
    /// The kind as in its result, such as "executor", "timeout" or "input".
    pub kind: String,
    /// What happened, for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_their_order() {
        let expected = concat!(
            r#"{"worker":"w","version":"0.1.0","state":"holding","reasons":["held"],"#,
            r#""started":"2026-11-22T10:00:00Z","concurrency":4,"unpublished":2,"servers":["#,
            r#"{"address":"a:1","tubes":["t"],"connected":true},"#,
            r#"{"address":"b:1","tubes":[],"connected":false,"error":"refused"}],"#,
            r#""running":[{"id":"13775310-8f59-412e-aa2c-549a20077664","type":"sailor","#,
            r#""attempt":1,"started":"2026-11-22T10:00:01Z","progress":40.5}],"#,
            r#""types":[{"name":"sailor","running":1,"concurrency":2,"successful":3,"#,
            r#""failed":4,"retried":5}],"#,
            r#""resources":[{"name":"gpu","total":2,"in_use":1,"waiting":3}],"#,
            r#""failures":[{"id":null,"type":null,"at":"2026-11-22T10:00:02Z","#,
            r#""kind":"input","message":"no JSON"}]}"#,
        );
        let status: Status = serde_json::from_str(expected).unwrap();
        assert_eq!(status.state, State::Holding);
        assert_eq!(
            (status.servers[0].error.as_deref(), status.running[0].progress),
            (None, Some(40.5))
        );
        assert_eq!(serde_json::to_string(&status).unwrap(), expected);
        let resources = r#""resources":[{"name":"gpu","total":2,"in_use":1,"waiting":3}],"#;
        let older = expected.replace(r#""reasons":["held"],"#, "").replace(resources, "");
        let status: Status = serde_json::from_str(&older).unwrap();
        assert!(status.reasons.is_empty() && status.resources.is_empty());
    }
}
