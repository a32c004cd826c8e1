//! Changes.

use serde::{Deserialize, Serialize};

use super::{Connection, Job, Tube, member};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A buried or delayed job was made ready.
    Kick,
    /// A job was buried.
    Bury,
    /// A job was deleted.
    Delete,
    /// A reserved job was taken from the connection that had it.
    Release,
    /// A job was moved to another tube.
    Move,
    /// The priority or the delay of a job was set.
    Set,
    /// A tube was paused.
    Pause,
    /// The pause of a tube was ended.
    Resume,
    /// The jobs of a tube were removed.
    Clear,
    /// New jobs are refused from now on.
    Drain,
    /// New jobs are accepted again.
    Undrain,
    /// A connection was closed.
    Close,
}

/// What a change has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Changed {
    /// What was done.
    pub action: Action,
    /// To how many jobs, tubes, connections or servers; 0 if everything was so already.
    pub changed: u64,
    /// The job, if it was about one: as it is now, or as it was before it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// The tube, if it was about one: as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tube: Option<Tube>,
    /// The connection, if it was about one: as it was before it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
}

/// How long a tube is to be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// At least 1.
    #[serde(deserialize_with = "member::number")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub seconds: u32,
}

/// What a job is to have from now on. What is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobChange {
    /// 0 is the most urgent.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub priority: Option<u32>,
    /// From now on, in seconds: a ready job with a delay becomes delayed, and a delayed one without
    /// becomes ready.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub delay: Option<u32>,
}

/// How a job is to be buried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Bury {
    /// Its priority from now on; if it is left out, it keeps the one it has.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub priority: Option<u32>,
}

/// Where a job is to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The name of a tube. It need not exist.
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = r"^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$")
    )]
    pub tube: String,
}
