//! Making the queue again from the segments.
//!
//! What cannot be made again is said precisely. The last segment may have a torn end, which nobody
//! was promised: it is cut off. How far the disk had it is told by the marks in it and by the manifest,
//! so a torn end is told from damage to what was on the disk. Which segments there must be is told by
//! the manifest.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use beanstalk_protocol::JobId;
use jq_engine::{Answer, ConnId, Engine, Nanos, Record, SegmentRef, Sink, Subject};
use tracing::{info, warn};

use crate::log::binlog::bodies::{body_job, body_name};
use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format::{
    self, Checked, Damage, Entry, HEADER_LEN, Header, MARK_LEN, StoredBody,
};
use crate::log::binlog::manifest::{self, Extent, MANIFEST};
use crate::log::binlog::read::{Found, SegmentReader};
use crate::log::binlog::segments::{Segment, live_len, live_len_without_body};
use crate::log::binlog::stored;
use crate::log::binlog::{segment_name, segment_number};

/// A replay of this many bytes more is told of.
const TELL_EVERY: u64 = 1 << 30;

/// The log cannot be replayed.
#[derive(Debug)]
pub enum ReplayError {
    /// The file system failed.
    Io {
        /// What was attempted.
        what: String,
        /// How it failed.
        error: io::Error,
    },
    /// The file is damaged at this offset.
    Damaged {
        /// Which file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// In what way.
        damage: Damage,
    },
    /// The file is missing.
    Missing {
        /// Which file.
        file: String,
        /// How that is known.
        known: Known,
    },
    /// The file is shorter than it was, or what follows in it is not what was written.
    CutShort {
        /// Which file.
        file: String,
        /// How much of it is sound, in bytes.
        offset: u64,
        /// How much of it was sound, in bytes.
        end: u64,
    },
    /// The file does not hold the body of this job.
    DamagedBody {
        /// Which file.
        file: String,
        /// Which job.
        job: JobId,
    },
    /// The file's header names another number.
    Misnamed {
        /// Which file.
        file: String,
        /// The number in its header.
        number: u64,
    },
}

/// How it is known that a file is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// There are older and newer ones.
    Between,
    /// The manifest names it.
    Named,
    /// Segments of this format have a manifest beside them.
    Format,
    /// It is the body of a job that there is.
    Body,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Damaged { file, damage: damage @ Damage::Version(_), .. } => {
                write!(f, "{file} was written by another release: {damage}")
            }
            Self::Damaged { file, offset, damage: damage @ Damage::Newer(_) } => {
                write!(
                    f,
                    "{file} was written by a newer release: the record at offset {offset}: {damage}"
                )
            }
            Self::Damaged { file, offset, damage } if *offset == 0 => {
                write!(f, "{file} is damaged: the header at offset 0: {damage}")
            }
            Self::Damaged { file, offset, damage } => {
                write!(f, "{file} is damaged: the record at offset {offset}: {damage}")
            }
            Self::Missing { file, known } => {
                f.write_str(file)?;
                f.write_str(match known {
                    Known::Between => " is missing, though there are older and newer ones",
                    Known::Named => " is missing, though the manifest names it",
                    Known::Format => " is missing, which stands beside all segments of this format",
                    Known::Body => " is missing, though there is a job that has its body there",
                })
            }
            Self::CutShort { file, offset, end } => write!(
                f,
                "{file} is incomplete: {end} bytes of it were sound, and now {offset} are"
            ),
            Self::DamagedBody { file, job } => {
                write!(f, "{file} is damaged: the body of job {job}: {}", Damage::Checksum)
            }
            Self::Misnamed { file, number } => {
                write!(f, "{file} is misnamed: it says that it is number {number}")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

impl ReplayError {
    /// Whether a repair can leave out what is damaged and go on.
    pub fn is_repairable(&self) -> bool {
        match self {
            // There is nothing wrong with it; but only a newer release can read it.
            Self::Damaged { damage: Damage::Version(_) | Damage::Newer(_), .. }
            | Self::Io { .. } => false,
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::CutShort { .. }
            | Self::DamagedBody { .. }
            | Self::Misnamed { .. } => true,
        }
    }

    /// Whether it may help to put a file back as it was.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::CutShort { .. })
    }
}

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
    /// Up to here, a mark says, the last segment was on the disk.
    marked: u64,
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
            if at + 1 == self.segments.len() {
                // If a sync had failed, the system may show what the disk does not have, and would
                // not write it when asked to sync again: so it is written again.
                let mut bytes = vec![0; segment.bytes.saturating_sub(self.marked) as usize];
                let count = file.read_at(&mut bytes, self.marked)?;
                file.write_at(&bytes[..count], self.marked)?;
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

/// A segment to be read.
struct Source {
    number: u64,
    name: String,
    file: Arc<dyn DiskFile>,
    len: u64,
    header: Result<Header, Damage>,
    /// Of the format, if the header is sound.
    version: u32,
    /// There is nothing where the header should be.
    is_blank: bool,
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    engine: &'a mut Engine,
    now: Nanos,
    /// Leave out what is damaged.
    repair: bool,
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
    replay_telling(disk, engine, now, repair, &mut |_, _, _, _| ())
}

/// The same; `told` is told of each fact.
pub(crate) fn replay_telling(
    disk: &dyn Disk,
    engine: &mut Engine,
    now: Nanos,
    repair: bool,
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

fn io_error(what: String) -> impl FnOnce(io::Error) -> ReplayError {
    move |error| ReplayError::Io { what, error }
}

impl Replay<'_> {
    fn run(&mut self) -> Result<(), ReplayError> {
        // First: what it says of a directory that is being written, or was copied meanwhile, is less
        // than what is true of the rest.
        let manifest = manifest::read(self.disk).map_err(io_error(format!("read {MANIFEST}")))?;
        let mut sources = self.sources()?;
        self.find_extent(manifest, &sources)?;
        let needed = sources.partition_point(|source| source.number < self.extent.oldest);
        let mut unneeded: Vec<String> = sources.drain(..needed).map(|source| source.name).collect();
        self.check_names(&sources)?;
        let unbegun = self.split_unbegun(&mut sources)?;
        let next = sources.last().map_or(self.extent.oldest, |source| source.number + 1);
        self.found.lacks_newest =
            next <= self.extent.newest && !unbegun.iter().any(|source| source.number == next);
        // Those that the manifest names are begun anew, and are not missing meanwhile.
        let unnamed = unbegun.into_iter().filter(|source| source.number > self.extent.newest);
        unneeded.extend(unnamed.map(|source| source.name));
        self.all = sources.iter().map(|source| source.len).sum();
        let mut sources = sources.into_iter().peekable();
        let mut previous = None;
        while let Some(source) = sources.next() {
            if let Some(previous) = previous
                && source.number != previous + 1
            {
                let (file, known) = (segment_name(previous + 1), Known::Between);
                self.tolerate(ReplayError::Missing { file, known })?;
            }
            previous = Some(source.number);
            let next = sources.peek().and_then(|next| {
                let header = next.header.ok().filter(|_| next.number == source.number + 1)?;
                Some(header.previous_end)
            });
            if next.is_some_and(|end| end < HEADER_LEN as u64) {
                // Its very header failed to be written or synced; all of it is in the next one.
                let segment = Segment { number: source.number, bytes: 0, live: 0, notes: 0 };
                self.tally.segments.push(segment);
                continue;
            }
            match &source.header {
                Ok(header) if header.number == source.number => {
                    self.engine.reserve_ids(header.next_id);
                }
                Ok(header) => self.tolerate(ReplayError::Misnamed {
                    file: source.name.clone(),
                    number: header.number,
                })?,
                Err(damage) => {
                    let (file, damage) = (source.name.clone(), *damage);
                    self.tolerate(ReplayError::Damaged { file, offset: 0, damage })?;
                    self.found.damaged += 1;
                    self.found.damaged_bytes += HEADER_LEN as u64;
                }
            }
            self.segment(&source, next, sources.peek().is_none())?;
        }
        self.found.unneeded = unneeded;
        Ok(())
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

    /// Whether all files are there that the manifest names.
    fn check_names(&self, sources: &[Source]) -> Result<(), ReplayError> {
        let Extent { oldest, newest, .. } = self.extent;
        let there = sources.iter().map(|source| source.number);
        // None is older than the oldest, and most often none is missing.
        let missing = (oldest.max(1)..).zip(there).find(|(number, there)| number != there);
        let missing = missing.map_or(oldest.max(1) + sources.len() as u64, |(number, _)| number);
        if missing > newest {
            return Ok(());
        }
        let is_between = missing > oldest && sources.last().is_some_and(|it| it.number > missing);
        let known = if is_between { Known::Between } else { Known::Named };
        self.tolerate(ReplayError::Missing { file: segment_name(missing), known })
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

    fn sources(&self) -> Result<Vec<Source>, ReplayError> {
        let names = self.disk.list().map_err(io_error("list the binlog directory".into()))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let open = |number| {
            let name = segment_name(number);
            let opened = self.disk.open(&name).and_then(|file| {
                let mut bytes = [0; HEADER_LEN];
                let count = file.read_at(&mut bytes, 0)?;
                let len = file.len()?;
                Ok((file, len, bytes, count))
            });
            let (file, len, bytes, count) = opened.map_err(io_error(format!("read {name}")))?;
            let header = Header::decode(&bytes[..count]);
            let version = if header.is_ok() { Header::version(&bytes) } else { 0 };
            let is_blank = bytes == [0; HEADER_LEN];
            Ok(Source { number, name, file, len, header, version, is_blank })
        };
        numbers.into_iter().map(open).collect()
    }

    /// The last file may have been made ready, and nothing written to it, or not all of its header.
    /// When what failed is written to another file, the header comes last, and makes it count.
    fn split_unbegun(&self, sources: &mut Vec<Source>) -> Result<Vec<Source>, ReplayError> {
        let mut unbegun = Vec::new();
        while let Some(last) = sources.last()
            && (last.number > self.extent.sound || self.extent.end < HEADER_LEN as u64)
            && matches!(last.header, Err(Damage::Short | Damage::Magic | Damage::Checksum))
            && self.synced_mark(last, 0)?.is_none()
            && (last.is_blank || self.is_torn(last)?)
        {
            unbegun.extend(sources.pop());
        }
        Ok(unbegun)
    }

    /// Whether there is no sound record behind a header that is not sound.
    fn is_torn(&self, source: &Source) -> Result<bool, ReplayError> {
        let mut reader = self.reader(source, source.len);
        let found = reader.next().map_err(io_error(format!("read {}", source.name)))?;
        Ok(!matches!(found, Found::Entry(_) | Found::Damage(Damage::Newer(_))))
    }

    fn reader(&self, source: &Source, end: u64) -> SegmentReader {
        let start = (HEADER_LEN as u64).min(end);
        SegmentReader::new(Arc::clone(&source.file), start, end)
    }

    /// Replays one segment, up to where the next one says that it ends.
    fn segment(
        &mut self,
        source: &Source,
        next: Option<u64>,
        is_last: bool,
    ) -> Result<(), ReplayError> {
        let end = next.unwrap_or(source.len);
        let segment = Segment { number: source.number, bytes: end, live: 0, notes: 0 };
        self.tally.segments.push(segment);
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
                    return self.cut_short(source, offset);
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
                && (is_last || self.is_room(source, offset)?)
            {
                self.cut(source, offset)?;
                break;
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
        Ok(())
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
            match stored::read(self.disk, job, body) {
                Ok(bytes) => {
                    self.engine.restore_body(job, bytes);
                    self.tell(u64::from(body.len));
                }
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

    /// Whether nothing was ever written from here on.
    fn is_room(&self, source: &Source, offset: u64) -> Result<bool, ReplayError> {
        let failed = io_error(format!("read {}", source.name));
        let mut tail = SegmentTail::new(source, offset).map_err(failed)?;
        Ok(!tail.any(|byte| byte != 0))
    }

    /// Finds the torn end of the last segment, which is to be cut off.
    fn cut(&mut self, source: &Source, offset: u64) -> Result<(), ReplayError> {
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
    fn cut_torn(&self) -> Result<(), ReplayError> {
        for (name, file, len) in &self.torn {
            file.truncate(*len).map_err(io_error(format!("cut off {name}")))?;
            file.sync().map_err(io_error(format!("sync {name}")))?;
        }
        Ok(())
    }

    /// A mark that says that there was something on the disk at this offset.
    fn synced_mark(&self, source: &Source, offset: u64) -> Result<Option<u64>, ReplayError> {
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

    /// Copies what is damaged aside. Returns where the next sound record begins.
    fn step_over(&mut self, source: &Source, from: u64, end: u64) -> Result<u64, ReplayError> {
        let failed = || io_error(format!("read {}", source.name));
        let tail = SegmentTail::new(source, from).map_err(failed())?;
        let bytes = &tail.bytes[..tail.bytes.len().min((end - from) as usize)];
        let next = (1..bytes.len()).find(|at| is_sound(&bytes[*at..])).unwrap_or(bytes.len());
        let aside = format!("damaged-{}-at-{from}", source.name);
        let copied = self.disk.create(&aside).and_then(|file| {
            file.write_at(&bytes[..next], 0)?;
            file.sync()
        });
        copied.map_err(io_error(format!("write {aside}")))?;
        warn!(file = source.name, offset = from, bytes = next, aside, "left out damaged bytes");
        self.found.damaged += 1;
        self.found.damaged_bytes += next as u64;
        // What is missing at the end of a file cannot be stepped over.
        Ok(if next == bytes.len() { end } else { from + next as u64 })
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

/// Whether a sound record begins here. The cheap questions come first: a long search asks millions
/// of times.
fn is_sound(bytes: &[u8]) -> bool {
    let kind = bytes.get(format::FRAME_LEN);
    kind.is_some_and(|kind| format::is_kind(*kind))
        && matches!(format::check(bytes), Ok(Checked::Sound(len))
            if matches!(format::parse(&bytes[..len]), Ok(_) | Err(Damage::Newer(_))))
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

/// A segment from an offset to its end.
struct SegmentTail {
    bytes: Vec<u8>,
}

impl SegmentTail {
    fn new(source: &Source, offset: u64) -> io::Result<Self> {
        let mut bytes = vec![0; source.len.saturating_sub(offset) as usize];
        let count = source.file.read_at(&mut bytes, offset)?;
        bytes.truncate(count);
        Ok(Self { bytes })
    }

    fn any(&mut self, what: impl Fn(u8) -> bool) -> bool {
        self.bytes.iter().any(|byte| what(*byte))
    }
}
