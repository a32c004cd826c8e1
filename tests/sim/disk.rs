//! A disk in memory that fails as real ones do.
//!
//! It keeps apart what a file shows and what would survive the loss of power. What happened since
//! the last sync survives in part: each write is kept, lost, or torn, and so is each name that came
//! or went, whatever the order. A sync that fails loses some of the writes for good and says so only
//! once, as Linux does.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use beanstalk_protocol::JobId;
use fastrand::Rng;
use jq_server::log::binlog::{Disk, DiskFile, body_job, segment_number};

use crate::inode::{Change, Inode, torn};

/// A disk; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct FakeDisk(Arc<Mutex<State>>);

/// A file that was lost, or its end.
#[derive(Debug)]
pub(crate) struct Lost {
    name: String,
    file: usize,
    is_kept: bool,
    bytes: Vec<u8>,
    kept: Vec<u8>,
}

/// How it misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Of a thousand changes and syncs, so many fail.
    pub(crate) per_mille: u32,
    /// Bytes that fit.
    pub(crate) capacity: u64,
    /// Room cannot be set aside.
    pub(crate) cannot_allocate: bool,
    /// A sync says that it is done, and does nothing.
    pub(crate) lies: bool,
}

impl Faults {
    /// It does what it should.
    pub(crate) const NONE: Self =
        Self { per_mille: 0, capacity: u64::MAX, cannot_allocate: false, lies: false };
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Failed,
    /// In the middle of it everything stops.
    Stopped,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// Those that survive the loss of power.
    kept_names: BTreeMap<String, usize>,
    /// What happened since, each whole or not at all: the names are of these files now, or of none.
    renamed: Vec<Vec<(String, Option<usize>)>>,
    faults: Faults,
    /// Changes and syncs so far, and after how many of them everything stops.
    operations: u64,
    stop_at: Option<u64>,
    stopped: bool,
    /// A sync has failed since this was last asked.
    lost_writes: bool,
}

impl FakeDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng::with_seed(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            kept_names: BTreeMap::new(),
            renamed: Vec::new(),
            faults: Faults::NONE,
            operations: 0,
            stop_at: None,
            stopped: false,
            lost_writes: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding this lock")
    }

    pub(crate) fn faults(&self) -> Faults {
        self.lock().faults
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Everything stops at a change or sync from here on, this one being the first: as when the
    /// process is killed or the power is lost.
    pub(crate) fn stop_in(&self, operations: Option<u64>) {
        let mut state = self.lock();
        state.stop_at = operations.map(|count| state.operations + count);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Whether a sync has failed since this was last asked, so that what was written may be lost
    /// without any further notice.
    pub(crate) fn take_lost_writes(&self) -> bool {
        std::mem::take(&mut self.lock().lost_writes)
    }

    /// The process is gone, and another one begins. What was written is there, synced or not.
    pub(crate) fn kill(&self) {
        self.lock().restart();
    }

    /// As [`FakeDisk::kill`], but of what was not synced only some is there.
    pub(crate) fn lose_power(&self) {
        let mut state = self.lock();
        state.restart();
        let State { rng, files, names, kept_names, renamed, .. } = &mut *state;
        for (name, file) in renamed.drain(..).filter(|_| rng.bool()).flatten() {
            match file {
                Some(file) => kept_names.insert(name, file),
                None => kept_names.remove(&name),
            };
        }
        names.clone_from(kept_names);
        for file in files {
            file.lose_power(rng);
        }
    }

    /// Bytes of all files, with the room set aside in them.
    pub(crate) fn used(&self) -> u64 {
        self.lock().used()
    }

    /// The segments' files, the oldest first.
    pub(crate) fn segments(&self) -> Vec<(u64, Vec<u8>)> {
        let state = self.lock();
        let numbered = state.names.iter().filter_map(|(name, file)| {
            Some((segment_number(name)?, state.files[*file].bytes.clone()))
        });
        numbered.collect()
    }

    /// The jobs whose bodies are in files of their own.
    pub(crate) fn bodies(&self) -> Vec<JobId> {
        self.lock().names.keys().filter_map(|name| body_job(name)).collect()
    }

    /// What is in this file, if there is one.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        state.names.get(name).map(|file| state.files[*file].bytes.clone())
    }

    /// The file is gone, or all of it from this length on. Returns it as it was.
    pub(crate) fn lose(&self, name: &str, len: Option<u64>) -> Lost {
        let mut state = self.lock();
        let file = state.names[name];
        let Inode { bytes, kept, .. } = &state.files[file];
        let lost = Lost {
            name: name.to_owned(),
            file,
            is_kept: state.kept_names.contains_key(name),
            bytes: bytes.clone(),
            kept: kept.clone(),
        };
        match len {
            Some(len) => {
                let Inode { bytes, kept, .. } = &mut state.files[file];
                bytes.truncate(len as usize);
                kept.truncate(len as usize);
            }
            None => {
                state.names.remove(name);
                state.kept_names.remove(name);
            }
        }
        lost
    }

    /// The file is as it was.
    pub(crate) fn put_back(&self, lost: Lost) {
        let mut state = self.lock();
        let Lost { name, file, is_kept, bytes, kept } = lost;
        let inode = &mut state.files[file];
        (inode.bytes, inode.kept) = (bytes, kept);
        if is_kept {
            state.kept_names.insert(name.clone(), file);
        }
        state.names.insert(name, file);
    }

    /// Turns a bit of a file over.
    pub(crate) fn flip(&self, name: &str, offset: usize, bit: u8) {
        let mut state = self.lock();
        let file = state.names[name];
        let Inode { bytes, kept, .. } = &mut state.files[file];
        for bytes in [bytes, kept] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1 << bit;
            }
        }
    }
}

impl State {
    fn restart(&mut self) {
        (self.stopped, self.stop_at) = (false, None);
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].bytes.len() as u64).sum()
    }

    fn fate(&mut self) -> io::Result<Fate> {
        if self.stopped {
            return Err(broken());
        }
        self.operations += 1;
        if self.stop_at == Some(self.operations) {
            self.stopped = true;
            return Ok(Fate::Stopped);
        }
        let fails = self.rng.u32(..1000) < self.faults.per_mille;
        Ok(if fails { Fate::Failed } else { Fate::Done })
    }

    /// Of so many more bytes, how many fit.
    fn fit(&self, more: u64) -> u64 {
        more.min(self.faults.capacity.saturating_sub(self.used()))
    }

    fn rename(&mut self, names: &[(&str, Option<usize>)]) {
        for (name, file) in names {
            match file {
                Some(file) => self.names.insert((*name).to_owned(), *file),
                None => self.names.remove(*name),
            };
        }
        self.renamed.push(names.iter().map(|(name, file)| ((*name).to_owned(), *file)).collect());
    }

    /// Does something that is done whole or not at all.
    fn attempt(&mut self, what: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.fate()? {
            Fate::Done => {
                what(self);
                Ok(())
            }
            Fate::Failed => Err(broken()),
            Fate::Stopped => {
                if self.rng.bool() {
                    what(self);
                }
                Err(broken())
            }
        }
    }
}

fn broken() -> io::Error {
    // EIO has no kind of its own.
    io::Error::other("input/output error")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for FakeDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let mut made = 0;
        state.attempt(|state| match state.names.get(name) {
            Some(file) => {
                made = *file;
                state.files[made].change(Change::Cut(0));
            }
            None => {
                made = state.files.len();
                state.files.push(Inode::default());
                state.rename(&[(name, Some(made))]);
            }
        })?;
        Ok(Arc::new(FakeFile { disk: self.clone(), file: made }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        let file = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FakeFile { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().attempt(|state| state.rename(&[(name, None)]))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let file = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.attempt(|state| state.rename(&[(from, None), (to, Some(file))]))
    }

    fn sync(&self) -> io::Result<()> {
        self.lock().attempt(|state| {
            if state.faults.lies {
                return;
            }
            state.renamed.clear();
            state.kept_names = state.names.clone();
        })
    }
}

/// An open file.
#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    file: usize,
}

impl DiskFile for FakeFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].bytes.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        if state.stopped {
            return Err(broken());
        }
        let all = &state.files[self.file].bytes;
        let rest = all.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fate = state.fate()?;
        let (start, len) = (offset as usize, state.files[self.file].bytes.len());
        let more = (start + bytes.len()).saturating_sub(len) as u64;
        let missing = (more - state.fit(more)) as usize;
        let fits = bytes.len().saturating_sub(missing);
        let done = if fate == Fate::Done { fits } else { torn(start, fits, &mut state.rng) };
        if done > 0 {
            state.files[self.file].change(Change::Write(start, bytes[..done].to_vec()));
        }
        match fate {
            Fate::Done if missing > 0 => Err(full()),
            Fate::Done => Ok(()),
            Fate::Failed | Fate::Stopped => Err(broken()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fate = state.fate()?;
        let State { rng, files, faults, lost_writes, .. } = &mut *state;
        let file = &mut files[self.file];
        match fate {
            Fate::Done => {
                if !faults.lies {
                    file.sync();
                }
                return Ok(());
            }
            Fate::Failed => {
                file.lose_some(rng);
                *lost_writes = true;
            }
            // What is left of it is seen when the power is lost.
            Fate::Stopped => {}
        }
        Err(broken())
    }

    fn allocate(&self, _: u64, end: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        if state.faults.cannot_allocate {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let more = end.saturating_sub(state.files[self.file].bytes.len() as u64);
        if state.fit(more) < more {
            return Err(full());
        }
        let file = self.file;
        state.attempt(|state| state.files[file].change(Change::Grow(end as usize)))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let file = self.file;
        self.disk.lock().attempt(|state| {
            // As with the system's call, which also makes a file longer.
            let change = match state.files[file].bytes.len() as u64 > len {
                true => Change::Cut(len as usize),
                false => Change::Grow(len as usize),
            };
            state.files[file].change(change);
        })
    }
}
