//! A reserved job, kept alive until it is over.
//!
//! A job belongs to the connection that reserved it, so the connection goes with the job: to touch
//! it while its process runs, and to take it out of the queue in the end. It may have other jobs too, if
//! these came together.
//!
//! Owns: touching, and knowing when the lease is lost. Must not know: what a job is for.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jq_client::{
    Bytes, Command, Connection, Error, Job, JobId, Outcome, Priority, ReleaseOptions, Reply,
    Seconds, Stats,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::ending::QueueAction;
use crate::hold::{Hold, LastWord, share};
use crate::metrics::Metrics;
use crate::result::QueuePlace;
use crate::source::Source;

/// Longest time between two touches. They are what reveals a connection that hangs.
const TOUCH_AT_LEAST: Duration = Duration::from_secs(60);

/// How long the queue may take to confirm a job.
const TAKE: Duration = Duration::from_secs(30);

/// How long the queue may take to close a connection when the worker stops.
const LEAVE: Duration = Duration::from_secs(1);

/// Why this worker does not hold a job any more.
#[derive(Debug)]
pub enum Lost {
    /// The server does not know the job as reserved by us. Another worker may have it.
    Lease,
    /// Nobody can have it: it was deleted from the queue while it was ours.
    Deleted,
    /// The connection is lost, and with it the reservation.
    Connection(Error),
    /// The server did not answer within the job's time to run.
    Silence,
    /// This worker stops and waits no longer.
    Stopping,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease => write!(f, "the queue no longer has the job as reserved by this worker"),
            Self::Deleted => write!(f, "the job was deleted from the queue"),
            Self::Connection(error) => error.fmt(f),
            Self::Silence => write!(f, "the queue did not answer within the job's time to run"),
            Self::Stopping => write!(f, "the worker is stopping"),
        }
    }
}

/// What the queue says about a job.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where it is queued.
    pub place: QueuePlace,
    /// It is given back with the same priority.
    pub priority: Priority,
    /// Time since it was put, in whole seconds.
    pub age: Duration,
    /// How often it was released or timed out before this reserve.
    pub earlier: u32,
    /// How often it was buried and kicked.
    pub kicked: u32,
    /// How often a connection that had reserved it vanished, for reasons that this worker does not know.
    pub vanished: u32,
    /// Whether the queue counts exactly that.
    pub counts_vanished: bool,
}

/// A reserved job. When it is dropped, so is the connection, and the job is ready for others; if it shares
/// the connection, that waits for the others.
#[derive(Debug)]
pub struct Lease {
    hold: Hold,
    source: Arc<Source>,
    id: JobId,
    ttr: Duration,
    /// Until then the job is ours, whatever happens to the connection.
    good_until: Instant,
    touched: Instant,
    /// As `touched`, by the clocks that go on while the machine is suspended.
    watch: Watch,
    /// The queue does not have it any more.
    is_deleted: bool,
    /// Becomes true when nobody is to wait any longer.
    stopping: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    /// What the queue says about it.
    pub facts: Facts,
    /// Its body.
    pub body: Bytes,
}

impl Lease {
    /// Confirms that a job that came over this connection is ours, and asks the queue about it. If this
    /// process was suspended when the job came, the answer to the reserve may be old.
    pub async fn take(
        mut connection: Connection,
        source: Arc<Source>,
        job: Job,
        stopping: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Lost> {
        let (reserved, watch) = (Instant::now(), Watch::now());
        let jobs = [job];
        let replies = confirm(&mut connection, &jobs).await?;
        let [job] = jobs;
        let (facts, ttr) = facts_of(&source, job.id, &replies)?;
        let hold = Hold::Own(connection);
        let asked = Asked { reserved, watch, stopping, metrics, source };
        Ok(asked.lease(hold, job, facts, ttr))
    }

    /// As [`take`](Self::take), for jobs that came over one connection, and share it from now on.
    pub async fn take_all(
        mut connection: Connection,
        source: Arc<Source>,
        jobs: Vec<Job>,
        stopping: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Result<Vec<Result<Self, Lost>>, Lost> {
        let (reserved, watch) = (Instant::now(), Watch::now());
        let replies = confirm(&mut connection, &jobs).await?;
        let facts = jobs.iter().zip(replies.chunks(2));
        let facts: Vec<_> =
            facts.map(|(job, replies)| facts_of(&source, job.id, replies)).collect();
        let ours = jobs.iter().zip(&facts);
        let ours: Vec<_> =
            ours.filter_map(|(job, facts)| Some((job.id, facts.as_ref().ok()?.1))).collect();
        let mut members = share(connection, Arc::clone(&source), ours.into_iter()).into_iter();
        let asked = Asked { reserved, watch, stopping, metrics, source };
        let lease = |(job, facts): (Job, Result<(Facts, Duration), Lost>)| {
            let (facts, ttr) = facts?;
            let member = members.next().ok_or(Lost::Lease)?;
            Ok(asked.lease(Hold::Shared(member), job, facts, ttr))
        };
        Ok(jobs.into_iter().zip(facts).map(lease).collect())
    }

    /// Touches the job until it is lost, and returns why. It can be dropped at any time and called
    /// again.
    pub async fn keep(&mut self) -> Lost {
        if self.is_deleted {
            return Lost::Deleted;
        }
        let every = touch_every(self.ttr);
        loop {
            tokio::select! {
                () = sleep_until(self.touched + every) => {}
                error = self.hold.closed() => return Lost::Connection(error),
                _ = self.stopping.wait_for(|stopping| *stopping) => return Lost::Stopping,
            }
            if let Err(lost) = self.touch_by(self.good_until).await {
                return lost;
            }
        }
    }

    async fn touch_by(&mut self, limit: Instant) -> Result<(), Lost> {
        let (now, watch) = (Instant::now(), Watch::now());
        match timeout_at(limit, self.hold.touch(self.id)).await {
            Ok(Ok(Outcome::Done)) => {
                (self.touched, self.good_until, self.watch) = (now, now + self.ttr, watch);
                self.metrics.touches.inc();
                Ok(())
            }
            Ok(Ok(Outcome::NotFound)) => Err(self.why_not_ours(limit).await),
            Ok(Err(error)) => Err(Lost::Connection(error)),
            Err(_) => Err(Lost::Silence),
        }
    }

    /// Why the queue does not know the job as ours. While its time to run has not passed since the last touch, and
    /// over the same connection, nobody else can have had it: if the queue does not have it at all, it was
    /// deleted. Otherwise another worker may have it, or may have done and deleted it.
    async fn why_not_ours(&mut self, limit: Instant) -> Lost {
        let exists = timeout_at(limit, self.hold.exists(self.id)).await;
        let was_ours = self.touched.elapsed().max(self.watch.elapsed()) < self.ttr;
        match exists {
            Ok(Ok(false)) if was_ours => {
                self.is_deleted = true;
                Lost::Deleted
            }
            _ => Lost::Lease,
        }
    }

    /// Whether the queue was seen not to have the job any more, while nobody else can have reserved it by itself.
    pub fn is_deleted(&self) -> bool {
        self.is_deleted
    }

    /// Its time to run, in seconds.
    pub fn ttr(&self) -> u32 {
        u32::try_from(self.ttr.as_secs()).unwrap_or(u32::MAX)
    }

    /// Confirms that the job is ours still, if its time to run may have passed: this process may have
    /// been suspended for a while.
    pub async fn confirm(&mut self) -> Result<(), Lost> {
        if Instant::now() < self.good_until {
            return Ok(());
        }
        self.touch_by(Instant::now() + self.ttr).await
    }

    /// Waits for something, and touches the job meanwhile.
    pub async fn keep_while<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Lost> {
        tokio::select! {
            // A result counts also if the lease is lost in the same moment.
            biased;
            result = work => Ok(result),
            lost = self.keep() => Err(lost),
        }
    }

    /// Gives the job up for this reason. When the worker stops, the queue is told so, and does not count
    /// the job as one whose worker died.
    pub async fn leave(self, lost: &Lost) {
        match lost {
            Lost::Stopping => self.quit().await,
            Lost::Connection(_) | Lost::Silence => self.source.note_lost(self.id),
            Lost::Lease | Lost::Deleted => {}
        }
    }

    /// Gives the job back by the end of the connection: for the queue, this is no attempt.
    pub async fn quit(self) {
        self.source.note_returned(self.id);
        let _ = timeout(LEAVE, self.hold.quit()).await;
    }

    /// The server that it came from.
    pub fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }

    /// Does this with the queued job. `delay` is for [`QueueAction::Release`], and is rounded up to
    /// seconds.
    ///
    /// # Errors
    ///
    /// The queue did not confirm it.
    pub async fn end(mut self, action: QueueAction, delay: Duration) -> Result<(), Lost> {
        if action == QueueAction::Return {
            // A `quit` gives the job back as it was: with a release the queue would count an attempt,
            // and without a word a worker that vanished.
            self.source.note_returned(self.id);
            return answer(&mut self.stopping, self.hold.quit()).await;
        }
        let priority = self.facts.priority;
        let word = match action {
            // The connection ends.
            QueueAction::None | QueueAction::Return => return Ok(()),
            QueueAction::Delete => LastWord::Delete,
            QueueAction::Bury => LastWord::Bury(priority),
            QueueAction::Release => {
                let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
                let delay = Seconds::try_from(seconds).unwrap_or(Seconds::MAX);
                LastWord::Release(ReleaseOptions { priority, delay })
            }
        };
        let is_done = answer(&mut self.stopping, self.hold.end(self.id, word)).await?;
        // The connection does not have this job any more, so it can have another one.
        self.hold.give(&self.source);
        if is_done { Ok(()) } else { Err(Lost::Lease) }
    }
}

/// A moment, by the clocks that do not stand still with this machine.
#[derive(Debug, Clone, Copy)]
struct Watch {
    /// Since the machine was started, also while it is suspended.
    boot: Duration,
    /// It may be set, but also tells of a virtual machine that was stopped.
    wall: SystemTime,
}

impl Watch {
    fn now() -> Self {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Neither is ever negative.
        let boot = Duration::new(
            u64::try_from(boot.tv_sec).unwrap_or_default(),
            u32::try_from(boot.tv_nsec).unwrap_or_default(),
        );
        Self { boot, wall: SystemTime::now() }
    }

    /// How long ago that was, by whichever clock says more.
    fn elapsed(&self) -> Duration {
        let now = Self::now();
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        now.boot.saturating_sub(self.boot).max(wall)
    }
}

/// What all that were asked about together have in common.
struct Asked {
    reserved: Instant,
    watch: Watch,
    stopping: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    source: Arc<Source>,
}

impl Asked {
    fn lease(&self, hold: Hold, job: Job, facts: Facts, ttr: Duration) -> Lease {
        Lease {
            hold,
            source: Arc::clone(&self.source),
            id: job.id,
            ttr,
            good_until: self.reserved + ttr,
            touched: self.reserved,
            watch: self.watch,
            is_deleted: false,
            stopping: self.stopping.clone(),
            metrics: Arc::clone(&self.metrics),
            facts,
            body: job.body,
        }
    }
}

/// Touches jobs, and asks the queue about them: two replies for each.
async fn confirm(connection: &mut Connection, jobs: &[Job]) -> Result<Vec<Reply<Bytes>>, Lost> {
    let replies = async {
        let mut pipeline = connection.pipeline().await?;
        for job in jobs {
            pipeline.send(&Command::Touch(job.id));
            pipeline.send(&Command::StatsJob(job.id));
        }
        pipeline.collect().await
    };
    match timeout(TAKE, replies).await {
        Ok(replies) => replies.map_err(Lost::Connection),
        Err(_) => Err(Lost::Silence),
    }
}

/// What the queue has said about a job, and its time to run.
fn facts_of(
    source: &Source,
    id: JobId,
    replies: &[Reply<Bytes>],
) -> Result<(Facts, Duration), Lost> {
    let [Reply::Touched, Reply::Ok(stats)] = replies else { return Err(Lost::Lease) };
    let stats = Stats::parse(stats).map_err(|_| Lost::Lease)?;
    let number = |name| stats.number(name).unwrap_or(0);
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let ttr = Duration::from_secs(number("ttr").max(1));
    let earlier = number("releases") + number("timeouts");
    let vanished = stats.disconnects().unwrap_or_else(|| {
        // What else ends a reserve is counted. This one has not ended.
        number("reserves").saturating_sub(1 + earlier + number("buries"))
    });
    let counts_vanished = stats.disconnects().is_some();
    let explained = source.explained(id, counts_vanished);
    let facts = Facts {
        place: QueuePlace {
            job: id,
            tube: stats.get("tube").unwrap_or_default().to_owned(),
            server: source.name().to_owned(),
        },
        priority: stats.parsed("pri").unwrap_or(jq_client::DEFAULT_PRIORITY),
        age: Duration::from_secs(number("age")),
        earlier: small(earlier),
        kicked: small(number("kicks").min(number("buries"))),
        vanished: small(vanished).saturating_sub(explained),
        counts_vanished,
    };
    Ok((facts, ttr))
}

/// The time between two touches of a job with this time to run.
fn touch_every(ttr: Duration) -> Duration {
    (ttr / 3).min(TOUCH_AT_LEAST)
}

/// Waits for an answer of the server, unless nobody is to wait any longer.
async fn answer<T>(
    stopping: &mut watch::Receiver<bool>,
    said: impl Future<Output = Result<T, Error>>,
) -> Result<T, Lost> {
    tokio::select! {
        biased;
        said = said => said.map_err(Lost::Connection),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Lost::Stopping),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_touched_in_time() {
        let seconds = Duration::from_secs;
        assert_eq!(touch_every(seconds(60)), seconds(20));
        assert_eq!(touch_every(seconds(1)), seconds(1) / 3);
        assert_eq!(touch_every(seconds(3600)), seconds(60));
    }
}
