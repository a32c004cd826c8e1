//! Why a log cannot be replayed.

use std::fmt;
use std::io;

use beanstalk_protocol::JobId;

use crate::log::binlog::format::Damage;

/// The log cannot be replayed.
#[derive(Debug)]
pub enum ReplayError {
    /// The file system failed.
    Io {
        /// What was attempted.
        what: String,
        /// How it failed.
        error: io::Error,
    },
    /// The file is damaged at this offset.
    Damaged {
        /// Which file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// In what way.
        damage: Damage,
    },
    /// The file is missing.
    Missing {
        /// Which file.
        file: String,
        /// How that is known.
        known: Known,
    },
    /// The file is shorter than it was, or what follows in it is not what was written.
    CutShort {
        /// Which file.
        file: String,
        /// How much of it is sound, in bytes.
        offset: u64,
        /// How much of it was sound, in bytes.
        end: u64,
    },
    /// The file does not hold the body of this job.
    DamagedBody {
        /// Which file.
        file: String,
        /// Which job.
        job: JobId,
    },
    /// The file's header names another number.
    Misnamed {
        /// Which file.
        file: String,
        /// The number in its header.
        number: u64,
    },
}

/// How it is known that a file is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// There are older and newer ones.
    Between,
    /// The manifest names it.
    Named,
    /// Segments of this format have a manifest beside them.
    Format,
    /// It is the body of a job that there is.
    Body,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Damaged { file, damage: damage @ Damage::Version(_), .. } => {
                write!(f, "{file} was written by another release: {damage}")
            }
            Self::Damaged { file, offset, damage: damage @ Damage::Newer(_) } => {
                write!(
                    f,
                    "{file} was written by a newer release: the record at offset {offset}: {damage}"
                )
            }
            Self::Damaged { file, offset, damage } if *offset == 0 => {
                write!(f, "{file} is damaged: the header at offset 0: {damage}")
            }
            Self::Damaged { file, offset, damage } => {
                write!(f, "{file} is damaged: the record at offset {offset}: {damage}")
            }
            Self::Missing { file, known } => {
                f.write_str(file)?;
                f.write_str(match known {
                    Known::Between => " is missing, though there are older and newer ones",
                    Known::Named => " is missing, though the manifest names it",
                    Known::Format => " is missing, which stands beside all segments of this format",
                    Known::Body => " is missing, though there is a job that has its body there",
                })
            }
            Self::CutShort { file, offset, end } => write!(
                f,
                "{file} is incomplete: {end} bytes of it were sound, and now {offset} are"
            ),
            Self::DamagedBody { file, job } => {
                write!(f, "{file} is damaged: the body of job {job}: {}", Damage::Checksum)
            }
            Self::Misnamed { file, number } => {
                write!(f, "{file} is misnamed: it says that it is number {number}")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

impl ReplayError {
    /// Whether a repair can leave out what is damaged and go on.
    pub fn is_repairable(&self) -> bool {
        match self {
            // There is nothing wrong with it; but only a newer release can read it.
            Self::Damaged { damage: Damage::Version(_) | Damage::Newer(_), .. }
            | Self::Io { .. } => false,
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::CutShort { .. }
            | Self::DamagedBody { .. }
            | Self::Misnamed { .. } => true,
        }
    }

    /// Whether it may help to put a file back as it was.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::CutShort { .. })
    }
}

pub(super) fn io_error(what: String) -> impl FnOnce(io::Error) -> ReplayError {
    move |error| ReplayError::Io { what, error }
}
