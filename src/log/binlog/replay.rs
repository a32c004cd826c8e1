//! Making the queue again from the segments.
//!
//! What cannot be made again is said precisely. The last segment may have a torn end, which nobody
//! was promised: it is cut off. How far the disk had it is told by the marks in it and by the manifest,
//! so a torn end is told from damage to what was on the disk. Which segments there must be is told by
//! the manifest.

mod error;
mod repair;
mod source;
mod torn;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use beanstalk_protocol::JobId;
use jq_engine::{Answer, ConnId, Engine, Nanos, Record, SegmentRef, Sink, Subject};
use tracing::{info, warn};

use self::error::io_error;
pub use self::error::{Known, ReplayError};
use self::source::{Source, ends, sources};
use crate::log::binlog::bodies::{body_job, body_name};
use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format::{self, Damage, Entry, HEADER_LEN, StoredBody};
use crate::log::binlog::manifest::{self, Extent, MANIFEST};
use crate::log::binlog::read::{Found, SegmentReader};
use crate::log::binlog::segments::{Segment, live_len, live_len_without_body};
use crate::log::binlog::{segment_name, stored};

/// A replay of this many bytes more is told of.
const TELL_EVERY: u64 = 1 << 30;

/// What a replay found.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// What there is, the oldest first.
    pub(crate) segments: Vec<Segment>,
    /// The bodies in files of their own, of all jobs that have one.
    pub(crate) bodies: BTreeMap<JobId, StoredBody>,
    /// Facts that were made true again.
    pub(crate) records: u64,
    /// Stretches of bytes that made no sense and were left out.
    pub(crate) damaged: u64,
    /// How many bytes that was.
    pub(crate) damaged_bytes: u64,
    /// Up to here, a mark says, the last segment was on the disk; and so much of the one before, which
    /// may not have been when the last was begun.
    marked: u64,
    marked_before: Option<u64>,
    /// What the manifest says, if there is a sound one.
    extent: Extent,
    /// Files that may go: when all else is found good, so that who is refused finds everything as it
    /// was, and when the manifest that says so is on the disk.
    unneeded: Vec<String>,
    /// A repair does without the newest segments.
    lacks_newest: bool,
}

impl Replayed {
    /// The number of the segment that the log goes on behind, and where that one ends.
    pub(crate) fn end(&self) -> (u64, u64) {
        match self.segments.last() {
            Some(last) if !self.lacks_newest => (last.number, last.bytes),
            // Should what is missing be found, it is not taken for what is written from here on.
            _ => (self.extent.newest, 0),
        }
    }

    /// What there must be from here on, when all of this is settled.
    pub(crate) fn settled(&self, syncs: bool) -> Extent {
        let was = self.extent;
        let Some((first, last)) = self.segments.first().zip(self.segments.last()) else {
            return Extent { oldest: was.oldest.max(was.newest + 1), ..was };
        };
        // Without syncing, the disk has only what a server before this one has synced.
        let read = (last.number, last.bytes);
        let (sound, end) = if syncs { read } else { read.min((was.sound, was.end)) };
        Extent { oldest: first.number, newest: was.newest.max(last.number), sound, end }
    }

    /// Bytes in all files that count.
    pub(crate) fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        segments + self.bodies.values().map(|body| u64::from(body.len)).sum::<u64>()
    }

    /// Removes files that nobody needs.
    pub(crate) fn clear(&self, disk: &dyn Disk) -> io::Result<()> {
        self.unneeded.iter().try_for_each(|name| disk.remove(name))
    }

    /// Gives room back that was not used, and if `syncs`, has the disk keep what was read: a server
    /// that was killed has left what it had not synced yet, and so has one that never syncs. From
    /// here on all of it counts as synced.
    pub(crate) fn settle(&self, disk: &dyn Disk, syncs: bool) -> io::Result<()> {
        for (at, segment) in self.segments.iter().enumerate() {
            let file = disk.open(&segment_name(segment.number))?;
            if file.len()? > segment.bytes {
                // To keep it does no harm.
                let _ = file.truncate(segment.bytes);
            }
            if !syncs {
                continue;
            }
            let marked = match self.segments.len() - at {
                1 => Some(self.marked),
                2 => self.marked_before,
                _ => None,
            };
            if let Some(marked) = marked {
                // If a sync had failed, the system may show what the disk does not have, and would
                // not write it when asked to sync again: so it is written again.
                let mut bytes = vec![0; segment.bytes.saturating_sub(marked) as usize];
                let count = file.read_at(&mut bytes, marked)?;
                file.write_at(&bytes[..count], marked)?;
            }
            file.sync()?;
        }
        if !syncs {
            return Ok(());
        }
        self.bodies.keys().try_for_each(|job| disk.open(&body_name(*job))?.sync())?;
        disk.sync()
    }
}

/// Counts what is live in which segment.
struct Tally {
    segments: Vec<Segment>,
    /// The bodies in files of their own. Their jobs have none while segments are replayed.
    bodies: BTreeMap<JobId, StoredBody>,
}

impl Sink for Tally {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}

    fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize) {
        let Some(first) = self.segments.first().map(|segment| segment.number) else { return };
        let number = segment.number(first);
        if let Ok(at) = self.segments.binary_search_by_key(&number, |segment| segment.number) {
            let is_apart = self.bodies.contains_key(&job);
            let live = if is_apart { live_len_without_body(bytes) } else { live_len(bytes) };
            self.segments[at].live -= live;
        }
    }

    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        let Some(first) = self.segments.first().map(|segment| segment.number) else { return };
        let number = segment.number(first);
        if let Ok(at) = self.segments.binary_search_by_key(&number, |segment| segment.number) {
            let live = &mut self.segments[at].live;
            *live = *live - live_len(before) + live_len(after);
        }
    }
}

/// Whether the log goes on behind a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    No,
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    engine: &'a mut Engine,
    now: Nanos,
    /// Leave out what is damaged.
    repair: bool,
    /// Whether jobs get the bodies that are in files of their own.
    keeps_bodies: bool,
    told: &'a mut Told<'a>,
    tally: Tally,
    found: Replayed,
    /// What there must be.
    extent: Extent,
    /// Segments whose ends are torn, and how long they are without these.
    torn: Vec<(String, Arc<dyn DiskFile>, u64)>,
    /// Whether there was damage, and it was left out.
    has_tolerated: Cell<bool>,
    /// Bytes read, and of how many.
    read: u64,
    all: u64,
}

/// Is told of each fact: in which segment it is and where, and the job's body if that is in a file of
/// its own.
pub(crate) type Told<'a> = dyn FnMut(u64, u64, &Record<'_>, Option<StoredBody>) + 'a;

/// Replays all segments into `engine`. With `repair`, what is damaged is copied aside and left out.
pub(crate) fn replay(
    disk: &dyn Disk,
    engine: &mut Engine,
    now: Nanos,
    repair: bool,
) -> Result<Replayed, ReplayError> {
    replay_with(disk, engine, now, repair, true, &mut |_, _, _, _| ())
}

/// The same for somebody who only looks: bodies that are in files of their own are looked at one by one, and
/// the jobs do not get them. `told` is told of each fact.
pub(crate) fn replay_telling(
    disk: &dyn Disk,
    engine: &mut Engine,
    now: Nanos,
    told: &mut Told<'_>,
) -> Result<Replayed, ReplayError> {
    replay_with(disk, engine, now, false, false, told)
}

fn replay_with(
    disk: &dyn Disk,
    engine: &mut Engine,
    now: Nanos,
    repair: bool,
    keeps_bodies: bool,
    told: &mut Told<'_>,
) -> Result<Replayed, ReplayError> {
    let tally = Tally { segments: Vec::new(), bodies: BTreeMap::new() };
    let found = Replayed::default();
    let extent = Extent::default();
    let mut replay = Replay {
        disk,
        engine,
        now,
        repair,
        keeps_bodies,
        told,
        tally,
        found,
        extent,
        torn: Vec::new(),
        has_tolerated: Cell::new(false),
        read: 0,
        all: 0,
    };
    replay.run()?;
    replay.take_bodies()?;
    replay.cut_torn()?;
    replay.engine.end_restore(now);
    let mut found = replay.found;
    found.segments = replay.tally.segments;
    found.bodies = replay.tally.bodies;
    Ok(found)
}

impl Replay<'_> {
    fn run(&mut self) -> Result<(), ReplayError> {
        // First: what it says of a directory that is being written, or was copied meanwhile, is less
        // than what is true of the rest.
        let manifest = manifest::read(self.disk).map_err(io_error(format!("read {MANIFEST}")))?;
        let mut sources = sources(self.disk)?;
        self.find_extent(manifest, &sources)?;
        let needed = sources.partition_point(|source| source.number < self.extent.oldest);
        let mut unneeded: Vec<String> = sources.drain(..needed).map(|source| source.name).collect();
        let missing = self.check_names(&sources)?;
        let unbegun = self.split_unbegun(&mut sources, missing)?;
        self.found.lacks_newest = sources.last().map_or(0, |source| source.number) < missing;
        // Those that the manifest names are begun anew, and are not missing meanwhile.
        let unnamed = unbegun.into_iter().filter(|source| source.number > self.extent.newest);
        unneeded.extend(unnamed.map(|source| source.name));
        self.all = sources.iter().map(|source| source.len).sum();
        let ends = ends(&sources);
        for (at, source) in sources.iter().enumerate() {
            let previous = at.checked_sub(1).map(|before| sources[before].number);
            if let Some(previous) = previous
                && source.number != previous + 1
            {
                let (file, known) = (segment_name(previous + 1), Known::Between);
                self.tolerate(ReplayError::Missing { file, known })?;
            }
            if ends[at].is_some_and(|end| end < HEADER_LEN as u64) {
                // Its very header failed to be written or synced, or it is left out; all of it that counts
                // is in a later one.
                let segment = Segment { number: source.number, bytes: 0, live: 0, notes: 0 };
                self.tally.segments.push(segment);
                continue;
            }
            self.header(source)?;
            let behind = &sources[at + 1..];
            if self.segment(source, ends[at], behind)? == Goes::No {
                let undone = behind.iter().filter(|source| source.number > self.extent.newest);
                unneeded.extend(undone.map(|source| source.name.clone()));
                break;
            }
        }
        self.found.unneeded = unneeded;
        Ok(())
    }

    /// Takes in the header of a segment.
    fn header(&mut self, source: &Source) -> Result<(), ReplayError> {
        match &source.header {
            Ok(header) if header.number == source.number => {
                self.engine.reserve_ids(header.next_id);
                Ok(())
            }
            Ok(header) => self.tolerate(ReplayError::Misnamed {
                file: source.name.clone(),
                number: header.number,
            }),
            Err(damage) => {
                let (file, damage) = (source.name.clone(), *damage);
                self.tolerate(ReplayError::Damaged { file, offset: 0, damage })?;
                self.found.damaged += 1;
                self.found.damaged_bytes += HEADER_LEN as u64;
                Ok(())
            }
        }
    }

    /// Takes in what the manifest says.
    fn find_extent(
        &mut self,
        manifest: Option<Result<Extent, Damage>>,
        sources: &[Source],
    ) -> Result<(), ReplayError> {
        let is_due = sources.iter().any(|source| source.version >= format::MANIFEST_SINCE)
            || (sources.is_empty() && self.has_bodies()?);
        match manifest {
            Some(Ok(extent)) => {
                self.extent = extent;
                self.found.extent = extent;
            }
            // A first start may have got no further.
            Some(Err(_)) | None if !is_due => {}
            Some(Err(damage)) => {
                let file = MANIFEST.to_owned();
                self.tolerate(ReplayError::Damaged { file, offset: 0, damage })?;
            }
            None => {
                let (file, known) = (MANIFEST.to_owned(), Known::Format);
                self.tolerate(ReplayError::Missing { file, known })?;
            }
        }
        Ok(())
    }

    fn has_bodies(&self) -> Result<bool, ReplayError> {
        let names = self.disk.list().map_err(io_error("list the binlog directory".into()))?;
        Ok(names.iter().any(|name| body_job(name).is_some()))
    }

    /// Whether all files are there that the manifest names. Returns the largest number of one that is
    /// missing, which a repair does without; 0 if none is.
    fn check_names(&self, sources: &[Source]) -> Result<u64, ReplayError> {
        let Extent { oldest, newest, .. } = self.extent;
        let there = sources.iter().map(|source| source.number);
        // None is older than the oldest, and most often none is missing.
        let missing = (oldest.max(1)..).zip(there).find(|(number, there)| number != there);
        let missing = missing.map_or(oldest.max(1) + sources.len() as u64, |(number, _)| number);
        if missing > newest {
            return Ok(0);
        }
        let is_between = missing > oldest && sources.last().is_some_and(|it| it.number > missing);
        let known = if is_between { Known::Between } else { Known::Named };
        self.tolerate(ReplayError::Missing { file: segment_name(missing), known })?;
        let there = sources.iter().rev().map(|source| source.number);
        let there = there.skip_while(|number| *number > newest);
        let behind = (1..=newest).rev().zip(there).take_while(|(number, there)| number == there);
        Ok(newest - behind.count() as u64)
    }

    /// How much of this segment is sound, the manifest says; 0 if it does not say.
    fn sound_end(&self, number: u64) -> u64 {
        if number == self.extent.sound { self.extent.end } else { 0 }
    }

    /// Damage ends the replay, unless it is to be repaired.
    fn tolerate(&self, error: ReplayError) -> Result<(), ReplayError> {
        if !self.repair || !error.is_repairable() {
            return Err(error);
        }
        self.has_tolerated.set(true);
        warn!("{error}");
        Ok(())
    }

    fn reader(&self, source: &Source, end: u64) -> SegmentReader {
        let start = (HEADER_LEN as u64).min(end);
        SegmentReader::new(Arc::clone(&source.file), start, end)
    }

    /// Replays one segment, up to where it ends, as one `behind` it says. Returns whether those behind it
    /// count.
    fn segment(
        &mut self,
        source: &Source,
        next: Option<u64>,
        behind: &[Source],
    ) -> Result<Goes, ReplayError> {
        let end = next.unwrap_or(source.len);
        let segment = Segment { number: source.number, bytes: end, live: 0, notes: 0 };
        self.tally.segments.push(segment);
        self.found.marked_before = match &source.header {
            Ok(header) if header.is_early => Some(self.found.marked),
            _ => None,
        };
        self.found.marked = 0;
        let mut reader = self.reader(source, end);
        loop {
            let offset = reader.offset();
            let damage = match reader.next() {
                Ok(Found::Entry(Entry::Fact(record))) => {
                    match self.restore(&record, None, source.number, offset) {
                        Ok(()) => continue,
                        Err(damage) => damage,
                    }
                }
                Ok(Found::Entry(Entry::LargePut(job, body))) => {
                    match self.restore(&Record::Put(job), Some(body), source.number, offset) {
                        Ok(()) => continue,
                        Err(damage) => damage,
                    }
                }
                Ok(Found::Entry(Entry::Mark(synced))) if synced <= offset => {
                    self.found.marked = synced;
                    continue;
                }
                // What came later cannot have been on the disk.
                Ok(Found::Entry(Entry::Mark(_))) => Damage::Meaning,
                Ok(Found::End) if next.is_none() && offset < self.sound_end(source.number) => {
                    self.cut_short(source, offset)?;
                    return Ok(Goes::On);
                }
                Ok(Found::End) => break,
                Ok(Found::Nothing) => Damage::Short,
                Ok(Found::Damage(damage)) => damage,
                Err(error) => return Err(io_error(format!("read {}", source.name))(error)),
            };
            if matches!(damage, Damage::Newer(_)) {
                // Neither torn nor damaged.
                let file = source.name.clone();
                return Err(ReplayError::Damaged { file, offset, damage });
            }
            // If the one behind it does not say where this one ends, it ends with what was written;
            // and it was on the disk before anything was written to another.
            if next.is_none()
                && offset >= self.sound_end(source.number)
                && self.synced_mark(source, offset)?.is_none()
                && (self.may_end(behind) || self.is_room(source, offset)?)
            {
                self.cut(source, offset)?;
                break;
            }
            if let [last] = behind
                && next.is_some()
                && self.is_torn_before(source, offset, last)?
            {
                // In this order, so that the next start comes to the same end, whatever becomes of this.
                self.undo(last);
                self.cut(source, offset)?;
                self.tell(offset);
                return Ok(Goes::No);
            }
            let file = source.name.clone();
            let end_was = if next.is_none() { self.sound_end(source.number) } else { 0 };
            self.tolerate(match damage {
                Damage::Short if offset < end_was => {
                    ReplayError::CutShort { file, offset, end: end_was }
                }
                _ => ReplayError::Damaged { file, offset, damage },
            })?;
            let beyond = self.step_over(source, offset, end)?;
            reader.skip_to(beyond);
        }
        self.tell(end);
        Ok(Goes::On)
    }

    /// Makes a fact true again, whose record is in the segment of this number, at this offset.
    #[inline]
    fn restore(
        &mut self,
        record: &Record<'_>,
        body: Option<StoredBody>,
        number: u64,
        offset: u64,
    ) -> Result<(), Damage> {
        let place = SegmentRef::of(number);
        let restored = self.engine.restore(self.now, *record, place, &mut self.tally);
        restored.map_err(|_| Damage::Meaning)?;
        self.found.records += 1;
        (self.told)(number, offset, record, body);
        count(&mut self.tally, record, body);
        Ok(())
    }

    /// Gives the jobs the bodies that are in files of their own. Only now, because most of those that
    /// were ever recorded may be gone, with their jobs.
    fn take_bodies(&mut self) -> Result<(), ReplayError> {
        let engine = &*self.engine;
        self.tally.bodies.retain(|job, _| engine.segment_of(*job).is_some());
        for (job, body) in self.tally.bodies.clone() {
            let read = if self.keeps_bodies {
                let bytes = stored::read(self.disk, job, body);
                bytes.map(|bytes| self.engine.restore_body(job, bytes))
            } else {
                stored::verify(self.disk, job, body)
            };
            match read {
                Ok(()) => self.tell(u64::from(body.len)),
                Err(error) => {
                    self.tolerate(error)?;
                    self.lose_body(job);
                }
            }
        }
        let names = self.disk.list().map_err(io_error("list the binlog directory".into()))?;
        for name in names {
            let Some(job) = body_job(&name) else { continue };
            if self.tally.bodies.contains_key(&job) {
                continue;
            }
            if self.has_tolerated.get() {
                // Perhaps the record that refers to it is what was left out.
                self.copy_aside(&name)?;
            }
            self.found.unneeded.push(name);
        }
        Ok(())
    }

    /// A repair does without a job whose body is not what it was.
    fn lose_body(&mut self, job: JobId) {
        self.found.damaged += 1;
        let (deleted, place) = (Record::Delete(job), SegmentRef::default());
        // Nothing in it can be wrong.
        let _ = self.engine.restore(self.now, deleted, place, &mut self.tally);
        self.tally.bodies.remove(&job);
    }

    fn copy_aside(&mut self, name: &str) -> Result<(), ReplayError> {
        let aside = format!("damaged-{name}");
        let copied = stored::copy(self.disk, name, &aside);
        let bytes = copied.map_err(io_error(format!("copy {name} to {aside}")))?;
        warn!(file = name, bytes, aside, "no intact record refers to this body");
        self.found.damaged_bytes += bytes;
        Ok(())
    }

    /// The file ends before what was sound in it does.
    fn cut_short(&mut self, source: &Source, offset: u64) -> Result<(), ReplayError> {
        let (file, end) = (source.name.clone(), self.sound_end(source.number));
        self.tolerate(ReplayError::CutShort { file, offset, end })?;
        self.found.damaged += 1;
        self.found.damaged_bytes += end - offset;
        self.tell(offset);
        Ok(())
    }

    fn tell(&mut self, bytes: u64) {
        let before = self.read / TELL_EVERY;
        self.read += bytes;
        if self.read / TELL_EVERY > before {
            let percent = self.read * 100 / self.all.max(1);
            info!(bytes = self.read, percent, jobs = self.engine.job_count(), "replaying");
        }
    }
}

fn count(tally: &mut Tally, record: &Record<'_>, body: Option<StoredBody>) {
    let Some(segment) = tally.segments.last_mut() else { return };
    match record.subject() {
        Subject::Job(id) => match (record.whole_job(), body) {
            (Some(job), Some(body)) => {
                segment.live += live_len_without_body(job.tube.len());
                tally.bodies.insert(id, body);
            }
            (Some(job), None) => {
                segment.live += live_len(job.tube.len() + job.body.len());
                tally.bodies.remove(&id);
            }
            (None, _) => {}
        },
        Subject::Jobs(_) => {}
        Subject::Tube(_) | Subject::Server => segment.notes += 1,
    }
}
