//! From the book to the files.
//!
//! There is one writer. A flush takes everything that has been appended since the last one and
//! writes it, so that however many wait, they wait for one write, and under `-f 0` for one sync.
//! What is not synced yet stays in memory: if a sync fails, nobody knows what is on the disk, and it
//! is written once more, to another file.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use beanstalk_protocol::JobId;
use jq_engine::{Record, Subject};

use crate::log::binlog::book::Health;
use crate::log::binlog::chunk::{Chunk, append};
use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format::{self, HEADER_LEN, Header};
use crate::log::binlog::manifest::Manifest;
use crate::log::binlog::options::{Options, SyncPolicy};
use crate::log::binlog::segments::Segment;
use crate::log::binlog::{Book, lock, segment_name};

/// A file that only takes up room, until the disk is full.
const RESERVE: &str = "reserve";

/// A chunk longer than this takes so long to write that whoever has others to serve does not, in
/// bytes.
const LONG: usize = 1 << 20;

/// Less room than this is not worth setting aside, in bytes.
const LEAST_ROOM: u64 = 4096;

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
    current: Option<Current>,
    /// The file for the next segment, with room set aside.
    spare: Option<Current>,
    /// Whether the reserve may be there.
    has_reserve: bool,
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
pub(crate) struct Syncing(Current);

impl Syncing {
    /// Waits for the disk.
    pub(crate) fn run(&self) -> io::Result<()> {
        self.0.file.sync()
    }
}

impl Writer {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: Options, manifest: Arc<Manifest>) -> Self {
        Self {
            disk,
            options,
            manifest,
            current: None,
            spare: None,
            has_reserve: false,
            queue: VecDeque::new(),
            unsynced: VecDeque::new(),
            taken_back: Vec::new(),
            unreported: 0,
            cannot_allocate: false,
        }
    }

    /// Writes everything. Unless it may sync, it stops where a new segment begins: what is in the
    /// one before must be on the disk by then.
    pub(crate) fn flush(&mut self, book: &Mutex<Book>, may_sync: bool) -> io::Result<Flushed> {
        let policy = self.options.policy;
        lock(book).take(&mut self.queue);
        let mut committed = None;
        let mut flushed = Flushed::All;
        while let Some(chunk) = self.queue.front() {
            let number = chunk.segment;
            if !may_sync && chunk.len() > LONG {
                flushed = Flushed::NeedsSync;
                break;
            }
            if self.current.as_ref().is_none_or(|current| current.number != number) {
                if !may_sync && policy.syncs() {
                    flushed = Flushed::NeedsSync;
                    break;
                }
                self.begin(number, book)?;
            }
            let (Some(current), Some(chunk)) = (&mut self.current, self.queue.front_mut()) else {
                break;
            };
            // Most often it is there already: see `prepare`.
            let room = lock(book).room_behind(chunk);
            if !self.cannot_allocate
                && let Some(room) = room
                && current.allocated < room
            {
                match current.file.allocate(current.allocated, room) {
                    Ok(()) => {
                        current.allocated = room;
                        lock(book).set_allocated(number, room);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                        self.cannot_allocate = true;
                    }
                    // Or else these jobs might not be deleted again on a full disk.
                    Err(error) => return Err(error),
                }
            }
            chunk.seal();
            chunk.write(&*current.file)?;
            current.written = chunk.offset_end();
            current.allocated = current.allocated.max(current.written);
            committed = Some(chunk.end);
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
        let Some(end) = committed else { return Ok(flushed) };
        if policy == SyncPolicy::Always {
            self.sync(book)?;
        }
        lock(book).commit(end);
        Ok(flushed)
    }

    /// Goes on to the segment of this number.
    fn begin(&mut self, number: u64, book: &Mutex<Book>) -> io::Result<()> {
        if self.options.policy.syncs() {
            self.sync(book)?;
        }
        if let Some(current) = &self.current {
            // Room that was set aside and not used. To keep it does no harm.
            let _ = current.file.truncate(current.written);
        }
        let spare = self.spare.take().filter(|spare| spare.number == number);
        let next = match spare {
            Some(spare) => spare,
            // Without room set aside it can be written all the same.
            None => {
                let room = lock(book).delete_room();
                self.create(number, room, |_| Ok(()))?
            }
        };
        self.manifest.begin(number);
        lock(book).set_allocated(number, next.allocated);
        self.current = Some(next);
        Ok(())
    }

    /// Makes the file of a segment, with room for deletes. `room` may refuse if there is none for it.
    fn create(
        &mut self,
        number: u64,
        deletes: u64,
        room: impl FnOnce(io::Error) -> io::Result<()>,
    ) -> io::Result<Current> {
        let name = segment_name(number);
        let file = self.disk.create(&name)?;
        let ahead = self.options.ahead() + deletes;
        let allocated = match file.allocate(0, ahead) {
            Ok(()) => ahead,
            Err(error) => {
                self.cannot_allocate = error.kind() == io::ErrorKind::Unsupported;
                if !self.cannot_allocate
                    && let Err(error) = room(error)
                {
                    let _ = self.disk.remove(&name);
                    return Err(error);
                }
                0
            }
        };
        if self.options.policy.syncs() {
            self.disk.sync()?;
        }
        Ok(Current { number, file, written: 0, synced: 0, allocated })
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
        Some(Syncing(current.clone()))
    }

    /// What the sync concerned is on the disk now.
    pub(crate) fn end_sync(&mut self, sync: &Syncing, book: &Mutex<Book>) {
        let Syncing(Current { number, written, .. }) = sync;
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

    /// Sets room aside for what is to come, and has the next file ready in time.
    pub(crate) fn prepare(&mut self, book: &Mutex<Book>) -> io::Result<()> {
        let (last, full, wants_spare, deletes) = {
            let book = lock(book);
            let full = matches!(book.health(), Health::Full(_));
            (book.last(), full, book.wants_spare(), book.delete_room())
        };
        let Some(current) = self.current.as_mut().filter(|current| current.number == last.number)
        else {
            return Ok(());
        };
        let ahead = self.options.ahead();
        let least = deletes + if full { ahead } else { ahead / 2 };
        if !self.cannot_allocate && current.allocated < last.bytes + least {
            let end = last.bytes + deletes + ahead;
            match current.file.allocate(current.allocated, end) {
                Ok(()) => {
                    current.allocated = end;
                    lock(book).set_allocated(last.number, end);
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.cannot_allocate = true;
                    lock(book).set_cannot_allocate();
                }
                Err(error) => return Err(error),
            }
        }
        if wants_spare && self.spare.is_none() {
            self.spare = Some(self.create(last.number + 1, deletes, Err)?);
        }
        let mut noted = lock(book);
        noted.set_spare(self.spare.is_some());
        if self.cannot_allocate {
            // Found out when a file was made, perhaps; else it would be asked for again at once.
            noted.set_cannot_allocate();
        }
        drop(noted);
        if !self.has_reserve && !self.cannot_allocate {
            self.set_reserve_aside()?;
        }
        Ok(())
    }

    /// Gives back what a server before this one has kept for a full disk.
    pub(crate) fn drop_old_reserve(disk: &dyn Disk) {
        // It may not be there.
        let _ = disk.remove(RESERVE);
    }

    fn set_reserve_aside(&mut self) -> io::Result<()> {
        let file = self.disk.create(RESERVE)?;
        self.has_reserve = true;
        file.allocate(0, self.options.reserve()).inspect_err(|_| self.drop_reserve())
    }

    /// Gives back what is kept for a full disk.
    pub(crate) fn drop_reserve(&mut self) {
        if std::mem::take(&mut self.has_reserve) {
            // It may not be there.
            let _ = self.disk.remove(RESERVE);
        }
    }

    /// The disk is full. What was kept back for that goes to the segment that is written, and with it
    /// as much more as can be had up to that size: to delete a job takes room too, and what is in old
    /// segments has to be copied before they go.
    pub(crate) fn spend_reserve(&mut self, book: &Mutex<Book>) {
        self.drop_reserve();
        let (last, deletes) = {
            let book = lock(book);
            (book.last(), book.delete_room())
        };
        let Some(current) = self.current.as_mut().filter(|current| current.number == last.number)
        else {
            return;
        };
        let most = deletes + self.options.reserve();
        current.allocated = allocate_most(&*current.file, current.allocated, last.bytes, most);
        lock(book).set_allocated(last.number, current.allocated);
    }

    /// The log has failed, and these jobs are taken back. They may be in what is to be written once
    /// more.
    pub(crate) fn take_back(&mut self, jobs: &[JobId]) {
        self.taken_back.extend_from_slice(jobs);
        self.unreported += 1;
    }

    /// These are taken back with those of the last failure.
    pub(crate) fn take_back_too(&mut self, jobs: &[JobId]) {
        self.taken_back.extend_from_slice(jobs);
    }

    /// A failure has been reported to all waiting replies.
    pub(crate) fn reported(&mut self) {
        self.unreported = self.unreported.saturating_sub(1);
    }

    /// Whether a failure is still to be reported.
    pub(crate) fn has_unreported(&self) -> bool {
        self.unreported > 0
    }

    /// Writes everything that is not on the disk to a new file, behind what surely is. Returns the
    /// jobs in it, whose records the book still has in the file that failed.
    pub(crate) fn recover(&mut self, book: &Mutex<Book>) -> io::Result<Vec<JobId>> {
        lock(book).take(&mut self.queue);
        let (suspect, end, next_id) = {
            let first = self.current.as_ref().map_or((0, 0), |now| (now.number, now.synced));
            (first.0, first.1, lock(book).next_id())
        };
        let number = suspect + 1;
        let header = Header { number, next_id, previous_end: end }.encode();
        let mut chunks = vec![Chunk::new(number, HEADER_LEN as u64, Vec::new(), 0)];
        let mut jobs = Vec::new();
        let mut notes = 0;
        self.taken_back.sort_unstable();
        let mut left_out = Vec::new();
        for stored in self.unsynced.iter().chain(&self.queue).flat_map(Chunk::records) {
            match stored.subject() {
                Some((Subject::Job(id), true)) => {
                    if self.taken_back.binary_search(&id).is_ok() {
                        // If it was the disk that was full, there may be no room for it.
                        left_out.push(id);
                        continue;
                    }
                    jobs.push(id);
                }
                Some((Subject::Job(_), false) | (Subject::Jobs(_), _)) => {}
                Some((Subject::Tube(_) | Subject::Server, _)) => notes += 1,
                // A mark is about the file that failed.
                None => continue,
            }
            stored.append_to(&mut chunks);
        }
        left_out.sort_unstable();
        for job in self.taken_back.iter().filter(|job| left_out.binary_search(job).is_err()) {
            append(&mut chunks, |chunk| {
                chunk.push(&Record::Delete(*job));
            });
        }
        // One that was made ready may have failed too.
        self.spare = None;
        let name = segment_name(number);
        let written = chunks.last().map_or(0, Chunk::offset_end);
        let mut made = self.write_new(&name, &header, &mut chunks);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            // Room for that: what was kept back, and what is set aside. Not before it is needed, since
            // somebody else may take it meanwhile.
            self.drop_reserve();
            if let Some(current) = &self.current {
                let _ = current.file.truncate(current.written);
            }
            made = self.write_new(&name, &header, &mut chunks);
        }
        let file = match made {
            Ok(file) => file,
            Err(error) => {
                let _ = self.disk.remove(&name);
                return Err(error);
            }
        };
        if let Some(current) = &self.current {
            let _ = current.file.truncate(end);
        }
        // Before anybody is told that changes are taken again. There is most often as much as before.
        let deletes = lock(book).delete_room();
        let allocated = if self.cannot_allocate {
            written
        } else {
            allocate_most(&*file, written, written, deletes + self.options.ahead())
        };
        let current = Current { number, file, written, synced: written, allocated };
        self.current = Some(current);
        self.manifest.reach(number, written);
        self.manifest.note();
        self.queue.clear();
        self.unsynced.clear();
        self.taken_back.clear();
        let segment = Segment { number, bytes: written, live: 0, notes };
        let mut book = lock(book);
        let mut late_notes = 0;
        for stored in book.recover(suspect, end, segment, allocated).iter().flat_map(Chunk::records)
        {
            match stored.subject() {
                Some((Subject::Job(id), true)) => jobs.push(id),
                Some((Subject::Job(_), false) | (Subject::Jobs(_), _)) | None => {}
                Some((Subject::Tube(_) | Subject::Server, _)) => late_notes += 1,
            }
        }
        // The engine does not know yet that these jobs are here, so they do not count as live here:
        // as notes they keep the file from being given up unread.
        book.add_notes(late_notes + jobs.len() as u64);
        Ok(jobs)
    }

    fn write_new(
        &self,
        name: &str,
        header: &[u8],
        chunks: &mut [Chunk],
    ) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(name)?;
        let sync = || {
            if self.options.policy.syncs() {
                file.sync()?;
                self.disk.sync()?;
            }
            io::Result::Ok(())
        };
        for chunk in chunks {
            chunk.seal();
            chunk.write(&*file)?;
        }
        sync()?;
        // The header last: with it the file counts, and the end of the one before does not.
        file.write_at(header, 0)?;
        sync()?;
        Ok(file)
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

/// Sets as much room aside behind `from` as can be had, `most` bytes at most; up to `allocated` there is
/// some. Returns up to where there is room then.
fn allocate_most(file: &dyn DiskFile, allocated: u64, from: u64, most: u64) -> u64 {
    let mut more = most;
    while more >= LEAST_ROOM && from + more > allocated {
        if file.allocate(allocated, from + more).is_ok() {
            return from + more;
        }
        // A step is small if there is much to be had, so that little of it is missed.
        more -= (more / 8).max(LEAST_ROOM).min(more);
    }
    allocated
}
