//! Actions on many jobs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{JobState, member};

/// What can be done to many jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Makes buried and delayed jobs ready.
    Kick,
    /// Buries jobs.
    Bury,
    /// Deletes jobs.
    Delete,
    /// Takes reserved jobs from the connections that have them.
    Release,
    /// Moves jobs to the tube `to`.
    Move,
    /// Sets `priority`, `delay` or both.
    Set,
}

/// What to do with which jobs of a tube: those that match all of `state`, `older_than`, `younger_than`
/// and `contains`, as far as these are given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// What to do.
    pub action: BulkAction,
    /// With the jobs of this tube.
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = r"^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$")
    )]
    pub tube: String,
    /// That are in this state.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub state: Option<JobState>,
    /// That were put at least so many seconds ago.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub older_than: Option<u64>,
    /// That were put less than so many seconds ago.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub younger_than: Option<u64>,
    /// Whose body contains this text in its first 65,535 bytes.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 1024))]
    pub contains: Option<String>,
    /// With `move`: the tube to move them to.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub to: Option<String>,
    /// With `set` and `bury`: their priority from now on.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub priority: Option<u32>,
    /// With `set`: their delay from now on, in seconds.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub delay: Option<u32>,
    /// Only count the jobs that match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// How far an action on many jobs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BulkState {
    /// It goes on.
    Running,
    /// It has seen all jobs.
    Done,
    /// It was stopped before it had.
    Stopped,
    /// It could not go on: `error` says why.
    Failed,
}

/// An action on many jobs. It takes small steps, so that nobody else waits for it. Jobs that are put
/// or changed meanwhile may be met or not; none is met twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Bulk {
    /// Its number, counted from 1 since the server was started.
    pub id: u64,
    /// What it does.
    pub request: BulkRequest,
    /// How far it is.
    pub state: BulkState,
    /// How many jobs have matched.
    pub matched: u64,
    /// How many of these were changed; with `dry_run`, how many would be.
    pub changed: u64,
    /// How many of these are in a state in which the action is not possible.
    pub refused: u64,
    /// How much of the table of jobs it has seen, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Why it could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The name of the token that started it.
    pub by: String,
    /// When it was started.
    pub started: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

/// The actions that are running, and the last ones that are over, from the newest. They are forgotten
/// when the server ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkList {
    /// The actions.
    pub bulk: Vec<Bulk>,
}
