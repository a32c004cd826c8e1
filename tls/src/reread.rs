//! What was made of files, made again when one of them has changed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};

use crate::FileError;

/// A value made of files.
#[derive(Debug)]
pub(crate) struct Reread<T> {
    paths: Vec<PathBuf>,
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    value: Option<T>,
    /// What the files looked like when they were last read, whether that succeeded or not.
    seen: Vec<Stamp>,
}

/// What tells that a file is another one, or has other contents. `None`: it cannot be looked at.
type Stamp = Option<(u64, u64, Option<SystemTime>)>;

impl<T: Clone> Reread<T> {
    /// Nothing is read yet.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, kept: Mutex::new(Kept { value: None, seen: Vec::new() }) }
    }

    /// The value, made by `make` if there is none or a file has changed. If that fails, the earlier value
    /// stays.
    ///
    /// # Errors
    /// What `make` fails with, if there is no earlier value.
    pub(crate) fn get(&self, make: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
        // It is whole between two statements, whoever panicked.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps: Vec<_> = self.paths.iter().map(|path| stamp(path)).collect();
        if let Some(value) = &kept.value
            && kept.seen == stamps
        {
            return Ok(value.clone());
        }
        kept.seen = stamps;
        match (make(), &kept.value) {
            (Ok(value), earlier) => {
                if earlier.is_some() {
                    info!(files = ?self.paths, "certificates were read again");
                }
                kept.value = Some(value.clone());
                Ok(value)
            }
            (Err(error), Some(earlier)) => {
                warn!(%error, "a certificate cannot be used; the earlier one stays in use");
                Ok(earlier.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&found);
    #[cfg(not(unix))]
    let inode = 0;
    Some((inode, found.len(), found.modified().ok()))
}
