//! Results in packs: small ones, many to a file.
//!
//! ```text
//! DIR/packs/NNNNNNNN.pack    results in the order in which they came (see [`line`])
//! DIR/packs/NNNNNNNN.index   where each is, once the pack takes no more (see [`index`])
//! DIR/packs/NNNNNNNN.gone    the index of a pack whose results have expired
//! ```
//!
//! A file for each result takes up a whole block of the disk, and making and removing it costs more than
//! writing it. So results are appended to the newest pack. When that is full, or old, it is sealed: an index
//! is written, and nothing in it changes any more. Of two results of one job, the one in the newer pack, or
//! behind the other, counts.
//!
//! A result expires by its time, whatever the files say. A pack is removed as a whole when all in it has
//! expired, and its index after as long again. So that this is not much later than it could be, a pack
//! takes results of an eighth of that time at most.
//!
//! Nothing is synced until [`Packs::sync`]: the journal has what the disk may not have yet.
//!
//! Owns: the files. Must not know: what is owed.

mod index;
mod line;
mod scan;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use tracing::warn;
use uuid::Uuid;

use index::{Index, Spot};
use line::Line;

/// A pack is sealed when it has so many bytes or so many results.
const FULL: u32 = 64 << 20;
const MANY: usize = 100_000;

/// Of a pack that is removed, so many bytes go at a time: others wait for the disk meanwhile.
const STEP: u64 = 8 << 20;

/// A pack takes results of an eighth of the time for which they are kept, but of no less than this, in
/// milliseconds.
const MIN_SPAN: i64 = 60_000;

/// Results of more bytes are in files of their own.
pub(super) const SMALL: usize = 32 << 10;

/// A result to be packed.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) id: Uuid,
    pub(super) finished: Timestamp,
    /// One line. `None`: it is in a file of its own; what is packed of that id does not count any more.
    pub(super) body: Option<Bytes>,
}

/// What the packs have of an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InPack {
    /// The result.
    Result(Bytes),
    /// It is in a file of its own.
    InFile,
    /// There was one that has expired.
    Expired,
    /// There was one that expired so long ago that nobody is told of it any more.
    Forgotten,
    Nothing,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Packs {
    dir: PathBuf,
    state: Mutex<State>,
    /// How long results are kept, in milliseconds.
    retention: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    sealed: Vec<Arc<Sealed>>,
    /// The newest of all.
    active: Option<Active>,
    /// The number of the next pack.
    next: u64,
    /// What was written since the last sync.
    unsynced: Vec<Arc<File>>,
}

/// A pack that takes results.
#[derive(Debug)]
struct Active {
    number: u64,
    file: Arc<File>,
    size: u32,
    spots: HashMap<Uuid, Spot>,
    /// The times of its oldest and newest results. For damaged ones, it is that of the file.
    oldest: i64,
    newest: i64,
}

/// A pack that takes no more.
#[derive(Debug)]
struct Sealed {
    number: u64,
    index: Index,
    /// It is being removed, or only its index is there.
    is_gone: AtomicBool,
    /// There may be something left of it to be removed.
    has_rest: AtomicBool,
}

impl Sealed {
    fn new(number: u64, index: Index, is_gone: bool) -> Self {
        let (is_gone, has_rest) = (AtomicBool::new(is_gone), AtomicBool::new(is_gone));
        Self { number, index, is_gone, has_rest }
    }
}

impl Packs {
    /// Reads what there is. `may_write`: what is missing is made, and what a crash has left is mended.
    ///
    /// # Errors
    ///
    /// What the system says. Damaged files are no error.
    pub(super) fn open(dir: PathBuf, may_write: bool) -> io::Result<Self> {
        if may_write {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        }
        let state = scan::open(&dir, may_write)?;
        Ok(Self { dir, state: Mutex::new(state), retention: AtomicI64::new(i64::MAX) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between two statements, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is of this id.
    ///
    /// # Errors
    ///
    /// What the system says, or that the result is damaged, and where.
    pub(super) fn find(&self, id: Uuid) -> io::Result<InPack> {
        let found = {
            let state = self.state();
            let active = state.active.as_ref();
            let newest = active.and_then(|it| Some((it.number, *it.spots.get(&id)?)));
            match newest {
                Some(newest) => Ok(newest),
                None => {
                    let may_have = state.sealed.iter().rev().filter(|it| it.index.may_have(id));
                    Err(may_have.map(Arc::clone).collect::<Vec<_>>())
                }
            }
        };
        let (number, spot, is_gone) = match found {
            Ok((number, spot)) => (number, spot, false),
            Err(sealed) => match self.find_in(id, &sealed)? {
                Some(found) => found,
                None => return Ok(InPack::Nothing),
            },
        };
        let age = Timestamp::now().as_millisecond().saturating_sub(spot.finished);
        let retention = self.retention.load(Ordering::Relaxed);
        if age >= retention.saturating_mul(2) {
            return Ok(InPack::Forgotten);
        }
        if is_gone || age >= retention {
            return Ok(InPack::Expired);
        }
        self.read(id, number, spot)
    }

    /// Whether this very result is there. At the start, what is in the newest pack has just been read, and
    /// is taken to be what it is said to be.
    pub(super) fn has(&self, id: Uuid, finished: Timestamp, body: &Bytes) -> bool {
        let finished = finished.as_millisecond();
        let newest = self.state().active.as_ref().and_then(|it| it.spots.get(&id).copied());
        match newest {
            Some(spot) => {
                let length = line::length(finished, body.len());
                spot.finished == finished && spot.length as usize == length
            }
            None => matches!(self.find(id), Ok(InPack::Result(found)) if found == *body),
        }
    }

    /// Looks at the newest first. Tells the pack, where in it, and whether it is gone.
    fn find_in(&self, id: Uuid, sealed: &[Arc<Sealed>]) -> io::Result<Option<(u64, Spot, bool)>> {
        for pack in sealed {
            let is_gone = pack.is_gone.load(Ordering::Acquire);
            let find = |extension| pack.index.find(id, &path(&self.dir, pack.number, extension));
            // It may be renamed between two looks.
            let found = find("index").or_else(|error| match error.kind() {
                ErrorKind::NotFound => find("gone"),
                _ => Err(error),
            });
            match found {
                Ok(None) => {}
                Ok(Some(spot)) => return Ok(Some((pack.number, spot, is_gone))),
                // Forgotten meanwhile, or removed by somebody.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn read(&self, id: Uuid, number: u64, spot: Spot) -> io::Result<InPack> {
        let path = path(&self.dir, number, "pack");
        let damaged = || {
            let (path, at) = (path.display(), spot.offset);
            let message = format!("{path}: the result of {id} at byte {at} is damaged");
            io::Error::new(ErrorKind::InvalidData, message)
        };
        // No pack has a line of that length, whatever its index says.
        if spot.length > FULL {
            return Err(damaged());
        }
        let mut line = vec![0; spot.length as usize];
        let read =
            File::open(&path).and_then(|file| file.read_exact_at(&mut line, spot.offset.into()));
        match read {
            // It expires at this moment, or somebody has removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(InPack::Expired),
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
            _ => {}
        }
        let length = match Line::read(&line) {
            Some(Line { id: it, body: Some(body), .. }) if it == id => body.len(),
            Some(Line { id: it, body: None, .. }) if it == id => return Ok(InPack::InFile),
            _ => return Err(damaged()),
        };
        let line = Bytes::from(line);
        Ok(InPack::Result(line.slice(line.len() - length..)))
    }

    /// Appends these. Only one thread may do so at a time.
    ///
    /// # Errors
    ///
    /// What the system says. Then none of them is there.
    pub(super) fn append(&self, results: &[Packed]) -> io::Result<()> {
        if results.is_empty() {
            return Ok(());
        }
        self.seal_old();
        let (file, start) = self.newest()?;
        let mut text = Vec::new();
        let mut spots = Vec::with_capacity(results.len());
        for Packed { id, finished, body } in results {
            let before = text.len();
            let (finished, body) = (finished.as_millisecond(), body.as_deref());
            Line { id: *id, finished, body }.write(&mut text);
            let position = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
            let offset = start.saturating_add(position(before)?);
            spots.push((*id, Spot { offset, length: position(text.len() - before)?, finished }));
        }
        if let Err(error) = (&*file).write_all(&text) {
            // What there is of it would be in the way of what comes next.
            if file.set_len(start.into()).is_err() {
                self.seal();
            }
            return Err(error);
        }
        let is_full = {
            let mut state = self.state();
            let Some(active) = &mut state.active else { return Ok(()) };
            spots.iter().for_each(|(id, spot)| active.add(*id, *spot));
            // The batch is in memory: it is no larger.
            active.size = start.saturating_add(u32::try_from(text.len()).unwrap_or(u32::MAX));
            active.size >= FULL || active.spots.len() >= MANY
        };
        if is_full {
            self.seal();
        }
        Ok(())
    }

    /// The pack that takes results, and its size; a new one, if there is none.
    fn newest(&self) -> io::Result<(Arc<File>, u32)> {
        let mut state = self.state();
        if state.active.is_none() {
            let active = Active::begin(&self.dir, state.next)?;
            state.next = active.number + 1;
            state.active = Some(active);
        }
        let State { active, unsynced, .. } = &mut *state;
        let Some(active) = active else { return Err(io::Error::other("there is no pack")) };
        if !unsynced.iter().any(|file| Arc::ptr_eq(file, &active.file)) {
            unsynced.push(Arc::clone(&active.file));
        }
        Ok((Arc::clone(&active.file), active.size))
    }

    /// Seals the newest pack if it would hold up the end of its oldest results.
    fn seal_old(&self) {
        let retention = self.retention.load(Ordering::Relaxed);
        let oldest = self.state().active.as_ref().map(|active| active.oldest);
        let now = Timestamp::now().as_millisecond();
        if oldest.is_some_and(|oldest| now.saturating_sub(oldest) > MIN_SPAN.max(retention / 8)) {
            self.seal();
        }
    }

    /// [Seals](Self::seal) the newest pack if [all in it has expired](Self::is_newest_over).
    pub(super) fn seal_if_over(&self) {
        if self.is_newest_over() {
            self.seal();
        }
    }

    /// Takes no more results in the newest pack. As [`Self::append`], by one thread at a time.
    pub(super) fn seal(&self) {
        let copy = self.state().active.as_ref().map(|it| (it.copy(), it.newest));
        let Some(((number, spots), newest)) = copy else { return };
        let mut index = Index::new(spots, newest);
        let path = path(&self.dir, number, "index");
        if let Err(error) = index.write(&path) {
            // It can be made at the next start.
            warn!(path = %path.display(), %error, "cannot write the index of a pack of results");
        }
        let sealed = Arc::new(Sealed::new(number, index, false));
        let mut state = self.state();
        state.active = None;
        state.sealed.push(sealed);
    }

    /// Has the disk have all that was appended.
    ///
    /// # Errors
    ///
    /// What the system says. It is not known what the disk has then.
    pub(super) fn sync(&self) -> io::Result<()> {
        let unsynced = self.take_unsynced();
        if unsynced.is_empty() {
            return Ok(());
        }
        let synced = unsynced.iter().try_for_each(|file| file.sync_data());
        let synced = synced.and_then(|()| File::open(&self.dir)?.sync_all());
        if synced.is_err() {
            self.state().unsynced.extend(unsynced);
        }
        synced
    }

    /// From now on, what was appended so far counts as synced.
    pub(super) fn take_unsynced(&self) -> Vec<Arc<File>> {
        std::mem::take(&mut self.state().unsynced)
    }

    /// Results are kept for so long from now on.
    pub(super) fn set_retention(&self, retention: Duration) {
        let milliseconds = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        self.retention.store(milliseconds, Ordering::Relaxed);
    }

    /// Whether all in the newest pack has expired: it is to be sealed, so that it can be removed.
    pub(super) fn is_newest_over(&self) -> bool {
        let retention = self.retention.load(Ordering::Relaxed);
        let newest = self.state().active.as_ref().and_then(Active::newest);
        newest.is_some_and(|it| it.saturating_add(retention) <= Timestamp::now().as_millisecond())
    }

    /// Removes a part of a pack in which all has expired, or its index after as long again. Returns whether
    /// there was any.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn remove_one(&self) -> io::Result<bool> {
        let retention = self.retention.load(Ordering::Relaxed);
        let now = Timestamp::now().as_millisecond();
        let sealed = self.state().sealed.clone();
        for pack in sealed {
            let end = pack.index.newest.saturating_add(retention);
            let is_gone = pack.is_gone.load(Ordering::Acquire);
            if pack.has_rest.load(Ordering::Acquire) {
                self.cut(&pack)?;
                return Ok(true);
            }
            if is_gone && end.saturating_add(retention) <= now {
                self.forget(&pack)?;
                return Ok(true);
            }
            if !is_gone && end <= now {
                self.empty(&pack)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Has the results of a pack count as removed, and keeps its index.
    fn empty(&self, pack: &Sealed) -> io::Result<()> {
        let index = path(&self.dir, pack.number, "index");
        match fs::rename(&index, path(&self.dir, pack.number, "gone")) {
            // It could not be written, and is in memory.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        pack.has_rest.store(true, Ordering::Release);
        pack.is_gone.store(true, Ordering::Release);
        self.cut(pack)
    }

    /// Removes the end of a pack that is gone, or what is left of it.
    fn cut(&self, pack: &Sealed) -> io::Result<()> {
        let path = path(&self.dir, pack.number, "pack");
        let file = match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            file => Some(file?),
        };
        if let Some(file) = file {
            let size = file.metadata()?.len();
            if size > STEP {
                return file.set_len(size - STEP);
            }
            remove(&path)?;
        }
        pack.has_rest.store(false, Ordering::Release);
        Ok(())
    }

    fn forget(&self, pack: &Arc<Sealed>) -> io::Result<()> {
        remove(&path(&self.dir, pack.number, "gone"))?;
        self.state().sealed.retain(|it| !Arc::ptr_eq(it, pack));
        Ok(())
    }

    /// When the next pack can be removed.
    pub(super) fn next_end(&self) -> Option<SystemTime> {
        let retention = self.retention.load(Ordering::Relaxed);
        let state = self.state();
        let active = state.active.iter().filter_map(Active::newest);
        let active = active.map(|newest| newest.saturating_add(retention));
        let sealed = state.sealed.iter().map(|pack| {
            let times = if pack.is_gone.load(Ordering::Acquire) { 2 } else { 1 };
            pack.index.newest.saturating_add(retention.saturating_mul(times))
        });
        let first = sealed.chain(active).min()?;
        // Further away than times go is never.
        Timestamp::from_millisecond(first).ok().map(SystemTime::from)
    }
}

impl Active {
    /// An empty one, of the first number from `next` on that is free.
    fn begin(dir: &Path, next: u64) -> io::Result<Self> {
        let mut number = next;
        loop {
            let mut options = OpenOptions::new();
            options.append(true).create_new(true).mode(0o600);
            match options.open(path(dir, number, "pack")) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                file => return Ok(Self::of(number, file?)),
            }
        }
    }

    fn of(number: u64, file: File) -> Self {
        let (oldest, newest) = (i64::MAX, i64::MIN);
        Self { number, file: Arc::new(file), size: 0, spots: HashMap::new(), oldest, newest }
    }

    fn add(&mut self, id: Uuid, spot: Spot) {
        self.spots.insert(id, spot);
        self.oldest = self.oldest.min(spot.finished);
        self.newest = self.newest.max(spot.finished);
    }

    /// The time of its newest result, if it has any.
    fn newest(&self) -> Option<i64> {
        (self.newest > i64::MIN).then_some(self.newest)
    }

    fn copy(&self) -> (u64, Vec<(Uuid, Spot)>) {
        (self.number, self.spots.iter().map(|(id, spot)| (*id, *spot)).collect())
    }
}

fn path(dir: &Path, number: u64, extension: &str) -> PathBuf {
    dir.join(format!("{number:08}.{extension}"))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests;
