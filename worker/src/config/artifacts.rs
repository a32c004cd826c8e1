//! How much is kept of what processes leave besides their output.

use serde::Deserialize;

use super::{ConfigError, Size};
use crate::collect::Limits;

/// The most files that a job can be allowed: what is known of each is in its result.
const MAX_FILES: usize = 10_000;

/// The table `[artifacts]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    max_files: Option<usize>,
    max_bytes: Option<Size>,
    max_total: Option<Size>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Artifacts {
    /// Of one job.
    pub of_job: Limits,
    /// Of all jobs together, in bytes of the disk.
    pub max_total: u64,
}

impl Table {
    pub(super) fn read(&self) -> Result<Artifacts, ConfigError> {
        let files = self.max_files.unwrap_or(1000);
        if !(1..=MAX_FILES).contains(&files) {
            let why = format!("artifacts.max_files is {files}: expected 1 to {MAX_FILES}");
            return Err(ConfigError(why));
        }
        let bytes = self.max_bytes.map_or(256 << 20, |size| size.0);
        let max_total = self.max_total.map_or(10 << 30, |size| size.0);
        if max_total < bytes {
            let why = format!(
                "artifacts.max_total is {max_total} bytes: expected at least artifacts.max_bytes, {bytes}"
            );
            return Err(ConfigError(why));
        }
        Ok(Artifacts { of_job: Limits { files, bytes }, max_total })
    }
}
