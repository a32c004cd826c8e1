//! After a failure: what is not surely on the disk is written once more, to another file.

use std::io;
use std::sync::{Arc, Mutex};

use beanstalk_protocol::JobId;
use jq_engine::{Record, Subject};

use super::room::{RESERVE, Reserve, allocate_most};
use super::{Current, Writer};
use crate::log::binlog::chunk::{Chunk, append};
use crate::log::binlog::disk::DiskFile;
use crate::log::binlog::format::{HEADER_LEN, Header};
use crate::log::binlog::segments::Segment;
use crate::log::binlog::{Book, lock, segment_name};

impl Writer {
    /// Nobody knows what is on the disk of what is not synced.
    pub(crate) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// Whether nobody knows what is on the disk.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
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
        // If only room was missing, what was written needs none once more.
        if !self.in_doubt && self.sync(book).is_err() {
            self.doubt();
            lock(book).count_failure();
        }
        lock(book).take(&mut self.queue);
        let first = self.sealed.as_ref().or(self.current.as_ref());
        let (suspect, end) = first.map_or((0, 0), |first| (first.number, first.synced));
        let number = self.current.as_ref().map_or(0, |current| current.number) + 1;
        let header = Header {
            number,
            next_id: lock(book).next_id(),
            previous_end: end,
            // There is one at most: see `Writer::begin`.
            left_out: (number - 1 - suspect) as u16,
            is_early: false,
        };
        let header = header.encode();
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
        let mut made = match self.reserve.take() {
            Some(reserve) => self.write_in_reserve(reserve, &name, &header, &mut chunks),
            None => self.write_new(&name, &header, &mut chunks),
        };
        self.spends_reserve = false;
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            // Room for that: what is set aside. Not before it is needed, since somebody else may take
            // it meanwhile.
            if let Some(current) = &self.current {
                let _ = current.file.truncate(current.written);
            }
            made = self.write_new(&name, &header, &mut chunks);
        }
        let (file, allocated) = match made {
            Ok(made) => made,
            Err(error) => {
                let _ = self.disk.remove(&name);
                return Err(error);
            }
        };
        let left_out = self.sealed.is_some().then_some(0);
        if let Some(sealed) = self.sealed.take() {
            let _ = sealed.file.truncate(end);
        }
        if let Some(current) = &self.current {
            let _ = current.file.truncate(left_out.unwrap_or(end));
        }
        // Before anybody is told that changes are taken again. There is most often as much as before.
        let most = lock(book).delete_room() + self.options.reserve();
        let allocated = if self.cannot_allocate {
            written
        } else {
            allocate_most(&*file, allocated.max(written), written, most)
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
        let in_doubt = std::mem::take(&mut self.in_doubt);
        let late = book.recover(suspect, end, segment, allocated, in_doubt);
        for stored in late.iter().flat_map(Chunk::records) {
            match stored.subject() {
                Some((Subject::Job(id), true)) => jobs.push(id),
                Some((Subject::Job(_), false) | (Subject::Jobs(_), _)) | None => {}
                Some((Subject::Tube(_) | Subject::Server, _)) => late_notes += 1,
            }
        }
        // The engine does not know yet that these jobs are here, so they do not count as live here:
        // as notes they keep the file from being reclaimed unread.
        book.add_notes(late_notes + jobs.len() as u64);
        Ok(jobs)
    }

    /// Writes a new file. Returns up to where room is set aside in it, too.
    fn write_new(
        &self,
        name: &str,
        header: &[u8],
        chunks: &mut [Chunk],
    ) -> io::Result<(Arc<dyn DiskFile>, u64)> {
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
        Ok((file, 0))
    }

    /// The same in the file that has room for it. Its new name makes it count.
    fn write_in_reserve(
        &self,
        Reserve { file, allocated }: Reserve,
        name: &str,
        header: &[u8],
        chunks: &mut [Chunk],
    ) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        let write = || {
            file.write_at(header, 0)?;
            for chunk in chunks {
                chunk.seal();
                chunk.write(&*file)?;
            }
            let syncs = self.options.policy.syncs();
            if syncs {
                file.sync()?;
            }
            self.disk.rename(RESERVE, name)?;
            if syncs { self.disk.sync() } else { Ok(()) }
        };
        match write() {
            Ok(()) => Ok((file, allocated)),
            Err(error) => {
                // It may have got its new name before.
                let _ = self.disk.remove(RESERVE);
                Err(error)
            }
        }
    }
}
