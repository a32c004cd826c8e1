//! A running worker: assembled here, changed, and stopped.
//!
//! Every part is given what it needs by [`Worker::new`], and knows nothing of this file.
//!
//! Owns: which parts there are, and in which order they start and stop. Must not know: what happens to
//! a job, which is [`crate::lifecycle`]'s.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::{Config, ConfigError};
use crate::delivery::{Deliveries, MAX_PLACES, Sending};
use crate::destinations::Destinations;
use crate::exec::Keepers;
use crate::health::Health;
use crate::lifecycle::{Lifecycle, Needs};
use crate::metrics::Metrics;
use crate::parked::Parking;
use crate::readiness::Readiness;
use crate::room::Room;
use crate::servers::Servers;
use crate::setup::{CurrentSetup, Setup, keepers, wants_groups};
use crate::store::{Store, StoreError};
use crate::surface::{Shown, Surface};
use crate::table::Table;
use crate::tasks::Tasks;

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// Results, and what is owed for them.
    pub store: Arc<Store>,
    /// How many jobs there is room for.
    pub room: Arc<Room>,
    setup: CurrentSetup,
    keepers: Keepers,
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    deliveries: Arc<Deliveries>,
    servers: Arc<Servers>,
    parking: Arc<Parking>,
    health: Arc<Health>,
    destinations: Arc<Destinations>,
    lifecycle: Arc<Lifecycle>,
    tasks: Tasks,
    schedules: Mutex<JoinSet<()>>,
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

/// A worker that has no state directory yet.
#[derive(Debug)]
pub struct Blank {
    /// What it is to do.
    pub setup: Setup,
    keepers: Keepers,
}

impl Blank {
    /// Makes the configuration ready. The executable of this process must be able to be a
    /// [keeper](crate::exec::keeper).
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let keepers = keepers(&config.handlers);
        Ok(Self { setup: Setup::new(config, keepers.clone())?, keepers })
    }

    /// Takes the state directory.
    ///
    /// # Errors
    ///
    /// It cannot be used. It can be tried again.
    pub fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.setup.config.results, self.setup.config.sync)
    }
}

impl Worker {
    /// Takes the state directory and makes everything ready. No job is taken before
    /// [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// The configuration or the state directory cannot be used.
    pub fn new(config: Config) -> Result<Self, StartError> {
        let blank = Blank::new(config).map_err(StartError::Config)?;
        let store = blank.open().map_err(StartError::Store)?;
        Ok(Self::with(blank, store))
    }

    /// As [`new`](Self::new), with a state directory that was taken.
    pub fn with(blank: Blank, store: Store) -> Self {
        let Blank { setup, keepers } = blank;
        let (config, store) = (&setup.config, Arc::new(store));
        let room = Arc::new(Room::new(config.concurrency, MAX_PLACES * config.max_unpublished));
        setup.limit(&room, MAX_PLACES * config.max_unpublished);
        let destinations = Destinations::new(config.max_unpublished, Arc::clone(&room));
        let destinations = Arc::new(destinations);
        let (table, metrics, tasks) = (Arc::<Table>::default(), Arc::default(), Tasks::default());
        match store.take_waiting() {
            Ok(waiting) => {
                waiting.into_iter().for_each(|job| table.set_waiting(job.document, job.until));
            }
            Err(error) => warn!(%error, "cannot read which jobs wait for their next attempt"),
        }
        let (servers, parking): (Arc<Servers>, Arc<Parking>) = (Arc::default(), Arc::default());
        let deliveries = Arc::new(Deliveries::new(
            Arc::clone(&store),
            Arc::clone(&room),
            Arc::clone(&metrics),
            tasks.clone(),
            Arc::clone(&destinations),
            sending(&setup),
        ));
        store.set_most_artifacts(setup.config.artifacts.max_total);
        store.set_to_store(setup.shared.is_some());
        let setup = CurrentSetup::new(setup);
        let health = Health::new(setup.clone(), Arc::clone(&store), Arc::clone(&room));
        let health = Arc::new(health);
        let lifecycle = Arc::new(Lifecycle::new(Needs {
            setup: setup.clone(),
            store: Arc::clone(&store),
            table: Arc::clone(&table),
            metrics: Arc::clone(&metrics),
            room: Arc::clone(&room),
            health: Arc::clone(&health),
            deliveries: Arc::clone(&deliveries),
            servers: Arc::clone(&servers),
            parking: Arc::clone(&parking),
            tasks: tasks.clone(),
        }));
        Self {
            store,
            room,
            setup,
            keepers,
            table,
            metrics,
            deliveries,
            servers,
            parking,
            health,
            destinations,
            lifecycle,
            tasks,
            schedules: Mutex::default(),
        }
    }

    /// The configuration that counts now.
    pub fn setup(&self) -> Arc<Setup> {
        self.setup.get()
    }

    /// The worker as it is seen over HTTP. `halt` becomes true when an operator wants it to finish and
    /// exit.
    pub fn surface(&self, halt: watch::Sender<bool>) -> Surface {
        let shown = Shown {
            setup: self.setup.clone(),
            store: Arc::clone(&self.store),
            table: Arc::clone(&self.table),
            metrics: Arc::clone(&self.metrics),
            room: Arc::clone(&self.room),
            health: Arc::clone(&self.health),
            servers: Arc::clone(&self.servers),
            parking: Arc::clone(&self.parking),
            destinations: Arc::clone(&self.destinations),
            lifecycle: Arc::clone(&self.lifecycle),
        };
        Surface::new(shown, halt)
    }

    /// Begins to take jobs, and settles what was owed for results when the worker stopped before.
    pub fn start(&self) {
        self.lifecycle.remember_reruns();
        self.fetch();
        self.keep_schedules();
        tokio::spawn(Arc::clone(&self.lifecycle).keep_unparking());
        tokio::spawn(Arc::clone(&self.lifecycle).keep_freeing_seconds());
        let readiness = Readiness {
            room: Arc::clone(&self.room),
            servers: Arc::clone(&self.servers),
            health: Arc::clone(&self.health),
            destinations: Arc::clone(&self.destinations),
        };
        tokio::spawn(readiness.announce());
        for (entry, _) in self.store.all_owed() {
            self.lifecycle.settle(entry);
        }
    }

    /// Works by another configuration from now on. Where results are kept and served does not
    /// change.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Nothing has changed then.
    pub fn reload(&self, mut config: Config) -> Result<(), ConfigError> {
        config.require_tubes()?;
        let now = self.setup();
        warn_of_fixed(&now.config, &config);
        config.results.clone_from(&now.config.results);
        config.sync = now.config.sync;
        config.listen = now.config.listen;
        config.served_at = now.config.served_at;
        config.listen_tls.clone_from(&now.config.listen_tls);
        config.public_url.clone_from(&now.config.public_url);
        let setup = Arc::new(Setup::new(config, self.keepers.clone())?);
        let limit = setup.config.max_unpublished;
        setup.limit(&self.room, MAX_PLACES * limit);
        self.destinations.set_limit(limit);
        self.store.set_most_artifacts(setup.config.artifacts.max_total);
        self.store.set_to_store(setup.shared.is_some());
        self.deliveries.set_sending(sending(&setup));
        let from_elsewhere = setup.config.servers != now.config.servers
            || setup.config.credentials != now.config.credentials
            || setup.config.tubes != now.config.tubes
            || setup.config.idle_check != now.config.idle_check;
        let other_schedules = setup.config.schedules != now.config.schedules
            || setup.config.servers.first() != now.config.servers.first()
            || setup.config.credentials != now.config.credentials;
        self.setup.set(setup);
        self.health.forget_handlers();
        if other_schedules {
            self.keep_schedules();
        }
        if from_elsewhere {
            self.fetch();
        }
        info!("the configuration was read again");
        Ok(())
    }

    /// Takes jobs from the servers of the configuration, and from no others.
    fn fetch(&self) {
        let config = &self.setup().config;
        let Self { room, metrics, .. } = self;
        let taker = Arc::clone(&self.lifecycle);
        // Those of servers that are gone would wait for ever.
        self.parking.clear();
        let servers = config.servers.iter().map(|server| config.credentials.connect_to(server));
        let (tubes, idle_check) = (&config.tubes, config.idle_check);
        self.servers.fetch_from(servers, tubes, room, metrics, idle_check, taker);
    }

    /// Sees to the schedules of the configuration, and to no others.
    fn keep_schedules(&self) {
        let config = &self.setup().config;
        // It is whole between two statements, whoever panicked.
        let mut tasks = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        *tasks = JoinSet::new();
        // Workers with the same servers have to meet at one of them.
        let Some(server) = config.servers.first() else { return };
        for schedule in &config.schedules {
            tasks.spawn(schedule.clone().keep(config.credentials.connect_to(server)));
        }
    }

    /// Takes no more jobs, and waits until those that are here are over.
    pub async fn finish(&self) {
        self.room.close();
        self.servers.stop_fetching();
        self.schedules.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.tasks.finished().await;
    }

    /// Has nobody wait any longer: what runs is killed, and its jobs are ready for others. What is
    /// on the disk stays there for the next start.
    pub fn abandon(&self) {
        self.tasks.abandon();
    }

    /// Leaves to the next start what is known of jobs that wait for their next attempt.
    pub fn remember_waiting(&self) {
        if let Err(error) = self.store.save_waiting(&self.table.all_waiting()) {
            warn!(%error, "cannot write which jobs wait for their next attempt");
        }
    }

    /// Ends the persistent processes.
    pub async fn stop_processes(&self) {
        self.setup().executor.stop().await;
    }
}

/// How results are sent, by this configuration.
fn sending(setup: &Setup) -> Sending {
    Sending {
        outbound: setup.outbound.clone(),
        uploads: setup.uploads.clone(),
        signer: setup.signer.clone(),
        shared: setup.shared.clone(),
        within: setup.config.publish_timeout,
        max_callbacks: setup.config.max_unpublished,
    }
}

/// Says which settings have changed that do not change while the worker runs.
fn warn_of_fixed(now: &Config, new: &Config) {
    let files = |tls: &Option<Arc<jq_tls::Server>>| tls.as_ref().map(|tls| tls.files().clone());
    if wants_groups(&new.handlers) && !wants_groups(&now.handlers) {
        warn!(
            "a handler has a new limit that needs control groups: it counts after a restart only"
        );
    }
    let fixed = [
        ("results", new.results != now.results),
        ("sync", new.sync != now.sync),
        ("listen", new.listen != now.listen),
        ("http.tls_cert", files(&new.listen_tls) != files(&now.listen_tls)),
        ("public_url", new.public_url != now.public_url),
        ("control.token_file", new.token != now.token),
        ("cors_origins", new.cors_origins != now.cors_origins),
    ];
    for (name, _) in fixed.iter().filter(|(_, differs)| *differs) {
        warn!("{name} has changed: that counts after a restart only");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Flags;

    /// The paths below a folder, and what is in them, of all but this file and the commands.
    fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "commands" {
                sources(&path, found);
            } else if name.ends_with(".rs") && name != "worker.rs" {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }

    #[test]
    fn nothing_below_knows_the_worker() {
        let mut found = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for (path, text) in found {
            assert!(!text.contains("crate::worker"), "{path}");
        }
    }

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
}
