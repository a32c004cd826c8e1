//! Looks through the ready jobs of a server, while some of them cannot be run here.
//!
//! A waiting reserve would bring the same jobs again and again. So many are reserved over one connection, it
//! is noted which they are, and all go back at once with a `quit`. Those that can be run are then reserved
//! by their numbers. Other workers can have the rest, and no counter of the queue takes it for an attempt.
//! When a look did not come to the end of the ready jobs, and none of those that it saw can be run, those behind
//! them have to be found in another way. jq-server [lists](beyond) them. beanstalkd shows a job that is ready
//! only if it is the first, is reserved, or is asked for by its number. So there, some of those in front are
//! released with a delay: the only way to have others in front without holding these. The queue counts that,
//! and other workers take it for an attempt.
//!
//! While a look is under way nobody else can have these jobs. So looks take at most a fifth of the time, and
//! after one that saw all there is another only when the queue says that something has changed, or after a
//! while.
//!
//! Owns: when there is a look, and how far it goes. Must not know: which jobs can be run.

use std::sync::Arc;
use std::time::Duration;

use jq_client::{Bytes, Command, Connection, Error, JobId, Reply, Seconds, Stats};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use crate::parked::Candidate;
use crate::retry::{Backoff, jitter};
use crate::source::{Source, Taker};

use beyond::Beyond;

mod beyond;

/// How far a look goes.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// So many are looked through at least, and when one is found that can be run, as many again as were in
    /// front of it: so a look that goes far brings much.
    least: usize,
    /// So many are looked through at most.
    most: usize,
    /// For so long.
    time: Duration,
    /// How many are released with a delay at most.
    aside: usize,
}

const EXTENT: Extent =
    Extent { least: 2_000, most: 20_000, time: Duration::from_secs(1), aside: 2_000 };

/// For how long jobs are released at first. It doubles each time.
const SET_ASIDE: Backoff =
    Backoff { first: Duration::from_secs(30), max: Duration::from_secs(600) };

/// How many commands are sent at a time.
const BATCH: usize = 50;

/// How long a server may take to answer them.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time between two looks, as a multiple of the time that the first one took, and at least.
const PAUSE: u32 = 4;
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// When there is another look if nothing seems to have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How often the queue is asked whether something has changed.
const ASK: Duration = Duration::from_millis(100);

/// How soon it is seen that jobs are ready again, and how long that is waited for.
const RETURNED: Duration = Duration::from_millis(2);
const RETURNED_WITHIN: Duration = Duration::from_millis(250);

/// How soon it is seen that the jobs that are known are taken, and how long that is waited for: more urgent
/// ones may have come.
const TAKEN: Duration = Duration::from_millis(10);
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// When there was a look at a server, and when there is another.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    earliest: Option<Instant>,
    /// Until then there is none unless something has changed, and what changes are measured against.
    idle: Option<(Instant, Counts)>,
    /// How far those behind have been seen.
    beyond: Beyond,
}

/// What the tubes of a server say of their jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// How many were ever put.
    total: u64,
    ready: u64,
    /// Delayed and buried.
    aside: u64,
}

impl Counts {
    /// Whether there may be ready jobs that there were not. So many are known.
    fn has_new(self, before: Self, known: usize) -> bool {
        let ready = before.ready.min(known as u64);
        self.total != before.total || self.ready > ready || self.aside < before.aside
    }

    /// What the next change is measured against: one that comes after one that went is new.
    fn least(self, before: Self) -> Self {
        let (ready, aside) = (self.ready.min(before.ready), self.aside.max(before.aside));
        Self { total: self.total, ready, aside }
    }
}

impl Looks {
    /// Waits until it is time, and looks. Returns sooner when something has to be decided anew.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub(crate) async fn round(
        &mut self,
        source: &Arc<Source>,
        taker: &impl Taker,
    ) -> Result<(), Error> {
        await_taken(source, taker).await;
        if !taker.wants_any() {
            sleep(TAKEN).await;
            return Ok(());
        }
        if let Some(earliest) = self.earliest.take() {
            sleep_until(earliest).await;
            return Ok(());
        }
        // Jobs are taken, and go back, while the queue is asked.
        let known = taker.known(source);
        let counts = counts(source).await?;
        let known = known.max(taker.known(source));
        if let Some((until, before)) = &mut self.idle
            && Instant::now() < *until
            && !counts.has_new(*before, known)
        {
            *before = counts.least(*before);
            sleep_until((*until).min(Instant::now() + ASK)).await;
            return Ok(());
        }
        let began = Instant::now();
        let all = self.look_through(source, taker).await?;
        let now = Instant::now();
        self.earliest = Some(now + (PAUSE * (now - began)).max(MIN_PAUSE));
        // What has come since the counts were taken may have been seen, or not.
        self.idle = all.map(|ready| (now + LOOK_AGAIN, Counts { ready, ..counts }));
        Ok(())
    }

    /// Looks through the ready jobs. Returns how many there are. `None`: it did not see all of them.
    async fn look_through(
        &mut self,
        source: &Arc<Source>,
        taker: &impl Taker,
    ) -> Result<Option<u64>, Error> {
        let (source, taker, mut beyond) = (Arc::clone(source), taker.clone(), self.beyond);
        let look = async move {
            let connection = source.connection().await?;
            // While there are others to run, none needs to be set aside.
            let aside = if taker.has_runnable(&source) { 0 } else { EXTENT.aside };
            taker.begin_look(&source);
            let mut seen = Seen::default();
            let began = Instant::now();
            let extent = Extent { aside, ..EXTENT };
            let looked = seen.look(connection, &source, &taker, extent, &mut beyond).await;
            debug!(
                server = source.name(),
                jobs = seen.jobs.len(),
                is_all = seen.is_all,
                has_runnable = seen.has_runnable,
                took = ?began.elapsed(),
                "looked through the ready jobs"
            );
            if looked.is_err() {
                // They vanished with the connection, but no worker has died.
                seen.jobs.iter().for_each(|job| source.note_lost(*job));
                seen.found.clear();
            }
            taker.end_look(&source, seen.found, seen.is_all && looked.is_ok());
            looked.map(|()| (seen.is_all.then_some(seen.jobs.len() as u64), beyond))
        };
        // It goes on if the loop is stopped: dropped in between, the connection would have vanished with all
        // the jobs that it has, which the queue may count against them.
        let Ok(looked) = tokio::spawn(look).await else { return Ok(None) };
        let (all, beyond) = looked?;
        self.beyond = beyond;
        Ok(all)
    }
}

/// Waits until what is known is taken, as far as it can be run.
async fn await_taken(source: &Arc<Source>, taker: &impl Taker) {
    let taken = async {
        while taker.has_runnable(source) {
            sleep(TAKEN).await;
        }
    };
    let _ = timeout(TAKEN_WITHIN, taken).await;
}

async fn counts(source: &Arc<Source>) -> Result<Counts, Error> {
    let mut connection = source.connection().await?;
    let mut counts = Counts { total: 0, ready: 0, aside: 0 };
    for tube in source.tubes() {
        // Without jobs there may be no such tube.
        let Some(stats) = connection.stats_tube(tube).await? else { continue };
        let number = |name| stats.number(name).unwrap_or(0);
        counts.total += number("total-jobs");
        counts.ready += number("current-jobs-ready");
        counts.aside += number("current-jobs-delayed") + number("current-jobs-buried");
    }
    source.give(connection);
    Ok(counts)
}

/// What a look has seen.
#[derive(Debug, Default)]
struct Seen {
    /// All that were reserved.
    jobs: Vec<JobId>,
    found: Vec<Candidate>,
    has_runnable: bool,
    /// There were no more.
    is_all: bool,
}

impl Seen {
    async fn look(
        &mut self,
        mut connection: Connection,
        source: &Arc<Source>,
        taker: &impl Taker,
        extent: Extent,
        beyond: &mut Beyond,
    ) -> Result<(), Error> {
        self.reserve(&mut connection, source, taker, extent).await?;
        let is_stuck = !self.is_all && !self.has_runnable && extent.aside > 0;
        let can_list = is_stuck && beyond::can_list(source).await?;
        if is_stuck && !can_list {
            self.set_aside(&mut connection, source, taker, extent.aside).await?;
        }
        // Only then are they ready again. It counts as no vanished worker.
        connection.quit().await?;
        self.await_return(source).await?;
        if can_list {
            let seen = self.jobs.iter().copied().collect();
            let found = beyond.find(source, taker, &seen, extent).await?;
            self.has_runnable = !found.is_empty();
            self.found.extend(found);
        }
        Ok(())
    }

    /// Waits until the last one is ready again, for a moment: a server may give many back in steps, and what
    /// is reserved still is not taken.
    async fn await_return(&self, source: &Arc<Source>) -> Result<(), Error> {
        let Some(last) = self.jobs.last() else { return Ok(()) };
        let (until, mut connection) =
            (Instant::now() + RETURNED_WITHIN, source.connection().await?);
        while let Some(stats) = connection.stats_job(*last).await? {
            // Another worker may have it by now.
            if stats.get("state") != Some("reserved") || Instant::now() >= until {
                break;
            }
            sleep(RETURNED).await;
        }
        source.give(connection);
        Ok(())
    }

    async fn reserve(
        &mut self,
        connection: &mut Connection,
        source: &Arc<Source>,
        taker: &impl Taker,
        extent: Extent,
    ) -> Result<(), Error> {
        let (until, mut enough) = (Instant::now() + extent.time, extent.most);
        let reserve = Command::ReserveWithTimeout(Some(0));
        while Instant::now() < until {
            for reply in exchange(connection, (0..BATCH).map(|_| reserve.clone())).await? {
                let Reply::Reserved(number, body) = reply else {
                    // DEADLINE_SOON says the same as TIMED_OUT, while a job is about to time out.
                    self.is_all = true;
                    return Ok(());
                };
                self.jobs.push(number);
                let (candidate, is_runnable) = taker.choose(source, number, &body);
                self.found.push(candidate);
                if is_runnable && !self.has_runnable {
                    self.has_runnable = true;
                    enough = (2 * self.jobs.len()).clamp(extent.least, extent.most);
                }
            }
            if self.jobs.len() >= enough {
                break;
            }
        }
        Ok(())
    }

    /// Releases jobs with a delay that are in front of others. What this machine is at fault for is not
    /// among them.
    async fn set_aside(
        &mut self,
        connection: &mut Connection,
        source: &Arc<Source>,
        taker: &impl Taker,
        most: usize,
    ) -> Result<(), Error> {
        let may = |found: &&Candidate| taker.may_set_aside(found);
        let jobs: Vec<_> = self.found.iter().filter(may).map(|it| it.job.number).collect();
        for jobs in jobs[..jobs.len().min(most)].chunks(BATCH) {
            let stats = exchange(connection, jobs.iter().copied().map(Command::StatsJob)).await?;
            let release = jobs.iter().zip(stats).filter_map(|(&id, reply)| {
                let Reply::Ok(stats) = reply else { return None };
                let priority = Stats::parse(&stats).ok()?.parsed("pri")?;
                let times = taker.note_set_aside(source, id);
                let seconds = SET_ASIDE.delay(times, jitter()).as_secs();
                let delay = Seconds::try_from(seconds).unwrap_or(Seconds::MAX);
                Some(Command::Release { id, priority, delay })
            });
            exchange(connection, release).await?;
        }
        Ok(())
    }
}

async fn exchange(
    connection: &mut Connection,
    commands: impl Iterator<Item = Command>,
) -> Result<Vec<Reply<Bytes>>, Error> {
    let mut pipeline = connection.pipeline().await?;
    commands.for_each(|command| pipeline.send(&command));
    timeout(PATIENCE, pipeline.collect()).await.unwrap_or_else(|_| Err(no_reply()))
}

fn no_reply() -> Error {
    let command = "reserve-with-timeout 0".to_owned();
    Error::NoReply { command, after: PATIENCE, sent: true }
}

#[cfg(test)]
mod tests;
