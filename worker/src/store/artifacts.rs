//! Artifacts: files that belong to results.
//!
//! ```text
//! DIR/artifacts/new/TOKEN/N                 on their way: no result in the journal tells of them yet
//! DIR/artifacts/ab/UUID.MILLISECONDS.BYTES/N   those of a result: its job, its time, and their size
//! ```
//!
//! `N` is the place of a file in the result's list, counted from 0: a name that a process chose is never a path
//! here. Files are written to `new` and synced. Then the result goes to the journal, which tells the token, and
//! only then their folder moves to its place. So after a crash the journal's results get theirs, and whatever
//! else is in `new` belongs to nobody.
//!
//! Artifacts go with their result: when it expires, or another takes its place. If there are too many in all,
//! the oldest go before.
//!
//! Owns: these files. Must not know: where they came from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use uuid::Uuid;

use super::remove::remove_tree;
use crate::artifact::Artifact;

const NEW: &str = "new";

/// What a file takes up, in bytes, is a multiple of this; and so much the folder.
const BLOCK: u64 = 4096;

/// More files are synced with everything else on the file system, and not one by one.
const FEW: usize = 16;

/// What artifacts of these lengths take up on the disk, in bytes.
pub fn size_of(lengths: impl IntoIterator<Item = u64>) -> u64 {
    let blocks = |bytes: u64| bytes.div_ceil(BLOCK).saturating_mul(BLOCK).max(BLOCK);
    lengths.into_iter().map(blocks).fold(BLOCK, u64::saturating_add)
}

/// Artifacts that a result brings, as the journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The name of their folder in `new`.
    token: Uuid,
    /// See [`size_of`].
    bytes: u64,
}

/// An artifact that can be read.
#[derive(Debug)]
pub struct OpenArtifact {
    /// What its result tells of it.
    pub artifact: Artifact,
    /// Its content.
    pub file: File,
    /// When the job was over.
    pub modified: Timestamp,
}

/// What is known of an artifact.
#[derive(Debug)]
pub enum FoundArtifact {
    /// It is there.
    Open(OpenArtifact),
    /// It was there, and has been removed: with its result, or before, because there were too many.
    Gone,
    /// Nothing.
    Nothing,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Artifacts {
    root: PathBuf,
    index: Mutex<Index>,
    /// Most that all take up, in bytes.
    most: AtomicU64,
}

/// A folder: its time in milliseconds, its job.
type Key = (i64, Uuid);

#[derive(Debug, Default)]
struct Index {
    /// What each folder takes up; the oldest first.
    folders: BTreeMap<Key, u64>,
    /// The time of the folder of each job.
    times: HashMap<Uuid, i64>,
    /// What they take up together.
    total: u64,
    /// And those that are on their way.
    coming: u64,
}

impl Index {
    /// Returns the folder of an earlier result of the same job.
    fn add(&mut self, (time, id): Key, bytes: u64) -> Option<(Key, u64)> {
        let before = self.times.get(&id).copied().filter(|before| *before != time);
        let before = before.and_then(|before| self.remove((before, id)));
        self.remove((time, id));
        self.times.insert(id, time);
        self.folders.insert((time, id), bytes);
        self.total = self.total.saturating_add(bytes);
        before
    }

    fn remove(&mut self, key: Key) -> Option<(Key, u64)> {
        let bytes = self.folders.remove(&key)?;
        self.total = self.total.saturating_sub(bytes);
        if self.times.get(&key.1) == Some(&key.0) {
            self.times.remove(&key.1);
        }
        Some((key, bytes))
    }
}

impl Artifacts {
    /// Looks what there is. Nothing that is on its way is touched.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root.join(NEW))?;
        let mut index = Index::default();
        let mut outdated = Vec::new();
        for shelf in fs::read_dir(&root)? {
            let shelf = shelf?;
            if shelf.file_name() == NEW || !shelf.file_type()?.is_dir() {
                continue;
            }
            for folder in fs::read_dir(shelf.path())? {
                let name = folder?.file_name();
                let Some((key, bytes)) = name.to_str().and_then(read_name) else { continue };
                // A crash came between a result and the removal of what was before it.
                let is_older = index.times.get(&key.1).is_some_and(|newest| *newest > key.0);
                if is_older {
                    outdated.push((key, bytes));
                } else {
                    outdated.extend(index.add(key, bytes));
                }
            }
        }
        let artifacts = Self { root, index: Mutex::new(index), most: AtomicU64::new(u64::MAX) };
        outdated.into_iter().for_each(|folder| artifacts.discard(folder));
        Ok(artifacts)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // It is whole between two statements, whoever panicked.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_path(&self, token: Uuid) -> PathBuf {
        self.root.join(NEW).join(token.simple().to_string())
    }

    fn path(&self, (time, id): Key, bytes: u64) -> PathBuf {
        let shelf = self.root.join(format!("{:02x}", id.as_bytes()[0]));
        shelf.join(format!("{}.{time}.{bytes}", id.hyphenated()))
    }

    /// All may take up so many bytes from now on.
    pub(super) fn set_most(&self, bytes: u64) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    /// What all take up, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.index().total
    }

    /// A folder for artifacts that take up so many bytes. The oldest of others go for it, but not those of the
    /// jobs that `are_needed` tells. `None`: there is no room.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn stage(
        self: &Arc<Self>,
        bytes: u64,
        are_needed: impl FnOnce() -> HashSet<Uuid>,
    ) -> io::Result<Option<Staging>> {
        let Some(gone) = self.make_room(bytes, are_needed) else { return Ok(None) };
        // From here on its end gives the room back.
        let token = Uuid::new_v4();
        let dir = self.new_path(token);
        let artifacts = Arc::clone(self);
        let staging = Staging { artifacts, token, dir, bytes, files: 0, is_handed_over: false };
        if !gone.is_empty() {
            let folders = gone.len();
            info!(folders, "removed the oldest artifacts to make room for others");
        }
        gone.into_iter().for_each(|folder| self.discard(folder));
        // With the folder around it, if somebody has removed that.
        DirBuilder::new().recursive(true).mode(0o700).create(&staging.dir)?;
        Ok(Some(staging))
    }

    fn make_room(
        &self,
        bytes: u64,
        are_needed: impl FnOnce() -> HashSet<Uuid>,
    ) -> Option<Vec<(Key, u64)>> {
        let most = self.most.load(Ordering::Relaxed);
        let mut index = self.index();
        let mut gone = Vec::new();
        let taken = index.total.saturating_add(index.coming).saturating_add(bytes);
        let mut excess = taken.saturating_sub(most);
        if excess > 0 {
            let needed = are_needed();
            let free = index.folders.iter().filter(|((_, id), _)| !needed.contains(id));
            for (key, bytes) in free {
                if excess == 0 {
                    break;
                }
                excess = excess.saturating_sub(*bytes);
                gone.push((*key, *bytes));
            }
            if excess > 0 {
                return None;
            }
            for (key, _) in &gone {
                index.remove(*key);
            }
        }
        index.coming += bytes;
        Some(gone)
    }

    /// Moves the artifacts of a result to their place. Those of an earlier result stay until
    /// [`replace`](Self::replace). If they are there already, nothing is done. Returns whether they are there: at a
    /// start, they may have been removed before.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn adopt(&self, id: Uuid, finished: Timestamp, staged: Staged) -> io::Result<bool> {
        let (from, key) = (self.new_path(staged.token), (finished.as_millisecond(), id));
        let to = self.path(key, staged.bytes);
        if !from.exists() {
            return Ok(to.exists());
        }
        // It could be of a result of the same millisecond.
        remove_tree(&to)?;
        let moved = match fs::rename(&from, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let shelf = to.parent().unwrap_or(&self.root);
                DirBuilder::new().recursive(true).mode(0o700).create(shelf)?;
                fs::rename(&from, &to)
            }
            moved => moved,
        };
        moved.map(|()| true)
    }

    /// The artifacts of this result count from now on, if it has any. Those of an earlier one are removed.
    pub(super) fn replace(&self, id: Uuid, finished: Timestamp, staged: Option<Staged>) {
        let key = (finished.as_millisecond(), id);
        let outdated = {
            let mut index = self.index();
            match staged {
                Some(staged) => index.add(key, staged.bytes),
                None => {
                    let before = index.times.get(&id).copied();
                    before.and_then(|before| index.remove((before, id)))
                }
            }
        };
        if let Some(folder) = outdated {
            self.discard(folder);
        }
    }

    /// Removes what is on its way and belongs to no result. Before anything is on its way.
    pub(super) fn clear_new(&self) -> io::Result<()> {
        for folder in fs::read_dir(self.root.join(NEW))? {
            let path = folder?.path();
            if let Err(error) = remove_tree(&path) {
                warn!(path = %path.display(), %error, "cannot remove artifacts of no result");
            }
        }
        Ok(())
    }

    /// Opens the artifact at this place in the list of a result. `None`: it is not there any more.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn read(
        &self,
        id: Uuid,
        finished: Timestamp,
        place: usize,
    ) -> io::Result<Option<File>> {
        let key = (finished.as_millisecond(), id);
        let Some(bytes) = self.index().folders.get(&key).copied() else { return Ok(None) };
        let path = self.path(key, bytes).join(place.to_string());
        let mut options = OpenOptions::new();
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        match options.read(true).custom_flags(flags as i32).open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the oldest artifacts, if they are older than that and not of a job that `is_needed` tells. Returns
    /// whether there were any.
    pub(super) fn remove_old(&self, retention: Duration, is_needed: impl Fn(Uuid) -> bool) -> bool {
        let now = Timestamp::now().as_millisecond();
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let old = {
            let mut index = self.index();
            let due = |(time, _): &Key| time.saturating_add(retention) <= now;
            let folders = index.folders.keys().take_while(|key| due(key));
            let key = folders.copied().find(|(_, id)| !is_needed(*id));
            key.and_then(|key| index.remove(key))
        };
        let Some(folder) = old else { return false };
        self.discard(folder);
        true
    }

    /// When the oldest are to be removed.
    pub(super) fn next_end(&self, retention: Duration) -> Option<SystemTime> {
        let oldest = self.index().folders.keys().next().map(|(time, _)| *time)?;
        let oldest = SystemTime::from(Timestamp::from_millisecond(oldest).ok()?);
        // What is needed still is not looked at again and again.
        oldest.checked_add(retention).map(|end| end.max(SystemTime::now()))
    }

    fn discard(&self, (key, bytes): (Key, u64)) {
        let path = self.path(key, bytes);
        if let Err(error) = remove_tree(&path) {
            // The next start finds it again.
            warn!(path = %path.display(), %error, "cannot remove artifacts");
        }
    }
}

/// `UUID.MILLISECONDS.BYTES`
fn read_name(name: &str) -> Option<(Key, u64)> {
    let (id, rest) = name.split_once('.')?;
    let (time, bytes) = rest.split_once('.')?;
    Some(((time.parse().ok()?, id.parse().ok()?), bytes.parse().ok()?))
}

/// Artifacts on their way. What no result has taken on is removed at the end.
#[derive(Debug)]
pub struct Staging {
    artifacts: Arc<Artifacts>,
    token: Uuid,
    dir: PathBuf,
    bytes: u64,
    files: usize,
    is_handed_over: bool,
}

impl Staging {
    /// Where they are.
    #[cfg(test)]
    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// A new file: the next in the list.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn add(&mut self) -> io::Result<File> {
        let path = self.dir.join(self.files.to_string());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        self.files += 1;
        Ok(file)
    }

    /// Takes this file over: the next in the list is what has this name in this folder, and is open.
    ///
    /// # Errors
    ///
    /// What the system says: above all, that it is on another file system.
    pub fn adopt(&mut self, folder: impl AsFd, name: &CStr, file: &File) -> io::Result<()> {
        rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR)?;
        let path = self.dir.join(self.files.to_string());
        renameat_with(folder, name, CWD, &path, RenameFlags::NOREPLACE)?;
        self.files += 1;
        Ok(())
    }

    /// Takes the last file back.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn take_back(&mut self) -> io::Result<()> {
        let Some(last) = self.files.checked_sub(1) else { return Ok(()) };
        self.files = last;
        fs::remove_file(self.dir.join(last.to_string()))
    }

    /// Has the disk have all of them.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        let dir = File::open(&self.dir)?;
        if self.files > FEW {
            rustix::fs::syncfs(&dir)?;
        } else {
            for number in 0..self.files {
                File::open(self.dir.join(number.to_string()))?.sync_data()?;
            }
            dir.sync_all()?;
        }
        File::open(self.artifacts.root.join(NEW))?.sync_all()
    }

    /// For the result that brings them. The store has them from now on, or the next start: nothing is removed at
    /// the end.
    pub fn hand_over(&mut self) -> Staged {
        self.is_handed_over = true;
        Staged { token: self.token, bytes: self.bytes }
    }

    /// There will be no such result.
    pub fn withdraw(&mut self) {
        self.is_handed_over = false;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.artifacts.index().coming -= self.bytes;
        if !self.is_handed_over
            && let Err(error) = remove_tree(&self.dir)
        {
            // The next start removes it.
            warn!(path = %self.dir.display(), %error, "cannot remove artifacts of no result");
        }
    }
}

#[cfg(test)]
mod tests;
