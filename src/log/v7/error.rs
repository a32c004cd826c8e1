//! Why an import or export fails.

use std::fmt;
use std::io;

use super::format::Damage;
use crate::log::binlog::ReplayError;

/// An import or export failed. Unless the message says otherwise, nothing was changed.
#[derive(Debug)]
pub enum V7Error {
    /// The file system failed.
    Io {
        /// What was attempted.
        what: String,
        /// How it failed.
        error: io::Error,
    },
    /// One of beanstalkd's files is damaged.
    Damaged {
        /// Name of the file.
        file: String,
        /// Offset of the record, in bytes.
        offset: usize,
        /// The fault.
        damage: Damage,
    },
    /// One of beanstalkd's files is missing, although there are older and newer ones.
    Missing(String),
    /// There is a binlog of ours and this file of beanstalkd's, and no manifest connects the two.
    Both(String),
    /// An export was interrupted, some of its files are still in this folder, and our binlog is
    /// gone.
    Lost(&'static str),
    /// There is no binlog of ours to export.
    Nothing,
    /// Our binlog cannot be replayed.
    Replay(ReplayError),
    /// Our binlog cannot be written; the log has the reason.
    Unwritable,
}

/// What to do about damage.
const REPAIR: &str =
    "Nothing was changed. To import what is intact, start once with --binlog-repair";

impl fmt::Display for V7Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Damaged { file, offset, damage } => {
                write!(f, "{file} is damaged: the record at offset {offset}: {damage}. {REPAIR}")
            }
            Self::Missing(file) => {
                write!(f, "{file} is missing, although there are older and newer ones. {REPAIR}")
            }
            Self::Both(file) => write!(
                f,
                "there is {file} of beanstalkd and jq-binlog of jq-server: the directory was used \
                 with both servers. Nothing was changed. Move the outdated files to another place"
            ),
            Self::Lost(folder) => write!(
                f,
                "an export was interrupted, some of its files are in {folder}, and jq-binlog, \
                 which it was made from, is gone. Nothing was changed. Put jq-binlog back"
            ),
            Self::Nothing => f.write_str("there is no jq-binlog to export"),
            Self::Replay(error) => {
                write!(f, "jq-binlog: {error}. Nothing was exported")?;
                if error.is_repairable() {
                    f.write_str(
                        ". To export what is intact, start once with -b and --binlog-repair",
                    )?;
                }
                Ok(())
            }
            Self::Unwritable => f.write_str("cannot write jq-binlog. Nothing was changed"),
        }
    }
}

impl std::error::Error for V7Error {}

/// Adds what was attempted to an error of the file system.
pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> V7Error {
    |error| V7Error::Io { what: what.into(), error }
}
