//! Compaction, as seen from the book: what is to be reclaimed, and whether that has fallen behind.

use super::{Book, Health, SETTINGS_LEN};
use crate::log::Position;
use crate::log::binlog::segments::Segment;

impl Book {
    /// The sealed segments up to this number, the oldest first.
    pub(crate) fn sealed_through(&self, number: u64) -> Vec<Segment> {
        self.segments.sealed().take_while(|segment| segment.number <= number).collect()
    }

    /// Up to which segment nothing is live behind the oldest, whose number this is; so many at most.
    pub(crate) fn dead_through(&self, oldest: u64, most: usize) -> u64 {
        let behind = self.segments.sealed().skip_while(|segment| segment.number <= oldest);
        let dead = behind.take_while(|segment| segment.live + segment.notes == 0);
        dead.take(most).last().map_or(oldest, |segment| segment.number)
    }

    /// The number of the first segment behind this one.
    pub(crate) fn number_behind(&self, number: u64) -> u64 {
        let behind = self.segments.sealed().find(|segment| segment.number > number);
        behind.unwrap_or_else(|| self.last()).number
    }

    /// What must be committed before the segment of this number can be read, unless it is.
    pub(crate) fn awaits(&self, number: u64) -> Option<Position> {
        let is_before_last = number + 1 == self.last().number;
        Some(self.last_begins).filter(|begins| is_before_last && *begins > self.committed)
    }

    /// Segments up to this number are to be reclaimed whatever is in them.
    pub(crate) fn compact_through(&mut self, number: u64) {
        self.compact_through = number;
    }

    /// Whether the oldest segment is to be reclaimed.
    pub(crate) fn wants_compaction(&self) -> bool {
        let Some(oldest) = self.oldest_sealed() else { return false };
        match self.health {
            Health::Failed(_) => false,
            // Only what there is room for, and if it gains something.
            Health::Full(_) => {
                let room = self.room().saturating_sub(self.delete_room()) / 2;
                oldest.live <= room
                    && oldest.bytes > 2 * oldest.live
                    && (oldest.notes == 0 || self.has_room_for(SETTINGS_LEN))
            }
            Health::Good => {
                oldest.number <= self.compact_through
                    || oldest.live + oldest.notes == 0
                    || self.segments.sealed_bytes() > self.allowance(4)
                    || self.segments.len() as u64 > self.segment_allowance()
            }
        }
    }

    /// Whether compaction has fallen so far behind that nobody is told of anything new before it has
    /// caught up: what others have written since grows the files, rather than only leaving more of them dead. A
    /// mass delete writes next to nothing, so nobody waits until its segments are gone.
    pub(crate) fn is_behind(&mut self) -> bool {
        if self.segments.sealed_bytes() <= self.allowance(2) || self.is_stuck {
            self.behind_since = None;
        } else {
            self.behind_since.get_or_insert(self.position);
        }
        let grown = self.behind_since.map_or(0, |since| self.position - since);
        let is_behind = grown > self.options.segment_size / 4;
        matches!(self.health, Health::Good) && (is_behind || self.is_overlong())
    }

    /// So many bytes were only recorded again. That is not growth: it is what makes room.
    pub(super) fn copied(&mut self, len: u64) {
        if let Some(since) = &mut self.behind_since {
            *since += len;
        }
    }

    /// Whether the last segment has grown beyond its size because the next one is not ready, which
    /// whoever prepares it should have done long ago.
    pub(crate) fn is_overlong(&self) -> bool {
        let size = self.options.segment_size;
        let overlong = self.last().bytes > size + size / 4;
        overlong && self.allocated.is_some() && !self.spare && !self.is_confined
    }

    /// What sealed segments may take: twice what is live, with what is set, and a part of a segment
    /// more. The last segment, the room set aside, and a segment that was just sealed come on top of it.
    fn allowance(&self, part: u64) -> u64 {
        2 * (self.segments.live() + self.set.bytes()) + self.options.segment_size / part
    }

    /// How many segments there may be, so that frequent restarts do not leave thousands of small
    /// ones behind.
    fn segment_allowance(&self) -> u64 {
        2 * self.segments.sealed_bytes() / self.options.segment_size.max(1) + 16
    }

    /// The oldest segment is gone.
    pub(crate) fn drop_oldest(&mut self) {
        self.segments.drop_oldest();
    }
}
