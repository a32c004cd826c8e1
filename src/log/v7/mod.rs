//! Coming from beanstalkd's own binlog, and going back to it.
//!
//! beanstalkd keeps its jobs in files `binlog.1`, `binlog.2`, ... in the directory of `-b`; we keep
//! ours in the folder `jq-binlog` there. Both are never in use at once:
//!
//! - `import` runs before each start. beanstalkd's files become segments of ours, and are set
//!   aside in `beanstalkd-binlog`.
//! - [`fn@export`] is a run of its own. Our segments become files of beanstalkd's, and are set aside in
//!   `jq-binlog.exported`.
//!
//! Each is done or not done, wherever it is cut short. New files are made where nobody looks for
//! them, and a manifest says which of beanstalkd's files belong to ours, so that the next run can go
//! on or go back (`unfinished`). If both kinds are there and no manifest tells why, somebody used the
//! directory with both servers in turn. Which of them knows better cannot be told by looking, so
//! nothing is served until the operator has decided.
//!
//! - `format`: what the bytes of beanstalkd's files mean
//! - `read`: from the bytes to records, and where they end
//! - `jobs`: from the records to jobs
//! - `manifest`, `unfinished`: what to do about a run that was cut short
//! - `import`, `export`

mod error;
mod export;
mod folder;
mod format;
mod import;
mod jobs;
mod manifest;
mod read;
#[cfg(test)]
mod tests;
mod unfinished;

pub use self::error::V7Error;
pub use self::export::{Exported, export};
pub use self::format::Damage;
pub(crate) use self::import::import;
