//! What was made of files, made again when one of them has changed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use crate::FileError;

/// Files that could not be used, and that look the same since, are read again after so long: perhaps there were
/// no descriptors left.
const AGAIN: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 10 });

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
    /// When that failed, and why.
    failed: Option<(Instant, FileError)>,
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
        Self {
            names,
            paths,
            kept: Mutex::new(Kept { value: None, seen: Vec::new(), failed: None }),
        }
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
            && kept.failed.as_ref().is_none_or(|(when, _)| when.elapsed() < AGAIN)
        {
            return Ok(value.clone());
        }
        // The log says it once.
        let said = kept.failed.take().filter(|_| kept.seen == stamps).map(|(_, error)| error);
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
                if said.as_ref() != Some(&error) {
                    warn!(%error, "{one} cannot be used; the earlier one stays in use");
                }
                let earlier = earlier.clone();
                kept.failed = Some((Instant::now(), error));
                Ok(earlier)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_for_a_moment_is_read_again_though_the_files_look_the_same() {
        let path = std::env::temp_dir().join(format!("jq-reread-{}", std::process::id()));
        std::fs::write(&path, "1").unwrap();
        let value = Reread::named(["one", "many"], vec![path.clone()]);
        let failed = || FileError::new("it", &path, "no descriptors are left");
        assert_eq!(value.get(|| Err(failed())), Err::<u32, _>(failed()));
        assert_eq!(value.get(|| Ok(1)), Ok(1));
        assert_eq!(value.get(|| panic!("it looks the same")), Ok(1));
        std::fs::write(&path, "22").unwrap();
        assert_eq!(value.get(|| Err(failed())), Ok(1));
        assert_eq!(value.get(|| Err(failed())), Ok(1));
        assert_eq!(value.get(|| Ok(2)), Ok(2));
        assert_eq!(value.get(|| panic!("it looks the same")), Ok(2));
        std::fs::remove_file(path).unwrap();
    }
}
