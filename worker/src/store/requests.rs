//! What was asked for of jobs and is not done yet: to cancel one that has not come, and to run one again.
//!
//! ```text
//! {"id":UUID,"at":"2026-11-22T12:03:10Z","until":"2026-11-29T12:03:10Z","cancel":true,"rerun":null}
//! ```
//!
//! One line each, and the last one of an id counts. One that asks for nothing takes back those before it. Whoever
//! asked is told so only when the disk has the line. What does not read as a line is what a crash has left.
//!
//! Owns: the file. Must not know: how a job is cancelled or queued.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::debug;
use uuid::Uuid;

use super::{StoreError, Sync};
use crate::result::QueuePlace;

const NAME: &str = "requests";

/// Most jobs of which something is remembered.
pub const MAX_REQUESTS: usize = 10_000;

/// The file is written anew when it has so many more lines than twice those that count.
const SPARE: usize = 1000;

/// Why something cannot be remembered.
#[derive(Debug)]
pub enum RequestError {
    /// There are [`MAX_REQUESTS`] already.
    Full,
    /// The system refuses.
    Io(io::Error),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => {
                write!(f, "the worker remembers no more than {MAX_REQUESTS} such requests")
            }
            Self::Io(error) => write!(f, "cannot write to the state directory: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

/// A job that is to be run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// Where it was queued. `None`: that is not known, since the worker died at that moment.
    pub place: Option<QueuePlace>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    id: Uuid,
    /// A result that was finished later has settled it.
    at: Timestamp,
    /// Then it is forgotten.
    until: Timestamp,
    cancel: bool,
    rerun: Option<Again>,
}

impl Request {
    fn is_over(&self) -> bool {
        !self.cancel && self.rerun.is_none()
    }
}

#[derive(Debug)]
struct State {
    requests: HashMap<Uuid, Request>,
    /// `None`: it is to be written anew.
    file: Option<File>,
    /// What counts of the file, in bytes, and in lines.
    size: u64,
    lines: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Requests {
    path: PathBuf,
    sync: Sync,
    state: Mutex<State>,
    /// How many there are: usually none, which is seen without the lock.
    count: AtomicUsize,
}

impl Requests {
    /// Reads what there is. `finished` tells when the job of an id was over, if there is a result.
    pub(super) fn open(
        dir: &Path,
        sync: Sync,
        finished: impl Fn(Uuid) -> Option<Timestamp>,
    ) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            text => text.map_err(|error| StoreError::Io(path.clone(), error))?,
        };
        let mut requests = HashMap::new();
        let lines = text.split(|byte| *byte == b'\n');
        for request in lines.filter_map(|line| serde_json::from_slice::<Request>(line).ok()) {
            requests.insert(request.id, request);
        }
        let now = Timestamp::now();
        requests.retain(|id, request| {
            let is_settled = || finished(*id).is_some_and(|finished| finished >= request.at);
            !request.is_over() && request.until > now && !is_settled()
        });
        let count = AtomicUsize::new(requests.len());
        let state = State { requests, file: None, size: 0, lines: 0 };
        let opened = Self { path, sync, state: Mutex::new(state), count };
        if !text.is_empty() {
            let mut state = opened.state();
            opened
                .rewrite(&mut state)
                .map_err(|error| StoreError::Io(opened.path.clone(), error))?;
        }
        Ok(opened)
    }

    /// Remembers that a job is to be cancelled. It is forgotten after `kept_for`.
    ///
    /// # Errors
    ///
    /// It is not remembered then.
    pub fn cancel(&self, id: Uuid, kept_for: Duration) -> Result<(), RequestError> {
        self.change(id, kept_for, |request| request.cancel = true)
    }

    /// Remembers that a job is to be run again. It is forgotten after `kept_for`.
    ///
    /// # Errors
    ///
    /// It is not remembered then.
    pub fn run_again(&self, id: Uuid, kept_for: Duration) -> Result<(), RequestError> {
        self.change(id, kept_for, |request| request.rerun = Some(Again { place: None }))
    }

    /// Remembers where such a job is queued, if it is not over already.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn note_place(&self, id: Uuid, place: QueuePlace) -> Result<(), RequestError> {
        let mut state = self.state();
        let Some(request) = state.requests.get(&id).filter(|it| it.rerun.is_some()) else {
            return Ok(());
        };
        let request = Request { rerun: Some(Again { place: Some(place) }), ..request.clone() };
        self.append(&mut state, &request, true).map_err(RequestError::Io)?;
        state.requests.insert(id, request);
        Ok(())
    }

    /// Whether a job is to be cancelled. `rerun_at` is when it was queued anew, if it was: what was asked for before
    /// that is not meant for it.
    pub fn is_cancelled(&self, id: Uuid, rerun_at: Option<Timestamp>) -> bool {
        let is_meant = |request: &Request| rerun_at.is_none_or(|rerun_at| rerun_at <= request.at);
        self.of(id, |request| (request.cancel && is_meant(request)).then_some(())).is_some()
    }

    /// Whether a job is to be run again.
    pub fn is_rerun(&self, id: Uuid) -> bool {
        self.of(id, |request| request.rerun.as_ref().map(drop)).is_some()
    }

    /// The jobs that are to be run again, with their places, as far as they are known, and when that is
    /// forgotten.
    pub fn reruns(&self) -> Vec<(Uuid, QueuePlace, Timestamp)> {
        let state = self.state();
        let place = |it: &Request| Some((it.id, it.rerun.as_ref()?.place.clone()?, it.until));
        state.requests.values().filter_map(place).collect()
    }

    /// There is a result, or nothing more to wait for. The disk is not waited for: a result tells the next start
    /// the same.
    pub fn forget(&self, id: Uuid) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.state();
        let Some(request) = state.requests.remove(&id) else { return };
        self.count.store(state.requests.len(), Ordering::Release);
        let over = Request { cancel: false, rerun: None, ..request };
        if let Err(error) = self.append(&mut state, &over, false) {
            debug!(%error, "cannot note that a request is done");
        }
    }

    fn of<T>(&self, id: Uuid, what: impl FnOnce(&Request) -> Option<T>) -> Option<T> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let state = self.state();
        let request = state.requests.get(&id).filter(|it| it.until > Timestamp::now())?;
        what(request)
    }

    fn change(
        &self,
        id: Uuid,
        kept_for: Duration,
        change: impl FnOnce(&mut Request),
    ) -> Result<(), RequestError> {
        let mut state = self.state();
        let now = Timestamp::now();
        state.requests.retain(|_, request| request.until > now);
        if state.requests.len() >= MAX_REQUESTS && !state.requests.contains_key(&id) {
            return Err(RequestError::Full);
        }
        let until = now.checked_add(kept_for).unwrap_or(Timestamp::MAX);
        let new = Request { id, at: now, until, cancel: false, rerun: None };
        let mut request = state.requests.get(&id).cloned().unwrap_or(new);
        (request.at, request.until) = (now, until);
        change(&mut request);
        self.append(&mut state, &request, true).map_err(RequestError::Io)?;
        state.requests.insert(id, request);
        self.count.store(state.requests.len(), Ordering::Release);
        Ok(())
    }

    fn append(&self, state: &mut State, request: &Request, is_awaited: bool) -> io::Result<()> {
        if state.file.is_none() || state.lines > 2 * state.requests.len() + SPARE {
            self.rewrite(state)?;
        }
        let Some(file) = &state.file else { return Ok(()) };
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let written = file.write_all_at(&line, state.size).and_then(|()| {
            if is_awaited && self.sync == Sync::Always { file.sync_data() } else { Ok(()) }
        });
        if written.is_err() {
            // What there is of it does not count.
            state.file = None;
            return written;
        }
        state.size += line.len() as u64;
        state.lines += 1;
        Ok(())
    }

    /// Writes the file anew, as a whole, with what counts.
    fn rewrite(&self, state: &mut State) -> io::Result<()> {
        let mut text = Vec::new();
        for request in state.requests.values() {
            serde_json::to_writer(&mut text, request)?;
            text.push(b'\n');
        }
        let temporary = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all_at(&text, 0)?;
        if self.sync == Sync::Always {
            file.sync_all()?;
        }
        fs::rename(&temporary, &self.path)?;
        if self.sync == Sync::Always
            && let Some(dir) = self.path.parent()
        {
            File::open(dir)?.sync_all()?;
        }
        state.size = text.len() as u64;
        state.lines = state.requests.len();
        state.file = Some(file);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between two statements, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("jq-requests-{}", Uuid::new_v4()));
            fs::create_dir(&dir).unwrap();
            Self(dir)
        }

        fn open(&self) -> Requests {
            Requests::open(&self.0, Sync::Never, |_| None).unwrap()
        }

        fn lines(&self) -> usize {
            fs::read_to_string(self.0.join(NAME)).unwrap().lines().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn place(job: u64) -> QueuePlace {
        QueuePlace { job, tube: "t".into(), server: "s".into() }
    }

    #[test]
    fn what_is_queued_anew_later_is_not_cancelled() {
        let (folder, id) = (Folder::new(), Uuid::from_u128(1));
        let requests = folder.open();
        let before = Timestamp::now();
        requests.cancel(id, LONG).unwrap();
        let after = Timestamp::now() + Duration::from_millis(1);
        for requests in [requests, folder.open()] {
            assert!(requests.is_cancelled(id, None));
            assert!(requests.is_cancelled(id, Some(before)));
            assert!(!requests.is_cancelled(id, Some(after)));
        }
    }

    #[test]
    fn requests_outlive_a_crash_until_they_are_done() {
        let folder = Folder::new();
        let [cancelled, again, both, done] = [1, 2, 3, 4].map(Uuid::from_u128);
        let requests = folder.open();
        assert!(!requests.is_cancelled(cancelled, None));
        requests.cancel(cancelled, LONG).unwrap();
        requests.run_again(again, LONG).unwrap();
        requests.run_again(both, LONG).unwrap();
        requests.note_place(both, place(7)).unwrap();
        requests.note_place(done, place(8)).unwrap();
        requests.cancel(both, LONG).unwrap();
        requests.cancel(done, LONG).unwrap();
        requests.forget(done);
        // Nothing is closed or told: as in a crash.
        std::mem::forget(requests);
        for _ in 0..2 {
            let requests = folder.open();
            let is = |id| (requests.is_cancelled(id, None), requests.is_rerun(id));
            assert_eq!(is(cancelled), (true, false));
            assert_eq!(is(again), (false, true));
            assert_eq!(is(both), (true, true));
            assert_eq!(is(done), (false, false));
            let reruns: Vec<_> = requests.reruns().into_iter().map(|it| (it.0, it.1)).collect();
            assert_eq!(reruns, [(both, place(7))]);
        }
    }

    #[test]
    fn a_later_result_has_settled_it_and_time_forgets_it() {
        let folder = Folder::new();
        let [settled, open, short] = [1, 2, 3].map(Uuid::from_u128);
        let requests = folder.open();
        let before = Timestamp::now();
        for id in [settled, open] {
            requests.cancel(id, LONG).unwrap();
        }
        requests.cancel(short, Duration::ZERO).unwrap();
        assert!(!requests.is_cancelled(short, None));
        let after = Timestamp::now();
        let finished = |id| Some(if id == settled { after } else { before });
        let requests = Requests::open(&folder.0, Sync::Always, finished).unwrap();
        assert!(!requests.is_cancelled(settled, None));
        assert!(requests.is_cancelled(open, None));
        assert_eq!(folder.lines(), 1);
    }

    #[test]
    fn what_a_crash_has_left_is_no_request() {
        let folder = Folder::new();
        let requests = folder.open();
        requests.cancel(Uuid::from_u128(1), LONG).unwrap();
        let path = folder.0.join(NAME);
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() - 1 {
            fs::write(&path, [b"\xff\0{}\n[]\n", &whole[..end]].concat()).unwrap();
            assert!(!folder.open().is_cancelled(Uuid::from_u128(1), None), "{end}");
        }
        fs::write(&path, [b"\xff\n", &*whole, &whole[..20]].concat()).unwrap();
        assert!(folder.open().is_cancelled(Uuid::from_u128(1), None));
    }

    #[test]
    fn they_are_bounded_and_so_is_the_file() {
        let folder = Folder::new();
        let requests = folder.open();
        for number in 0..MAX_REQUESTS as u128 {
            requests.cancel(Uuid::from_u128(number), LONG).unwrap();
        }
        let more = Uuid::from_u128(u128::MAX);
        let refused = requests.cancel(more, LONG).unwrap_err();
        assert!(refused.to_string().contains("no more than 10000"), "{refused}");
        // One that is known can be changed.
        requests.run_again(Uuid::from_u128(1), LONG).unwrap();
        for number in 0..MAX_REQUESTS as u128 {
            requests.forget(Uuid::from_u128(number));
        }
        requests.cancel(more, LONG).unwrap();
        assert!(folder.lines() <= SPARE + 1, "{}", folder.lines());
        for _ in 0..5 * SPARE {
            requests.cancel(more, LONG).unwrap();
        }
        assert!(folder.lines() <= SPARE + 10, "{}", folder.lines());
    }

    #[test]
    fn a_disk_that_takes_nothing_is_said() {
        let folder = Folder::new();
        let requests = folder.open();
        fs::create_dir(folder.0.join("requests.new")).unwrap();
        let id = Uuid::from_u128(1);
        let refused = requests.cancel(id, LONG).unwrap_err().to_string();
        assert!(refused.contains("cannot write to the state directory"), "{refused}");
        assert!(!requests.is_cancelled(id, None));
        fs::remove_dir(folder.0.join("requests.new")).unwrap();
        requests.cancel(id, LONG).unwrap();
        assert!(folder.open().is_cancelled(id, None));
    }
}
