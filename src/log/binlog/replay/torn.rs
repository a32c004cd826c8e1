//! Where the log ends: what was being written when the server or the machine stopped, and how that is told
//! from damage to what was on the disk.
//!
//! The log ends at the first record that cannot be read, if nothing tells that this place was on the disk:
//! no mark behind it, not the manifest, and no segment that was begun later, but for one. The last segment
//! may have been begun while the one before it was being synced (its header says so). So if the end of
//! that one is torn, the last one does not count, whatever is in it: what is newer never outlives what is
//! older. A mark in the last one says that all of the one before was on the disk; then it is damage.
//!
//! If a file is missing that the manifest names, the log did not end before it: what cannot be read there is
//! damage, and a repair serves what is intact behind it.

use std::sync::Arc;

use tracing::warn;

use super::Replay;
use super::error::{ReplayError, io_error};
use super::source::{SegmentTail, Source};
use crate::log::binlog::format::{self, Checked, Damage, Entry, HEADER_LEN, Header, MARK_LEN};
use crate::log::binlog::read::Found;

impl Replay<'_> {
    /// The last file may have been made ready, and nothing written to it, or not all of its header.
    /// When what failed is written to another file, the header comes last, and makes it count. The log went
    /// on behind the segment of the number `missing`, so all before that were begun.
    pub(super) fn split_unbegun(
        &mut self,
        sources: &mut Vec<Source>,
        missing: u64,
    ) -> Result<Vec<Source>, ReplayError> {
        let mut unbegun = Vec::new();
        while let Some(last) = sources.last()
            && last.number > missing
            && self.is_unbegun(last)?
        {
            unbegun.extend(sources.pop());
        }
        // The same of the one before the last, which does not count without it.
        if let [.., source, last] = &sources[..]
            && source.number > missing
            && source.header.is_err()
            && self.is_torn_before(source, 0, last)?
            && self.is_unbegun(source)?
        {
            self.undo(last);
            unbegun.extend(sources.pop());
            unbegun.extend(sources.pop());
        }
        Ok(unbegun)
    }

    /// Whether there may be nothing in this file that ever counted.
    fn is_unbegun(&self, source: &Source) -> Result<bool, ReplayError> {
        Ok((source.number > self.extent.sound || self.extent.end < HEADER_LEN as u64)
            && matches!(source.header, Err(Damage::Short | Damage::Magic | Damage::Checksum))
            && self.synced_mark(source, 0)?.is_none()
            && (source.is_blank || self.is_torn(source)?))
    }

    /// Whether the log may have ended in the segment before these.
    pub(super) fn may_end(&self, behind: &[Source]) -> bool {
        behind.is_empty() && !self.found.lacks_newest
    }

    /// Whether the log may have ended at this offset of the segment before the last, when the last was
    /// begun already: if that was begun early, and nothing tells that this place was on the disk.
    pub(super) fn is_torn_before(
        &self,
        source: &Source,
        offset: u64,
        last: &Source,
    ) -> Result<bool, ReplayError> {
        let follows = |header: &Header| header.is_early && header.left_out == 0;
        Ok(!self.found.lacks_newest
            && last.header.as_ref().is_ok_and(follows)
            && last.number == source.number + 1
            && self.extent.sound < last.number
            && offset >= self.sound_end(source.number)
            && self.synced_mark(source, offset)?.is_none()
            // A mark there also says that all of this one was.
            && self.synced_mark(last, 0)?.is_none())
    }

    /// The last segment does not count, since the end of the one before is torn. It is to be emptied before
    /// anything else is written: what is in it must not be taken for what follows from here on.
    pub(super) fn undo(&mut self, last: &Source) {
        let name = &last.name;
        warn!(
            file = name,
            bytes = last.len,
            "left out a segment: the end of the one before was not on the disk yet"
        );
        self.torn.push((name.clone(), Arc::clone(&last.file), 0));
    }

    /// Whether there is no sound record behind a header that is not sound.
    fn is_torn(&self, source: &Source) -> Result<bool, ReplayError> {
        let mut reader = self.reader(source, source.len);
        let found = reader.next().map_err(io_error(format!("read {}", source.name)))?;
        Ok(!matches!(found, Found::Entry(_) | Found::Damage(Damage::Newer(_))))
    }

    /// Whether nothing was ever written from here on.
    pub(super) fn is_room(&self, source: &Source, offset: u64) -> Result<bool, ReplayError> {
        let failed = io_error(format!("read {}", source.name));
        let mut tail = SegmentTail::new(source, offset).map_err(failed)?;
        Ok(!tail.any(|byte| byte != 0))
    }

    /// Finds the torn end of the log, which is to be cut off.
    pub(super) fn cut(&mut self, source: &Source, offset: u64) -> Result<(), ReplayError> {
        let name = &source.name;
        let failed = || io_error(format!("read {name}"));
        let mut rest = SegmentTail::new(source, offset).map_err(failed())?;
        if rest.any(|byte| byte != 0) {
            warn!(
                file = name,
                offset,
                bytes = source.len - offset,
                "cut off a torn end: it was being written when the server or the machine stopped"
            );
        }
        self.torn.push((name.clone(), Arc::clone(&source.file), offset));
        if let Some(segment) = self.tally.segments.last_mut() {
            segment.bytes = offset;
        }
        Ok(())
    }

    /// Cuts off what is torn, now that all else is found good: who is refused finds everything as it was.
    pub(super) fn cut_torn(&self) -> Result<(), ReplayError> {
        for (name, file, len) in &self.torn {
            file.truncate(*len).map_err(io_error(format!("cut off {name}")))?;
            file.sync().map_err(io_error(format!("sync {name}")))?;
        }
        Ok(())
    }

    /// A mark that says that there was something on the disk at this offset.
    pub(super) fn synced_mark(
        &self,
        source: &Source,
        offset: u64,
    ) -> Result<Option<u64>, ReplayError> {
        let failed = io_error(format!("read {}", source.name));
        let tail = SegmentTail::new(source, offset).map_err(failed)?;
        let bytes = &tail.bytes;
        // A mark's length and kind are always the same, which rules out nearly all other places.
        let len = ((MARK_LEN - format::FRAME_LEN) as u32).to_le_bytes();
        let starts = memchr::memmem::find_iter(bytes, &len);
        for start in starts {
            if let Ok(Checked::Sound(_)) = format::check(&bytes[start..])
                && let Ok(Entry::Mark(synced)) = format::parse(&bytes[start..start + MARK_LEN])
                && (offset + 1..=offset + start as u64).contains(&synced)
            {
                return Ok(Some(synced));
            }
        }
        Ok(None)
    }
}
