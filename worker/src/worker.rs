//! A running worker: what all of its parts share.
//!
//! Owns: the parts, and how they are changed and stopped. Must not know: what happens to a job,
//! which is [`crate::lifecycle`]'s.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::{Mutex as Turn, watch};
use tokio::task::AbortHandle;
use tracing::info;

use crate::config::{Config, ConfigError, Handlers};
use crate::delivery::Deliveries;
use crate::exec::{self, Cgroups, Keepers};
use crate::executor::Executor;
use crate::lifecycle;
use crate::metrics::Metrics;
use crate::parked::Parking;
use crate::result::WorkerName;
use crate::room::Room;
use crate::source::{self, Source};
use crate::store::{Store, StoreError};
use crate::table::Table;

/// What the configuration says, made ready. A change of the configuration makes a new one; jobs
/// that run keep theirs.
#[derive(Debug)]
pub struct Setup {
    /// As it was read.
    pub config: Config,
    /// What runs jobs.
    pub executor: Executor,
    /// Who we are in results.
    pub name: WorkerName,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    setup: RwLock<Arc<Setup>>,
    keepers: Keepers,
    /// Results, and what is owed for them.
    pub store: Store,
    /// How many jobs there is room for.
    pub room: Arc<Room>,
    /// The jobs that are here.
    pub table: Arc<Table>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Results on their way.
    pub deliveries: Deliveries,
    /// Jobs that wait in the queue for room of their type here.
    pub parking: Parking,
    /// How often jobs were given back from here, which are no attempts.
    pub given_back: GivenBack,
    sources: Mutex<Vec<(Arc<Source>, AbortHandle)>>,
    /// True when nobody is to wait any longer.
    stopping: watch::Sender<bool>,
    /// How many tasks deal with a job.
    busy: watch::Sender<usize>,
}

/// A worker cannot be started.
#[derive(Debug)]
pub enum StartError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The state directory cannot.
    Store(StoreError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl Setup {
    fn new(config: Config, keepers: Keepers) -> Result<Self, ConfigError> {
        let executor = Executor::new(&config, keepers)?;
        let name = WorkerName::ours(&config.worker_id);
        Ok(Self { config, executor, name })
    }

    fn concurrency(&self) -> usize {
        self.config.concurrency.min(self.executor.handlers.concurrency())
    }
}

impl Worker {
    /// Takes the state directory and makes everything ready. No job is taken before
    /// [`start`](Self::start). The executable of this process must be able to be a
    /// [keeper](exec::keeper).
    pub fn new(config: Config) -> Result<Arc<Self>, StartError> {
        let keepers = keepers(&config.handlers);
        let setup = Setup::new(config, keepers.clone()).map_err(StartError::Config)?;
        let config = &setup.config;
        let store = Store::open(&config.results, config.sync).map_err(StartError::Store)?;
        let room = Room::new(setup.concurrency(), config.max_unpublished);
        Ok(Arc::new(Self {
            setup: RwLock::new(Arc::new(setup)),
            keepers,
            store,
            room: Arc::new(room),
            table: Arc::default(),
            metrics: Arc::default(),
            deliveries: Deliveries::default(),
            parking: Parking::default(),
            given_back: GivenBack::default(),
            sources: Mutex::default(),
            stopping: watch::Sender::new(false),
            busy: watch::Sender::new(0),
        }))
    }

    /// The configuration that counts now.
    pub fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up what was left by a crash, and begins to take jobs.
    pub fn start(self: &Arc<Self>) {
        self.take_up_sources();
        tokio::spawn(Arc::clone(self).keep_unparking());
        for (entry, _) in self.store.all_owed() {
            lifecycle::settle(self, entry);
        }
    }

    /// Works by another configuration from now on. Where results are kept and served does not
    /// change.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Nothing has changed then.
    pub fn reload(self: &Arc<Self>, mut config: Config) -> Result<(), ConfigError> {
        config.require_tubes()?;
        let now = self.setup();
        if wants_groups(&config.handlers) && !wants_groups(&now.config.handlers) {
            tracing::warn!("limits that control groups keep count after a restart only");
        }
        let fixed = [
            ("results", config.results != now.config.results),
            ("sync", config.sync != now.config.sync),
            ("listen", config.listen != now.config.listen),
            ("public_url", config.public_url != now.config.public_url),
            ("control.token_file", config.token != now.config.token),
            ("cors_origins", config.cors_origins != now.config.cors_origins),
        ];
        for (name, _) in fixed.iter().filter(|(_, differs)| *differs) {
            tracing::warn!("{name} has changed: that counts after a restart only");
        }
        config.results.clone_from(&now.config.results);
        config.sync = now.config.sync;
        config.listen = now.config.listen;
        config.public_url.clone_from(&now.config.public_url);
        let setup = Arc::new(Setup::new(config, self.keepers.clone())?);
        self.room.set_limits(setup.concurrency(), setup.config.max_unpublished);
        let from_elsewhere =
            setup.config.servers != now.config.servers || setup.config.tubes != now.config.tubes;
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = setup;
        if from_elsewhere {
            self.take_up_sources();
        }
        info!("the configuration was read again");
        Ok(())
    }

    /// Takes jobs from the servers of the configuration, and from no others.
    fn take_up_sources(self: &Arc<Self>) {
        let setup = self.setup();
        let mut sources = self.sources();
        for (_, fetching) in sources.drain(..) {
            fetching.abort();
        }
        let turn = (setup.config.servers.len() > 1).then(|| Arc::new(Turn::new(())));
        for address in &setup.config.servers {
            let source = Source::new(address.clone(), setup.config.tubes.clone());
            let source = Arc::new(source);
            let (worker, of) = (Arc::clone(self), Arc::clone(&source));
            let run = move |connection, job, permit| {
                let (worker, source) = (Arc::clone(&worker), Arc::clone(&of));
                let handle = Arc::clone(&worker);
                handle.spawn(async move {
                    lifecycle::begin(&worker, source, connection, job, permit).await;
                });
            };
            let fetching = source::fetch(
                Arc::clone(&source),
                Arc::clone(&self.room),
                turn.clone(),
                Arc::clone(&self.metrics),
                run,
            );
            sources.push((source, tokio::spawn(fetching).abort_handle()));
        }
    }

    /// Whenever a job is over: takes those again that were waiting for it. As long as it is polled.
    pub async fn keep_unparking(self: Arc<Self>) {
        loop {
            self.room.freed().await;
            self.unpark();
        }
    }

    /// Takes jobs again that were given back for want of room, as far as there is room now.
    pub fn unpark(self: &Arc<Self>) {
        let setup = self.setup();
        for kind in self.parking.types() {
            let limit = setup.executor.handlers.get(&kind).map_or(0, |it| it.concurrency);
            while let Some(permit) = self.room.take_for(&kind, limit) {
                let Some(parked) = self.parking.next(&kind) else { break };
                let worker = Arc::clone(self);
                // When somebody else has it, its permit goes, and the next one is tried.
                self.spawn(async move {
                    lifecycle::take_again(&worker, parked, permit).await;
                });
            }
        }
    }

    /// The servers that jobs come from.
    pub fn servers(&self) -> Vec<Arc<Source>> {
        self.sources().iter().map(|(source, _)| Arc::clone(source)).collect()
    }

    /// The server of this name.
    pub fn server(&self, name: &str) -> Option<Arc<Source>> {
        self.servers().into_iter().find(|source| source.name() == name)
    }

    /// Tells when nobody is to wait any longer.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Takes no more jobs, and waits until those that are here are over.
    pub async fn finish(&self) {
        self.room.close();
        for (_, fetching) in self.sources().iter() {
            fetching.abort();
        }
        let _ = self.busy.subscribe().wait_for(|busy| *busy == 0).await;
    }

    /// Has nobody wait any longer: what runs is killed, and its jobs are ready for others. What is
    /// on the disk stays there for the next start.
    pub fn abandon(&self) {
        self.stopping.send_replace(true);
    }

    /// Ends the processes that stay up.
    pub async fn stop_processes(&self) {
        self.setup().executor.stop().await;
    }

    /// Runs something that [`finish`](Self::finish) waits for.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let busy = Busy::new(Arc::clone(self));
        tokio::spawn(async move {
            work.await;
            drop(busy);
        });
    }

    fn sources(&self) -> MutexGuard<'_, Vec<(Arc<Source>, AbortHandle)>> {
        // It is whole between two statements, whoever panicked.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps the processes of jobs: this very program, also if its file is replaced meanwhile. Where
/// there are limits that only control groups can keep, we make ourselves at home in ours.
pub fn keepers(handlers: &Handlers) -> Keepers {
    let program = "/proc/self/exe".into();
    if wants_groups(handlers) {
        Keepers::with_cgroups(program, Cgroups::detect().take_over())
    } else {
        Keepers::new(program)
    }
}

/// Whether there are limits that are best kept by control groups.
fn wants_groups(handlers: &Handlers) -> bool {
    handlers.iter().any(|(_, handler)| {
        let exec::Limits { memory_bytes, processes, cpu_cores, .. } = handler.limits;
        memory_bytes.is_some() || processes.is_some() || cpu_cores.is_some()
    })
}

/// A task that deals with a job, until dropped.
struct Busy(Arc<Worker>);

impl Busy {
    fn new(worker: Arc<Worker>) -> Self {
        worker.busy.send_modify(|busy| *busy += 1);
        Self(worker)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|busy| *busy -= 1);
    }
}

/// How often jobs were given back because there was no room for their type. The queue counts that
/// as it counts retries.
#[derive(Debug, Default)]
pub struct GivenBack {
    counts: Mutex<HashMap<(String, u64), u32>>,
}

/// Most jobs whose giving back is remembered. Beyond, it counts as attempts.
const MAX_GIVEN_BACK: usize = 100_000;

impl GivenBack {
    /// The job was given back once more. Tells how often it was.
    pub fn add(&self, server: &str, job: u64) -> u32 {
        let mut counts = self.counts();
        if counts.len() >= MAX_GIVEN_BACK {
            // They are gone or somebody else's most likely; which, nobody tells us.
            counts.clear();
        }
        let count = counts.entry((server.to_owned(), job)).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// How often the job was given back.
    pub fn count(&self, server: &str, job: u64) -> u32 {
        let counts = self.counts();
        if counts.is_empty() {
            return 0;
        }
        counts.get(&(server.to_owned(), job)).copied().unwrap_or(0)
    }

    /// The job is over.
    pub fn forget(&self, server: &str, job: u64) {
        let mut counts = self.counts();
        if !counts.is_empty() {
            counts.remove(&(server.to_owned(), job));
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<(String, u64), u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[tokio::test]
    async fn a_configuration_without_a_tube_is_refused() {
        let results = std::env::temp_dir().join(format!("jq-worker-{}", uuid::Uuid::new_v4()));
        let command = vec!["true".to_owned()];
        let tube = vec!["t".parse().unwrap()];
        let flags = Flags { command, tube, results: Some(results.clone()), ..Flags::default() };
        let worker = Worker::new(Config::load(&flags).unwrap()).unwrap();
        let without = Flags { tube: Vec::new(), concurrency: Some(7), ..flags.clone() };
        let refused = worker.reload(Config::load(&without).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("no tube is named"), "{refused}");
        assert_ne!(worker.setup().config.concurrency, 7);
        worker.reload(Config::load(&Flags { concurrency: Some(7), ..flags }).unwrap()).unwrap();
        assert_eq!(worker.setup().config.concurrency, 7);
        drop(worker);
        std::fs::remove_dir_all(results).unwrap();
    }

    #[test]
    fn what_was_given_back_is_counted_until_it_is_over() {
        let given_back = GivenBack::default();
        assert_eq!(given_back.count("s", 1), 0);
        assert_eq!((given_back.add("s", 1), given_back.add("s", 1)), (1, 2));
        assert_eq!((given_back.count("s", 1), given_back.count("other", 1)), (2, 0));
        given_back.forget("s", 1);
        assert_eq!(given_back.count("s", 1), 0);
    }
}
