//! The files and folders in the directory.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::{V7Error, failed};
use crate::log::directory::{Directory, SEGMENTS};

/// The folder in which an import builds our segments.
const IMPORTING: &str = "jq-binlog.importing";

/// The folder in which an export builds beanstalkd's files.
pub(super) const EXPORTING: &str = "binlog.exporting";

/// The folder for beanstalkd's files after an import.
const IMPORTED: &str = "beanstalkd-binlog";

/// The folder for our segments after an export.
const EXPORTED: &str = "jq-binlog.exported";

/// The prefix of the names of beanstalkd's files.
const PREFIX: &str = "binlog.";

/// The name of beanstalkd's file with this number.
pub(super) fn v7_name(number: u32) -> String {
    format!("{PREFIX}{number}")
}

/// The number of beanstalkd's file with this name.
fn v7_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (v7_name(number) == name).then_some(number)
}

/// A directory that we have locked, with beanstalkd's files and ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder<'a>(pub(super) &'a Directory);

impl Folder<'_> {
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The folder of our segments that are in use.
    pub(super) fn segments(&self) -> PathBuf {
        self.path().join(SEGMENTS)
    }

    pub(super) fn importing(&self) -> PathBuf {
        self.path().join(IMPORTING)
    }

    pub(super) fn exporting(&self) -> PathBuf {
        self.path().join(EXPORTING)
    }

    /// The numbers of beanstalkd's files, in order.
    pub(super) fn v7_numbers(&self) -> Result<Vec<u32>, V7Error> {
        v7_numbers(self.path()).map_err(failed("list the directory"))
    }

    /// Whether there is a binlog of ours. An empty folder does not count: it may be a remnant of an
    /// interrupted first start.
    pub(super) fn has_segments(&self) -> Result<bool, V7Error> {
        match fs::read_dir(self.segments()) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(format!("list {SEGMENTS}"))(error)),
        }
    }

    /// An unused name for the folder of imported files.
    pub(super) fn free_imported(&self) -> Result<String, V7Error> {
        self.free_name(IMPORTED)
    }

    /// An unused name for the folder of exported segments.
    pub(super) fn free_exported(&self) -> Result<String, V7Error> {
        self.free_name(EXPORTED)
    }

    fn free_name(&self, name: &str) -> Result<String, V7Error> {
        let names = (2_u32..).map(|number| format!("{name}.{number}"));
        for name in std::iter::once(name.to_owned()).chain(names) {
            let taken = fs::symlink_metadata(self.path().join(&name));
            match taken {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(name),
                Err(error) => return Err(failed(format!("look for {name}"))(error)),
            }
        }
        unreachable!("no directory has four billion names")
    }

    /// Syncs the directory, so that its names are durable.
    pub(super) fn sync(&self) -> Result<(), V7Error> {
        sync(self.path())
    }
}

/// The numbers of beanstalkd's files in a folder, in order.
pub(super) fn v7_numbers(path: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path)? {
        numbers.extend(entry?.file_name().to_str().and_then(v7_number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Changes something on disk. All changes go through here, so that tests can stop before each of
/// them; except changes to the contents of a file that is not in use yet.
pub(super) fn change<T>(change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    super::tests::crash::point()?;
    change()
}

/// Creates a private folder, and removes anything that has its name.
pub(super) fn make_anew(path: &Path) -> Result<(), V7Error> {
    remove(path)?;
    let made = change(|| DirBuilder::new().mode(0o700).create(path));
    made.map_err(failed(format!("make {}", path.display())))
}

/// Removes a folder and its contents, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), V7Error> {
    match change(|| fs::remove_dir_all(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Renames a file or folder.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), V7Error> {
    let what = || format!("rename {} to {}", from.display(), to.display());
    change(|| fs::rename(from, to)).map_err(|error| failed(what())(error))
}

/// Syncs a folder, so that its names are durable.
pub(super) fn sync(path: &Path) -> Result<(), V7Error> {
    let synced = change(|| File::open(path)?.sync_all());
    synced.map_err(failed(format!("sync {}", path.display())))
}
