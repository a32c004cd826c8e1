//! What has happened over time, and what is happening.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{JobCounts, Rates, Reason, ServerState};

/// Which history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// That of this tube; that of all tubes together if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tube: Option<String>,
    /// The seconds between two points: 5 for the last hour, 60 for the last day. 5 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(minimum = 5, maximum = 60))]
    pub step: Option<u32>,
}

/// The history of a tube, or of all together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct History {
    /// The tube; missing for all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tube: Option<String>,
    /// The seconds between two points.
    pub step: u32,
    /// From the oldest. There is none for a time in which the tube or the server was not there.
    pub points: Vec<HistoryPoint>,
}

/// A moment in the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryPoint {
    /// When.
    pub at: Timestamp,
    /// The jobs that there were.
    pub jobs: JobCounts,
    /// What happened per second, since the point before.
    pub rates: Rates,
    /// For how long the oldest ready job had been ready, in seconds. Missing if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready: Option<f64>,
    /// How long the jobs that were reserved since the point before had been ready, in seconds: half of
    /// them at most so long. Missing if none was reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_p50: Option<f64>,
    /// Likewise, 99 of a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_p99: Option<f64>,
}

/// How often something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventCounts {
    /// Jobs put.
    pub put: u64,
    /// Jobs reserved.
    pub reserve: u64,
    /// Jobs deleted.
    pub delete: u64,
    /// Jobs buried.
    pub bury: u64,
    /// Reserved jobs that timed out.
    pub timeout: u64,
}

/// The event `counts`: what happened in about a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CountsEvent {
    /// When the second ended.
    pub at: Timestamp,
    /// In all tubes.
    pub all: EventCounts,
    /// In the tubes in which something happened; if they are too many, in those with the most.
    pub tubes: Vec<TubeCounts>,
    /// How many tubes in which something happened are not listed.
    pub unlisted: u64,
}

/// How often something happened in a tube.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TubeCounts {
    /// The name of the tube.
    pub tube: String,
    /// How often.
    #[serde(flatten)]
    pub counts: EventCounts,
}

/// The event `server`: what the server is doing has changed. Each stream begins with one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerEvent {
    /// When.
    pub at: Timestamp,
    /// What it is doing now.
    pub state: ServerState,
    /// Why it does not do all of its work, as in `/readyz`.
    pub reasons: Vec<Reason>,
}

/// The event `missed`: the reader was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MissedEvent {
    /// How many events it has not got.
    pub events: u64,
}
