//! Working directories of jobs: fresh for each, though not always new.
//!
//! A directory that its job left as it found it is as good as a new one, and is used again. File
//! systems are slow at making and removing things all the time: ext4 looks for a number that was
//! not in use for some seconds, past all that were.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use super::StoreError;
use super::remove::remove_tree;

/// Only the owner may enter.
const MODE: u32 = 0o700;

/// Whoever has a directory further down may pass.
const PASS: u32 = 0o011;

/// Most directories that are kept for later.
const MAX_IDLE: usize = 256;

#[derive(Debug)]
pub(super) struct WorkDirectories {
    root: PathBuf,
    next: AtomicU64,
    idle: Mutex<Vec<PathBuf>>,
}

impl WorkDirectories {
    /// Makes the folder for them, and removes what a worker that was killed left in it.
    pub(super) fn make(root: PathBuf) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Io(root.clone(), error);
        DirBuilder::new().recursive(true).mode(MODE).create(&root).map_err(failed)?;
        for entry in fs::read_dir(&root).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Err(error) = remove_tree(&path) {
                // Its name is not used again.
                warn!(path = %path.display(), %error, "cannot remove what a job left behind");
            }
        }
        Ok(Self { root, next: AtomicU64::new(0), idle: Mutex::default() })
    }

    /// One that belongs to this user and group. Nobody else can list what is in the folders on the way there.
    pub(super) fn take_for(&self, uid: u32, gid: u32) -> io::Result<PathBuf> {
        for folder in [Some(&*self.root), self.root.parent()].into_iter().flatten() {
            let mode = fs::metadata(folder)?.permissions().mode();
            if mode & PASS != PASS {
                fs::set_permissions(folder, Permissions::from_mode(mode | PASS))?;
            }
        }
        let path = self.make_new()?;
        chown(&path, Some(uid), Some(gid))?;
        Ok(path)
    }

    pub(super) fn take(&self) -> io::Result<PathBuf> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(path) = idle {
            return Ok(path);
        }
        self.make_new()
    }

    fn make_new(&self) -> io::Result<PathBuf> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(number.to_string());
            match DirBuilder::new().mode(MODE).create(&path) {
                // It is of a job before, and could not be removed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return made.map(|()| path),
            }
        }
    }

    /// Whether the directory was taken back. If not, there is something in it, to be removed with
    /// [`remove_tree`].
    pub(super) fn give(&self, path: &Path) -> bool {
        if !is_fresh(path).unwrap_or(false) {
            return false;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = idle.len() < MAX_IDLE;
        if has_room {
            idle.push(path.to_owned());
        }
        has_room
    }
}

/// Whether it is as it was made.
fn is_fresh(path: &Path) -> io::Result<bool> {
    let meta = fs::symlink_metadata(path)?;
    let is_ours = meta.is_dir()
        && meta.permissions().mode() & 0o7777 == MODE
        && meta.uid() == rustix::process::geteuid().as_raw();
    Ok(is_ours && fs::read_dir(path)?.next().is_none())
}
