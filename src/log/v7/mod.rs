//! Importing beanstalkd's own binlog, and exporting to it.
//!
//! beanstalkd keeps its jobs in the files `binlog.1`, `binlog.2`, ... in the directory of `-b`; we
//! keep ours in the folder `jq-binlog` there. The two are never in use at the same time:
//!
//! - `import` runs at each start. It converts beanstalkd's files to segments, and moves the files
//!   to `beanstalkd-binlog`.
//! - [`fn@export`] is a command of its own. It converts our segments to beanstalkd's files, and
//!   moves the segments to `jq-binlog.exported`.
//!
//! Each is all or nothing, wherever it is interrupted. New files are written in a separate folder,
//! and a manifest says which of beanstalkd's files belong to ours, so that the next run can
//! complete or undo the conversion (`unfinished`). If there are files of both kinds and no manifest
//! explains them, the directory was used with both servers in turn. The files cannot tell which of
//! the two is up to date, so nothing is served until the operator has decided.
//!
//! - `format`: the format of beanstalkd's files
//! - `read`: from bytes to records, and where the records end
//! - `jobs`: from records to jobs
//! - `manifest`, `unfinished`: how a run that was interrupted is completed or undone
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
