//! What there is on the disk, and how much of it is live.

use std::collections::VecDeque;

use jq_engine::SegmentRef;

use crate::log::binlog::format::{JOB_LEN, STORED_LEN};

/// A segment, in use or sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Its length, header included.
    pub(crate) bytes: u64,
    /// How much of that is the records of jobs that there are, as if nothing had happened to them, but
    /// for the name of the tube that a job is in now. So it may be a little more than there is.
    pub(crate) live: u64,
    /// Records in it that are to be looked at before it is reclaimed, and are not live: those that
    /// are neither about a job nor a mark, and those of jobs that the engine has elsewhere.
    pub(crate) notes: u64,
}

/// All segments, the oldest first. The last one is appended to; the others are sealed.
#[derive(Debug)]
pub(crate) struct Segments {
    all: VecDeque<Segment>,
    /// Bytes of all but the last.
    sealed_bytes: u64,
    /// Live bytes of all.
    live: u64,
}

impl Segments {
    /// Those that there are, and one behind them to append to.
    pub(crate) fn new(sealed: Vec<Segment>, last: Segment) -> Self {
        let mut segments = Self {
            sealed_bytes: sealed.iter().map(|segment| segment.bytes).sum(),
            live: sealed.iter().map(|segment| segment.live).sum(),
            all: sealed.into(),
        };
        segments.all.push_back(last);
        segments
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn sealed_bytes(&self) -> u64 {
        self.sealed_bytes
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.sealed_bytes + self.last().bytes
    }

    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// The one that is appended to.
    pub(crate) fn last(&self) -> Segment {
        *self.all.back().expect("there is one to append to")
    }

    fn last_mut(&mut self) -> &mut Segment {
        self.all.back_mut().expect("there is one to append to")
    }

    /// The next one to be reclaimed, unless it is the last.
    pub(crate) fn oldest_sealed(&self) -> Option<Segment> {
        self.all.front().copied().filter(|_| self.all.len() > 1)
    }

    /// The number of the oldest.
    pub(crate) fn first_number(&self) -> u64 {
        self.all.front().map_or(0, |segment| segment.number)
    }

    /// The oldest, which may be the last.
    pub(crate) fn oldest(&self) -> Segment {
        self.all.front().copied().unwrap_or_else(|| self.last())
    }

    /// All but the last, the oldest first.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = Segment> + '_ {
        self.all.iter().copied().take(self.all.len() - 1)
    }

    /// Seals the last one and goes on with this.
    pub(crate) fn push(&mut self, segment: Segment) {
        self.sealed_bytes += self.last().bytes;
        self.live += segment.live;
        self.all.push_back(segment);
    }

    /// So many bytes were appended to the last one, of which so many are live.
    pub(crate) fn grow(&mut self, bytes: u64, live: u64) {
        let last = self.last_mut();
        last.bytes += bytes;
        last.live += live;
        self.live += live;
    }

    /// So many records more in the last one are to be looked at before it is reclaimed.
    pub(crate) fn add_notes(&mut self, count: u64) {
        self.last_mut().notes += count;
    }

    /// The record of a job is needed no more.
    pub(crate) fn forget(&mut self, segment: SegmentRef, len: u64) {
        if let Some(segment) = self.find(segment) {
            debug_assert!(segment.live >= len, "what is forgotten was counted");
            segment.live -= len;
            self.live -= len;
        }
    }

    /// What is live in the record of a job has another length: see [`Segment::live`].
    pub(crate) fn resize(&mut self, segment: SegmentRef, before: u64, after: u64) {
        if let Some(segment) = self.find(segment) {
            // A body in a file of its own is in both lengths, and not in what is live.
            debug_assert!(segment.live + after >= before, "what is resized was counted");
            segment.live = segment.live + after - before;
            self.live = self.live + after - before;
        }
    }

    fn find(&mut self, segment: SegmentRef) -> Option<&mut Segment> {
        let (oldest, last) = (self.first_number(), self.last().number);
        let number = segment.number(oldest);
        // Numbers leave none out, but for what a repair could not find.
        let at = if self.all.len() as u64 == last - oldest + 1 {
            usize::try_from(number - oldest).ok()?
        } else {
            self.all.binary_search_by_key(&number, |segment| segment.number).ok()?
        };
        self.all.get_mut(at)
    }

    /// The oldest is gone.
    pub(crate) fn drop_oldest(&mut self) {
        if self.all.len() > 1
            && let Some(segment) = self.all.pop_front()
        {
            self.sealed_bytes -= segment.bytes;
            self.live -= segment.live;
        }
    }

    /// Of the segment `suspect`, only the first `end` bytes are good, and those between it and `fresh` do
    /// not count. What was live there is in `fresh` now, which is the last from here on.
    pub(crate) fn replace_behind(&mut self, suspect: u64, end: u64, fresh: Segment) {
        let mut live = fresh.live;
        let mut left_out = Vec::new();
        while self.last().number > suspect
            && self.all.len() > 1
            && let Some(gone) = self.all.pop_back()
        {
            if gone.number < fresh.number {
                // The engine has its jobs there for a while.
                left_out.push(Segment { bytes: 0, notes: 0, ..gone });
            } else {
                live += gone.live;
            }
        }
        let failed = self.last_mut();
        failed.bytes = end;
        if end == 0 {
            // Not even its header is good; its notes are in the new file.
            failed.notes = 0;
        }
        self.all.extend(left_out.into_iter().rev());
        self.all.push_back(Segment { live, ..fresh });
        let sealed = self.all.iter().rev().skip(1);
        self.sealed_bytes = sealed.map(|segment| segment.bytes).sum();
    }
}

/// What the record of a job takes, to which nothing happened; its tube's name and its body have so
/// many bytes.
pub(crate) fn live_len(bytes: usize) -> u64 {
    (JOB_LEN + bytes) as u64
}

/// The same for a job whose body is in a file of its own; its tube's name has so many bytes.
pub(crate) fn live_len_without_body(tube: usize) -> u64 {
    (JOB_LEN + tube + STORED_LEN) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64, bytes: u64, live: u64) -> Segment {
        Segment { number, bytes, live, notes: 0 }
    }

    #[test]
    fn what_is_live_is_known_of_each_and_of_all() {
        let sealed = vec![segment(5, 100, 60), segment(6, 100, 50)];
        let mut segments = Segments::new(sealed, segment(7, 48, 0));
        segments.grow(70, 70);
        segments.forget(SegmentRef::of(5), 60);
        segments.forget(SegmentRef::of(7), 10);
        let live: Vec<_> = segments.all.iter().map(|one| (one.number, one.live)).collect();
        assert_eq!(live, [(5, 0), (6, 50), (7, 60)]);
        assert_eq!((segments.oldest().number, segments.oldest().live), (5, 0));
        assert_eq!((segments.live(), segments.sealed_bytes(), segments.bytes()), (110, 200, 318));
        segments.drop_oldest();
        segments.push(segment(8, 48, 0));
        assert_eq!((segments.live(), segments.sealed_bytes(), segments.bytes()), (110, 218, 266));
        // Nothing is known of one that is gone.
        segments.forget(SegmentRef::of(5), 60);
        assert_eq!(segments.live(), 110);
    }

    #[test]
    fn a_job_is_moved_whose_large_body_is_elsewhere() {
        let mut segments = Segments::new(vec![segment(5, 100, 60)], segment(6, 48, 0));
        segments.resize(SegmentRef::of(5), 1_000_020, 1_000_010);
        assert_eq!((segments.oldest().live, segments.live()), (50, 50));
        segments.resize(SegmentRef::of(5), 1_000_010, 1_000_040);
        assert_eq!((segments.oldest().live, segments.live()), (80, 80));
    }

    #[test]
    fn numbers_are_known_by_their_lower_bits_for_ever() {
        let oldest = (1 << 24) - 2;
        for number in oldest..oldest + 5 {
            assert_eq!(SegmentRef::of(number).number(oldest), number);
        }
        let sealed = vec![segment(oldest, 100, 60), segment(oldest + 2, 100, 50)];
        let mut segments = Segments::new(sealed, segment(oldest + 3, 48, 0));
        segments.forget(SegmentRef::of(oldest + 2), 50);
        segments.forget(SegmentRef::of(oldest + 1), 50);
        assert_eq!(segments.live(), 60, "a repair has left one out");
    }
}
