//! What has been appended and where it goes: the part of the binlog that lies in memory.
//!
//! Appending happens under the hub's lock and does no I/O: a record is encoded into a chunk, which
//! is taken to the file by the writer. The book also knows what is to be done: synced, set aside
//! (`room`), compacted (`upkeep`).

mod room;
mod set;
mod upkeep;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use beanstalk_protocol::{BinlogHealth, BinlogStats, BinlogUse, JobId, MAX_TUBE_NAME};
use jq_engine::{Record, SegmentRef, Subject, growth};

use self::set::Set;
use crate::log::binlog::Needs;
use crate::log::binlog::bodies::Bodies;
use crate::log::binlog::chunk::Chunk;
use crate::log::binlog::format::{self, Header, JOB_LEN, SMALL_LEN, STORED_LEN, StoredBody};
use crate::log::binlog::options::Options;
use crate::log::binlog::segments::{Segment, Segments, live_len, live_len_without_body};
use crate::log::codec::settings;
use crate::log::{Position, Uncommitted};

/// What the record of a tube's settings takes at most, in bytes.
const SETTINGS_LEN: u64 = (format::FRAME_LEN + 3 + 200 + settings::MAX_LEN) as u64;

/// A buffer larger than this is not kept for later chunks, in bytes.
const KEEP_BUFFER: usize = 1 << 20;

/// Buffers that are kept.
const KEEP_BUFFERS: usize = 4;

/// Whether the log can be written.
#[derive(Debug)]
pub(crate) enum Health {
    Good,
    /// There is no room for new jobs. What concerns those that there are is still taken.
    Full(String),
    /// Writing or syncing failed; nothing is taken on.
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Book {
    options: Options,
    segments: Segments,
    /// Where in the log the last segment begins.
    last_begins: Position,
    /// What the writer has not taken yet.
    chunks: Vec<Chunk>,
    position: Position,
    /// How far the writer has taken chunks.
    taken: Position,
    /// How far the log is committed.
    committed: Position,
    /// How far the log would survive the loss of power; without syncing, as far as it is committed.
    durable: Position,
    uncommitted: Uncommitted,
    /// The bodies in files of their own.
    bodies: Bodies,
    /// None of them is shorter than this, in bytes.
    apart_from: usize,
    next_id: JobId,
    /// Jobs that there are.
    jobs: u64,
    /// How far the last segment was synced, and what the last mark in it says.
    synced: u64,
    marked: u64,
    /// Up to where the file of the last segment has room set aside; `None` until there is a file.
    allocated: Option<u64>,
    /// Room that is kept back in a file by itself, for when there is no other.
    reserved: u64,
    /// Whether the file for another segment is ready.
    spare: bool,
    cannot_allocate: bool,
    /// Old segments cannot be reclaimed, for whatever reason: it is no use to wait for that.
    pub(crate) is_stuck: bool,
    /// Where the log ended when there first was more to compact than there may be.
    behind_since: Option<Position>,
    /// No other segment can be begun for want of a descriptor: nor is it to wait for that.
    pub(crate) is_confined: bool,
    /// The needs that have been reported.
    known: Needs,
    health: Health,
    /// Whether that is [`Health::Good`], for those who have not locked the book.
    is_good: Arc<AtomicBool>,
    /// Segments up to this number are to be reclaimed whatever is in them.
    compact_through: u64,
    records_written: u64,
    records_migrated: u64,
    /// How often writing or syncing has failed.
    failures: u64,
    /// How often that, or want of room, has kept from the files what was appended.
    setbacks: u64,
    buffers: Vec<Vec<u8>>,
    /// What is set for tubes and the server.
    set: Set,
}

impl Book {
    /// A book of the segments that there are, and of one more that is begun with it behind the one of
    /// this number and length.
    pub(crate) fn new(
        options: Options,
        segments: Vec<Segment>,
        previous: (u64, u64),
        next_id: JobId,
        jobs: u64,
        bodies: Bodies,
    ) -> Self {
        let apart_from =
            bodies.shortest().map_or(options.store_from, |it| it.min(options.store_from));
        // What there is was synced before, if it ever is.
        let (mut first, begun) = begin(previous, next_id, false, Vec::new());
        let position = first.len() as u64;
        first.end = position;
        Self {
            options,
            set: Set::default(),
            segments: Segments::new(segments, begun),
            last_begins: 0,
            chunks: vec![first],
            position,
            taken: 0,
            committed: 0,
            durable: 0,
            uncommitted: Uncommitted::default(),
            bodies,
            apart_from,
            next_id,
            jobs,
            synced: 0,
            marked: 0,
            allocated: None,
            reserved: 0,
            spare: false,
            cannot_allocate: false,
            is_stuck: false,
            behind_since: None,
            is_confined: false,
            known: Needs::default(),
            health: Health::Good,
            is_good: Arc::new(AtomicBool::new(true)),
            compact_through: 0,
            records_written: 0,
            records_migrated: 0,
            failures: 0,
            setbacks: 0,
            buffers: Vec::new(),
        }
    }

    /// Seals the last segment and begins the next.
    fn begin_segment(&mut self) {
        let last = self.last();
        let buffer = self.buffers.pop().unwrap_or_default();
        let is_early = self.options.policy.syncs();
        let previous = (last.number, last.bytes);
        let (mut chunk, segment) = begin(previous, self.next_id, is_early, buffer);
        self.last_begins = self.position;
        self.position += segment.bytes;
        chunk.end = self.position;
        growth::push(&mut self.chunks, chunk);
        self.segments.push(segment);
        (self.synced, self.marked, self.allocated) = (0, 0, None);
        self.spare = false;
    }

    /// Goes on to the next segment, for which there is a file with so much room.
    pub(crate) fn begin_in_reserve(&mut self, allocated: u64) {
        self.begin_segment();
        (self.allocated, self.reserved) = (Some(allocated), 0);
    }

    /// If all that is on a full disk is a segment in which no job is left, goes on to the next, so that
    /// this one can be reclaimed. Deletes need no room then.
    pub(crate) fn turn_over(&mut self) {
        let is_written = self.chunks.is_empty() && self.position == self.committed;
        let is_worth_it = self.last().bytes > self.options.ahead();
        if self.jobs == 0 && is_written && is_worth_it && self.oldest_sealed().is_none() {
            self.begin_segment();
        }
    }

    /// The segment that is appended to.
    pub(crate) fn last(&self) -> Segment {
        self.segments.last()
    }

    /// The next segment to be reclaimed, unless it is the last.
    pub(crate) fn oldest_sealed(&self) -> Option<Segment> {
        self.segments.oldest_sealed()
    }

    pub(crate) fn append(&mut self, record: &Record<'_>, urgent: bool) -> SegmentRef {
        if !urgent && !self.takes_what_nobody_awaits() {
            return self.appending_to();
        }
        let stored = self.stored_body(record);
        // The room to delete all jobs is in the last segment, so a full log stays with that.
        if self.spare && !matches!(self.health, Health::Full(_)) {
            let last = self.last();
            if last.bytes + longest(record, stored) > self.options.segment_size {
                self.begin_segment();
            }
        }
        self.open_chunk();
        let chunk = self.chunks.last_mut().expect("one was opened");
        let (len, live) = match stored {
            None => {
                let len = chunk.push(record);
                let job = record.whole_job();
                (len as u64, job.map_or(0, |job| live_len(job.tube.len() + job.body.len())))
            }
            Some(body) => push_large_put(chunk, record, body),
        };
        self.position += len;
        chunk.end = self.position;
        let segment = SegmentRef::of(chunk.segment);
        self.records_written += 1;
        self.segments.grow(len, live);
        self.jobs += u64::from(live > 0);
        match record {
            Record::Put(job) => {
                self.uncommitted.add_fresh(job.now.id, self.position);
                self.next_id = self.next_id.max(job.now.id + 1);
                if urgent {
                    self.uncommitted.add(job.now.id);
                }
            }
            // Nobody has to wait for what is only recorded again.
            Record::Again(_) => {
                self.records_migrated += 1;
                self.copied(len);
            }
            other => match other.subject() {
                Subject::Job(id) if urgent => self.uncommitted.add(id),
                Subject::Job(_) => {}
                subject => self.append_other(subject, record, len),
            },
        }
        segment
    }

    /// Whether there is room for a record that no client waits for.
    fn takes_what_nobody_awaits(&self) -> bool {
        match self.health {
            Health::Good => true,
            // What is left is for deletes.
            Health::Full(_) => self.admits_bytes(SMALL_LEN as u64),
            // Of this there may be much before the log can be written again. The rest is what is
            // recorded again, whose record before that is forgotten already.
            Health::Failed(_) => false,
        }
    }

    /// A record was appended that is not about one job.
    #[cold]
    fn append_other(&mut self, subject: Subject<'_>, record: &Record<'_>, len: u64) {
        self.set.note(record, len);
        match subject {
            Subject::Jobs(_) => self.uncommitted.add_all(),
            Subject::Tube(_) | Subject::Server => self.segments.add_notes(1),
            Subject::Job(_) => {}
        }
    }

    /// The body of a job that is recorded, if it is in a file of its own. From here on, the log needs
    /// that.
    #[inline]
    fn stored_body(&mut self, record: &Record<'_>) -> Option<StoredBody> {
        let job = record.whole_job()?;
        if job.body.len() < self.apart_from {
            return None;
        }
        self.bodies.recorded(job.now.id)
    }

    /// Makes sure that the last chunk is one to append to.
    fn open_chunk(&mut self) {
        let last = self.last();
        if self.chunks.last().is_some_and(|chunk| chunk.segment == last.number && chunk.is_open()) {
            return;
        }
        let mut bytes = self.buffers.pop().unwrap_or_default();
        // After a failure, it will be in another file.
        // The room of a full log is for other things.
        let good = matches!(self.health, Health::Good);
        if self.synced > self.marked && good {
            self.marked = self.synced;
            let len = format::encode_mark(self.marked, &mut bytes) as u64;
            self.position += len;
            self.segments.grow(len, 0);
        }
        let (segment, offset, end) = (last.number, last.bytes, self.position);
        growth::push(&mut self.chunks, Chunk::new(segment, offset, bytes, end));
    }

    /// The segment that is appended to.
    fn appending_to(&self) -> SegmentRef {
        SegmentRef::of(self.last().number)
    }

    /// The number of a segment.
    pub(crate) fn number(&self, segment: SegmentRef) -> u64 {
        segment.number(self.segments.first_number())
    }

    /// The bodies in files of their own.
    pub(crate) fn bodies(&mut self) -> &mut Bodies {
        &mut self.bodies
    }

    /// A body that nobody needs any more, also not after a crash. Its file is to be removed.
    pub(crate) fn next_unneeded_body(&mut self) -> Option<JobId> {
        self.bodies.next_unneeded(self.durable)
    }

    pub(crate) fn next_id(&self) -> JobId {
        self.next_id
    }

    pub(crate) fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize) {
        let is_apart = bytes >= self.apart_from;
        let stored = if is_apart { self.bodies.forgotten(job, self.position) } else { None };
        let live = match stored {
            None => live_len(bytes),
            Some(body) => live_len_without_body(bytes - body.len as usize),
        };
        self.segments.forget(segment, live);
        self.jobs = self.jobs.saturating_sub(1);
    }

    /// A job with a record in this segment was moved.
    pub(crate) fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        self.segments.resize(segment, live_len(before), live_len(after));
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn durable(&self) -> Position {
        self.durable
    }

    /// How often something that was appended could not be written, for whatever reason.
    pub(crate) fn setbacks(&self) -> u64 {
        self.setbacks
    }

    /// Writing or syncing has failed.
    pub(crate) fn count_failure(&mut self) {
        self.failures += 1;
    }

    pub(crate) fn committed(&self) -> Position {
        self.committed
    }

    /// Whether anything is not committed, or not as durable as it is going to be.
    pub(crate) fn is_dirty(&self) -> bool {
        self.position > self.durable
    }

    pub(crate) fn concern(&self, job: JobId) -> Position {
        self.uncommitted.concern(job, self.position, self.taken)
    }

    /// Hands what was appended to the writer.
    pub(crate) fn take(&mut self, into: &mut VecDeque<Chunk>) {
        self.chunks.drain(..).for_each(|chunk| growth::push_back(into, chunk));
        self.taken = self.position;
        self.uncommitted.take();
    }

    /// Everything up to `position` is committed.
    pub(crate) fn commit(&mut self, position: Position) {
        self.committed = position;
        if !self.options.policy.syncs() {
            self.durable = position;
        }
        self.uncommitted.commit(position, position >= self.taken);
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

    fn needs(&self) -> Needs {
        let failed = matches!(self.health, Health::Failed(_));
        Needs {
            sync: !failed && self.is_dirty(),
            prepare: !failed && self.wants_room(),
            compact: self.wants_compaction(),
            recover: failed,
            // Nobody is called for that alone: see `look`.
            remove: false,
        }
    }

    /// What is to be done. From here on the caller knows of it, and if `looks_again`, also that there
    /// will be something to sync.
    pub(crate) fn look(&mut self, looks_again: bool) -> Needs {
        let needs = self.needs();
        self.known = Needs { sync: needs.sync || looks_again, ..needs };
        Needs { remove: self.bodies.has_unneeded(self.durable), ..needs }
    }

    /// Whether there is something to do that was not reported yet. Counts as reported from here on.
    #[inline]
    pub(crate) fn has_new_needs(&mut self) -> bool {
        // This comes after each record: what is known already is not looked for again.
        let known = self.known;
        let is_new = match self.health {
            Health::Failed(_) => !known.recover,
            _ => {
                (!known.sync && self.is_dirty())
                    || (!known.prepare && self.wants_room())
                    || (!known.compact && self.wants_compaction())
            }
        };
        if is_new {
            self.learn();
        }
        is_new
    }

    /// Counts all there is to do as reported.
    #[cold]
    fn learn(&mut self) {
        let Needs { sync, prepare, compact, recover, remove: _ } = self.needs();
        let known = self.known;
        self.known = Needs {
            sync: sync || known.sync,
            prepare: prepare || known.prepare,
            compact: compact || known.compact,
            recover: recover || known.recover,
            remove: false,
        };
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn set_health(&mut self, health: Health) {
        self.is_good.store(matches!(health, Health::Good), Ordering::Release);
        self.health = health;
    }

    /// Whether changes of all kinds are taken on, as far as one can know without locking the book.
    pub(crate) fn goodness(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_good)
    }

    /// The log has failed. Returns the new jobs of which nobody has been told.
    pub(crate) fn fail(&mut self, error: &io::Error) -> Vec<JobId> {
        self.setbacks += 1;
        self.set_health(Health::Failed(error.to_string()));
        self.take_fresh()
    }

    /// The new jobs whose record is not committed. They are not asked for again.
    pub(crate) fn take_fresh(&mut self) -> Vec<JobId> {
        self.uncommitted.take_fresh()
    }

    /// What was not durable and the writer took is in a new file now: the segment behind `suspect`,
    /// of which `end` bytes are good, and which is reclaimed if it is `in_doubt`. What was appended since
    /// goes behind that: returns it.
    pub(crate) fn recover(
        &mut self,
        suspect: u64,
        end: u64,
        fresh: Segment,
        allocated: u64,
        in_doubt: bool,
    ) -> &[Chunk] {
        let mut offset = fresh.bytes;
        for chunk in std::mem::take(&mut self.chunks) {
            let moved = chunk.moved(fresh.number, offset);
            if moved.len() > 0 {
                offset = moved.offset_end();
                self.chunks.push(moved);
            }
        }
        self.segments.replace_behind(suspect, end, fresh);
        self.segments.grow(offset - fresh.bytes, 0);
        (self.synced, self.marked) = (fresh.bytes, 0);
        (self.allocated, self.reserved, self.spare) = (Some(allocated), 0, false);
        self.durable = self.taken;
        self.commit(self.taken);
        // Until room is set aside in the new file: else the next put might fail as the last did.
        self.set_health(Health::Full("the log has just failed".into()));
        if in_doubt {
            self.compact_through = suspect;
        }
        &self.chunks
    }

    /// So many records more in the last segment are to be looked at before it is reclaimed.
    pub(crate) fn add_notes(&mut self, count: u64) {
        self.segments.add_notes(count);
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.segments.live() + self.bodies.live_bytes()
    }

    pub(crate) fn stats(&self) -> BinlogStats {
        let oldest = self.segments.oldest();
        BinlogStats {
            oldest_index: self.segments.first_number(),
            current_index: self.last().number,
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
                bytes: self.segments.bytes() + self.bodies.bytes(),
                live_bytes: self.live_bytes(),
                oldest_bytes: oldest.bytes,
                oldest_live_bytes: oldest.live,
            })),
        }
    }
}

/// The segment behind the one of this number and length, and its first chunk, whose end is yet to
/// be said.
fn begin(
    (previous, previous_end): (u64, u64),
    next_id: JobId,
    is_early: bool,
    mut bytes: Vec<u8>,
) -> (Chunk, Segment) {
    let header = Header { number: previous + 1, next_id, previous_end, left_out: 0, is_early };
    bytes.extend_from_slice(&header.encode());
    let segment = Segment { number: header.number, bytes: bytes.len() as u64, live: 0, notes: 0 };
    (Chunk::new(header.number, 0, bytes, 0), segment)
}

/// Appends the record of a job whose body is in a file of its own. Returns how many bytes it takes, and how
/// many of these are live.
#[cold]
#[inline(never)]
fn push_large_put(chunk: &mut Chunk, record: &Record<'_>, body: StoredBody) -> (u64, u64) {
    let Some(job) = record.whole_job() else { return (0, 0) };
    (chunk.push_large_put(job, body) as u64, live_len_without_body(job.tube.len()))
}

/// What a record takes at most.
fn longest(record: &Record<'_>, stored: Option<StoredBody>) -> u64 {
    let variable = match (record.whole_job(), record.subject()) {
        (None, Subject::Jobs(tube)) => match record {
            Record::Cleared { kept, .. } => tube.len() + kept.as_bytes().len(),
            _ => tube.len(),
        },
        (Some(job), _) if stored.is_some() => job.tube.len() + STORED_LEN,
        (Some(job), _) => job.tube.len() + job.body.len(),
        (None, Subject::Job(_)) => MAX_TUBE_NAME,
        (None, Subject::Tube(tube)) => tube.len() + settings::MAX_LEN,
        (None, Subject::Server) => settings::MAX_LEN,
    };
    (JOB_LEN + SMALL_LEN + variable) as u64
}
