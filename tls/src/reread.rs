//! What was made of files, made again when one of them has changed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};

use crate::FileError;

/// A value made of files.
#[derive(Debug)]
pub struct Reread<T> {
    /// What one of them is called in the log, and several.
    names: [&'static str; 2],
    paths: Vec<PathBuf>,
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    value: Option<T>,
    /// What the files looked like when they were last read, whether that succeeded or not.
    seen: Vec<Option<Stamp>>,
}

/// What tells that a file is another one, or has other contents or permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Its device and number, and when anything of it has changed, where files have these.
    #[cfg(unix)]
    node: (u64, u64, i64, i64),
}

/// What these paths lead to, through links. `None`: to nothing that can be looked at.
pub fn stamps(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Vec<Option<Stamp>> {
    paths.into_iter().map(|path| stamp(path.as_ref())).collect()
}

impl<T: Clone> Reread<T> {
    /// One of certificates and keys. Nothing is read yet.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self::named(["a certificate", "certificates"], paths)
    }

    /// One of other files, each of which is called so in the log, and several. Nothing is read yet.
    pub fn named(names: [&'static str; 2], paths: Vec<PathBuf>) -> Self {
        Self { names, paths, kept: Mutex::new(Kept { value: None, seen: Vec::new() }) }
    }

    /// The value, made by `make` if there is none or a file has changed. If that fails, the earlier value
    /// stays.
    ///
    /// # Errors
    /// What `make` fails with, if there is no earlier value.
    pub fn get(&self, make: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
        // It is whole between two statements, whoever panicked.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps = stamps(&self.paths);
        if let Some(value) = &kept.value
            && kept.seen == stamps
        {
            return Ok(value.clone());
        }
        kept.seen = stamps;
        let [one, many] = self.names;
        match (make(), &kept.value) {
            (Ok(value), earlier) => {
                if earlier.is_some() {
                    info!(files = ?self.paths, "{many} were read again");
                }
                kept.value = Some(value.clone());
                Ok(value)
            }
            (Err(error), Some(earlier)) => {
                warn!(%error, "{one} cannot be used; the earlier one stays in use");
                Ok(earlier.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    #[cfg(unix)]
    use std::os::unix::fs::MetadataExt;

    let found = std::fs::metadata(path).ok()?;
    Some(Stamp {
        length: found.len(),
        modified: found.modified().ok(),
        #[cfg(unix)]
        node: (found.dev(), found.ino(), found.ctime(), found.ctime_nsec()),
    })
}
