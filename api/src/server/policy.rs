//! What is set for a tube.

use serde::{Deserialize, Serialize};

use super::member;

/// What is set for a tube. A member that is missing is not set. A tube with a policy exists until the
/// policy is removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The most jobs that the tube may have, in any state. A put beyond that is refused.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, nullable = false))]
    pub max_jobs: Option<u64>,
    /// The most bytes in the bodies of its jobs. A put beyond that is refused.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, nullable = false))]
    pub max_bytes: Option<u64>,
    /// After so many reserves that did not end with a delete, a job goes to `dead_letter`.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, nullable = false))]
    pub max_reserves: Option<u32>,
    /// After so many time-outs, likewise.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, nullable = false))]
    pub max_timeouts: Option<u32>,
    /// After so many connections that vanished while they had it reserved, likewise.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, nullable = false))]
    pub max_disconnects: Option<u32>,
    /// The tube that such jobs are moved to. Without it they are buried.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(
        feature = "openapi",
        schema(nullable = false, pattern = r"^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$")
    )]
    pub dead_letter: Option<String>,
    /// A job that nobody has reserved for so many seconds is moved to `dead_letter`, or deleted.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, nullable = false))]
    pub expires: Option<u32>,
    /// Whether a put of a body that is already in the tube, ready or delayed, answers with that job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
    /// The time to run of jobs that are put with 0, in seconds.
    #[serde(default, deserialize_with = "member::some", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, nullable = false))]
    pub default_ttr: Option<u32>,
    /// The most reserves per second.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 0.001, maximum = 4_294_967, nullable = false)
    )]
    pub reserve_rate: Option<f64>,
    /// Where it is from; missing if nothing is set. In a request it does not count, so that an answer can
    /// be changed and sent back.
    #[serde(
        default,
        deserialize_with = "member::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = PolicySource, required = false))]
    pub source: Option<PolicySource>,
}

/// Where a policy is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// The file of `--tubes`. It cannot be set or removed otherwise.
    File,
    /// A request.
    Api,
}
