//! The binlog: segment files that the queue can be made again from.
//!
//! [`Binlog`] is what there is to be done. It has no thread and no timer: whoever owns it calls
//! [`Binlog::flush`], [`Binlog::sync`], [`Binlog::prepare`], [`Binlog::compact`] and
//! [`Binlog::recover`] when [`Binlog::needs`] says so. So a simulation can call them in any order,
//! on a disk of its own. In a server, its [`driver`] does.
//!
//! - `format`: what the bytes mean (`docs/binlog.md`); the records in them are [`crate::log::codec`]'s
//! - `chunk`: records that lie side by side
//! - `book`: what was appended, in memory, with `segments`: what is live in which
//! - `bodies`: which bodies are in files of their own, with `stored`: these files
//! - `writer`: from the book to the files; recovery from a failed write or sync
//! - `compact`: reclaiming old segments
//! - `manifest`: what segments there must be
//! - `read`, `replay`: from the files to the engine; repair
//! - `view`: reading without changing anything
//! - `disk`: the few things that are asked of a file system, with descriptors kept back for it
//! - `stager`: writes them
//! - `driver`: the threads that keep it

mod bodies;
mod book;
mod chunk;
mod compact;
mod disk;
pub mod driver;
pub mod format;
pub mod manifest;
mod options;
pub(crate) mod read;
mod replay;
mod segments;
pub mod stager;
pub(crate) mod stored;
pub(crate) mod view;
mod writer;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use beanstalk_protocol::{BinlogStats, JobId};
use jq_engine::{Change, Engine, Nanos, Record, SegmentRef};
use tracing::{error, info, warn};

use self::bodies::Bodies;
pub use self::bodies::{body_job, body_name};
use self::book::{Book, Health};
use self::compact::Compactor;
pub use self::compact::{Fact, Step};
pub use self::disk::{Disk, DiskFile, RealDisk};
use self::format::StoredBody;
use self::manifest::Manifest;
pub use self::options::{Options, SyncPolicy};
pub use self::replay::{Known, ReplayError};
pub use self::writer::Flushed;
use self::writer::{Fault, Held, Writer};
use crate::descriptors;
use crate::log::{Appended, Log, Position, Progress};

const PREFIX: &str = "segment-";

/// The name of a segment's file.
pub fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:010}")
}

/// The number of the segment in a file of this name.
pub fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The log has failed. These new jobs, of which nobody has been told, are to be taken back; then
/// [`Binlog::taken_back`].
#[derive(Debug)]
pub struct Failure {
    /// The jobs.
    pub jobs: Vec<JobId>,
}

/// What is to be done for a binlog, besides flushing it when somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Something was appended that is not committed, or not synced.
    pub sync: bool,
    /// Room is running short: [`Binlog::prepare`].
    pub prepare: bool,
    /// [`Binlog::compact`] has something to do.
    pub compact: bool,
    /// The log has failed: [`Binlog::recover`], at times.
    pub recover: bool,
    /// There are bodies that nobody needs: whoever stores bodies removes them.
    pub remove: bool,
}

/// What a replay found, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Segments that were there.
    pub segments: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// Facts that were made true again.
    pub records: u64,
    /// Stretches of bytes that made no sense; not 0 only after a repair.
    pub damaged: u64,
    /// Bytes in those.
    pub damaged_bytes: u64,
}

/// Segment files in a directory. See the module's documentation.
pub struct Binlog {
    options: Options,
    progress: Arc<Progress>,
    book: Mutex<Book>,
    writer: Mutex<Writer>,
    compactor: Mutex<Compactor>,
    manifest: Arc<Manifest>,
    disk: Arc<dyn Disk>,
    /// Held by whoever syncs: of two who sync the same file at once, the system tells only one that
    /// it failed. Taken before all other locks.
    syncing: Mutex<()>,
    /// Somebody who only writes found others at it; what to call then, when they are done.
    missed: AtomicBool,
    free: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Rung, under the hub's lock, when there is something for the driver to do.
    bell: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Binlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binlog").field("options", &self.options).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding this lock")
}

impl Binlog {
    /// Replays what is on the disk into `engine`, and begins a new segment. With `repair`, what is
    /// damaged is copied aside and left out; else it is an error.
    ///
    /// `bell` is rung whenever [`Binlog::needs`] may have changed: from within [`Log::append`], so
    /// it must not take long.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        engine: &mut Engine,
        now: Nanos,
        repair: bool,
        bell: Box<dyn Fn() + Send + Sync>,
    ) -> Result<(Arc<Self>, Report), ReplayError> {
        let replayed = replay::replay(&*disk, engine, now, repair)?;
        let report = Report {
            segments: replayed.segments.len(),
            bytes: replayed.bytes(),
            records: replayed.records,
            damaged: replayed.damaged,
            damaged_bytes: replayed.damaged_bytes,
        };
        let settled = replayed.settle(&*disk, options.policy.syncs());
        settled.map_err(|error| ReplayError::Io { what: "sync the segments".into(), error })?;
        Writer::drop_old_reserve(&*disk);
        let syncs = options.policy.syncs();
        let manifest = Manifest::open(&*disk, replayed.settled(syncs), syncs);
        let manifest = manifest
            .map_err(|error| ReplayError::Io { what: "write the manifest".into(), error })?;
        let manifest = Arc::new(manifest);
        let cleared = replayed.clear(&*disk);
        cleared.map_err(|error| ReplayError::Io { what: "remove a segment".into(), error })?;
        let old = replayed.segments.last().map_or(0, |segment| segment.number);
        let end = replayed.end();
        let jobs = engine.job_count() as u64;
        let bodies = Bodies::found(replayed.bodies.into_iter());
        let mut book = Book::new(options, replayed.segments, end, engine.next_id(), jobs, bodies);
        book.note_set(engine);
        if repair {
            book.compact_through(old);
        }
        let progress = Arc::<Progress>::default();
        let writer = Writer::new(Arc::clone(&disk), options, Arc::clone(&manifest), &progress);
        let binlog = Arc::new(Self {
            options,
            progress,
            book: Mutex::new(book),
            writer: Mutex::new(writer),
            compactor: Mutex::new(Compactor::new(
                Arc::clone(&disk),
                Arc::clone(&manifest),
                options,
            )),
            manifest,
            disk,
            syncing: Mutex::default(),
            missed: AtomicBool::new(false),
            free: OnceLock::new(),
            bell,
        });
        let begun = binlog.writer().flush(&binlog.book, true);
        let begun = match begun {
            Ok(_) => binlog.sync_now(),
            Err(Fault::NoRoom(error) | Fault::InDoubt(error)) => Err(error),
        };
        begun.map_err(|error| ReplayError::Io { what: "begin a segment".into(), error })?;
        binlog.note();
        // On a full disk, so that it is known from the beginning.
        binlog.prepare();
        binlog.publish();
        Ok((binlog, report))
    }

    /// How far the log is committed.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// When what was written is synced.
    pub fn policy(&self) -> SyncPolicy {
        self.options.policy
    }

    /// From how many bytes on a body is stored in a file of its own.
    pub(crate) fn stores_from(&self) -> usize {
        self.options.store_from
    }

    /// What is to be done.
    pub fn needs(&self) -> Needs {
        self.needs_looking_again(false)
    }

    /// The same; if `looks_again`, the caller looks again in a while even if the bell is not rung, and
    /// it is not rung because there is something to sync.
    pub fn needs_looking_again(&self, looks_again: bool) -> Needs {
        lock(&self.book).look(looks_again)
    }

    /// Commits everything that was appended, so far as it can without waiting for a sync that was
    /// not asked for. Does nothing if somebody else is writing: see [`Flushed::Later`].
    pub fn flush(&self, may_sync: bool) -> Result<Flushed, Failure> {
        if may_sync {
            let _syncing = lock(&self.syncing);
            loop {
                match self.flush_with(self.writer(), true)? {
                    // Others may write meanwhile.
                    Flushed::NeedsSync => self.sync_alone()?,
                    flushed => return Ok(flushed),
                }
            }
        }
        // Whoever has the lock looks at this when it is free again.
        self.missed.store(true, Ordering::SeqCst);
        let Some(writer) = self.try_writer() else { return Ok(Flushed::Later) };
        self.missed.store(false, Ordering::SeqCst);
        self.flush_with(writer, false)
    }

    /// The writer, for a short time unless nobody may be answered meanwhile.
    fn writer(&self) -> Held<'_> {
        Held::new(lock(&self.writer), self)
    }

    fn try_writer(&self) -> Option<Held<'_>> {
        let guard = self.writer.try_lock().ok()?;
        Some(Held::new(guard, self))
    }

    /// The writer is free again.
    fn call_who_missed_it(&self) {
        if self.missed.swap(false, Ordering::SeqCst)
            && let Some(call) = self.free.get()
        {
            call();
        }
    }

    /// Sets what is called when somebody who only writes found others at it, and they are done. It is
    /// called at any time, and must not take long.
    pub(crate) fn on_free(&self, call: Box<dyn Fn() + Send + Sync>) {
        // There is one driver.
        let _ = self.free.set(call);
    }

    /// Commits everything that was appended, with a sync if that is needed, but does nothing if
    /// anybody else is about it.
    pub fn flush_if_free(&self) -> Result<Flushed, Failure> {
        match (self.syncing.try_lock(), self.try_writer()) {
            (Ok(_syncing), Some(writer)) => self.flush_with(writer, true),
            _ => Ok(Flushed::NeedsSync),
        }
    }

    fn flush_with(&self, mut writer: Held<'_>, may_sync: bool) -> Result<Flushed, Failure> {
        if self.has_failed() {
            return Ok(Flushed::All);
        }
        match writer.flush(&self.book, may_sync) {
            Ok(flushed) => {
                drop(writer);
                self.publish();
                Ok(flushed)
            }
            Err(fault) => {
                // Some of it may be written all the same.
                self.publish();
                Err(self.fail(&mut writer, "write", fault))
            }
        }
    }

    /// Tells the connections how far they may go, unless compaction has to catch up first.
    fn publish(&self) {
        let (committed, behind) = {
            let mut book = lock(&self.book);
            (book.committed(), book.is_behind())
        };
        if !behind {
            self.progress.commit(committed);
        }
    }

    /// Commits everything, and syncs it unless that is never done.
    pub fn sync(&self) -> Result<(), Failure> {
        self.flush(true)?;
        if !self.options.policy.syncs() {
            return Ok(());
        }
        let _syncing = lock(&self.syncing);
        self.sync_alone()
    }

    /// Syncs what is written, for a caller who holds the lock for that.
    fn sync_alone(&self) -> Result<(), Failure> {
        // A sync that succeeds after one that failed does not mean that anything is on the disk.
        if self.has_failed() {
            return Ok(());
        }
        if let Err(error) = self.sync_now() {
            return Err(self.fail(&mut self.writer(), "sync", Fault::InDoubt(error)));
        }
        Ok(())
    }

    /// Has the manifest say how far the log is synced. To be called now and then after that has
    /// changed: it writes a few bytes, and waits for no disk. Does nothing if nothing is ever synced.
    pub fn note(&self) {
        if self.options.policy.syncs() {
            self.manifest.note();
        }
    }

    /// Syncs what is written; meanwhile more may be.
    fn sync_now(&self) -> io::Result<()> {
        let begun = self.writer().begin_sync();
        for sync in begun {
            sync.run()?;
            self.writer().end_sync(&sync, &self.book);
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        matches!(lock(&self.book).health(), Health::Failed(_))
    }

    fn fail(&self, writer: &mut Writer, what: &str, fault: Fault) -> Failure {
        let mut book = lock(&self.book);
        let jobs = match fault {
            Fault::NoRoom(error) => {
                error!(%error, "no room for the binlog: new jobs are refused");
                book.fail(&error)
            }
            Fault::InDoubt(error) => {
                error!(
                    %error,
                    "cannot {what} the binlog: no changes are accepted until that works again"
                );
                writer.doubt();
                book.count_failure();
                book.fail(&error)
            }
        };
        writer.take_back(&jobs);
        Failure { jobs }
    }

    /// New jobs that are to be taken back too: they were admitted just before the log failed, and
    /// recorded just after. To be asked for when the others have been taken back.
    pub fn late(&self) -> Vec<JobId> {
        let mut writer = self.writer();
        let jobs = lock(&self.book).take_fresh();
        writer.take_back_too(&jobs);
        jobs
    }

    /// The jobs of a failure are taken back: reports the failure to the replies that wait.
    pub fn taken_back(&self) {
        self.progress.fail(lock(&self.book).committed());
        self.writer().reported();
    }

    /// Sets room aside for what is to come. If there is none, new jobs are refused from now on;
    /// if there is some again, they are taken again. Returns whether there is.
    pub fn prepare(&self) -> bool {
        self.prepare_for(0)
    }

    /// Whether so many bytes have room in the newest segment, which is made if need be. On a full disk that
    /// was asked before.
    fn has_room_for(&self, bytes: u64) -> bool {
        let book = lock(&self.book);
        let is_good = matches!(book.health(), Health::Good);
        let has_room = book.has_room_to_copy(bytes);
        drop(book);
        !is_good || has_room || self.prepare_here(bytes)
    }

    /// As [`Self::prepare_for`], for whoever does not look again by itself if there is no room.
    fn prepare_here(&self, bytes: u64) -> bool {
        let is_good = self.prepare_for(bytes);
        if !is_good {
            (self.bell)();
        }
        is_good
    }

    /// As [`Self::prepare`], with room for so many bytes at once.
    fn prepare_for(&self, bytes: u64) -> bool {
        // Nobody else makes files meanwhile, but whoever only writes goes on.
        let syncing = lock(&self.syncing);
        if self.has_failed() {
            return false;
        }
        let plan = self.writer().plan(&self.book, bytes);
        let mut prepared = Ok(plan.is_some());
        let plan = plan.map(|mut plan| {
            prepared = plan.run().map(|()| true);
            plan
        });
        let mut writer = self.writer();
        if let Some(plan) = plan {
            writer.install(plan, &self.book);
        }
        if self.has_failed() {
            return false;
        }
        let was_good = matches!(lock(&self.book).health(), Health::Good);
        let mut is_confined = false;
        match prepared {
            Ok(true) if !was_good => {
                info!("there is room for the binlog again: new jobs are accepted");
                lock(&self.book).set_health(Health::Good);
            }
            Ok(_) => {}
            // There is room; it is only that nothing can be opened. The segment grows meanwhile.
            Err(error) if was_good && descriptors::are_missing(&error) => {
                is_confined = true;
                if !lock(&self.book).is_confined {
                    warn!(%error, "no descriptor is left to begin another segment of the binlog");
                }
            }
            Err(error) => {
                if writer.spend_reserve(&self.book, &error) && was_good {
                    error!(%error, "no room for the binlog: new jobs are refused");
                }
                lock(&self.book).turn_over();
            }
        }
        let mut book = lock(&self.book);
        book.is_confined = is_confined;
        let is_good = !is_confined && matches!(book.health(), Health::Good);
        drop(book);
        drop(writer);
        drop(syncing);
        self.publish();
        is_good
    }

    /// Tries to write what failed to a new segment. Returns the facts that are to be recorded once
    /// more, or `None` if it is no use yet.
    pub fn recover(&self) -> Option<Vec<Fact>> {
        let syncing = lock(&self.syncing);
        let mut writer = self.writer();
        // What is to be taken back may not be committed before it is.
        if !self.has_failed() || writer.has_unreported() {
            return None;
        }
        let in_doubt = writer.is_in_doubt();
        match writer.recover(&self.book) {
            Ok(jobs) => {
                drop(writer);
                self.publish();
                drop(syncing);
                if in_doubt {
                    warn!("the binlog can be written again, to a new segment");
                }
                self.prepare();
                Some(jobs.into_iter().map(Fact::Job).collect())
            }
            Err(error) => {
                lock(&self.book).set_health(Health::Failed(error.to_string()));
                None
            }
        }
    }

    /// Does a small part of what is to be compacted.
    pub fn compact(&self) -> io::Result<Step> {
        if lock(&self.book).is_overlong() {
            // To record facts once more would make it longer still.
            self.prepare_here(0);
        }
        let mut compactor = lock(&self.compactor);
        let step = compactor.step(&self.book);
        lock(&self.book).is_stuck = step.is_err();
        if let Ok(Step::Again(facts)) = &step
            && !facts.is_empty()
            && compactor.copies() > self.options.reserve() / 2
            && !self.has_room_for(compactor.copies())
        {
            compactor.abandon();
            return Ok(Step::Idle);
        }
        self.publish();
        step
    }

    /// Whether there is no room left to record facts once more: those that were to be are forgotten, and
    /// asked for again when there is.
    pub fn gives_up_compacting(&self) -> bool {
        let mut compactor = lock(&self.compactor);
        let book = lock(&self.book);
        let gives_up = matches!(book.health(), Health::Full(_)) && !book.wants_compaction();
        drop(book);
        if gives_up {
            compactor.abandon();
        }
        gives_up
    }

    /// A job whose body nobody needs any more, not even after a crash. Its file is to be removed.
    fn next_unneeded_body(&self) -> Option<JobId> {
        lock(&self.book).next_unneeded_body()
    }

    /// Removes the bodies that nobody needs any more.
    fn remove_bodies(&self) {
        while let Some(job) = self.next_unneeded_body() {
            stored::remove(&*self.disk, job);
        }
    }

    /// The body of a job is on the disk, where its record may refer to it.
    fn body_is_stored(&self, job: JobId, body: StoredBody) {
        lock(&self.book).bodies().stored(job, body);
    }

    /// The put of a job with a stored body is over, whatever came of it. Returns whether the body is to
    /// be removed.
    fn put_ended(&self, job: JobId) -> bool {
        lock(&self.book).bodies().put_ended(job)
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(lock(&self.book).health(), Health::Full(_))
    }

    /// Whether what was appended before this position is durable.
    pub fn is_durable(&self, position: Position) -> bool {
        lock(&self.book).durable() >= position
    }

    /// How many of the bytes in the segments are jobs that there are.
    pub fn live_bytes(&self) -> u64 {
        lock(&self.book).live_bytes()
    }

    /// For `stats`.
    pub fn stats(&self) -> BinlogStats {
        lock(&self.book).stats()
    }

    /// Commits and syncs what is left, and gives unused room back. Nothing may be appended later.
    pub fn close(&self) -> Result<(), Failure> {
        self.sync()?;
        self.writer().close();
        Ok(())
    }
}

/// The binlog as the engine sees it. There is one, under the hub's lock.
#[derive(Debug)]
pub struct BinlogHandle {
    binlog: Arc<Binlog>,
    /// See [`Book::goodness`].
    is_good: Arc<AtomicBool>,
    /// The end of what was appended.
    appended: Position,
}

impl BinlogHandle {
    /// Of this binlog.
    pub fn new(binlog: &Arc<Binlog>) -> Self {
        let (is_good, appended) = {
            let book = lock(&binlog.book);
            (book.goodness(), book.position())
        };
        Self { binlog: Arc::clone(binlog), is_good, appended }
    }

    /// Changes the book, and rings if there is something to do now.
    #[inline]
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = lock(&self.binlog.book);
        let result = change(&mut book);
        let ring = book.has_new_needs();
        drop(book);
        if ring {
            (self.binlog.bell)();
        }
        result
    }
}

impl Log for BinlogHandle {
    fn is_durable(&self) -> bool {
        true
    }

    fn append(&mut self, record: &Record<'_>, urgent: bool) -> Appended {
        let appended = self.change(|book| Appended {
            segment: book.append(record, urgent),
            position: book.position(),
        });
        self.appended = appended.position;
        appended
    }

    fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize) {
        self.change(|book| book.forget(segment, job, bytes));
    }

    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        self.change(|book| book.resize(segment, before, after));
    }

    fn admits(&self, change: Change) -> bool {
        // Whoever is told that it is good just before it fails is taken back: see [`Binlog::late`].
        self.is_good.load(Ordering::Acquire) || lock(&self.binlog.book).admits(change)
    }

    fn concern(&self, job: JobId) -> Position {
        // When all is committed, so is what is known of the job.
        if self.binlog.progress.committed() >= self.appended {
            return 0;
        }
        lock(&self.binlog.book).concern(job)
    }

    fn segment_number(&self, segment: SegmentRef) -> u64 {
        lock(&self.binlog.book).number(segment)
    }

    fn stats(&self) -> BinlogStats {
        self.binlog.stats()
    }
}
