//! Which jobs run, so that the next start knows what ran when this worker died.
//!
//! ```text
//! UUID NUMBER CRASHES ALONE SECONDS S
//! ```
//!
//! One file, one line of fixed length for each job: its id, its number in the queue, how often the
//! worker has died while it ran, how often of these nothing else ran, when that was last written, and a
//! state: `a` it runs alone, `b` it runs beside others, `-` it does not run now. A line is written in its
//! place when a job begins, and blanked when it is over. Nothing is synced: a crash of the machine says
//! nothing about a job.
//!
//! A lost or unreadable line only means that a job is not suspected.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tracing::{debug, warn};
use uuid::Uuid;

use super::StoreError;

/// Length of a line with its line feed, in bytes.
const LINE: usize = 36 + 1 + 20 + 1 + 5 + 1 + 5 + 1 + 12 + 1 + 1 + 1;

/// Most jobs that are suspected at a time. Beyond it the oldest are forgotten at the next start.
const MAX_SUSPECTED: usize = 10_000;

/// A job that has not come back for so long, in seconds, is another worker's, or gone.
const FORGOTTEN_AFTER: i64 = 30 * 24 * 3600;

/// A job in a queue: its id and its number. The number alone is given out again by a server that lost
/// its jobs.
type Key = (Uuid, u64);

/// How often a worker with this state directory has died while a job ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crashes {
    /// In all.
    pub all: u32,
    /// While nothing else ran: this job is the cause, or nothing here is.
    pub alone: u32,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    key: Key,
    crashes: Crashes,
    seconds: i64,
    /// `Some(alone)` while it runs.
    running: Option<bool>,
}

impl Line {
    fn write(&self) -> String {
        let Self { key: (id, number), crashes: Crashes { all, alone }, seconds, running } = self;
        let state = match running {
            Some(true) => 'a',
            Some(false) => 'b',
            None => '-',
        };
        // As many digits as there is room for, whatever the numbers are.
        let (all, alone, seconds) = ((*all).min(99_999), (*alone).min(99_999), (*seconds).max(0));
        format!("{id} {number:020} {all:05} {alone:05} {seconds:012} {state}\n")
    }

    /// `None`: it is blank, or not ours.
    fn read(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace();
        let key = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let all = fields.next()?.parse().ok()?;
        let crashes = Crashes { all, alone: fields.next()?.parse().ok()? };
        let seconds = fields.next()?.parse().ok()?;
        let running = match fields.next()? {
            "a" => Some(true),
            "b" => Some(false),
            "-" => None,
            _ => return None,
        };
        Some(Self { key, crashes, seconds, running })
    }

    /// What it says after the worker has died.
    fn after_a_crash(mut self) -> Self {
        if let Some(alone) = self.running.take() {
            self.crashes.all = self.crashes.all.saturating_add(1);
            self.crashes.alone = self.crashes.alone.saturating_add(alone.into());
        }
        self
    }
}

#[derive(Debug)]
struct Lines {
    file: File,
    /// Where the line of each job is.
    places: HashMap<Key, (usize, Line)>,
    free: Vec<usize>,
    next: usize,
}

impl Lines {
    fn set(&mut self, line: Line) {
        let place = match self.places.get(&line.key) {
            Some((place, _)) => *place,
            None => self.free.pop().unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            }),
        };
        self.places.insert(line.key, (place, line));
        self.put(place, &line.write());
    }

    fn blank(&mut self, key: Key) {
        if let Some((place, _)) = self.places.remove(&key) {
            self.free.push(place);
            let mut blank = " ".repeat(LINE - 1);
            blank.push('\n');
            self.put(place, &blank);
        }
    }

    fn put(&self, place: usize, text: &str) {
        debug_assert_eq!(text.len(), LINE);
        if let Err(error) = self.file.write_all_at(text.as_bytes(), (place * LINE) as u64) {
            // The job is not held up: should it crash the worker, that is not counted.
            debug!(%error, "cannot note which jobs run");
        }
    }
}

/// See the [module](self). Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Running(Arc<Mutex<Lines>>);

impl Running {
    /// Reads what ran when the worker before died, and begins anew with what is to be remembered.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("running");
        let failed = |error| StoreError::Io(path.clone(), error);
        let text = match fs::read(&path) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let now = Timestamp::now().as_second();
        let mut remembered = Vec::new();
        for line in text.lines().filter_map(Line::read) {
            if line.running.is_some() {
                let (id, queued_as) = line.key;
                warn!(%id, queued_as, "the worker died while this job ran");
            }
            let line = line.after_a_crash();
            if line.crashes.all > 0 && line.seconds + FORGOTTEN_AFTER > now {
                remembered.push(line);
            }
        }
        remembered.sort_by_key(|line| std::cmp::Reverse(line.seconds));
        remembered.truncate(MAX_SUSPECTED);
        let file = begin(&path, &remembered).map_err(failed)?;
        let next = remembered.len();
        let places = remembered.into_iter().enumerate();
        let places = places.map(|(place, line)| (line.key, (place, line))).collect();
        Ok(Self(Arc::new(Mutex::new(Lines { file, places, free: Vec::new(), next }))))
    }

    pub(super) fn crashes(&self, id: Uuid, number: u64) -> Crashes {
        let lines = self.lines();
        lines.places.get(&(id, number)).map_or_else(Crashes::default, |(_, line)| line.crashes)
    }

    pub(super) fn begin(&self, id: Uuid, number: u64, alone: bool) -> Began {
        let key = (id, number);
        let mut lines = self.lines();
        let crashes = lines.places.get(&key).map_or_else(Crashes::default, |(_, it)| it.crashes);
        let seconds = Timestamp::now().as_second();
        lines.set(Line { key, crashes, seconds, running: Some(alone) });
        Began { running: self.clone(), key }
    }

    /// The job is over.
    pub(super) fn forget(&self, id: Uuid, number: u64) {
        self.lines().blank((id, number));
    }

    /// The worker ends, as it was asked to: whatever runs still is not to blame.
    pub(super) fn nothing_runs(&self) {
        let mut lines = self.lines();
        let running: Vec<Key> = lines.places.values().map(|(_, line)| line.key).collect();
        running.into_iter().for_each(|key| ended(&mut lines, key));
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Lines are whole between two statements, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the file anew, as a whole: nothing is counted twice, whenever this is interrupted.
fn begin(path: &PathBuf, lines: &[Line]) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let text: String = lines.iter().map(Line::write).collect();
    file.write_all_at(text.as_bytes(), 0)?;
    fs::rename(&temporary, path)?;
    Ok(file)
}

/// A job does not run any more. It stays in the file only if it is suspected.
fn ended(lines: &mut Lines, key: Key) {
    let Some((_, line)) = lines.places.get(&key).copied() else { return };
    match (line.running, line.crashes.all) {
        (None, _) => {}
        (Some(_), 0) => lines.blank(key),
        (Some(_), _) => lines.set(Line { running: None, ..line }),
    }
}

/// A job runs, until this is dropped.
#[derive(Debug)]
pub struct Began {
    running: Running,
    key: Key,
}

impl Drop for Began {
    fn drop(&mut self) {
        ended(&mut self.running.lines(), self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("jq-running-{}", Uuid::new_v4()));
        fs::create_dir(&dir).unwrap();
        dir
    }

    fn crashes(all: u32, alone: u32) -> Crashes {
        Crashes { all, alone }
    }

    #[test]
    fn what_ran_when_the_worker_died_is_counted() {
        let dir = folder();
        let [bad, good, done] = [1, 2, 3].map(Uuid::from_u128);
        let running = Running::open(&dir).unwrap();
        let began = [(bad, 7), (good, 8), (done, 9)].map(|(id, at)| running.begin(id, at, false));
        let [bad_ran, good_ran, done_ran] = began;
        drop(done_ran);
        // As a crash does.
        std::mem::forget((bad_ran, good_ran));
        let running = Running::open(&dir).unwrap();
        assert_eq!(running.crashes(bad, 7), crashes(1, 0));
        assert_eq!(running.crashes(good, 8), crashes(1, 0));
        assert_eq!(running.crashes(done, 9), crashes(0, 0));
        assert_eq!(running.crashes(bad, 8), crashes(0, 0), "another job of this number");

        // The innocent one is over; the other one does it again.
        drop(running.begin(good, 8, true));
        assert_eq!(running.crashes(good, 8), crashes(1, 0));
        running.forget(good, 8);
        std::mem::forget(running.begin(bad, 7, true));
        let running = Running::open(&dir).unwrap();
        assert_eq!(running.crashes(bad, 7), crashes(2, 1));
        assert_eq!(running.crashes(good, 8), crashes(0, 0));
        // A start is not a crash.
        let running = { Running::open(&dir).unwrap() };
        assert_eq!(running.crashes(bad, 7), crashes(2, 1));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn who_stops_as_asked_blames_nobody() {
        let dir = folder();
        let running = Running::open(&dir).unwrap();
        std::mem::forget(running.begin(Uuid::from_u128(1), 7, true));
        running.nothing_runs();
        let running = Running::open(&dir).unwrap();
        assert_eq!(running.crashes(Uuid::from_u128(1), 7), crashes(0, 0));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn lines_are_used_again_and_strange_ones_are_ignored() {
        let dir = folder();
        let path = dir.join("running");
        let ours = Line {
            key: (Uuid::from_u128(5), u64::MAX),
            crashes: crashes(2, 1),
            seconds: Timestamp::now().as_second(),
            running: None,
        };
        fs::write(&path, [b"\xff\0 what\n\n", ours.write().as_bytes(), b"1 2 3"].concat()).unwrap();
        let running = Running::open(&dir).unwrap();
        assert_eq!(running.crashes(ours.key.0, u64::MAX), crashes(2, 1));
        for number in 0..100 {
            drop(running.begin(Uuid::from_u128(9), number, false));
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 2 * LINE as u64);
        let old = Line { seconds: 1, ..ours };
        fs::write(&path, old.write()).unwrap();
        let running = Running::open(&dir).unwrap();
        assert_eq!(running.crashes(ours.key.0, u64::MAX), crashes(0, 0));
        fs::remove_dir_all(dir).unwrap();
    }
}
