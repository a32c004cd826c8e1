//! The thread that writes: all that was ordered meanwhile, with one write and one sync.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::{error, warn};
use uuid::Uuid;

use super::journal::{self, Next, Record};
use super::{Entry, Owed, Shared, Step, StoreError, Sync};

/// The journal is begun anew when it is larger than this, in bytes, and than twice what is owed.
const ROTATE_AT: u64 = 16 << 20;

/// A journal of more than this many bytes is filled with zeros ahead of what is written, as many as have been
/// written so far, but no more than the latter: a sync of blocks that are there already need not wait for a
/// change of the file system's own journal, which on a busy disk takes ten times as long.
const AHEAD_FROM: u64 = 256 << 10;
const AHEAD: u64 = 4 << 20;

/// Most orders that are carried out together. Their results are in memory meanwhile.
pub(super) const BATCH: usize = 512;

/// How long notes that can wait do.
const NOTE_WAITS: Duration = Duration::from_millis(100);

/// Notes of more bytes do not wait.
const NOTES: usize = 64 << 10;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Order {
    Keep(Arc<Entry>, oneshot::Sender<io::Result<()>>),
    /// The time tells this result from others of the same job.
    Note {
        id: Uuid,
        finished: Timestamp,
        step: Step,
    },
    /// Take no more results in the newest pack.
    Seal(mpsc::Sender<()>),
}

impl Order {
    /// Whether it makes no difference if it is lost in a crash: the queue says the same.
    fn can_wait(&self) -> bool {
        matches!(self, Self::Note { step: Step::Dequeued, .. })
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    sync: Sync,
    next: Next,
    /// Notes that wait for the next result, to be written with it.
    notes: Vec<u8>,
    /// `None` after a failure: what is in it cannot be relied upon, and a new one is begun.
    journal: Option<Journal>,
}

struct Journal {
    file: File,
    /// Of what was written, in bytes.
    size: u64,
    /// Up to there is something in the file, if only zeros.
    filled: u64,
    /// What it began with, in bytes: what was owed then.
    begun: u64,
}

impl Journal {
    fn write(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        let end = self.size + lines.len() as u64;
        self.file.write_all_at(lines, self.size)?;
        if end > self.filled {
            self.filled = end;
            if sync && end >= AHEAD_FROM {
                self.fill();
            }
        }
        self.size = end;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// If there is no room for zeros, there may be for results.
    fn fill(&mut self) {
        let zeros = vec![0; usize::try_from(self.filled.min(AHEAD)).unwrap_or(0)];
        if self.file.write_all_at(&zeros, self.filled).is_ok() {
            self.filled += zeros.len() as u64;
        } else {
            let _ = self.file.set_len(self.filled);
        }
    }

    /// Whether so much of it is of no use any more that a new one pays.
    fn is_long(&self) -> bool {
        self.size > ROTATE_AT.max(2 * self.begun)
    }
}

impl Writer {
    /// Begins a new journal, and removes those before it.
    pub(super) fn start(shared: Arc<Shared>, sync: Sync, next: Next) -> Result<Self, StoreError> {
        let dir = shared.kept.files.dir().to_owned();
        let mut writer = Self { shared, sync, next, notes: Vec::new(), journal: None };
        writer.rotate().map_err(|error| StoreError::Io(dir, error))?;
        Ok(writer)
    }

    /// Carries out orders until nobody can give any more.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        loop {
            let first = if self.notes.is_empty() {
                orders.recv().map_err(RecvTimeoutError::from)
            } else {
                orders.recv_timeout(NOTE_WAITS)
            };
            match first {
                Ok(first) => batch.push(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            batch.extend(orders.try_iter().take(BATCH - 1));
            self.carry_out(&mut batch);
        }
        self.carry_out(&mut batch);
    }

    fn carry_out(&mut self, batch: &mut Vec<Order>) {
        let has_few = self.notes.len() < NOTES;
        let is_patient = has_few && !batch.is_empty() && batch.iter().all(Order::can_wait);
        let mut lines = std::mem::take(&mut self.notes);
        let mut kept = Vec::new();
        for order in batch.drain(..) {
            match order {
                Order::Keep(entry, answer) => {
                    let serial = self.next.serial;
                    self.next.serial += 1;
                    let to_store = self.shared.to_store.load(Ordering::Relaxed);
                    Record::Keep { serial, entry: Arc::clone(&entry), to_store }.write(&mut lines);
                    kept.push((Owed::new(entry, serial, to_store), answer));
                }
                Order::Note { id, finished, step } => self.note(id, finished, step, &mut lines),
                Order::Seal(answer) => {
                    for packs in self.shared.kept.all_packs() {
                        packs.seal_if_over();
                    }
                    let _ = answer.send(());
                }
            }
        }
        if is_patient {
            self.notes = lines;
            return;
        }
        let result = self.write(&lines, &kept);
        if let Err(error) = &result {
            error!(%error, "cannot write to the results' journal");
        }
        if result.is_ok() {
            let mut owing = self.shared.owing();
            for (owed, _) in &kept {
                // In the place of what was owed for an earlier result.
                owing.remove(&owed.entry.id);
                if !owed.done.everything() {
                    owing.insert(owed.entry.id, owed.clone());
                }
            }
        }
        for (_, answer) in kept {
            // Who does not wait any more does not need it.
            let _ = answer.send(result.as_ref().copied().map_err(copy));
        }
        if self.journal.as_ref().is_some_and(Journal::is_long)
            && let Err(error) = self.rotate()
        {
            warn!(%error, "cannot begin a new journal of results; the one that there is grows");
        }
    }

    fn note(&self, id: Uuid, finished: Timestamp, step: Step, lines: &mut Vec<u8>) {
        let mut owing = self.shared.owing();
        let owed = owing.get_mut(&id).filter(|owed| owed.entry.finished == finished);
        let Some(owed) = owed else { return };
        owed.done.note(step);
        // More may be done than this step: memory is told at once, and then nothing more may come.
        write_notes(owed, lines);
        if owed.done.everything() {
            owing.remove(&id);
        }
    }

    fn write(
        &mut self,
        lines: &[u8],
        kept: &[(Owed, oneshot::Sender<io::Result<()>>)],
    ) -> io::Result<()> {
        if self.journal.is_none() {
            // What is owed goes into it, so nothing of what failed is needed.
            self.rotate()?;
        }
        let written = self.append(lines, !kept.is_empty() && self.sync == Sync::Always);
        if written.is_err() {
            self.journal = None;
        }
        written?;
        let entries: Vec<_> = kept.iter().map(|(owed, _)| Arc::clone(&owed.entry)).collect();
        self.shared.write(&entries)
    }

    fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        let Some(journal) = &mut self.journal else {
            return Err(io::Error::other("there is no journal"));
        };
        journal.write(lines, sync)
    }

    /// Syncs the files of results, and begins a new journal with what is owed.
    fn rotate(&mut self) -> io::Result<()> {
        let dir = self.shared.kept.files.dir().to_owned();
        let number = self.next.journal;
        let path = journal::path(&dir, number);
        // One after a number that could not be used.
        self.next.journal += 1;
        let begun = self.begin(&path);
        if begun.is_err() {
            let _ = fs::remove_file(&path);
        }
        self.journal = Some(begun?);
        for (other, path) in journal::list(&dir)? {
            if other < number {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn begin(&self, path: &PathBuf) -> io::Result<Journal> {
        let mut lines = Vec::new();
        for owed in self.shared.owing().values() {
            let Owed { entry, serial, to_store, .. } = owed;
            let (serial, to_store) = (*serial, *to_store);
            Record::Keep { serial, entry: Arc::clone(entry), to_store }.write(&mut lines);
            write_notes(owed, &mut lines);
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&lines)?;
        if self.sync == Sync::Never {
            self.shared.kept.take_unsynced();
        } else {
            // The results that the journal before has records of are there for good.
            self.shared.kept.sync()?;
            file.sync_all()?;
            File::open(self.shared.kept.files.dir())?.sync_all()?;
        }
        let begun = lines.len() as u64;
        Ok(Journal { file, size: begun, filled: begun, begun })
    }
}

/// Says what is done. Saying it twice does no harm.
fn write_notes(owed: &Owed, lines: &mut Vec<u8>) {
    let (serial, done) = (owed.serial, owed.done);
    for (is_done, step) in [
        (done.published, Step::Published),
        (done.stored && owed.to_store, Step::Stored),
        (done.called_back, Step::CalledBack),
        // Of a result that nothing follows, that is known without.
        (done.followed && !owed.entry.then.is_empty(), Step::Followed),
        (done.dequeued, Step::Dequeued),
        (done.given_up, Step::GivenUp),
    ] {
        if is_done {
            Record::Note { serial, step }.write(lines);
        }
    }
}

/// The same error again: one failure is the answer to many.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
