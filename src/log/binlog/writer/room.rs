//! Room on the disk: set aside ahead of what is written, and kept back for when there is no more.
//!
//! What is kept back is a file by itself, with room to delete every job and to reclaim old segments.
//! When there is no room for anything else, it becomes the next segment, under another name: so at no
//! moment can anybody else take its room.

use std::io;
use std::sync::{Arc, Mutex};

use super::{Current, Writer};
use crate::log::binlog::book::Health;
use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format::HEADER_LEN;
use crate::log::binlog::options::Options;
use crate::log::binlog::{Book, lock, segment_name};

/// The name of the file that is kept back.
pub(super) const RESERVE: &str = "reserve";

/// Less room than this is not worth setting aside, in bytes.
const LEAST_ROOM: u64 = 4096;

/// A file that only takes up room.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    pub(super) file: Arc<dyn DiskFile>,
    /// Up to where room is set aside.
    pub(super) allocated: u64,
}

impl Writer {
    /// Makes sure that there is room for what is written next, and to delete all jobs after that. Most
    /// often it is there already: see [`Self::plan`].
    pub(super) fn make_room(&mut self, book: &Mutex<Book>) -> io::Result<()> {
        let (Some(current), Some(chunk)) = (&mut self.current, self.queue.front()) else {
            return Ok(());
        };
        if self.cannot_allocate {
            return Ok(());
        }
        let (end, has_records) = (chunk.offset_end(), chunk.len() > HEADER_LEN);
        let (good, deletes) = {
            let book = lock(book);
            (matches!(book.health(), Health::Good), book.delete_room())
        };
        // On a full disk, whether there is room for it was asked before.
        let needs_reserve = good && has_records;
        let behind = if needs_reserve && self.reserve.is_none() { deletes } else { 0 };
        let cannot = &mut self.cannot_allocate;
        let (least, more) = (end + behind, self.options.ahead());
        if extend_by(&*current.file, &mut current.allocated, least, more, cannot)? {
            lock(book).set_allocated(current.number, current.allocated);
        }
        let (least, more) = (deletes + self.options.reserve(), self.options.more_reserve());
        if needs_reserve
            && let Some(reserve) = &mut self.reserve
            && extend_by(&*reserve.file, &mut reserve.allocated, least, more, cannot)?
        {
            lock(book).set_reserved(reserve.allocated);
        }
        Ok(())
    }

    /// What room is to be set aside for what is to come, which may be so many bytes at once, and whether
    /// the next file is to be made ready. `None` while a segment is still to be begun.
    pub(crate) fn plan(&mut self, book: &Mutex<Book>, bytes: u64) -> Option<Preparation> {
        let (last, full, wants_spare, deletes) = {
            let book = lock(book);
            let full = matches!(book.health(), Health::Full(_));
            (book.last(), full, book.wants_spare(), book.delete_room())
        };
        let current = self.current.as_ref().filter(|current| current.number == last.number)?;
        let ahead = self.options.ahead();
        // On a full disk, the reserve was spent, and the room for deletes is here.
        let (least, most) =
            if full { (deletes + ahead, deletes + ahead) } else { (ahead / 2, ahead) };
        let is_short = current.allocated < last.bytes + least + bytes;
        let end = if is_short { last.bytes + most + bytes } else { 0 };
        let wanted = deletes + self.options.reserve() + self.options.more_reserve();
        if let Some(Reserve { file, allocated }) = &mut self.reserve
            && *allocated > 2 * wanted
            && file.truncate(wanted).is_ok()
        {
            *allocated = wanted;
        }
        let kept = self.reserve.as_ref().map_or(0, |reserve| reserve.allocated);
        let is_short = kept < wanted - self.options.more_reserve() / 2;
        Some(Preparation {
            disk: Arc::clone(&self.disk),
            options: self.options,
            cannot_allocate: self.cannot_allocate,
            current: current.clone(),
            end,
            spare: (wants_spare && self.spare.is_none()).then_some(last.number + 1),
            made: None,
            reserve: self.reserve.clone(),
            wanted: if is_short { wanted } else { 0 },
        })
    }

    /// Takes over what was prepared.
    pub(crate) fn install(&mut self, prepared: Preparation, book: &Mutex<Book>) {
        let Preparation { current, made, reserve, cannot_allocate, .. } = prepared;
        let mut book = lock(book);
        // Meanwhile, whoever wrote may have gone on, or found that more room was needed at once.
        if let Some(now) = self.current.as_mut().filter(|now| now.number == current.number) {
            now.allocated = now.allocated.max(current.allocated);
            book.set_allocated(now.number, now.allocated);
        }
        self.spare = self.spare.take().or(made);
        let more = self.reserve.as_ref().map_or(0, |reserve| reserve.allocated);
        self.reserve = reserve.map(|it| Reserve { allocated: it.allocated.max(more), ..it });
        book.set_spare(self.spare.is_some());
        book.set_reserved(self.reserve.as_ref().map_or(0, |reserve| reserve.allocated));
        self.cannot_allocate |= cannot_allocate;
        if self.cannot_allocate {
            // Or else it would be asked for again at once.
            book.set_cannot_allocate();
        }
    }

    /// Makes the file of a segment, with some room if there is any.
    pub(super) fn create(&mut self, number: u64) -> io::Result<Current> {
        create(&*self.disk, &self.options, number, &mut self.cannot_allocate, |_| Ok(()))
    }

    /// Gives back what a server before this one has kept for a full disk.
    pub(crate) fn drop_old_reserve(disk: &dyn Disk) {
        // It may not be there.
        let _ = disk.remove(RESERVE);
    }

    pub(super) fn drop_reserve(&mut self) {
        if self.reserve.take().is_some() {
            // It may not be there.
            let _ = self.disk.remove(RESERVE);
        }
    }

    /// The disk is full, as `error` says: from here on no jobs are taken on, and the log goes on in the
    /// reserve. Returns whether that is so now. If not, more was appended than there is room for, which
    /// fails when it is written.
    pub(crate) fn spend_reserve(&mut self, book: &Mutex<Book>, error: &io::Error) -> bool {
        let mut noted = lock(book);
        let last = noted.last();
        let Some(current) = self.current.as_mut().filter(|current| current.number == last.number)
        else {
            return matches!(noted.health(), Health::Full(_));
        };
        if !self.cannot_allocate && last.bytes > current.allocated {
            return matches!(noted.health(), Health::Full(_));
        }
        noted.set_health(Health::Full(error.to_string()));
        if let Some(reserve) = &self.reserve {
            noted.begin_in_reserve(reserve.allocated);
            drop(noted);
            self.spends_reserve = true;
            if let Some(spare) = self.spare.take() {
                let _ = self.disk.remove(&segment_name(spare.number));
            }
            return true;
        }
        let most = noted.delete_room() + self.options.reserve();
        drop(noted);
        // There is none yet, or it was spent before: as much as can be had.
        current.allocated = allocate_most(&*current.file, current.allocated, last.bytes, most);
        lock(book).set_allocated(last.number, current.allocated);
        true
    }

    /// The reserve is the segment of this number.
    pub(super) fn begin_in_reserve(&mut self, number: u64) -> io::Result<Current> {
        self.disk.rename(RESERVE, &segment_name(number))?;
        if self.options.policy.syncs() {
            self.disk.sync()?;
        }
        let Some(Reserve { file, allocated }) = self.reserve.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.spends_reserve = false;
        Ok(Current { number, file, written: 0, synced: 0, allocated })
    }
}

/// Room that is to be set aside. While that goes on, the writer is free to write.
#[derive(Debug)]
pub(crate) struct Preparation {
    disk: Arc<dyn Disk>,
    options: Options,
    cannot_allocate: bool,
    /// The segment that is written, and up to where there should be room in it.
    current: Current,
    end: u64,
    /// The number of a segment that is to be made ready, and its file.
    spare: Option<u64>,
    made: Option<Current>,
    /// The reserve, and up to where there should be room in it.
    reserve: Option<Reserve>,
    wanted: u64,
}

impl Preparation {
    /// Sets all of it aside, as far as that goes. Nobody else may make files of the log meanwhile.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let cannot = &mut self.cannot_allocate;
        extend(&*self.current.file, &mut self.current.allocated, self.end, cannot)?;
        if let Some(number) = self.spare {
            self.made = Some(create(&*self.disk, &self.options, number, cannot, Err)?);
        }
        if self.wanted == 0 || *cannot {
            return Ok(());
        }
        if let Some(reserve) = &mut self.reserve {
            extend(&*reserve.file, &mut reserve.allocated, self.wanted, cannot)?;
            return Ok(());
        }
        let file = self.disk.create(RESERVE)?;
        let mut allocated = 0;
        let extended = extend(&*file, &mut allocated, self.wanted, cannot);
        if extended.is_err() || *cannot {
            let _ = self.disk.remove(RESERVE);
        } else {
            self.reserve = Some(Reserve { file, allocated });
        }
        extended.map(|_| ())
    }
}

/// Makes the file of a segment, with some room. `room` may refuse if there is none for it.
fn create(
    disk: &dyn Disk,
    options: &Options,
    number: u64,
    cannot: &mut bool,
    room: impl FnOnce(io::Error) -> io::Result<()>,
) -> io::Result<Current> {
    let name = segment_name(number);
    let file = disk.create(&name)?;
    let mut allocated = 0;
    let extended = extend(&*file, &mut allocated, options.ahead(), cannot);
    if let Err(error) = extended.map(|_| ()).or_else(room) {
        let _ = disk.remove(&name);
        return Err(error);
    }
    if options.policy.syncs() {
        disk.sync()?;
    }
    Ok(Current { number, file, written: 0, synced: 0, allocated })
}

/// Sets room aside in a file up to `end`; up to `allocated` there is some. Returns whether there is more
/// now. If the file system cannot do that, `cannot` says so from here on, and all is well.
fn extend(
    file: &dyn DiskFile,
    allocated: &mut u64,
    end: u64,
    cannot: &mut bool,
) -> io::Result<bool> {
    if *allocated >= end || *cannot {
        return Ok(false);
    }
    match file.allocate(*allocated, end) {
        Ok(()) => {
            *allocated = end;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            *cannot = true;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The same, if there is not as much as up to `least`; with some more, if that can be had, so that it is
/// not asked for again soon.
fn extend_by(
    file: &dyn DiskFile,
    allocated: &mut u64,
    least: u64,
    more: u64,
    cannot: &mut bool,
) -> io::Result<bool> {
    if *allocated >= least {
        return Ok(false);
    }
    extend(file, allocated, least + more, cannot)
        .or_else(|_| extend(file, allocated, least, cannot))
}

/// Sets as much room aside behind `from` as can be had, `most` bytes at most; up to `allocated` there is
/// some. Returns up to where there is room then.
pub(super) fn allocate_most(file: &dyn DiskFile, allocated: u64, from: u64, most: u64) -> u64 {
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
