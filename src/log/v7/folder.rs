//! The names in the directory, and what is done with them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::{V7Error, failed};
use crate::log::directory::{Directory, SEGMENTS};

/// Where our segments are made of beanstalkd's files.
const IMPORTING: &str = "jq-binlog.importing";

/// Where beanstalkd's files are made of our segments.
pub(super) const EXPORTING: &str = "binlog.exporting";

/// Where beanstalkd's files are kept once they are imported.
const IMPORTED: &str = "beanstalkd-binlog";

/// Where our segments are kept once they are exported.
const EXPORTED: &str = "jq-binlog.exported";

/// What beanstalkd's files begin with.
const PREFIX: &str = "binlog.";

/// The name of a file of beanstalkd's.
pub(super) fn v7_name(number: u32) -> String {
    format!("{PREFIX}{number}")
}

/// The number of beanstalkd's file of this name.
fn v7_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (v7_name(number) == name).then_some(number)
}

/// A directory that is ours alone, in terms of beanstalkd's files and ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder<'a>(pub(super) &'a Directory);

impl Folder<'_> {
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Our segments, in use.
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

    /// Whether there is a binlog of ours. An empty folder is none: it may be left of a first start
    /// that went no further.
    pub(super) fn has_segments(&self) -> Result<bool, V7Error> {
        match fs::read_dir(self.segments()) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(format!("list {SEGMENTS}"))(error)),
        }
    }

    /// A name for imported files that nothing has.
    pub(super) fn free_imported(&self) -> Result<String, V7Error> {
        self.free_name(IMPORTED)
    }

    /// A name for exported segments that nothing has.
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

    /// Has the file system keep which names there are.
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

/// Changes something on the disk. All changes come through here but those of the contents of a file
/// that nobody looks into yet: so that tests can stop before each of them.
pub(super) fn change<T>(change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    super::tests::crash::point()?;
    change()
}

/// Makes a folder that nobody else looks into; what had its name is gone.
pub(super) fn make_anew(path: &Path) -> Result<(), V7Error> {
    remove(path)?;
    let made = change(|| DirBuilder::new().mode(0o700).create(path));
    made.map_err(failed(format!("make {}", path.display())))
}

/// Removes a folder with all that is in it, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), V7Error> {
    match change(|| fs::remove_dir_all(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Gives a file or folder another name.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), V7Error> {
    let what = || format!("rename {} to {}", from.display(), to.display());
    change(|| fs::rename(from, to)).map_err(|error| failed(what())(error))
}

/// Has the file system keep which names there are in a folder.
pub(super) fn sync(path: &Path) -> Result<(), V7Error> {
    let synced = change(|| File::open(path)?.sync_all());
    synced.map_err(failed(format!("sync {}", path.display())))
}
