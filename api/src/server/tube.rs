//! Tubes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{JobCounts, Policy};

/// A tube at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tube {
    /// Its name.
    pub name: String,
    /// Its jobs.
    pub jobs: JobCounts,
    /// Jobs that were put into it since it exists.
    pub total_jobs: u64,
    /// How many of its jobs were deleted since it exists.
    pub deletes: u64,
    /// Connections that use it.
    pub using: u64,
    /// Connections that watch it.
    pub watching: u64,
    /// Connections that watch it and wait for a job.
    pub waiting: u64,
    /// How often it was paused.
    pub pauses: u64,
    /// Its pause, if it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Paused>,
    /// Bytes in the bodies of its jobs.
    pub body_bytes: u64,
    /// Whether anything is set for it.
    pub has_policy: bool,
    /// What its policy has brought about since it has one. Missing without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_counts: Option<PolicyCounts>,
    /// What is set for it, if anything is. A list of tubes leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// How much happens in it. Missing until it has been observed for long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// For how long its oldest ready job has been ready, in seconds. Missing if no job is ready, or if
    /// that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready: Option<f64>,
}

/// What policies have brought about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyCounts {
    /// Puts that were refused because of `max_jobs` or `max_bytes`.
    pub refused: u64,
    /// Puts that were answered with a job that was there already, because of `unique`.
    pub duplicates: u64,
    /// Jobs that were deleted or moved because of `expires`.
    pub expired: u64,
    /// Jobs that failed too often and were moved to `dead_letter`.
    pub dead_lettered: u64,
    /// Jobs that failed too often and were buried.
    pub buried: u64,
}

/// A pause that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Paused {
    /// Its length, in seconds.
    pub seconds: u64,
    /// How much of that is left, in seconds.
    pub left: u64,
}

/// How much happened in the last seconds, per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rates {
    /// Jobs put.
    pub put: f64,
    /// Jobs reserved.
    pub reserve: f64,
    /// Jobs deleted.
    pub delete: f64,
    /// Jobs buried.
    pub bury: f64,
    /// Reserved jobs that timed out.
    pub timeout: f64,
}

/// A page of tubes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TubeList {
    /// The tubes, in the order that was asked for.
    pub tubes: Vec<Tube>,
    /// The cursor of the next page. Missing on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many tubes match, on all pages together.
    pub total: u64,
    /// When the numbers were taken. They may be some seconds old; those of a single tube are not.
    pub at: Timestamp,
}

/// Which tubes, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct TubeQuery {
    /// Only tubes whose name contains this, in whatever case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(max_length = 200))]
    pub name: Option<String>,
    /// By what they are sorted: by name from A to Z, by numbers from the largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub sort: Option<TubeSort>,
    /// As in `PageQuery`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// As in `PageQuery`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u32>,
}

/// The order of tubes. Tubes with equal numbers are sorted by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TubeSort {
    /// From A to Z, by bytes.
    #[default]
    Name,
    /// Ready jobs.
    Ready,
    /// Urgent jobs.
    Urgent,
    /// Reserved jobs.
    Reserved,
    /// Delayed jobs.
    Delayed,
    /// Buried jobs.
    Buried,
    /// Jobs put since the tube exists.
    TotalJobs,
    /// Connections that use it.
    Using,
    /// Connections that watch it.
    Watching,
    /// Connections that wait for its jobs.
    Waiting,
    /// Age of its oldest ready job.
    OldestReady,
    /// Jobs put per second.
    Put,
    /// Jobs reserved per second.
    Reserve,
    /// Jobs deleted per second.
    Delete,
    /// Jobs buried per second.
    Bury,
    /// Jobs timed out per second.
    Timeout,
}
