//! What of this machine does not work, and when it is tried again.
//!
//! A part that failed is paused. After a pause, which grows, it is looked at: the disk by writing to it,
//! the starting of processes by starting one, a handler by looking at its file. If only a job can tell
//! whether a handler works, one job is let through. The first success ends the trouble.
//!
//! While the state directory or the starting of processes is paused, or every handler is, no jobs are
//! taken at all. While some handlers are, only jobs of other types are.
//!
//! Owns: which parts are in trouble. Must not know: what happens to the jobs that they failed.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::fault::Part;
use crate::job::JobType;
use crate::retry::{Backoff, jitter};
use crate::room::Room;
use crate::setup::CurrentSetup;
use crate::store::Store;

/// Pauses of a part that does not work.
const PAUSE: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// A part that fails again so soon after it worked goes on with the pause that it had.
const RELAPSE: Duration = Duration::from_secs(120);

/// A job that has run for so long shows that its handler works.
const STARTED: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Debug)]
pub struct Health {
    setup: CurrentSetup,
    store: Arc<Store>,
    room: Arc<Room>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    troubles: HashMap<Part, Trouble>,
    /// The number of failures that parts had when they worked again, and when that was.
    past: HashMap<Part, (u32, Instant)>,
    serial: u64,
}

#[derive(Debug)]
struct Trouble {
    /// Tells it from an earlier trouble of the same part.
    id: u64,
    message: String,
    failures: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is not tried.
    Paused,
    /// The next job tries it.
    Trial,
    /// A job tries it: the one of this number.
    Probing(u64),
}

/// Whether a job of some type may be run.
#[derive(Debug)]
pub enum Admission {
    /// It may.
    Free,
    /// It may, and shows whether its handler works.
    Probe(Probe),
    /// Its handler does not work.
    Paused,
}

/// What a look at a part told.
enum Look {
    Works,
    Fails(String),
    /// Only a job can tell.
    NeedsJob,
}

impl Health {
    /// Everything works.
    pub fn new(setup: CurrentSetup, store: Arc<Store>, room: Arc<Room>) -> Self {
        let (state, changed) = (Mutex::default(), watch::Sender::new(()));
        Self { setup, store, room, state, changed }
    }

    /// Notes that a part does not work, and has it tried again later.
    pub fn report(self: &Arc<Self>, part: Part, message: String) {
        let mut state = self.state();
        let is_new = !state.troubles.contains_key(&part);
        let past = state.past.get(&part).filter(|(_, until)| until.elapsed() < RELAPSE);
        let failures = past.map_or(0, |(failures, _)| *failures);
        state.serial += 1;
        let (id, stage) = (state.serial, Stage::Trial);
        let fresh = Trouble { id, message: String::new(), failures, stage };
        let trouble = state.troubles.entry(part.clone()).or_insert(fresh);
        trouble.message = message;
        // Jobs that were under way already are no further failures.
        if trouble.stage != Stage::Paused {
            trouble.failures = trouble.failures.saturating_add(1);
            trouble.stage = Stage::Paused;
        }
        self.update(&state);
        drop(state);
        if is_new {
            tokio::spawn(Arc::clone(self).watch(part, id));
        }
    }

    /// Notes that a part did what a job needed of it: the next failure is no relapse.
    pub fn proved(&self, part: &Part) {
        let mut state = self.state();
        if !state.past.is_empty() {
            state.past.remove(part);
        }
    }

    /// Looks at the state directory now: what failed may have failed because of it.
    pub fn suspect_disk(self: &Arc<Self>) {
        let health = Arc::clone(self);
        tokio::spawn(async move {
            if let Look::Fails(message) = health.look(&Part::StateDirectory).await {
                health.report(Part::StateDirectory, message);
            }
        });
    }

    /// Waits until this part works.
    pub async fn until_works(&self, part: &Part) {
        let mut changed = self.changed.subscribe();
        while self.state().troubles.contains_key(part) {
            // The sender is in `self`.
            let _ = changed.changed().await;
        }
    }

    /// Whether a job of this type may be run now.
    pub fn admit(self: &Arc<Self>, kind: &JobType) -> Admission {
        let mut state = self.state();
        if state.troubles.is_empty() {
            return Admission::Free;
        }
        let part = self.handler(kind);
        let serial = state.serial + 1;
        let Some(trouble) = state.troubles.get_mut(&part) else { return Admission::Free };
        if trouble.stage != Stage::Trial {
            return Admission::Paused;
        }
        trouble.stage = Stage::Probing(serial);
        state.serial = serial;
        self.update(&state);
        let (health, of) = (Arc::clone(self), part.clone());
        tokio::spawn(async move {
            sleep(STARTED).await;
            health.end_probe(&of, serial, true);
        });
        Admission::Probe(Probe { health: Arc::clone(self), part, serial })
    }

    /// Whether jobs of this type are looked for: all but those whose handler is paused. If it is on
    /// trial, one is.
    pub fn wants(&self, kind: &JobType) -> Wanted {
        let state = self.state();
        match state.troubles.get(&self.handler(kind)).map(|trouble| trouble.stage) {
            None => Wanted::All,
            Some(Stage::Trial) => Wanted::One,
            Some(Stage::Paused | Stage::Probing(_)) => Wanted::None,
        }
    }

    /// Whether jobs of some types are not taken while others are.
    pub fn is_selective(&self) -> bool {
        let state = self.state();
        state.troubles.keys().any(|part| matches!(part, Part::Handler(_)))
    }

    /// Whether no jobs are taken.
    pub fn is_blocking(&self) -> bool {
        self.blocks(&self.state())
    }

    /// The parts that do not work, and why.
    pub fn troubles(&self) -> Vec<(Part, String)> {
        let state = self.state();
        let troubles = state.troubles.iter();
        let mut troubles: Vec<_> =
            troubles.map(|(part, trouble)| (part.clone(), trouble.message.clone())).collect();
        troubles.sort();
        troubles
    }

    /// Forgets the troubles of handlers: there are other handlers now.
    pub fn forget_handlers(&self) {
        let mut state = self.state();
        state.troubles.retain(|part, _| !matches!(part, Part::Handler(_)));
        state.past.clear();
        self.update(&state);
    }

    /// The part that runs jobs of this type.
    pub fn handler(&self, kind: &JobType) -> Part {
        Part::Handler(self.setup.get().executor.handlers.key(kind))
    }

    fn blocks(&self, state: &State) -> bool {
        let is_off = |part: &Part| {
            state.troubles.get(part).is_some_and(|trouble| trouble.stage != Stage::Trial)
        };
        let setup = self.setup.get();
        let mut handlers = setup.executor.handlers.iter();
        state.troubles.contains_key(&Part::StateDirectory)
            || state.troubles.contains_key(&Part::Processes)
            || handlers.all(|(kind, _)| is_off(&Part::Handler(kind.cloned())))
    }

    /// Tells those who depend on it. Under the lock, so that the last word is the true one.
    fn update(&self, state: &State) {
        self.room.set_blocked(!state.troubles.is_empty() && self.blocks(state));
        self.changed.send_replace(());
    }

    /// Tries a part again until this trouble is over.
    async fn watch(self: Arc<Self>, part: Part, id: u64) {
        let mut changed = self.changed.subscribe();
        loop {
            let Some((failures, _)) = self.known(&part, id) else { return };
            sleep(PAUSE.delay(failures, jitter())).await;
            match self.look(&part).await {
                Look::Works if self.known(&part, id).is_some() => return self.works(&part),
                Look::Works => return,
                Look::Fails(message) => {
                    let mut state = self.state();
                    let trouble = state.troubles.get_mut(&part).filter(|it| it.id == id);
                    let Some(trouble) = trouble else { return };
                    trouble.failures = trouble.failures.saturating_add(1);
                    trouble.message = message;
                    self.update(&state);
                }
                Look::NeedsJob => {
                    {
                        let mut state = self.state();
                        let trouble = state.troubles.get_mut(&part).filter(|it| it.id == id);
                        let Some(trouble) = trouble else { return };
                        trouble.stage = Stage::Trial;
                        self.update(&state);
                    }
                    loop {
                        changed.mark_unchanged();
                        match self.known(&part, id) {
                            None => return,
                            Some((_, Stage::Paused)) => break,
                            Some((_, Stage::Trial | Stage::Probing(_))) => {}
                        }
                        // The sender is in `self`.
                        let _ = changed.changed().await;
                    }
                }
            }
        }
    }

    /// How often the part has failed, and what is done about it. `None`: this trouble is over.
    fn known(&self, part: &Part, id: u64) -> Option<(u32, Stage)> {
        let state = self.state();
        let trouble = state.troubles.get(part).filter(|trouble| trouble.id == id)?;
        Some((trouble.failures, trouble.stage))
    }

    async fn look(&self, part: &Part) -> Look {
        match part {
            Part::StateDirectory => {
                let store = Arc::clone(&self.store);
                match spawn_blocking(move || store.probe()).await {
                    Ok(Ok(())) => Look::Works,
                    Ok(Err(error)) => Look::Fails(format!("cannot write to it: {error}")),
                    // It can only have panicked.
                    Err(error) => Look::Fails(error.to_string()),
                }
            }
            Part::Processes => match self.setup.get().executor.probe().await {
                Ok(()) => Look::Works,
                Err(error) => Look::Fails(error.to_string()),
            },
            Part::Handler(kind) => {
                let setup = self.setup.get();
                let mut handlers = setup.executor.handlers.iter();
                let handler = handlers.find(|(of, _)| *of == kind.as_ref());
                let Some((_, handler)) = handler else { return Look::Works };
                look_at_files(&handler.program, handler.working_directory.as_deref())
            }
        }
    }

    fn set_stage(&self, part: &Part, stage: Stage) {
        let mut state = self.state();
        if let Some(trouble) = state.troubles.get_mut(part) {
            trouble.stage = stage;
        }
        self.update(&state);
    }

    fn works(&self, part: &Part) {
        let mut state = self.state();
        if let Some(trouble) = state.troubles.remove(part) {
            state.past.insert(part.clone(), (trouble.failures, Instant::now()));
        }
        self.update(&state);
    }

    fn end_probe(&self, part: &Part, serial: u64, works: bool) {
        let stage = self.state().troubles.get(part).map(|trouble| trouble.stage);
        if stage == Some(Stage::Probing(serial)) {
            if works {
                self.works(part);
            } else {
                self.set_stage(part, Stage::Trial);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between two statements, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which jobs of a type are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    All,
    /// One, to see whether it can be run.
    One,
    /// None.
    None,
}

/// The right to try a handler that did not work. Dropped without a word, it goes to the next job.
#[derive(Debug)]
pub struct Probe {
    health: Arc<Health>,
    part: Part,
    serial: u64,
}

impl Probe {
    /// A process was started: the handler works.
    pub fn succeed(self) {
        self.health.end_probe(&self.part, self.serial, true);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.health.end_probe(&self.part, self.serial, false);
    }
}

/// That a program is there and executable does not say that it starts.
fn look_at_files(program: &Path, directory: Option<&Path>) -> Look {
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        return Look::Fails(format!("{}: there is no such directory", directory.display()));
    }
    match std::fs::metadata(program) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Look::NeedsJob,
        Ok(_) => Look::Fails(format!("{} may not be executed", program.display())),
        Err(error) => Look::Fails(format!("{}: {error}", program.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};
    use crate::exec::Keepers;
    use crate::setup::Setup;

    /// One command for every job: this program, which is there.
    fn health(folder: &Path) -> Arc<Health> {
        let program = std::env::current_exe().unwrap().display().to_string();
        let flags = Flags { command: vec![program], ..Flags::default() };
        let setup = Setup::new(Config::load(&flags).unwrap(), Keepers::new("/none".into()));
        let store = Arc::new(Store::open(folder, crate::store::Sync::Never).unwrap());
        let room = Arc::new(Room::new(1, 1));
        Arc::new(Health::new(CurrentSetup::new(setup.unwrap()), store, room))
    }

    #[test]
    fn pauses_are_those_of_the_manual() {
        assert_eq!((PAUSE.first, PAUSE.max), (Duration::from_secs(1), Duration::from_secs(60)));
        let docs = include_str!("../../docs/worker.md");
        assert!(docs.contains("The pause starts at a second and grows up to a minute."));
    }

    #[tokio::test(start_paused = true)]
    async fn one_job_at_a_time_tries_a_handler_that_did_not_work() {
        let folder = std::env::temp_dir().join(format!("jq-worker-{}", uuid::Uuid::new_v4()));
        let health = health(&folder);
        let kind: JobType = "sailor".parse().unwrap();
        let part = health.handler(&kind);
        assert_eq!(part, Part::Handler(None));
        assert!(matches!(health.admit(&kind), Admission::Free));
        for message in ["gone", "gone still"] {
            health.report(part.clone(), message.to_owned());
        }
        assert_eq!(health.troubles(), [(part.clone(), "gone still".to_owned())]);
        assert!(matches!(health.admit(&kind), Admission::Paused));
        assert!(health.is_blocking() && health.is_selective() && !health.room.is_open());
        assert_eq!(health.wants(&kind), Wanted::None);
        // The file is there, so a job is to try it.
        health.room.wait_open().await;
        assert_eq!(health.wants(&kind), Wanted::One);
        let Admission::Probe(probe) = health.admit(&kind) else { panic!("one tries it") };
        assert!(matches!(health.admit(&kind), Admission::Paused));
        assert!(!health.room.is_open());
        drop(probe);
        let Admission::Probe(probe) = health.admit(&kind) else { panic!("the next tries it") };
        health.report(part.clone(), "gone again".to_owned());
        drop(probe);
        assert!(matches!(health.admit(&kind), Admission::Paused), "it has failed");
        health.room.wait_open().await;
        let Admission::Probe(probe) = health.admit(&kind) else { panic!("it is tried again") };
        probe.succeed();
        assert!(matches!(health.admit(&kind), Admission::Free));
        assert!(health.troubles().is_empty() && !health.is_selective());
        // One that runs for long needs no end to show that it works.
        health.report(part.clone(), "gone".to_owned());
        health.room.wait_open().await;
        let Admission::Probe(_probe) = health.admit(&kind) else { panic!("it is tried") };
        health.until_works(&part).await;
        assert!(matches!(health.admit(&kind), Admission::Free));
        drop(health);
        let _ = std::fs::remove_dir_all(folder);
    }
}
