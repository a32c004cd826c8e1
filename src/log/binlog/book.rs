//! What has been appended and where it goes: the part of the binlog that lies in memory.
//!
//! Appending happens under the hub's lock and does no I/O: a record is encoded into a chunk, which
//! is taken to the file by the writer. The book also knows of each segment how much of it is live,
//! from which follows what is to be compacted.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use beanstalk_protocol::{BinlogHealth, BinlogSegment, BinlogStats, BinlogUse, JobId};
use jq_engine::{Change, Home, Record};

use crate::log::Position;
use crate::log::binlog::Needs;
use crate::log::binlog::format::{self, Header, JOB_LEN, SMALL_LEN};
use crate::log::binlog::options::Options;

/// Bits of a segment's number that the engine keeps for each job.
const HOME_MASK: u64 = 0xFF_FFFF;

/// Segments that `stats` tells of one by one, the oldest first. Bounds the length of the reply.
const TOLD_SEGMENTS: usize = 16;

/// While the disk is full, this much of the room that is left stays for what is under way, in
/// bytes.
const LAST_ROOM: u64 = 4096;

/// A buffer larger than this is not kept for later chunks, in bytes.
const KEEP_BUFFER: usize = 1 << 20;

/// Buffers that are kept.
const KEEP_BUFFERS: usize = 4;

/// Records for one segment that lie side by side.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Which segment.
    pub(crate) segment: u64,
    /// Where in it.
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// The end of the chunk in the log.
    pub(crate) end: Position,
}

impl Chunk {
    /// Where it ends in its segment.
    pub(crate) fn offset_end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// The records, without the header that a segment's first chunk begins with.
    pub(crate) fn records(&self) -> &[u8] {
        if self.offset == 0 { &self.bytes[format::HEADER_LEN..] } else { &self.bytes }
    }
}

/// A segment, in use or sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Its length, header included.
    pub(crate) bytes: u64,
    /// How much of that is the records of jobs that there are, as if nothing had happened to them.
    pub(crate) live: u64,
    /// Records in it that are to be looked at before it is given up, and are not live: those that
    /// are neither about a job nor a mark, and those of jobs that the engine has elsewhere.
    pub(crate) notes: u64,
}

/// Whether the log can be written.
#[derive(Debug)]
pub(crate) enum Health {
    Good,
    /// There is no room for new jobs. What concerns those that there are is still taken.
    Full(String),
    /// Writing or syncing failed; nothing is taken on.
    Failed(String),
}

/// The ids of jobs, which count up and need no hashing against malice.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only ids are hashed");
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

type IdSet = HashSet<JobId, BuildHasherDefault<IdHasher>>;

#[derive(Debug)]
pub(crate) struct Book {
    options: Options,
    /// The oldest first; the last one is appended to.
    segments: VecDeque<Segment>,
    /// Bytes of all segments but the last.
    sealed_bytes: u64,
    /// Where in the log the last segment begins.
    last_begins: Position,
    /// Live bytes of all segments.
    live: u64,
    /// What the writer has not taken yet.
    chunks: Vec<Chunk>,
    position: Position,
    /// How far the writer has taken chunks.
    taken: Position,
    /// How far the log is committed.
    committed: Position,
    /// How far the log would survive the loss of power; without syncing, as far as it is committed.
    durable: Position,
    /// Jobs with an urgent record that the writer has not taken, and those with one on its way.
    waiting: IdSet,
    flying: IdSet,
    /// New jobs whose record is not committed, in order.
    fresh: VecDeque<(Position, JobId)>,
    next_id: JobId,
    /// How far the last segment was synced, and what the last mark in it says.
    synced: u64,
    marked: u64,
    /// Up to where the file of the last segment has room set aside; `None` until there is a file.
    allocated: Option<u64>,
    /// Whether the file for another segment is ready.
    spare: bool,
    cannot_allocate: bool,
    /// Old segments cannot be given up, for whatever reason: it is no use to wait for that.
    pub(crate) is_stuck: bool,
    /// What the one who keeps the log knows of.
    known: Needs,
    pub(crate) health: Health,
    /// Segments up to this number are to be given up whatever is in them.
    compact_through: u64,
    records_written: u64,
    records_migrated: u64,
    failures: u64,
    buffers: Vec<Vec<u8>>,
}

impl Book {
    /// A book of the segments that there are. The first record begins another one.
    pub(crate) fn new(options: Options, segments: Vec<Segment>, next_id: JobId) -> Self {
        let live = segments.iter().map(|segment| segment.live).sum();
        let previous = segments.last().map_or((0, 0), |last| (last.number, last.bytes));
        let mut book = Self {
            options,
            segments: segments.into(),
            sealed_bytes: 0,
            last_begins: 0,
            live,
            chunks: Vec::new(),
            position: 0,
            taken: 0,
            committed: 0,
            durable: 0,
            waiting: IdSet::default(),
            flying: IdSet::default(),
            fresh: VecDeque::new(),
            next_id,
            synced: 0,
            marked: 0,
            allocated: None,
            spare: false,
            cannot_allocate: false,
            is_stuck: false,
            known: Needs::default(),
            health: Health::Good,
            compact_through: 0,
            records_written: 0,
            records_migrated: 0,
            failures: 0,
            buffers: Vec::new(),
        };
        book.sealed_bytes = book.segments.iter().map(|segment| segment.bytes).sum();
        book.begin_segment(previous);
        book
    }

    /// Begins the segment behind the one of this number and length.
    fn begin_segment(&mut self, (previous, previous_end): (u64, u64)) {
        let header = Header { number: previous + 1, next_id: self.next_id, previous_end };
        self.last_begins = self.position;
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.extend_from_slice(&header.encode());
        let len = bytes.len() as u64;
        self.position += len;
        self.chunks.push(Chunk { segment: header.number, offset: 0, bytes, end: self.position });
        let segment = Segment { number: header.number, bytes: len, live: 0, notes: 0 };
        self.segments.push_back(segment);
        (self.synced, self.marked, self.allocated) = (0, 0, None);
        self.spare = false;
    }

    /// The segment that is appended to.
    pub(crate) fn last(&self) -> Segment {
        *self.segments.back().expect("a segment is begun with the book")
    }

    fn last_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a segment is begun with the book")
    }

    /// The next segment to be given up, unless it is the last.
    pub(crate) fn oldest_sealed(&self) -> Option<Segment> {
        self.segments.front().copied().filter(|_| self.segments.len() > 1)
    }

    /// What must be committed before the segment of this number can be read, unless it is.
    pub(crate) fn awaits(&self, number: u64) -> Option<Position> {
        let is_before_last = number + 1 == self.last().number;
        Some(self.last_begins).filter(|begins| is_before_last && *begins > self.committed)
    }

    pub(crate) fn append(&mut self, record: &Record<'_>, urgent: bool) -> Home {
        if !urgent && matches!(self.health, Health::Failed(_)) {
            // Of this there may be much before the log can be written again. The rest is what is
            // recorded again, whose record before that is forgotten already.
            return self.home();
        }
        if self.spare {
            let last = self.last();
            if last.bytes + longest(record) > self.options.segment_size {
                self.sealed_bytes += last.bytes;
                self.begin_segment((last.number, last.bytes));
            }
        }
        self.open_chunk();
        let chunk = self.chunks.last_mut().expect("one was opened");
        let len = format::encode(record, &mut chunk.bytes) as u64;
        self.position += len;
        chunk.end = self.position;
        self.records_written += 1;
        let position = self.position;
        let segment = self.last_mut();
        segment.bytes += len;
        let mut live = 0;
        let id = match record {
            Record::Put(job) | Record::Again(job) => {
                live = live_len(job.tube.len() + job.body.len());
                Some(job.now.id)
            }
            Record::Update(update) => Some(update.id),
            Record::Reserved(id) | Record::TimedOut(id) => Some(*id),
            Record::Kicked(id) | Record::Delete(id) => Some(*id),
            Record::Pause { .. } | Record::Drain(_) => {
                segment.notes += 1;
                None
            }
        };
        segment.live += live;
        self.live += live;
        match record {
            Record::Put(job) => {
                self.fresh.push_back((position, job.now.id));
                self.next_id = self.next_id.max(job.now.id + 1);
            }
            Record::Again(_) => self.records_migrated += 1,
            _ => {}
        }
        // What is told once more nobody has to wait for.
        let is_news = urgent && !matches!(record, Record::Again(_));
        if is_news && let Some(id) = id {
            self.waiting.insert(id);
        }
        self.home()
    }

    /// Makes sure that the last chunk is one to append to.
    fn open_chunk(&mut self) {
        let last = self.last();
        if self.chunks.last().is_some_and(|chunk| chunk.segment == last.number) {
            return;
        }
        let mut bytes = self.buffers.pop().unwrap_or_default();
        // After a failure, it will be in another file.
        let failed = matches!(self.health, Health::Failed(_));
        if self.synced > self.marked && !failed {
            self.marked = self.synced;
            let len = format::encode_mark(self.marked, &mut bytes) as u64;
            self.position += len;
            self.last_mut().bytes += len;
        }
        let (segment, offset, end) = (last.number, last.bytes, self.position);
        self.chunks.push(Chunk { segment, offset, bytes, end });
    }

    fn home(&self) -> Home {
        home_of(self.last().number)
    }

    /// The number of the segment that the engine knows by its lower bits.
    pub(crate) fn number(&self, home: Home) -> u64 {
        number_of(home, self.segments.front().map_or(0, |segment| segment.number))
    }

    /// The segment at `home`, if there is one.
    fn segment_mut(&mut self, home: Home) -> Option<&mut Segment> {
        let oldest = self.segments.front()?.number;
        // Numbers leave none out, but for what a repair could not find.
        let last = self.segments.back()?.number;
        let number = number_of(home, oldest);
        let at = match self.segments.len() as u64 == last - oldest + 1 {
            true => usize::try_from(number - oldest).ok()?,
            false => self.segments.binary_search_by_key(&number, |it| it.number).ok()?,
        };
        self.segments.get_mut(at)
    }

    pub(crate) fn next_id(&self) -> JobId {
        self.next_id
    }

    pub(crate) fn forget(&mut self, home: Home, bytes: usize) {
        let len = live_len(bytes);
        if let Some(segment) = self.segment_mut(home) {
            debug_assert!(segment.live >= len, "what is forgotten was counted");
            segment.live -= len;
            self.live -= len;
        }
    }

    pub(crate) fn admits(&self, change: Change) -> bool {
        match (&self.health, change) {
            (Health::Good, _) => true,
            (Health::Full(_), Change::Existing(records)) => {
                let len = records.saturating_mul(SMALL_LEN as u64);
                len.saturating_add(LAST_ROOM) <= self.room()
            }
            (Health::Full(_), Change::Put(_)) | (Health::Failed(_), _) => false,
        }
    }

    /// Bytes that can be appended to the last segment without asking the file system for more.
    pub(crate) fn room(&self) -> u64 {
        self.allocated.unwrap_or(0).saturating_sub(self.last().bytes)
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn durable(&self) -> Position {
        self.durable
    }

    /// How often the log has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    pub(crate) fn committed(&self) -> Position {
        self.committed
    }

    /// Whether anything is not committed, or not as durable as it is going to be.
    pub(crate) fn is_dirty(&self) -> bool {
        self.position > self.durable
    }

    pub(crate) fn concern(&self, job: JobId) -> Position {
        if self.waiting.contains(&job) {
            self.position
        } else if self.flying.contains(&job) {
            self.taken
        } else {
            0
        }
    }

    /// Hands what was appended to the writer.
    pub(crate) fn take(&mut self, into: &mut VecDeque<Chunk>) {
        into.extend(self.chunks.drain(..));
        self.taken = self.position;
        if self.flying.is_empty() {
            std::mem::swap(&mut self.flying, &mut self.waiting);
        } else {
            self.flying.extend(self.waiting.drain());
        }
    }

    /// Everything up to `position` is committed.
    pub(crate) fn commit(&mut self, position: Position) {
        self.committed = position;
        if !self.options.policy.syncs() {
            self.durable = position;
        }
        while self.fresh.front().is_some_and(|(end, _)| *end <= position) {
            self.fresh.pop_front();
        }
        if position >= self.taken {
            self.flying.clear();
        }
    }

    /// Everything up to `position` is on the disk, which of this segment is `offset` bytes.
    pub(crate) fn sync(&mut self, position: Position, segment: u64, offset: u64) {
        self.durable = self.durable.max(position);
        if segment == self.last().number {
            self.synced = offset;
        }
    }

    /// A buffer to be used again.
    pub(crate) fn recycle(&mut self, chunk: Chunk) {
        let mut bytes = chunk.bytes;
        if bytes.capacity() <= KEEP_BUFFER && self.buffers.len() < KEEP_BUFFERS {
            bytes.clear();
            self.buffers.push(bytes);
        }
    }

    /// The file of this segment has room up to `end`.
    pub(crate) fn set_allocated(&mut self, segment: u64, end: u64) {
        if segment == self.last().number {
            self.allocated = Some(end);
        }
    }

    /// Whether the writer should set room aside.
    pub(crate) fn wants_room(&self) -> bool {
        let full = matches!(self.health, Health::Full(_));
        let short = !self.cannot_allocate && self.room() < self.options.ahead() / 2;
        self.allocated.is_some() && (full || short || self.wants_spare())
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

    /// Segments up to this number are to be given up whatever is in them.
    pub(crate) fn compact_through(&mut self, number: u64) {
        self.compact_through = number;
    }

    fn needs(&self) -> Needs {
        let failed = matches!(self.health, Health::Failed(_));
        Needs {
            sync: !failed && self.is_dirty(),
            prepare: !failed && self.wants_room(),
            compact: self.wants_compaction(),
            recover: failed,
        }
    }

    /// What is to be done. From here on the caller knows of it.
    pub(crate) fn look(&mut self) -> Needs {
        self.known = self.needs();
        self.known
    }

    /// Whether there is something to do that nobody knows of yet. From here on somebody does.
    #[inline]
    pub(crate) fn has_news(&mut self) -> bool {
        let Needs { sync, prepare, compact, recover } = self.needs();
        let known = self.known;
        let news = (sync && !known.sync)
            || (prepare && !known.prepare)
            || (compact && !known.compact)
            || (recover && !known.recover);
        if news {
            self.known = Needs {
                sync: sync || known.sync,
                prepare: prepare || known.prepare,
                compact: compact || known.compact,
                recover: recover || known.recover,
            };
        }
        news
    }

    /// The log has failed. Returns the new jobs of which nobody has been told.
    pub(crate) fn fail(&mut self, error: &io::Error) -> Vec<JobId> {
        self.failures += 1;
        self.health = Health::Failed(error.to_string());
        self.take_fresh()
    }

    /// The new jobs whose record is not committed. They are not asked for again.
    pub(crate) fn take_fresh(&mut self) -> Vec<JobId> {
        self.fresh.drain(..).map(|(_, id)| id).collect()
    }

    /// What was not durable and the writer took is in a new file now: the segment behind `suspect`,
    /// of which `end` bytes are good. What was appended since goes behind that: returns its records.
    pub(crate) fn recover(&mut self, suspect: u64, end: u64, fresh: Segment) -> &[u8] {
        let mut late = Vec::new();
        for chunk in self.chunks.drain(..) {
            late.extend_from_slice(chunk.records());
        }
        let mut virtual_live = 0;
        while self.last().number > suspect && self.segments.len() > 1 {
            virtual_live += self.segments.pop_back().map_or(0, |segment| segment.live);
        }
        let failed = self.last_mut();
        failed.bytes = end;
        if end == 0 {
            // Not even its header is good; its notes are in the new file.
            failed.notes = 0;
        }
        self.segments.push_back(Segment { live: virtual_live, ..fresh });
        let sealed = self.segments.iter().rev().skip(1);
        self.sealed_bytes = sealed.map(|segment| segment.bytes).sum();
        self.last_mut().bytes += late.len() as u64;
        let (segment, offset, end) = (fresh.number, fresh.bytes, self.position);
        self.chunks.extend((!late.is_empty()).then_some(Chunk {
            segment,
            offset,
            bytes: late,
            end,
        }));
        (self.synced, self.marked) = (fresh.bytes, 0);
        (self.allocated, self.spare) = (Some(fresh.bytes), false);
        self.durable = self.taken;
        self.commit(self.taken);
        // Until room is set aside in the new file: else the next put might fail as the last did.
        self.health = Health::Full("the log has just failed".into());
        self.compact_through = suspect;
        self.chunks.last().map_or(&[], |late| &late.bytes)
    }

    /// So many records more in the last segment are to be looked at before it is given up.
    pub(crate) fn add_notes(&mut self, count: u64) {
        self.last_mut().notes += count;
    }

    /// Whether the oldest segment is to be given up.
    pub(crate) fn wants_compaction(&self) -> bool {
        let Some(oldest) = self.oldest_sealed() else { return false };
        match self.health {
            Health::Failed(_) => false,
            // Only what there is room for, and if it gains something.
            Health::Full(_) => {
                let room = self.room().saturating_sub(LAST_ROOM) / 2;
                oldest.live <= room && oldest.bytes > 2 * oldest.live
            }
            Health::Good => {
                oldest.number <= self.compact_through
                    || oldest.live + oldest.notes == 0
                    || self.sealed_bytes > self.allowance(4)
                    || self.segments.len() as u64 > self.segment_allowance()
            }
        }
    }

    /// Whether so much is to be compacted that nobody is told of anything new before it is.
    pub(crate) fn is_behind(&self) -> bool {
        let is_behind = self.sealed_bytes > self.allowance(2) && !self.is_stuck;
        matches!(self.health, Health::Good) && (is_behind || self.is_overlong())
    }

    /// Whether the last segment has grown beyond its size because the next one is not ready, which
    /// whoever prepares it should have done long ago.
    pub(crate) fn is_overlong(&self) -> bool {
        let size = self.options.segment_size;
        self.last().bytes > size + size / 4 && self.allocated.is_some() && !self.spare
    }

    /// What sealed segments may take: twice what is live, and a part of a segment more. The last
    /// segment, the room set aside, and a segment that was just sealed come on top of it.
    fn allowance(&self, part: u64) -> u64 {
        2 * self.live + self.options.segment_size / part
    }

    /// How many segments there may be, so that frequent restarts do not leave thousands of small
    /// ones behind.
    fn segment_allowance(&self) -> u64 {
        2 * self.sealed_bytes / self.options.segment_size.max(1) + 16
    }

    /// The oldest segment is gone.
    pub(crate) fn drop_oldest(&mut self) {
        if self.segments.len() > 1
            && let Some(segment) = self.segments.pop_front()
        {
            self.sealed_bytes -= segment.bytes;
            self.live -= segment.live;
        }
    }

    pub(crate) fn stats(&self) -> BinlogStats {
        let last = self.last();
        let bytes = self.sealed_bytes + last.bytes;
        let told = self.segments.iter().take(TOLD_SEGMENTS);
        BinlogStats {
            oldest_index: self.segments.front().map_or(0, |segment| segment.number),
            current_index: last.number,
            records_migrated: self.records_migrated,
            records_written: self.records_written,
            max_size: self.options.shown_size,
            own: Some(Box::new(BinlogUse {
                health: match &self.health {
                    Health::Good => BinlogHealth::Good,
                    Health::Full(error) => BinlogHealth::Full(error.clone()),
                    Health::Failed(error) => BinlogHealth::Failed(error.clone()),
                },
                failures: self.failures,
                pending_bytes: self.position - self.committed,
                unsynced_bytes: self.position - self.durable,
                segments: self.segments.len() as u64,
                bytes,
                live_bytes: self.live,
                oldest: told
                    .map(|segment| BinlogSegment {
                        number: segment.number,
                        live: segment.live,
                        dead: segment.bytes.saturating_sub(segment.live),
                    })
                    .collect(),
            })),
        }
    }
}

/// What the record of a job takes, to which nothing happened; its tube's name and its body have so
/// many bytes.
pub(crate) fn live_len(bytes: usize) -> u64 {
    (JOB_LEN + bytes) as u64
}

/// What the engine knows of a segment's number.
pub(crate) fn home_of(number: u64) -> Home {
    (number & HOME_MASK) as Home
}

/// The segment that the engine knows as `home`; the oldest there is has the number `oldest`.
pub(crate) fn number_of(home: Home, oldest: u64) -> u64 {
    oldest + (u64::from(home).wrapping_sub(oldest) & HOME_MASK)
}

/// What a record takes at most.
fn longest(record: &Record<'_>) -> u64 {
    let variable = match record {
        Record::Put(job) | Record::Again(job) => job.tube.len() + job.body.len(),
        Record::Pause { tube, .. } => tube.len(),
        _ => 0,
    };
    (JOB_LEN + SMALL_LEN + variable) as u64
}
