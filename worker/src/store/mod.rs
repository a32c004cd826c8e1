//! The state directory: results, and what is still owed for them, through crashes.
//!
//! ```text
//! DIR/lock                     held by the worker that uses the directory
//! DIR/journal-NNNNNNNN         what happened since the results were last synced
//! DIR/results/ab/UUID.json     results as they are served; empty: it has expired
//! DIR/work/                    working directories of jobs; emptied at the start
//! DIR/running                  which jobs run, and which ran when a worker died
//! ```
//!
//! A result is durable when its record is in the journal and that is synced: one write and one
//! sync for all results that are ready at that moment. Its own file is written at the same time
//! but not synced; after a crash it is written again from the journal. When the journal has grown,
//! the files are synced all at once and a new journal begins with what is still owed. Writing,
//! syncing and renaming a file for each result, and another for what is owed, would be two syncs
//! for each job.
//!
//! What is *owed* for a result: sending it to where it is wanted, and taking its job out of the
//! queue. An [`Entry`] says so, and stays until it is settled; so a job that comes again because
//! the worker died is recognised, and not run again.
//!
//! Owns: files and their order. Must not know: queues, processes, HTTP.

mod entry;
mod files;
mod journal;
mod remove;
mod retention;
mod running;
mod waiting;
mod work;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use serde::Deserialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::table::Waiting;

use files::{Files, Lock};
use running::Running;
use work::WorkDirectories;
use writer::{Order, Writer};

pub use entry::{Done, Entry, Step};
pub use files::Found;
pub(crate) use remove::remove_tree;
pub use running::{Began, Crashes};

/// So many bytes are written to see whether the disk takes any.
const PROBE: usize = 64 << 10;

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

/// The result of a job in a state directory that nobody may have opened yet.
pub fn find(dir: &Path, id: Uuid) -> io::Result<Found> {
    Files::at(dir)?.find(id)
}

/// An entry that is not settled, and how far it is.
#[derive(Debug, Clone)]
struct Owed {
    entry: Arc<Entry>,
    /// Tells this entry from others of the same id.
    serial: u64,
    done: Done,
}

type Owing = HashMap<Uuid, Owed>;

#[derive(Debug)]
struct Shared {
    files: Files,
    owing: Mutex<Owing>,
    /// Held while the disk is probed.
    probing: Mutex<()>,
}

impl Shared {
    fn owing(&self) -> MutexGuard<'_, Owing> {
        // It is whole between two statements, whoever panicked.
        self.owing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state directory of a running worker.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    work: WorkDirectories,
    running: Running,
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
        for owed in &replayed.latest {
            let body = owed.entry.body();
            let path = files.result(owed.entry.id);
            let written = files.write_again(owed.entry.id, &body, owed.entry.finished);
            written.map_err(|error| StoreError::Io(path, error))?;
        }
        let owing = replayed.owing;
        let shared =
            Arc::new(Shared { files, owing: Mutex::new(owing), probing: Mutex::default() });
        let writer = Writer::start(Arc::clone(&shared), sync, replayed.next)?;
        let (orders, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("jq-store".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| StoreError::Io(dir.to_owned(), error))?;
        let (orders, thread) = (Some(orders), Some(thread));
        Ok(Self { shared, work, running, orders, thread, _lock: lock })
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
        self.order(Order::Keep(entry, answer));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the store has stopped")))
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
        let path = self.shared.files.dir().join("probe");
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
    pub fn find(&self, id: Uuid) -> io::Result<Found> {
        self.shared.files.find(id)
    }

    /// Empties results that are older than `retention`, and forgets those that were emptied as long
    /// ago. Tells when there is something to be done next; `None` if nothing is kept.
    pub fn sweep(
        &self,
        retention: std::time::Duration,
    ) -> io::Result<Option<std::time::SystemTime>> {
        retention::sweep(&self.shared, retention)
    }

    /// Writes what is known of jobs that wait for their next attempt, for the next start.
    ///
    /// # Errors
    ///
    /// What the system says. Nothing is lost but that.
    pub fn save_waiting(&self, waiting: &[Waiting]) -> io::Result<()> {
        waiting::save(self.shared.files.dir(), waiting)
    }

    /// What was known of such jobs when the worker stopped.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn take_waiting(&self) -> io::Result<Vec<Waiting>> {
        waiting::take(self.shared.files.dir())
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
