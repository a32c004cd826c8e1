//! From the book to the files.
//!
//! There is one writer. A flush takes everything that has been appended since the last one and
//! writes it, so that however many wait, they wait for one write, and under `-f 0` for one sync.
//! What is not synced yet stays in memory: if a sync fails, nobody knows what is on the disk, and it
//! is written once more, to another file.

mod held;
mod recover;
mod room;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

pub(crate) use self::held::Held;
use self::room::{Reserve, allocate_most};
use crate::clock::timed;
use crate::log::binlog::chunk::Chunk;
use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format;
use crate::log::binlog::manifest::Manifest;
use crate::log::binlog::options::{Options, SyncPolicy};
use crate::log::binlog::{Book, lock, segment_name};
use crate::log::{Position, Progress};
use beanstalk_protocol::JobId;
use jq_engine::growth;

/// More than this takes so long to write that whoever has others to serve does not, in bytes.
const LONG: usize = 1 << 20;

/// A file that is written.
#[derive(Debug, Clone)]
struct Current {
    number: u64,
    file: Arc<dyn DiskFile>,
    /// How much of it is written.
    written: u64,
    /// How much of it is surely on the disk; without syncing, as much as is written.
    synced: u64,
    /// Up to where room is set aside.
    allocated: u64,
}

#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    options: Options,
    manifest: Arc<Manifest>,
    /// Told how long each sync took.
    progress: Arc<Progress>,
    /// The segment before the current, until it is synced. All of it is written.
    sealed: Option<Current>,
    current: Option<Current>,
    /// The file for the next segment, with room set aside.
    spare: Option<Current>,
    /// Room for when the disk is full.
    reserve: Option<Reserve>,
    /// The reserve is the next segment, whose file has another name yet.
    spends_reserve: bool,
    /// Taken from the book, not written yet.
    queue: VecDeque<Chunk>,
    /// Written, not synced yet.
    unsynced: VecDeque<Chunk>,
    /// Jobs that were taken back because their records failed.
    taken_back: Vec<JobId>,
    /// Failures that have not been reported to all waiting replies yet.
    unreported: usize,
    /// The file system cannot set room aside.
    cannot_allocate: bool,
    /// A write or a sync has failed, and what it concerned is not written anew yet.
    in_doubt: bool,
}

/// Why something could not be written.
#[derive(Debug)]
pub(crate) enum Fault {
    /// There is no room for it, or no file. Nothing was written, so whatever was written before is as
    /// good as it was.
    NoRoom(io::Error),
    /// A write or a sync failed: nobody knows what is on the disk.
    InDoubt(io::Error),
}

/// How far a flush got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Everything that was appended before is committed.
    All,
    /// Somebody else was writing. When that is done, the flusher is called.
    Later,
    /// A segment has to be synced first, or there is much to write, which takes time.
    NeedsSync,
}

/// The sync of a file. The file may be written meanwhile.
#[derive(Debug)]
pub(crate) struct Syncing {
    file: Current,
    is_sealed: bool,
    progress: Arc<Progress>,
}

impl Syncing {
    /// Waits for the disk.
    pub(crate) fn run(&self) -> io::Result<()> {
        let Current { file, written, .. } = &self.file;
        if self.is_sealed {
            // Room that was set aside and not used. To keep it does no harm.
            let _ = file.truncate(*written);
        }
        let (synced, took) = timed(|| file.sync());
        self.progress.count_sync(took);
        synced
    }
}

impl Writer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: Options,
        manifest: Arc<Manifest>,
        progress: &Arc<Progress>,
    ) -> Self {
        Self {
            disk,
            progress: Arc::clone(progress),
            options,
            manifest,
            sealed: None,
            current: None,
            spare: None,
            reserve: None,
            spends_reserve: false,
            queue: VecDeque::new(),
            unsynced: VecDeque::new(),
            taken_back: Vec::new(),
            unreported: 0,
            cannot_allocate: false,
            in_doubt: false,
        }
    }

    /// Writes everything, but stops where another segment begins and two before it are not synced. Unless
    /// it may take its time, it also stops where the file of a segment is to be made, or there is much to
    /// write.
    pub(crate) fn flush(&mut self, book: &Mutex<Book>, may_sync: bool) -> Result<Flushed, Fault> {
        lock(book).take(&mut self.queue);
        let mut written = None;
        let flushed = self.write_queue(book, may_sync, &mut written);
        // What is written counts, even if there is no room for the rest.
        if let Some(end) = written
            && !matches!(flushed, Err(Fault::InDoubt(_)))
        {
            if self.options.policy == SyncPolicy::Always {
                self.sync(book).map_err(Fault::InDoubt)?;
            }
            lock(book).commit(end);
        }
        flushed
    }

    /// Writes what was taken from the book, `written` up to this position.
    fn write_queue(
        &mut self,
        book: &Mutex<Book>,
        may_sync: bool,
        written: &mut Option<Position>,
    ) -> Result<Flushed, Fault> {
        let policy = self.options.policy;
        if !may_sync && self.queue.iter().map(Chunk::len).sum::<usize>() > LONG {
            return Ok(Flushed::NeedsSync);
        }
        while let Some(chunk) = self.queue.front() {
            let number = chunk.segment;
            if self.current.as_ref().is_none_or(|current| current.number != number) {
                if self.sealed.is_some() || (!may_sync && !self.can_begin(number)) {
                    return Ok(Flushed::NeedsSync);
                }
                self.begin(number, book)?;
            }
            // Or else these jobs might not be deleted again on a full disk.
            self.make_room(book).map_err(Fault::NoRoom)?;
            let (Some(current), Some(chunk)) = (&mut self.current, self.queue.front_mut()) else {
                break;
            };
            chunk.seal();
            chunk.write(&*current.file).map_err(Fault::InDoubt)?;
            current.written = chunk.offset_end();
            current.allocated = current.allocated.max(current.written);
            *written = Some(chunk.end);
            if let Some(chunk) = self.queue.pop_front() {
                if policy.syncs() {
                    growth::push_back(&mut self.unsynced, chunk);
                } else {
                    current.synced = current.written;
                    self.manifest.reach(current.number, current.written);
                    lock(book).recycle(chunk);
                }
            }
        }
        Ok(Flushed::All)
    }

    /// Whether this segment can be begun without waiting for the disk.
    fn can_begin(&self, number: u64) -> bool {
        let is_ready = self.spare.as_ref().is_some_and(|spare| spare.number == number);
        let syncs = self.options.policy.syncs();
        !syncs || (is_ready && !self.spends_reserve)
    }

    /// Goes on to the segment of this number. Nobody waits until the one before is on the disk, but the
    /// one before that is: so there is one place at most where the disk may have what is newer and lack
    /// what is older, and a replay knows it.
    fn begin(&mut self, number: u64, book: &Mutex<Book>) -> Result<(), Fault> {
        debug_assert!(self.sealed.is_none(), "no more than one is being synced");
        let spare = self.spare.take().filter(|spare| spare.number == number);
        let mut next = match spare {
            _ if self.spends_reserve => self.begin_in_reserve(number).map_err(Fault::NoRoom)?,
            Some(spare) => spare,
            // Without room set aside it can be written all the same.
            None => self.create(number).map_err(Fault::NoRoom)?,
        };
        if let Some(current) = &self.current
            && (!self.options.policy.syncs() || next.allocated == 0)
        {
            // Room that was set aside and not used. To keep it does no harm.
            let _ = current.file.truncate(current.written);
        }
        if next.allocated == 0 && !self.cannot_allocate {
            // What was just given back, perhaps.
            next.allocated = allocate_most(&*next.file, 0, 0, self.options.ahead());
        }
        self.manifest.begin(number);
        lock(book).set_allocated(number, next.allocated);
        self.sealed = self.current.replace(next).filter(|_| self.options.policy.syncs());
        Ok(())
    }

    /// Syncs what is not synced, and waits for that.
    fn sync(&mut self, book: &Mutex<Book>) -> io::Result<()> {
        for sync in self.begin_sync() {
            sync.run()?;
            self.end_sync(&sync, book);
        }
        Ok(())
    }

    /// What is to be synced, in this order: only when one has succeeded may the next one begin, since
    /// what is on the disk of a segment counts only with all of the one before.
    pub(crate) fn begin_sync(&self) -> Vec<Syncing> {
        let sealed = self.sealed.iter().map(|sealed| (sealed, true));
        let current = self.current.iter().map(|current| (current, false));
        let current = current.filter(|(current, _)| current.written > current.synced);
        let files = sealed.chain(current);
        let syncing = |(file, is_sealed): (&Current, bool)| Syncing {
            file: file.clone(),
            is_sealed,
            progress: Arc::clone(&self.progress),
        };
        files.map(syncing).collect()
    }

    /// What the sync concerned is on the disk now.
    pub(crate) fn end_sync(&mut self, sync: &Syncing, book: &Mutex<Book>) {
        let Current { number, written, .. } = sync.file;
        let mut book = lock(book);
        let mut durable = None;
        while let Some(chunk) = self.unsynced.front()
            && (chunk.segment, chunk.offset_end()) <= (number, written)
            && let Some(chunk) = self.unsynced.pop_front()
        {
            durable = Some(chunk.end);
            book.recycle(chunk);
        }
        self.sealed.take_if(|sealed| sealed.number == number && sync.is_sealed);
        // It may have been sealed meanwhile.
        let files = self.sealed.iter_mut().chain(&mut self.current);
        for file in files.filter(|file| file.number == number) {
            file.synced = file.synced.max(written);
        }
        self.manifest.reach(number, written);
        if let Some(position) = durable {
            book.sync(position, number, written);
        }
    }

    /// The server stops: a last mark, so that nothing can be taken for a torn end, and room that was
    /// set aside goes back. None of it is needed.
    pub(crate) fn close(&mut self) {
        if let Some(current) = self.current.as_mut() {
            let mut mark = Vec::new();
            let is_synced = self.sealed.is_none() && current.synced == current.written;
            if self.options.policy.syncs() && is_synced {
                format::encode_mark(current.synced, &mut mark);
            }
            let end = current.written + mark.len() as u64;
            if current.file.write_at(&mark, current.written).is_ok() {
                current.written = end;
            }
            let _ = current.file.truncate(current.written);
            let synced = mark.is_empty() || current.file.sync().is_ok();
            if synced {
                let end = if mark.is_empty() { current.synced } else { current.written };
                self.manifest.reach(current.number, end);
            }
        }
        // It says less than it could if that fails.
        let _ = self.manifest.keep();
        if let Some(spare) = self.spare.take() {
            let _ = self.disk.remove(&segment_name(spare.number));
        }
        self.drop_reserve();
    }
}
