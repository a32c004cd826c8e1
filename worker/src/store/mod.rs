//! The state directory: results, and what is still owed for them, through crashes.
//!
//! ```text
//! DIR/lock                     held by the worker that uses the directory
//! DIR/journal-NNNNNNNN         what happened since the results were last synced
//! DIR/packs/NNNNNNNN.pack      results (see [`packs`])
//! DIR/results/ab/UUID.json     large results, as they are served; empty: it has expired
//! DIR/jobs/NNNNNNNN.pack       the jobs of results, to run them again (see [`jobs`])
//! DIR/requests                 what is to be cancelled, or run again (see [`requests`])
//! DIR/artifacts/               files that belong to results (see [`artifacts`])
//! DIR/work/                    working directories of jobs; emptied at the start
//! DIR/running                  which jobs run, and which ran when a worker died
//! ```
//!
//! A result is durable when its record is in the journal and that is synced: one write and one
//! sync for all results that are ready at that moment. It is appended to a pack at the same time, or if it
//! is large, written to a file of its own, but that is not synced; after a crash it is written again from
//! the journal. When the journal has grown, packs and files are synced all at once and a new journal begins
//! with what is still owed. Writing, syncing and renaming a file for each result, and another for what is
//! owed, would be two syncs for each job.
//!
//! Earlier versions had a file for each result, however small. These are found and expire as they did.
//!
//! What is *owed* for a result: sending it to where it is wanted, and taking its job out of the
//! queue. An [`Entry`] says so, and stays until it is settled; so a job that comes again because
//! the worker died is recognised, and not run again.
//!
//! Owns: files and their order. Must not know: queues, processes, HTTP.

mod artifacts;
mod entry;
mod files;
mod jobs;
mod journal;
mod listed;
mod packs;
mod remove;
mod requests;
mod retention;
mod running;
mod waiting;
mod work;
mod writer;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::table::Waiting;

use artifacts::Artifacts;
use files::{Files, Lock};
use packs::{InPack, Packed, Packs, SMALL};
use running::Running;
use work::WorkDirectories;
use writer::{Order, Writer};

pub use artifacts::{FoundArtifact, OpenArtifact, Staged, Staging, size_of};
pub use entry::{Done, Entry, Step};
pub use files::Found;
pub use jobs::{MAX_KEPT_JOB, QueuedJob};
pub(crate) use remove::remove_tree;
pub use requests::{Again, MAX_REQUESTS, RequestError, Requests};
pub use retention::{Sweep, Swept};
pub use running::{Began, Crashes};

/// So many bytes are written to see whether the disk takes any.
const PROBE: usize = 64 << 10;
const PROBE_NAME: &str = "probe";

/// When a result counts as being on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// When the disk says so (`fdatasync`): it outlives a power cut.
    #[default]
    Always,
    /// When the system has it: it outlives the worker, not the machine.
    Never,
}

/// The state directory cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// Another worker has it.
    Locked(PathBuf),
    /// The system refuses.
    Io(PathBuf, io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(dir) => write!(
                f,
                "{}: another worker keeps its results there; name another directory with --results",
                dir.display()
            ),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// Whether the directory may well be usable later, without anybody changing the configuration: the
    /// disk is full, fails, or was made read-only because it failed; or the system is short of something.
    pub fn is_temporary(&self) -> bool {
        let Self::Io(_, error) = self else { return false };
        let errors = [
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EIO,
            libc::EROFS,
            libc::ENOMEM,
            libc::EMFILE,
            libc::ENFILE,
            libc::EAGAIN,
        ];
        error.raw_os_error().is_some_and(|error| errors.contains(&error))
    }
}

/// The results in a state directory that cannot be opened yet. Nothing is written.
#[derive(Debug)]
pub struct Results(Kept);

impl Results {
    /// Looks what there is. Results that are only in the journal are not.
    pub fn look(dir: &Path) -> io::Result<Self> {
        let files = Files::at(dir)?;
        let packs = Packs::open(files.packs(), false)?;
        let jobs = Packs::open(files.jobs(), false)?;
        Ok(Self(Kept { files, packs, jobs, has_new_files: AtomicBool::new(false) }))
    }

    /// The result of a job. One that has expired may be there still.
    pub fn find(&self, id: Uuid) -> io::Result<Found> {
        self.0.find(id)
    }
}

/// Results, wherever they are.
#[derive(Debug)]
struct Kept {
    files: Files,
    packs: Packs,
    /// The jobs of results, as far as they are kept.
    jobs: Packs,
    /// Whether files were written since the last sync.
    has_new_files: AtomicBool,
}

impl Kept {
    fn find(&self, id: Uuid) -> io::Result<Found> {
        match self.packs.find(id)? {
            InPack::Result(body) => Ok(Found::Result(body)),
            InPack::Expired => Ok(Found::Expired),
            // A file of this id is of a time before.
            InPack::Forgotten => Ok(Found::Nothing),
            InPack::InFile | InPack::Nothing => self.files.find(id),
        }
    }

    /// Writes results. Of two of the same job, the later counts.
    fn write(&self, entries: &[Arc<Entry>]) -> io::Result<()> {
        let mut packed = Vec::with_capacity(entries.len());
        for entry in entries {
            let body = entry.body();
            let is_small = body.len() <= SMALL && !body[..body.len() - 1].contains(&b'\n');
            if !is_small {
                self.has_new_files.store(true, Ordering::Relaxed);
                self.files.write(entry.id, &body, entry.finished)?;
            }
            let (id, finished) = (entry.id, entry.finished);
            packed.push(Packed { id, finished, body: is_small.then_some(body) });
        }
        self.packs.append(&packed)?;
        let packed: Vec<_> = entries.iter().filter_map(|entry| packed_job(entry)).collect();
        self.jobs.append(&packed)
    }

    /// Has the disk have all that was written.
    fn sync(&self) -> io::Result<()> {
        if self.has_new_files.load(Ordering::Relaxed) {
            rustix::fs::syncfs(File::open(self.files.results())?)?;
            self.has_new_files.store(false, Ordering::Relaxed);
        }
        self.packs.sync()?;
        self.jobs.sync()
    }

    /// From now on, what was written so far counts as synced.
    fn take_unsynced(&self) {
        for packs in self.all_packs() {
            packs.take_unsynced();
        }
    }

    fn all_packs(&self) -> [&Packs; 2] {
        [&self.packs, &self.jobs]
    }

    /// Writes results that may be there already.
    fn write_again(&self, entries: impl Iterator<Item = Arc<Entry>>) -> io::Result<()> {
        let has_job = |it: &Entry| {
            let job = packed_job(it).and_then(|job| job.body);
            job.is_none_or(|line| self.jobs.has(it.id, it.finished, &line))
        };
        let is_missing =
            |it: &Arc<Entry>| !self.packs.has(it.id, it.finished, &it.body()) || !has_job(it);
        let missing: Vec<_> = entries.filter(is_missing).collect();
        missing.chunks(writer::BATCH).try_for_each(|entries| self.write(entries))
    }
}

/// The job of a result as it is packed, if it is kept.
fn packed_job(entry: &Entry) -> Option<Packed> {
    let body = Some(entry.job.as_ref()?.write());
    Some(Packed { id: entry.id, finished: entry.finished, body })
}

/// An entry that is not settled, and how far it is.
#[derive(Debug, Clone)]
struct Owed {
    entry: Arc<Entry>,
    /// Tells this entry from others of the same id.
    serial: u64,
    /// Whether it is to be in the store that workers share.
    to_store: bool,
    done: Done,
}

impl Owed {
    fn new(entry: Arc<Entry>, serial: u64, to_store: bool) -> Self {
        Self { done: Done::of(&entry, to_store), entry, serial, to_store }
    }
}

type Owing = HashMap<Uuid, Owed>;

#[derive(Debug)]
struct Shared {
    kept: Kept,
    artifacts: Arc<Artifacts>,
    owing: Mutex<Owing>,
    /// Whether results from now on are to be in the store that workers share.
    to_store: AtomicBool,
    /// Held while the disk is probed.
    probing: Mutex<()>,
}

impl Shared {
    fn owing(&self) -> MutexGuard<'_, Owing> {
        // It is whole between two statements, whoever panicked.
        self.owing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes results, and puts what belongs to them in its place.
    fn write(&self, entries: &[Arc<Entry>]) -> io::Result<()> {
        let theirs = self.adopt(entries)?;
        self.kept.write(entries)?;
        self.replace(entries, &theirs);
        Ok(())
    }

    /// Puts the artifacts of results in their place. Returns those that are there.
    fn adopt(&self, entries: &[Arc<Entry>]) -> io::Result<Vec<Option<Staged>>> {
        let adopt = |entry: &Arc<Entry>| {
            let Some(staged) = entry.artifacts else { return Ok(None) };
            self.kept.has_new_files.store(true, Ordering::Relaxed);
            let is_there = self.artifacts.adopt(entry.id, entry.finished, staged)?;
            Ok(is_there.then_some(staged))
        };
        entries.iter().map(adopt).collect()
    }

    /// These are the artifacts of these results, and what was of earlier ones goes.
    fn replace(&self, entries: &[Arc<Entry>], theirs: &[Option<Staged>]) {
        for (entry, staged) in entries.iter().zip(theirs) {
            self.artifacts.replace(entry.id, entry.finished, *staged);
        }
    }

    /// The jobs whose artifacts are needed for what is owed.
    fn needing_artifacts(&self) -> HashSet<Uuid> {
        let owing = self.owing();
        owing
            .values()
            .map(|owed| &owed.entry)
            .filter(|it| it.artifacts.is_some())
            .map(|it| it.id)
            .collect()
    }
}

/// When the job of this id was over, if there is a result.
fn finished(kept: &Kept, id: Uuid) -> Option<jiff::Timestamp> {
    #[derive(Deserialize)]
    struct Dated {
        timestamp: jiff::Timestamp,
    }
    let Ok(Found::Result(body)) = kept.find(id) else { return None };
    serde_json::from_slice::<Dated>(&body).ok().map(|dated| dated.timestamp)
}

/// The state directory of a running worker.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    work: WorkDirectories,
    running: Running,
    requests: Requests,
    sync: Sync,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    _lock: Lock,
}

impl Store {
    /// Takes the directory, which is made if it is missing, and reads what it holds.
    pub fn open(dir: &Path, sync: Sync) -> Result<Self, StoreError> {
        let files = Files::make(dir)?;
        let lock = Lock::take(dir)?;
        let work = WorkDirectories::make(files.dir().join("work"))?;
        let running = Running::open(dir)?;
        let replayed = journal::replay(dir)?;
        let packs = files.packs();
        let failed = |error| StoreError::Io(packs.clone(), error);
        let jobs = files.jobs();
        let kept = Kept {
            packs: Packs::open(packs.clone(), true).map_err(failed)?,
            jobs: Packs::open(jobs.clone(), true).map_err(|error| StoreError::Io(jobs, error))?,
            files,
            // A worker before may have left some.
            has_new_files: AtomicBool::new(true),
        };
        let latest: Vec<_> = replayed.latest.into_iter().map(|owed| owed.entry).collect();
        kept.write_again(latest.iter().cloned()).map_err(failed)?;
        let requests = Requests::open(dir, sync, |id| finished(&kept, id))?;
        let owing = Mutex::new(replayed.owing);
        let root = dir.join("artifacts");
        let failed = |error| StoreError::Io(root.clone(), error);
        let artifacts = Arc::new(Artifacts::open(root.clone()).map_err(failed)?);
        let shared = Arc::new(Shared {
            kept,
            artifacts,
            owing,
            to_store: AtomicBool::new(false),
            probing: Mutex::default(),
        });
        let theirs = shared.adopt(&latest).map_err(failed)?;
        shared.replace(&latest, &theirs);
        shared.artifacts.clear_new().map_err(failed)?;
        let writer = Writer::start(Arc::clone(&shared), sync, replayed.next)?;
        let (orders, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("jq-store".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| StoreError::Io(dir.to_owned(), error))?;
        let (orders, thread) = (Some(orders), Some(thread));
        let store = Self { shared, work, running, requests, sync, orders, thread, _lock: lock };
        // So far next to nothing was written. If the disk is full, that is known before a job is run.
        store.probe().map_err(|error| StoreError::Io(dir.join(PROBE_NAME), error))?;
        Ok(store)
    }

    /// Whether results that are kept from now on are owed to the store that workers share.
    pub fn set_to_store(&self, to_store: bool) {
        self.shared.to_store.store(to_store, Ordering::Relaxed);
    }

    /// Makes a result durable, and what is owed for it. It takes the place of an earlier result of
    /// the same job.
    ///
    /// # Errors
    ///
    /// What the system says: the disk is full, or broken. Nothing is kept then; it can be tried
    /// again.
    pub async fn keep(&self, entry: Arc<Entry>) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        let id = entry.id;
        self.order(Order::Keep(entry, answer));
        let stopped = |_| Err(io::Error::other("the store has stopped"));
        answered.await.unwrap_or_else(stopped)?;
        // Whatever was asked for, this is what came of it.
        self.requests.forget(id);
        Ok(())
    }

    /// What is to be cancelled, or run again.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The job of a result as it was queued. `None`: it was not kept, or has expired.
    ///
    /// # Errors
    ///
    /// What the system says, or that it is damaged.
    pub fn queued_job(&self, id: Uuid) -> io::Result<Option<QueuedJob>> {
        if let Some((entry, _)) = self.owed(id) {
            return Ok(entry.job.clone());
        }
        let InPack::Result(line) = self.shared.kept.jobs.find(id)? else { return Ok(None) };
        Ok(QueuedJob::read(&line))
    }

    /// Notes that a part of what is owed is done. When all is, the entry is settled. The disk is not
    /// waited for: if it is lost in a crash, that part is done twice.
    /// Does nothing if there is a later result of the same job.
    pub fn note(&self, entry: &Entry, step: Step) {
        // Known at once, or somebody who looks before the disk has it would do it again.
        if let Some(owed) = self.shared.owing().get_mut(&entry.id)
            && owed.entry.finished == entry.finished
        {
            owed.done.note(step);
        }
        self.order(Order::Note { id: entry.id, finished: entry.finished, step });
    }

    /// How far what is owed for this very result is done: all of it, if nothing is owed any more.
    pub fn done(&self, entry: &Entry) -> Done {
        let owing = self.shared.owing();
        let owed = owing.get(&entry.id).filter(|owed| owed.entry.finished == entry.finished);
        owed.map_or(Done::EVERYTHING, |owed| owed.done)
    }

    /// What is owed for this job, if anything is.
    pub fn owed(&self, id: Uuid) -> Option<(Arc<Entry>, Done)> {
        self.shared.owing().get(&id).map(|owed| (Arc::clone(&owed.entry), owed.done))
    }

    /// Everything that is owed.
    pub fn all_owed(&self) -> Vec<(Arc<Entry>, Done)> {
        let owing = self.shared.owing();
        owing.values().map(|owed| (Arc::clone(&owed.entry), owed.done)).collect()
    }

    /// Writes something to the directory, as a result would be, and removes it.
    ///
    /// # Errors
    ///
    /// What the system says. Then results cannot be kept either.
    pub fn probe(&self) -> io::Result<()> {
        let _one_at_a_time = self.shared.probing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.shared.kept.files.dir().join(PROBE_NAME);
        let written = fs::write(&path, [b' '; PROBE]).and_then(|()| File::open(&path)?.sync_all());
        let folder = self.work.take().map(|folder| self.work.give(&folder));
        // If it was not written whole, what there is of it goes too.
        let removed = fs::remove_file(&path);
        written?;
        folder?;
        removed
    }

    /// How many entries are not settled.
    pub fn owing(&self) -> usize {
        self.shared.owing().len()
    }

    /// The result of a job. Reads a file: a few microseconds, if it is in the system's memory.
    ///
    /// # Errors
    ///
    /// What the system says, or that the result is damaged.
    pub fn find(&self, id: Uuid) -> io::Result<Found> {
        // What is owed stays, however old it is.
        match self.owed(id) {
            Some((entry, _)) => Ok(Found::Result(entry.body())),
            None => self.shared.kept.find(id),
        }
    }

    /// Results expire when they are older than `retention`, from now on; what is owed stays. Removing what
    /// has expired is left to the [steps](Self::step) of the sweep.
    pub fn sweep(&self, retention: Duration) -> Sweep {
        for packs in self.shared.kept.all_packs() {
            packs.set_retention(retention);
        }
        Sweep::new(retention)
    }

    /// Looks at some results and removes those that have expired: milliseconds of work for the disk.
    ///
    /// # Errors
    ///
    /// What the system says. Then the sweep is to be begun anew, later.
    pub fn step(&self, sweep: &mut Sweep) -> io::Result<Swept> {
        let packs = self.shared.kept.all_packs();
        if packs.iter().any(|packs| packs.is_newest_over()) {
            let (answer, answered) = mpsc::channel();
            self.order(Order::Seal(answer));
            // If the thread has ended, so does the worker.
            let _ = answered.recv();
        }
        for packs in packs {
            if packs.remove_one()? {
                return Ok(Swept::More);
            }
        }
        let artifacts = &self.shared.artifacts;
        if artifacts.remove_old(sweep.retention, |id| self.owed(id).is_some()) {
            return Ok(Swept::More);
        }
        Ok(match sweep.look_at_files(&self.shared)? {
            Swept::More => Swept::More,
            Swept::All(next) => {
                let ends = [next, artifacts.next_end(sweep.retention)];
                Swept::All(ends.into_iter().flatten().min())
            }
        })
    }

    /// Writes what is known of jobs that wait for their next attempt, for the next start.
    ///
    /// # Errors
    ///
    /// What the system says. Nothing is lost but that.
    pub fn save_waiting(&self, waiting: &[Waiting]) -> io::Result<()> {
        waiting::save(self.shared.kept.files.dir(), waiting)
    }

    /// What was known of such jobs when the worker stopped.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn take_waiting(&self) -> io::Result<Vec<Waiting>> {
        waiting::take(self.shared.kept.files.dir())
    }

    /// An empty working directory, for one job.
    pub fn work_directory(&self) -> io::Result<PathBuf> {
        self.work.take()
    }

    /// An empty working directory that belongs to this user and group, for one job.
    pub fn work_directory_for(&self, uid: u32, gid: u32) -> io::Result<PathBuf> {
        self.work.take_for(uid, gid)
    }

    /// Takes a working directory back. False: there is something in it, to be removed with
    /// [`remove_tree`], which can take its time.
    pub(crate) fn take_back(&self, path: &Path) -> bool {
        self.work.give(path)
    }

    /// Notes that a job begins to run: by its id, and its number in the queue. If this process dies
    /// before the returned value is dropped, the next one counts that. `alone`: nothing else runs
    /// meanwhile.
    pub fn begin(&self, id: Uuid, number: u64, alone: bool) -> Began {
        self.running.begin(id, number, alone)
    }

    /// How often a worker died while this job ran.
    pub fn crashes(&self, id: Uuid, number: u64) -> Crashes {
        self.running.crashes(id, number)
    }

    /// Forgets how often that was: the job is over.
    pub fn forget_crashes(&self, id: Uuid, number: u64) {
        self.running.forget(id, number);
    }

    /// This process ends as it was asked to, whatever runs still.
    pub fn nothing_runs(&self) {
        self.running.nothing_runs();
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only after this sender has gone.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What was ordered is carried out first.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
