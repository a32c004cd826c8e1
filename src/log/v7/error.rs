//! Why a directory cannot be taken over.

use std::fmt;
use std::io;

use super::format::Damage;
use crate::log::binlog::ReplayError;

/// A directory cannot be taken over. Unless it says otherwise, nothing was changed.
#[derive(Debug)]
pub enum V7Error {
    /// The file system failed.
    Io {
        /// What was attempted.
        what: String,
        /// How it failed.
        error: io::Error,
    },
    /// A file of beanstalkd's is damaged.
    Damaged {
        /// Which file.
        file: String,
        /// Where in it, in bytes.
        offset: usize,
        /// In what way.
        damage: Damage,
    },
    /// A file of beanstalkd's is missing, though there are older and newer ones.
    Missing(String),
    /// There is a binlog of ours, and this file, which nothing says was made of it or into it.
    Both(String),
    /// beanstalkd's files were to take the place of our binlog, which is gone, though some of them
    /// are still in this folder.
    Lost(&'static str),
    /// There is no binlog of ours to be exported.
    Nothing,
    /// Our binlog cannot be replayed.
    Replay(ReplayError),
    /// Our binlog cannot be written; how that failed is in the log.
    Unwritable,
}

/// What can be done about damage.
const REPAIR: &str =
    "Nothing was changed. To import what is sound, start once with --binlog-repair";

impl fmt::Display for V7Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Damaged { file, offset, damage } => {
                write!(f, "{file} is damaged: the record at offset {offset}: {damage}. {REPAIR}")
            }
            Self::Missing(file) => {
                write!(f, "{file} is missing, though there are older and newer ones. {REPAIR}")
            }
            Self::Both(file) => write!(
                f,
                "there is {file}, which is beanstalkd's, and jq-binlog, which is jq-server's: \
                 another server was used here in between. Nothing was changed. Move what is out of \
                 date to another place"
            ),
            Self::Lost(folder) => write!(
                f,
                "an export was not finished, some of its files are in {folder}, and jq-binlog, from \
                 which it was made, is gone. Nothing was changed. Put jq-binlog back"
            ),
            Self::Nothing => f.write_str("there is no jq-binlog to be exported"),
            Self::Replay(error) => {
                write!(f, "jq-binlog: {error}. Nothing was exported")?;
                if error.is_repairable() {
                    f.write_str(
                        ". To export what is sound, start once with -b and --binlog-repair",
                    )?;
                }
                Ok(())
            }
            Self::Unwritable => f.write_str("cannot write jq-binlog. Nothing was changed"),
        }
    }
}

impl std::error::Error for V7Error {}

/// Says what was attempted when the file system fails.
pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> V7Error {
    |error| V7Error::Io { what: what.into(), error }
}
