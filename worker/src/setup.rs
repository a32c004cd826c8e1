//! What the configuration says, made ready.
//!
//! Owns: the present configuration, which a reload replaces as a whole. Jobs that run keep theirs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{Config, ConfigError, Handlers};
use crate::exec::{self, Cgroups, Keepers};
use crate::executor::Executor;
use crate::outbound::{Outbound, Signer};
use crate::result::WorkerName;
use crate::room::Room;
use crate::shared::{Peers, SharedStore};

/// A configuration and what was made of it.
#[derive(Debug)]
pub struct Setup {
    /// As it was read.
    pub config: Config,
    /// Runs jobs.
    pub executor: Executor,
    /// Reaches other machines.
    pub outbound: Outbound,
    /// And sends them files.
    pub uploads: Outbound,
    /// Signs callbacks. `None`: they are not signed.
    pub signer: Option<Signer>,
    /// The store that workers share.
    pub shared: Option<Arc<SharedStore>>,
    /// Other workers that are asked for what is not here.
    pub peers: Option<Arc<Peers>>,
    /// This worker in results.
    pub name: WorkerName,
}

impl Setup {
    /// Makes a configuration ready. No process is started and no connection made.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used: a rule for URLs, a secret.
    pub fn new(config: Config, keepers: Keepers) -> Result<Self, ConfigError> {
        let outbound =
            Outbound::new(&config.outbound).map_err(|error| ConfigError(error.to_string()))?;
        let uploads = Outbound::for_uploads(&config.outbound)
            .map_err(|error| ConfigError(error.to_string()))?;
        let signer = if config.callback_secrets.is_empty() {
            None
        } else {
            let bad = |error| ConfigError(format!("callbacks.secret_files: {error}"));
            Some(Signer::new(&config.callback_secrets).map_err(bad)?)
        };
        let executor = Executor::new(
            config.handlers.clone(),
            outbound.clone(),
            keepers,
            config.show_input_query,
        );
        let name = WorkerName::ours(&config.worker_id);
        let shared = config.shared.as_ref().map(SharedStore::open).transpose();
        let shared = shared.map_err(|why| ConfigError(format!("store: {why}")))?.map(Arc::new);
        let mut peers = None;
        if !config.peers.is_empty() {
            let made = Peers::new(config.peers.clone(), &config.outbound);
            peers = Some(Arc::new(made.map_err(|error| ConfigError(format!("peers: {error}")))?));
        }
        Ok(Self { config, executor, outbound, uploads, signer, shared, peers, name })
    }

    /// Gives the room its limits. `debt`: how many results may wait to be sent.
    pub fn limit(&self, room: &Room, debt: usize) {
        room.set_limits(self.config.concurrency, debt);
        let is_shared = self.shared.is_some();
        let most = if is_shared { self.config.max_unpublished } else { usize::MAX };
        room.set_max_unstored(most);
        // More would wait for processes of handlers that stay up.
        room.set_most_running(self.executor.handlers.concurrency());
    }
}

/// The setup that counts now. Clones share it.
#[derive(Debug, Clone)]
pub struct CurrentSetup(Arc<RwLock<Arc<Setup>>>);

impl CurrentSetup {
    /// Begins with this one.
    pub fn new(setup: Setup) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(setup))))
    }

    /// The one that counts now.
    pub fn get(&self) -> Arc<Setup> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this one counts.
    pub fn set(&self, setup: Arc<Setup>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = setup;
    }
}

/// Keepers for the processes of jobs. They are this very program, also if its file is replaced
/// meanwhile. Where a handler has limits that only control groups can keep, this process moves into a
/// control group of its own.
pub fn keepers(handlers: &Handlers) -> Keepers {
    let program = "/proc/self/exe".into();
    if wants_groups(handlers) {
        Keepers::with_cgroups(program, Cgroups::detect().take_over())
    } else {
        Keepers::new(program)
    }
}

/// Whether a handler has limits that control groups keep best.
pub fn wants_groups(handlers: &Handlers) -> bool {
    handlers.iter().any(|(_, handler)| {
        let exec::Limits { memory_bytes, processes, cpu_cores, .. } = handler.limits;
        memory_bytes.is_some() || processes.is_some() || cpu_cores.is_some()
    })
}
