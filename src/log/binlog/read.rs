//! Reading a segment from its beginning to its end, in pieces.

use std::io;
use std::sync::Arc;

use crate::log::binlog::disk::DiskFile;
use crate::log::binlog::format::{self, Checked, Damage, Entry};

/// Bytes that are read at a time, unless a record is longer.
const READ_SIZE: usize = 1 << 18;

/// What comes next in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Entry(Entry<'a>),
    /// Nothing was written here, though the segment should go on.
    Nothing,
    /// The segment's end.
    End,
    Damage(Damage),
}

/// Reads the records of a segment one after the other.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: Arc<dyn DiskFile>,
    /// Where the next record begins.
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next record begins.
    at: usize,
}

impl SegmentReader {
    /// Reads from `offset` up to `end`.
    pub(crate) fn new(file: Arc<dyn DiskFile>, offset: u64, end: u64) -> Self {
        Self { file, offset, end, buffer: Vec::new(), at: 0 }
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn is_done(&self) -> bool {
        self.offset >= self.end
    }

    /// The next record. Where there is none that is sound, it does not move on.
    pub(crate) fn next(&mut self) -> io::Result<Found<'_>> {
        let mut need = format::FRAME_LEN;
        let len = loop {
            let left = self.end - self.offset;
            if left == 0 {
                return Ok(Found::End);
            }
            if need as u64 > left {
                let rest = left as usize;
                self.fill(rest)?;
                // Fewer bytes than any record has, all zero: room that was not used.
                let zeros = self.buffer[self.at..].iter().take(rest).all(|byte| *byte == 0);
                return Ok(if zeros { Found::Nothing } else { Found::Damage(Damage::Short) });
            }
            if !self.fill(need)? {
                return Ok(Found::Damage(Damage::Short));
            }
            match format::check(&self.buffer[self.at..]) {
                Ok(Checked::Sound(len)) => break len,
                Ok(Checked::Need(more)) => need = more,
                Ok(Checked::Nothing) => return Ok(Found::Nothing),
                Err(damage) => return Ok(Found::Damage(damage)),
            }
        };
        let at = self.at;
        match format::parse(&self.buffer[at..at + len]) {
            Ok(entry) => {
                self.at += len;
                self.offset += len as u64;
                Ok(Found::Entry(entry))
            }
            Err(damage) => Ok(Found::Damage(damage)),
        }
    }

    /// Moves on to a place that somebody else has found.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.buffer.clear();
        self.at = 0;
        self.offset = offset;
    }

    /// Has at least so many bytes in the buffer; `false` if the file ends before.
    fn fill(&mut self, need: usize) -> io::Result<bool> {
        let have = self.buffer.len() - self.at;
        if have >= need {
            return Ok(true);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let from = self.offset + have as u64;
        let want = need.max(READ_SIZE).min((self.end - self.offset) as usize);
        // A record may be large.
        self.buffer.try_reserve_exact(want.saturating_sub(have))?;
        self.buffer.resize(want.max(have), 0);
        let count = self.file.read_at(&mut self.buffer[have..], from)?;
        self.buffer.truncate(have + count);
        Ok(self.buffer.len() >= need)
    }
}
