//! From the book to the files.
//!
//! There is one writer. A flush takes everything that has been appended since the last one and
//! writes it, so that however many wait, they wait for one write, and under `-f 0` for one sync.
//! What is not synced yet stays in memory: if a sync fails, nobody knows what is on the disk, and it
//! is written once more, to another file.

mod recover;
mod room;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

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

/// A chunk longer than this takes so long to write that whoever has others to serve does not, in
/// bytes.
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
    /// A segment has to be synced first, or there is much to write, which takes time.
    NeedsSync,
}

/// A sync that has begun. The file may be written meanwhile.
#[derive(Debug)]
pub(crate) struct Syncing {
    current: Current,
    progress: Arc<Progress>,
}

impl Syncing {
    /// Waits for the disk.
    pub(crate) fn run(&self) -> io::Result<()> {
        let (synced, took) = timed(|| self.current.file.sync());
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

    /// Writes everything. Unless it may sync, it stops where a new segment begins: what is in the
    /// one before must be on the disk by then.
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
        while let Some(chunk) = self.queue.front() {
            let number = chunk.segment;
            if !may_sync && chunk.len() > LONG {
                return Ok(Flushed::NeedsSync);
            }
            if self.current.as_ref().is_none_or(|current| current.number != number) {
                if !may_sync && policy.syncs() {
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
                    self.unsynced.push_back(chunk);
                } else {
                    current.synced = current.written;
                    self.manifest.reach(current.number, current.written);
                    lock(book).recycle(chunk);
                }
            }
        }
        Ok(Flushed::All)
    }

    /// Goes on to the segment of this number.
    fn begin(&mut self, number: u64, book: &Mutex<Book>) -> Result<(), Fault> {
        if self.options.policy.syncs() {
            self.sync(book).map_err(Fault::InDoubt)?;
        }
        let spare = self.spare.take().filter(|spare| spare.number == number);
        let mut next = match spare {
            _ if self.spends_reserve => self.begin_in_reserve(number).map_err(Fault::NoRoom)?,
            Some(spare) => spare,
            // Without room set aside it can be written all the same.
            None => self.create(number, |_| Ok(())).map_err(Fault::NoRoom)?,
        };
        if let Some(current) = &self.current {
            // Room that was set aside and not used. To keep it does no harm.
            let _ = current.file.truncate(current.written);
        }
        if next.allocated == 0 && !self.cannot_allocate {
            // What was just given back, perhaps.
            next.allocated = allocate_most(&*next.file, 0, 0, self.options.ahead());
        }
        self.manifest.begin(number);
        lock(book).set_allocated(number, next.allocated);
        self.current = Some(next);
        Ok(())
    }

    /// Syncs the file, if anything in it is not synced, and waits for that.
    fn sync(&mut self, book: &Mutex<Book>) -> io::Result<()> {
        if let Some(sync) = self.begin_sync() {
            sync.run()?;
            self.end_sync(&sync, book);
        }
        Ok(())
    }

    /// Begins to sync the file, if anything in it is not synced.
    pub(crate) fn begin_sync(&self) -> Option<Syncing> {
        let current = self.current.as_ref().filter(|current| current.written > current.synced)?;
        Some(Syncing { current: current.clone(), progress: Arc::clone(&self.progress) })
    }

    /// What the sync concerned is on the disk now.
    pub(crate) fn end_sync(&mut self, sync: &Syncing, book: &Mutex<Book>) {
        let Current { number, written, .. } = &sync.current;
        let mut book = lock(book);
        let mut durable = None;
        while let Some(chunk) = self.unsynced.front()
            && (chunk.segment, chunk.offset_end()) <= (*number, *written)
            && let Some(chunk) = self.unsynced.pop_front()
        {
            durable = Some(chunk.end);
            book.recycle(chunk);
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.number == *number) {
            current.synced = current.synced.max(*written);
            self.manifest.reach(*number, current.synced);
        }
        if let Some(position) = durable {
            book.sync(position, *number, *written);
        }
    }

    /// The server stops: a last mark, so that nothing can be taken for a torn end, and room that was
    /// set aside goes back. None of it is needed.
    pub(crate) fn close(&mut self) {
        if let Some(current) = self.current.as_mut() {
            let mut mark = Vec::new();
            if self.options.policy.syncs() && current.synced == current.written {
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
