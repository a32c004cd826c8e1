//! Has the queue do what the file of `--tubes` says, whatever the file or the log does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use beanstalk_protocol::TubeName;
use jq_engine::Policy;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::log::Gated;
use crate::policies::TubesFile;
use crate::server::hub::Hub;
use crate::settings_file::read_aside;

/// Tubes that are looked at under one lock.
const AT_ONCE: usize = 32;

/// When the log has refused something, it is asked again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Keeps the policies of the queue as the file says.
#[derive(Debug)]
pub(crate) struct Keeper {
    hub: Arc<Hub>,
    file: Arc<TubesFile>,
    /// The tubes that may have a policy of the file, or of one that was read before.
    tubes: BTreeSet<TubeName>,
}

/// What it took to have all policies as the file says.
#[derive(Debug, Default)]
struct Made {
    set: usize,
    removed: usize,
    /// The log took nothing more.
    refused: bool,
    gated: Gated,
}

impl Keeper {
    /// The file counts from now on, though nothing is set yet: see [`Keeper::begin`].
    pub(crate) fn new(hub: &Arc<Hub>, file: TubesFile) -> Self {
        let file = Arc::new(file);
        hub.tubes_file().set(&file);
        // Nobody is connected yet, so that nobody waits for this look at all tubes.
        let names = hub.read(|engine, _| engine.tubes_with_settings());
        let names = names.iter().filter_map(|name| TubeName::new(name.as_bytes()).ok());
        let tubes = names.chain(file.tubes().keys().cloned()).collect();
        Self { hub: Arc::clone(hub), file, tubes }
    }

    /// Sets the policies before anybody is connected.
    pub(crate) fn begin(&self) {
        let mut made = Made::default();
        self.tubes.iter().for_each(|tube| self.make(&[tube], &mut made));
        self.tell(&made);
    }

    /// Sees to it that they stay, and reads the file again whenever `reload` is notified. Never returns.
    pub(crate) async fn run(mut self, reload: Arc<Notify>) {
        let mut is_told = false;
        loop {
            if self.make_all().await {
                is_told = false;
                // Those of former files are gone.
                self.tubes = self.file.tubes().keys().cloned().collect();
                reload.notified().await;
            } else {
                if !is_told {
                    warn!("the log cannot record the policies of --tubes now: trying again");
                    is_told = true;
                }
                if timeout(TRY_AGAIN, reload.notified()).await.is_err() {
                    continue;
                }
            }
            self.read_again().await;
        }
    }

    /// Reads the file again. With a mistake in it, that of before stays.
    async fn read_again(&mut self) {
        let path = self.file.path().to_owned();
        match read_aside("--tubes", path, TubesFile::read).await {
            Ok(file) => {
                self.file = Arc::new(file);
                // First of all, so that nobody sets otherwise what is about to be set.
                self.hub.tubes_file().set(&self.file);
                self.tubes.extend(self.file.tubes().keys().cloned());
                info!(file = %self.file.path().display(), "the file of --tubes was read again");
            }
            Err(failure) => error!("{failure}: the policies of before stay"),
        }
    }

    /// Sets and removes what is not as the file says. Returns whether all of it is committed.
    async fn make_all(&self) -> bool {
        let mut made = Made::default();
        let tubes: Vec<&TubeName> = self.tubes.iter().collect();
        for some in tubes.chunks(AT_ONCE) {
            self.make(some, &mut made);
            yield_now().await;
        }
        self.tell(&made);
        !made.refused && self.hub.committed(made.gated).await.is_ok()
    }

    fn tell(&self, made: &Made) {
        let Made { set, removed, .. } = *made;
        if set + removed > 0 {
            info!(file = %self.file.path().display(), set, removed, "policies of tubes");
        }
    }

    /// Has these tubes be as the file says.
    fn make(&self, tubes: &[&TubeName], made: &mut Made) {
        let ((), gated) = self.hub.change(|engine, mut sink, now| {
            for tube in tubes {
                let wanted = self.file.tubes().get(*tube).filter(|policy| !policy.is_empty());
                let present = engine.policy(tube.as_str());
                // What is not in the file is somebody else's, unless it was in one before.
                let is_ours = |policy: &Policy<TubeName>| {
                    policy.from_file || self.file.tubes().contains_key(*tube)
                };
                if wanted == present || (wanted.is_none() && !present.is_some_and(is_ours)) {
                    continue;
                }
                match engine.set_policy(now, tube, wanted.cloned(), &mut sink) {
                    Ok(()) if wanted.is_some() => made.set += 1,
                    Ok(()) => made.removed += 1,
                    Err(_) => made.refused = true,
                }
            }
        });
        made.gated = made.gated.and(gated);
    }
}
