//! What the worker is doing: the document of `/api/v1/status`, which is also what the page shows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The worker at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub worker: String,
    /// Of the program.
    pub version: String,
    /// Whether it takes jobs.
    pub state: State,
    /// Why it takes none, or not all, as `/readyz` says it.
    pub reasons: Vec<String>,
    /// Since when it is up.
    pub started: Timestamp,
    /// At most so many jobs run at the same time.
    pub concurrency: usize,
    /// Results that are not published yet.
    pub unpublished: u64,
    /// Where it takes jobs from.
    pub servers: Vec<ServerStatus>,
    /// What runs, in the order in which it started.
    pub running: Vec<RunStatus>,
    /// What it can run, and what has come of it since it is up.
    pub types: Vec<TypeStatus>,
    /// The last failures, latest first; as many as the worker remembers.
    pub failures: Vec<FailureStatus>,
}

/// Whether the worker takes jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Running,
    /// It does not, until something works again.
    Waiting,
    /// It does not, until it is told to go on.
    Holding,
    /// It does not, and exits when nothing runs any more.
    Draining,
}

/// A queue server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Host and port.
    pub address: String,
    /// The tubes that are watched there.
    pub tubes: Vec<String>,
    /// Whether there is a connection.
    pub connected: bool,
    /// If there is none: what the last attempt failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A job that runs.
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
    /// In percent, if the process tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
}

/// A type of job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeStatus {
    /// As jobs name it.
    pub name: String,
    /// How many run.
    pub running: usize,
    /// At most so many run at the same time.
    pub concurrency: usize,
    /// Results of success.
    pub successful: u64,
    /// Results of failure.
    pub failed: u64,
    /// Attempts that failed, and were or will be repeated.
    pub retried: u64,
}

/// A job that has failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureStatus {
    /// Of the job, if it had one that could be read.
    pub id: Option<Uuid>,
    /// Of the job, if it had one that could be read.
    #[serde(rename = "type")]
    pub job_type: Option<String>,
    /// When it failed.
    pub at: Timestamp,
    /// As in its result: "executor", "timeout", "input".
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
            r#"{"worker":"w","version":"0.1.0","state":"holding","#,
            r#""started":"2026-11-22T10:00:00Z","concurrency":4,"unpublished":2,"servers":["#,
            r#"{"address":"a:1","tubes":["t"],"connected":true},"#,
            r#"{"address":"b:1","tubes":[],"connected":false,"error":"refused"}],"#,
            r#""running":[{"id":"13775310-8f59-412e-aa2c-549a20077664","type":"sailor","#,
            r#""attempt":1,"started":"2026-11-22T10:00:01Z","progress":40.5}],"#,
            r#""types":[{"name":"sailor","running":1,"concurrency":2,"successful":3,"#,
            r#""failed":4,"retried":5}],"#,
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
    }
}
