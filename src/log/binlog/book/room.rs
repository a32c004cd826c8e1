//! Room: how much there is for what is appended, and what is admitted when there is little.

use jq_engine::Change;

use super::{Book, Health, SETTINGS_LEN};
use crate::log::binlog::format::{CLEAR_LEN, DELETE_LEN, MOVE_LEN, SMALL_LEN};

/// Beside the room to delete all jobs, this much is set aside for what is recorded without asking: that
/// the server drains, a last mark, in bytes.
const LAST_ROOM: u64 = 4096;

impl Book {
    pub(crate) fn admits(&self, change: Change) -> bool {
        match (&self.health, change) {
            (Health::Good, _) => true,
            (Health::Full(_), Change::Existing(records)) => {
                self.admits_bytes(records.saturating_mul(SMALL_LEN as u64))
            }
            (Health::Full(_), Change::Move) => self.admits_bytes(MOVE_LEN as u64),
            (Health::Full(_), Change::Clear { jobs, kept }) => self.admits_clear(jobs, kept),
            (Health::Full(_), Change::Settings) => self.admits_bytes(SETTINGS_LEN),
            // There is room for this one, as for all: see [`Self::delete_room`].
            (Health::Full(_), Change::Delete) => {
                self.cannot_allocate || self.room() >= DELETE_LEN as u64
            }
            (Health::Full(_), Change::Put) | (Health::Failed(_), _) => false,
        }
    }

    /// Room that is kept back, so that every job can be deleted when the disk is full, in bytes: in the
    /// reserve, or behind what is written if that was spent. A job is taken on only with the room for its
    /// deletion.
    pub(crate) fn delete_room(&self) -> u64 {
        self.jobs * DELETE_LEN as u64 + LAST_ROOM
    }

    /// Whether so many bytes can be written and the room for deletes is left.
    pub(super) fn has_room_for(&self, len: u64) -> bool {
        len.saturating_add(self.delete_room()) <= self.room()
    }

    /// The same for what clients ask for, which leaves some room to reclaim old segments.
    pub(super) fn admits_bytes(&self, len: u64) -> bool {
        self.has_room_for(len.saturating_add(self.options.ahead() / 2))
    }

    /// Whether a tube can be cleared of so many jobs, in a record that names so many others: there must
    /// be room for it, and left to delete the jobs that remain.
    fn admits_clear(&self, jobs: u64, kept: u64) -> bool {
        let len = CLEAR_LEN as u64 + kept.saturating_mul(8);
        let left = self.delete_room().saturating_sub(jobs.saturating_mul(DELETE_LEN as u64));
        self.cannot_allocate || len.saturating_add(left) <= self.room()
    }

    /// Whether there is room to record so many bytes once more.
    pub(crate) fn has_room_to_copy(&self, bytes: u64) -> bool {
        self.cannot_allocate || bytes <= self.room()
    }

    /// Bytes that can be appended to the last segment without asking the file system for more.
    pub(crate) fn room(&self) -> u64 {
        self.allocated.unwrap_or(0).saturating_sub(self.last().bytes)
    }

    /// The file of this segment has room up to `end`.
    pub(crate) fn set_allocated(&mut self, segment: u64, end: u64) {
        if segment == self.last().number {
            self.allocated = Some(end);
        }
    }

    /// So much room is kept back.
    pub(crate) fn set_reserved(&mut self, bytes: u64) {
        self.reserved = bytes;
    }

    /// Whether the writer should set room aside.
    pub(crate) fn wants_room(&self) -> bool {
        if self.allocated.is_none() {
            return false;
        }
        matches!(self.health, Health::Full(_))
            || (!self.cannot_allocate && self.is_short_of_room())
            || self.wants_spare()
    }

    /// Whether less is set aside, for what is appended or for when the disk is full, than there should be.
    fn is_short_of_room(&self) -> bool {
        let kept = self.delete_room() + self.options.reserve() + self.options.more_reserve() / 2;
        self.room() < self.options.ahead() / 2 || self.reserved < kept
    }

    pub(crate) fn wants_spare(&self) -> bool {
        !self.spare && self.last().bytes > self.options.segment_size / 4 * 3
    }

    pub(crate) fn set_spare(&mut self, spare: bool) {
        self.spare = spare;
    }

    /// The file system cannot set room aside.
    pub(crate) fn set_cannot_allocate(&mut self) {
        self.cannot_allocate = true;
    }
}
