//! One attempt at a job that is held, and what follows: its result, a retry, or its loss.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::ending::{Ending, Verdict};
use crate::exec::Identity;
use crate::executor::{Attempt, Places};
use crate::fault::Part;
use crate::health::Health;
use crate::job::Job;
use crate::lease::Lost;
use crate::metrics::Metrics;
use crate::result::Status;
use crate::retry::jitter;
use crate::setup::Setup;
use crate::store::{Entry, Staging, Step, Store, remove_tree};
use crate::table::{Phase, Table};

use super::events::{Event, Events};
use super::held::Held;
use super::settle::{Kept, Settler};

/// A job that went back to the queue is not unknown here for so much longer than its delay.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Why a job is over that somebody did not want any more.
pub(super) const CANCELLED: &str = "cancelled by an operator";

/// Why a job is over that somebody deleted from the queue.
const DELETED: &str = "the job was deleted from the queue while it ran";

/// Runs jobs that are held.
#[derive(Debug)]
pub(super) struct Attempts {
    pub(super) store: Arc<Store>,
    pub(super) table: Arc<Table>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) events: Events,
    pub(super) settler: Arc<Settler>,
}

impl Attempts {
    /// Runs the job once, and sees to what follows.
    pub(super) async fn run(&self, mut held: Held) {
        let crashed = held.guilty.take().map(|why| (Verdict::Crashed, why));
        let beforehand = || verdict_beforehand(&held.job, &held.setup);
        if let Some((verdict, message)) = crashed.or_else(beforehand) {
            let failure = Ending::Over(verdict).failure(message);
            let attempt = Attempt { failure, ..Attempt::default() };
            return self.finish(held, verdict, attempt).await;
        }
        let running = self.metrics.running(&held.job.kind);
        let number = held.lease.facts.place.job;
        let began = self.store.begin(held.job.id, number, held.permit.is_alone());
        let (mut attempt, lost) = self.attempt(&mut held).await;
        drop((running, began));
        let is_deleted = matches!(lost, Some(Lost::Deleted));
        if let Some(lost) = lost.filter(|_| !is_deleted) {
            self.events.lost(Ending::Lost, &lost, &held.event());
            return held.lease.leave(&lost).await;
        }
        self.metrics.left_behind.inc_by(attempt.left_behind.into());
        if let Some(usage) = &attempt.usage {
            let wall = Duration::from_millis(usage.wall_ms);
            self.metrics.ran(&held.job.kind, wall.as_secs_f64());
        }
        if attempt.broken_off {
            held.active.set_phase(Phase::Finishing);
            let why = if is_deleted { DELETED } else { CANCELLED };
            attempt.failure = Ending::Over(Verdict::Cancelled).failure(why);
            return self.finish(held, Verdict::Cancelled, attempt).await;
        }
        if let Some(part) = attempt.fault.clone() {
            if held.active.cancel.is_wanted() {
                return self.cancel_between(held, attempt).await;
            }
            return self.give_back(held, part, attempt).await;
        }
        if let Some(probe) = held.probe.take().filter(|_| held.active.phase() == Phase::Running) {
            probe.succeed();
        }
        held.active.set_phase(Phase::Finishing);
        held.permit.finish();
        if attempt.failure.is_none() {
            return self.finish(held, Verdict::Successful, attempt).await;
        }
        match held.retry().next(held.active.attempt, attempt.why(), jitter()) {
            Some(_) if held.active.cancel.is_wanted() => self.cancel_between(held, attempt).await,
            Some(delay) => self.retry(held, attempt, delay).await,
            None => self.finish(held, Verdict::Failed, attempt).await,
        }
    }

    /// Ends a job that was cancelled when its attempt had failed already, in the place of another attempt.
    async fn cancel_between(&self, held: Held, mut attempt: Attempt) {
        let failure = attempt.failure.as_ref().map_or("", |failure| &failure.message);
        let why = format!("{CANCELLED}, after an attempt that failed: {failure}");
        attempt.failure = Ending::Over(Verdict::Cancelled).failure(why);
        self.finish(held, Verdict::Cancelled, attempt).await;
    }

    /// Runs the process, and keeps the job meanwhile. What came of it, and why the job is not held any more, if
    /// so.
    async fn attempt(&self, held: &mut Held) -> (Attempt, Option<Lost>) {
        let needed = [held.handler.needs_directory(&held.job), held.handler.artifacts];
        let mut directories = [None, None];
        for (directory, _) in directories.iter_mut().zip(needed).filter(|(_, needed)| *needed) {
            match self.directory(held.handler.limits.identity) {
                Ok(made) => *directory = Some(made),
                Err(error) => {
                    let message = format!("cannot make a working directory: {error}");
                    let mut attempt = Attempt::default();
                    attempt.fault(Part::StateDirectory, message);
                    self.clear(directories).await;
                    return (attempt, None);
                }
            }
        }
        let [work, output] = &directories;
        let places = Places { work: work.as_deref(), output: output.as_deref() };
        let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
        let mut cancel = Some(cancel);
        let cancelled = async {
            // Nothing is ever sent: dropping the sender is the signal.
            let _ = cancelled.await;
        };
        let Held { lease, active, job, handler, setup, .. } = held;
        let (mut attempt, mut lost) = {
            let attempt = setup.executor.attempt(job, handler, active, places, cancelled);
            let mut attempt = std::pin::pin!(attempt);
            let ended = tokio::select! {
                biased;
                ended = lease.keep_while(&mut attempt) => Some(ended),
                () = active.cancel.wanted() => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    cancel.take();
                    lease.keep_while(&mut attempt).await
                }
            };
            match ended {
                Ok(attempt) => (attempt, None),
                Err(lost) => {
                    cancel.take();
                    (attempt.await, Some(lost))
                }
            }
        };
        if let Some(output) = output
            && lost.is_none()
            && !attempt.broken_off
        {
            lost = self.collect(held, &mut attempt, output).await.err();
        }
        if directories.iter().any(Option::is_some) {
            let cleared = held.lease.keep_while(self.clear(directories)).await;
            lost = lost.or(cleared.err());
        }
        (attempt, lost)
    }

    fn directory(&self, identity: Option<Identity>) -> std::io::Result<PathBuf> {
        match identity {
            None => self.store.work_directory(),
            Some(Identity { uid, gid }) => self.store.work_directory_for(uid, gid),
        }
    }

    /// Gives directories back. A job can leave millions of files in them.
    async fn clear(&self, directories: [Option<PathBuf>; 2]) {
        let mut filled = directories.into_iter().flatten().collect::<Vec<_>>();
        filled.retain(|directory| !self.store.take_back(directory));
        if filled.is_empty() {
            return;
        }
        // All of them in one task, which goes on if nobody waits for it any more.
        let removed = spawn_blocking(move || {
            for path in filled {
                if let Err(error) = remove_tree(&path) {
                    warn!(path = %path.display(), %error, "cannot remove a working directory");
                }
            }
        });
        // It does not panic, or has said so.
        let _ = removed.await;
    }

    /// Puts the result on the disk, and then sees to what is owed for it.
    async fn finish(&self, mut held: Held, verdict: Verdict, mut attempt: Attempt) {
        let mut staging = attempt.collected.staging.take();
        let mut result = held.result(verdict, attempt);
        let then = held.followers(verdict, &mut result);
        let mut entry = Entry { then, ..held.entry(verdict, &result) };
        entry.artifacts = staging.as_mut().map(Staging::hand_over);
        let stays_here = verdict == Verdict::Cancelled && held.lease.is_deleted();
        if stays_here {
            // Somebody may have had it released by the queue instead, and another worker may have done it and
            // deleted it in the time between two touches: that result is not to be overwritten.
            (entry.target, entry.callback) = (None, None);
            entry.sends.clear();
        }
        let entry = Arc::new(entry);
        let kept = match self.settler.keep(&mut held.lease, &entry).await {
            Ok(Kept::WithoutLease) => return,
            Err(lost) => {
                staging.iter_mut().for_each(Staging::withdraw);
                return self.events.lost(Ending::Lost, &lost, &held.event());
            }
            Ok(kept) => kept,
        };
        if stays_here {
            self.store.note(&entry, Step::Stored);
        }
        self.table.clear_waiting(held.job.id);
        self.store.forget_crashes(held.job.id, held.lease.facts.place.job);
        let wall_ms = result.usage.map(|usage| usage.wall_ms);
        let event = Event { failure: result.error.as_ref(), wall_ms, ..held.event() };
        self.events.record(Ending::Over(verdict), &event);
        let Held { lease, permit, active, .. } = held;
        // From here on the result is served, and there is room for another job.
        drop((active, permit));
        match kept {
            Kept::Deleted => self.settler.settle(entry),
            _ => self.settler.conclude(lease, entry).await,
        }
    }

    /// This machine could not run it. Nothing more is taken until that may be different, and nobody
    /// counts an attempt.
    async fn give_back(&self, held: Held, part: Part, attempt: Attempt) {
        let message = attempt.failure.as_ref().map_or_else(String::new, |it| it.message.clone());
        // Before it goes back, or it would come here again at once.
        self.health.report(part, message);
        self.health.suspect_disk();
        self.let_go(held, Ending::Unable, attempt, Duration::ZERO).await;
    }

    /// Gives the job back to the queue, to be tried again.
    async fn retry(&self, held: Held, attempt: Attempt, delay: Duration) {
        self.let_go(held, Ending::Retried, attempt, delay).await;
    }

    async fn let_go(&self, held: Held, ending: Ending, attempt: Attempt, delay: Duration) {
        let retry_in = (!delay.is_zero()).then_some(delay);
        let failure = attempt.failure.as_ref();
        self.events.record(ending, &Event { failure, retry_in, ..held.event() });
        let status = ending.consequences().status.unwrap_or(Status::Accepted);
        let document = held.interim(status, attempt);
        if let Ok(until) = Timestamp::now().checked_add(delay + REMEMBERED) {
            self.table.set_waiting(document, until);
        }
        let Held { lease, permit, active, .. } = held;
        // The job may be reserved again before the release returns. It must find room, and must not
        // find itself listed.
        drop((permit, active));
        self.settler.let_go(lease, ending, delay).await;
    }
}

/// Why a job is not even tried.
fn verdict_beforehand(job: &Job, setup: &Setup) -> Option<(Verdict, String)> {
    let outbound = &setup.outbound;
    if let Some(expires) = job.expires_at
        && expires <= Timestamp::now()
    {
        return Some((Verdict::Expired, format!("nobody wants the result since {expires}")));
    }
    // Rather now than after hours of computing.
    let places = [
        ("result", job.result.as_ref().map(|target| &target.url)),
        ("callback.successUri", job.callback.success.as_ref()),
        ("callback.failedUri", job.callback.failed.as_ref()),
    ];
    let refused = places.into_iter().find_map(|(name, url)| {
        let refused = outbound.check(url?).err()?;
        Some((Verdict::Forbidden, format!("{name:?}: {refused}")))
    });
    let mut artifacts = job.artifacts.iter();
    let refused = refused.or_else(|| {
        artifacts.find_map(|(name, target)| {
            let refused = outbound.check(&target.url).err()?;
            Some((Verdict::Forbidden, format!("\"artifacts.{name}\": {refused}")))
        })
    });
    refused.or_else(|| {
        let mut tubes = job.then.iter().enumerate();
        tubes.find_map(|(index, follower)| {
            let tube = follower.tube.as_deref()?;
            let is_allowed = setup.config.then_tubes.iter().any(|it| it.as_str() == tube);
            let why = || {
                format!(
                    "\"then[{index}].tube\": {tube:?} is not in then_tubes of the configuration"
                )
            };
            (!is_allowed).then(|| (Verdict::Forbidden, why()))
        })
    })
}
