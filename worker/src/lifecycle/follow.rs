//! The jobs that follow a successful one: they are filled in when its result is made, kept with it, and queued
//! before the job itself leaves the queue.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jq_client::{Error, PutError, PutOptions, TubeName};
use tokio::time::sleep;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::ending::Verdict;
use crate::job::{Filling, Following, Job};
use crate::result::JobResult;
use crate::retry::jitter;
use crate::store::{Entry, Step};

use super::held::Held;
use super::settle::{SETTLE, Settler};

impl Held {
    /// What is queued after this result. What cannot be filled in is left out, and noted.
    pub(super) fn followers(&self, verdict: Verdict, result: &mut JobResult) -> Vec<Following> {
        if verdict != Verdict::Successful {
            return Vec::new();
        }
        let (then, notes) = followers(&self.job, result);
        result.notes.extend(notes);
        then
    }
}

/// What is queued after the successful result of a job, and why some of it is not.
pub(super) fn followers(job: &Job, result: &JobResult) -> (Vec<Following>, Vec<String>) {
    let artifact = |name: &str| match result.artifacts.iter().find(|it| it.name.as_str() == name) {
        None => Err(format!("there is no artifact {name:?}")),
        Some(made) => made.url.clone().ok_or_else(|| "artifacts have no URLs here".to_owned()),
    };
    let filling = Filling {
        id: job.id,
        finished: result.timestamp,
        output: result.output.as_deref(),
        artifact: &artifact,
    };
    let (mut then, mut notes) = (Vec::new(), Vec::new());
    for (index, follower) in job.then.iter().enumerate() {
        match follower.fill(index, filling) {
            Ok(following) => then.push(following),
            Err(why) => {
                warn!(index, why, "a job that was to follow is not queued");
                notes.push(format!("\"then[{index}]\" is not queued: {why}"));
            }
        }
    }
    (then, notes)
}

/// Why jobs that follow are not queued.
enum NotQueued {
    /// It may be possible later.
    Yet(String),
    /// The queue will never take it.
    Ever(String),
}

/// The results whose jobs are being queued.
pub(super) type UnderWay = Mutex<HashSet<(Uuid, Timestamp)>>;

/// Nobody else queues the jobs of this result meanwhile.
struct Turn<'a>(&'a UnderWay, (Uuid, Timestamp));

impl<'a> Turn<'a> {
    /// `None`: somebody does.
    fn take(following: &'a UnderWay, entry: &Entry) -> Option<Self> {
        let key = (entry.id, entry.finished);
        let is_new = lock(following).insert(key);
        // Only if it is: what is made here takes the key away when it is dropped.
        is_new.then(|| Self(following, key))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

fn lock(following: &UnderWay) -> MutexGuard<'_, HashSet<(Uuid, Timestamp)>> {
    // It is whole between two statements, whoever panicked.
    following.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Settler {
    /// Queues what follows a result, as often as it takes. Returns whether that is done: otherwise the worker is
    /// about to exit.
    pub(super) async fn follow(&self, entry: &Entry) -> bool {
        let mut failures = 0;
        loop {
            let Err(why) = self.follow_now(entry).await else { return true };
            failures += 1;
            let delay = SETTLE.delay(failures, jitter());
            warn!(why, retry_in = ?delay, "cannot queue the jobs that follow");
            tokio::select! {
                () = sleep(delay) => {}
                () = self.room.closed() => return false,
            }
        }
    }

    /// Queues what follows a result, if that is owed still.
    ///
    /// # Errors
    /// Why it cannot be queued now.
    pub(super) async fn follow_now(&self, entry: &Entry) -> Result<(), String> {
        if self.store.done(entry).followed {
            return Ok(());
        }
        // After a crash, the job can come by itself while it is being looked for.
        let Some(_turn) = Turn::take(&self.following, entry) else {
            return Err("they are just being queued".to_owned());
        };
        if self.store.done(entry).followed {
            return Ok(());
        }
        for (index, following) in entry.then.iter().enumerate() {
            match self.put(entry, following).await {
                Ok(queued_as) => info!(index, queued_as, "queued a job that follows"),
                Err(NotQueued::Yet(why)) => return Err(why),
                Err(NotQueued::Ever(why)) => {
                    error!(index, why, "the queue does not take a job that was to follow");
                    self.metrics.followers_refused.inc();
                }
            }
        }
        // If this is lost in a crash they are queued once more, with the same ids.
        self.store.note(entry, Step::Followed);
        Ok(())
    }

    async fn put(&self, entry: &Entry, following: &Following) -> Result<u64, NotQueued> {
        // A job that was run from a file has none.
        let Some(place) = entry.place.as_ref() else {
            return Err(NotQueued::Ever("there is no queue".to_owned()));
        };
        let source = self.servers.named(&place.server);
        let source = source
            .ok_or_else(|| NotQueued::Yet(format!("{} is not among the servers", place.server)))?;
        let tube = following.tube.as_deref().unwrap_or(&place.tube);
        let tube: TubeName = tube.parse().map_err(|error| {
            NotQueued::Ever(format!("{tube:?} is not the name of a tube: {error}"))
        })?;
        let mut connection = source.connection().await.map_err(not_queued)?;
        connection.use_tube(&tube).await.map_err(not_queued)?;
        let queued = connection.put(following.job.get().as_bytes(), PutOptions::default()).await;
        let queued = match queued {
            Ok(id) => id,
            Err(PutError::Failed(error)) => return Err(not_queued(error)),
            Err(error @ (PutError::Draining | PutError::OutOfMemory)) => {
                return Err(NotQueued::Yet(error.to_string()));
            }
            Err(error) => return Err(NotQueued::Ever(error.to_string())),
        };
        source.give(connection);
        Ok(queued)
    }
}

fn not_queued(error: Error) -> NotQueued {
    NotQueued::Yet(error.to_string())
}
