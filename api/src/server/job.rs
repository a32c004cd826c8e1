//! Jobs, and putting them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::member;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits to be reserved.
    Ready,
    /// Waits until its delay is over.
    Delayed,
    /// A connection has reserved it.
    Reserved,
    /// Set aside until it is kicked.
    Buried,
}

/// A job, without its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// Its tube.
    pub tube: String,
    /// Its state.
    pub state: JobState,
    /// 0 is the most urgent.
    pub priority: u32,
    /// The last delay that was asked for, in seconds.
    pub delay: u32,
    /// For how long it may be reserved, in seconds.
    pub ttr: u32,
    /// When it was put.
    pub created: Timestamp,
    /// Since then, in seconds.
    pub age: u64,
    /// Until its delay ends, or its time to run if it is reserved, in seconds. Missing for ready and
    /// buried jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_left: Option<u64>,
    /// The number of the connection that has reserved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// Size of its body, in bytes.
    pub size: u64,
    /// How often it was reserved.
    pub reserves: u32,
    /// How often it timed out.
    pub timeouts: u32,
    /// How often it was released.
    pub releases: u32,
    /// How often it was buried.
    pub buries: u32,
    /// How often it was kicked.
    pub kicks: u32,
    /// How often the connection that had it reserved vanished.
    pub disconnects: u32,
}

/// A job with its body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobDocument {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// Its body.
    pub body: JobBody,
}

/// The body of a job: one of `json`, `text` and `base64`, the first of these that it can be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobBody {
    /// The body, if it is JSON: as it was written, nested at most 100 deep.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub json: Option<Box<RawValue>>,
    /// The body, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body as base64 with padding, if it is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Whether the body is longer than [`JobBody::MAX`]: then this is its beginning, as `text` or
    /// `base64`. `/api/v1/jobs/{id}/body` has all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl JobBody {
    /// The most bytes of a body that a document shows.
    pub const MAX: usize = 64 * 1024;
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobList {
    /// The jobs, mostly in the order in which they were put. A job that is there and matches from
    /// before the first page to after the last is on one of them, and none is on two.
    pub jobs: Vec<Job>,
    /// The cursor of the next page. Missing on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which jobs of a tube.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct JobQuery {
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub state: Option<JobState>,
    /// As in `PageQuery`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// As in `PageQuery`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u32>,
}

/// What a job that is put as bytes has besides its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct PutQuery {
    /// 0 is the most urgent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Before it can be reserved, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<u32>,
    /// For how long it may be reserved, in seconds; 0 counts as 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttr: Option<u32>,
}

/// A job to put. It has exactly one of `json`, `text` and `base64`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// The body is this value, as it is written here.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub json: Option<Box<RawValue>>,
    /// The body is this text.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub text: Option<String>,
    /// The body is this, decoded: the alphabet with `+` and `/`, with or without padding.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub base64: Option<String>,
    /// 0 is the most urgent; 2147483648 if it is left out.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub priority: Option<u32>,
    /// Before it can be reserved, in seconds; 0 if it is left out.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub delay: Option<u32>,
    /// For how long it may be reserved, in seconds; 60 if it is left out, and 0 counts as 1.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub ttr: Option<u32>,
}

impl NewJob {
    /// The priority of a job that is put without one.
    pub const PRIORITY: u32 = 1 << 31;
    /// The time to run of a job that is put without one, in seconds.
    pub const TTR: u32 = 60;
}

/// A job that was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Inserted {
    /// Its number.
    pub id: u64,
    /// Its tube.
    pub tube: String,
    /// Whether it was there already: an earlier request with the same `Idempotency-Key` has put it, or
    /// it has the same body and the policy of the tube says `unique`. Then the status is 200, otherwise
    /// 201.
    pub repeated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_as_it_was_written() {
        for text in ["null", "1.50", r#"{"b": 1,  "a": [1e400, "\u00e9"]}"#] {
            let job: NewJob = serde_json::from_str(&format!(r#"{{"json":{text}}}"#)).unwrap();
            assert_eq!(job.json.as_deref().map(RawValue::get), Some(text));
            let body = JobBody { json: job.json, ..JobBody::default() };
            let sent = serde_json::to_string(&body).unwrap();
            assert_eq!(sent, format!(r#"{{"json":{text}}}"#));
            let received: JobBody = serde_json::from_str(&sent).unwrap();
            assert_eq!(received.json.as_deref().map(RawValue::get), Some(text));
        }
        assert!(serde_json::from_str::<NewJob>("{}").unwrap().json.is_none());
        assert!(serde_json::from_str::<NewJob>(r#"{"jsn":1}"#).is_err());
    }

    #[test]
    fn a_job_with_its_body_is_one_object() {
        let job = Job {
            id: 7,
            tube: "t".into(),
            state: JobState::Delayed,
            priority: 1,
            delay: 60,
            ttr: 10,
            created: Timestamp::UNIX_EPOCH,
            age: 1,
            time_left: Some(59),
            connection: None,
            size: 2,
            reserves: 0,
            timeouts: 0,
            releases: 0,
            buries: 0,
            kicks: 0,
            disconnects: 0,
        };
        let body = JobBody { text: Some("hi".into()), ..JobBody::default() };
        let sent = serde_json::to_string(&JobDocument { job: job.clone(), body }).unwrap();
        assert!(sent.starts_with(r#"{"id":7,"tube":"t","state":"delayed","priority":1"#), "{sent}");
        assert!(sent.ends_with(r#""disconnects":0,"body":{"text":"hi"}}"#), "{sent}");
        let received: JobDocument = serde_json::from_str(&sent).unwrap();
        assert_eq!((received.job, received.body.text.as_deref()), (job, Some("hi")));
    }
}
