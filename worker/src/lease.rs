//! A reserved job, kept alive until it is over.
//!
//! A job belongs to the connection that reserved it, so the connection goes with the job: to touch
//! it while its process runs, and to take it out of the queue in the end.
//!
//! Owns: touching, and knowing when the lease is lost. Must not know: what a job is for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jq_client::{
    Bytes, Command, Connection, Error, JobId, Outcome, Priority, ReleaseOptions, Released, Reply,
    Seconds, Stats,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::metrics::Metrics;
use crate::result::QueuePlace;
use crate::source::Source;

/// Longest time between two touches. A connection that hangs is noticed by them.
const TOUCH_AT_LEAST: Duration = Duration::from_secs(60);

/// How long the queue may take to confirm a job.
const TAKE: Duration = Duration::from_secs(30);

/// Why a job is not ours any more.
#[derive(Debug)]
pub enum Lost {
    /// Another worker may have it: the server does not know it as ours.
    Lease,
    /// The connection is lost, and with it all that it had reserved.
    Connection(Error),
    /// The server did not answer while the time to run was running out.
    Silence,
    /// This worker stops, and does not wait any longer.
    Stopping,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease => write!(f, "the queue does not know the job as ours any more"),
            Self::Connection(error) => error.fmt(f),
            Self::Silence => write!(f, "the queue did not answer within the job's time to run"),
            Self::Stopping => write!(f, "the worker stops"),
        }
    }
}

/// What the queue says of a job.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where it is queued.
    pub place: QueuePlace,
    /// Kept when it is given back.
    pub priority: Priority,
    /// Since it was put.
    pub age: Duration,
    /// How often it was released or timed out before.
    pub earlier: u32,
}

/// A reserved job. When it is dropped, so is the connection, and the job is ready for others.
#[derive(Debug)]
pub struct Lease {
    connection: Connection,
    source: Arc<Source>,
    id: JobId,
    ttr: Duration,
    /// Until then the job is ours, whatever happens.
    good_until: Instant,
    touched: Instant,
    /// True when nobody is to wait any longer.
    stopping: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    /// What the queue says of it.
    pub facts: Facts,
    /// Its body.
    pub body: Bytes,
}

impl Lease {
    /// Makes sure that a job that came over this connection is ours, and asks the queue about it. This
    /// process may have been stopped for a while when the job came, so the answer to the reserve may
    /// be old.
    pub async fn take(
        mut connection: Connection,
        source: Arc<Source>,
        job: jq_client::Job,
        stopping: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Lost> {
        let reserved = Instant::now();
        let replies = async {
            let mut pipeline = connection.pipeline().await?;
            pipeline.send(&Command::Touch(job.id));
            pipeline.send(&Command::StatsJob(job.id));
            pipeline.collect().await
        };
        let replies = match timeout(TAKE, replies).await {
            Ok(replies) => replies.map_err(Lost::Connection)?,
            Err(_) => return Err(Lost::Silence),
        };
        let [Reply::Touched, Reply::Ok(stats)] = &replies[..] else { return Err(Lost::Lease) };
        let stats = Stats::parse(stats).map_err(|_| Lost::Lease)?;
        let number = |name| stats.number(name).unwrap_or(0);
        let ttr = Duration::from_secs(number("ttr").max(1));
        let facts = Facts {
            place: QueuePlace {
                job: job.id,
                tube: stats.get("tube").unwrap_or_default().to_owned(),
                server: source.name().to_owned(),
            },
            priority: stats.parsed("pri").unwrap_or(jq_client::DEFAULT_PRIORITY),
            age: Duration::from_secs(number("age")),
            earlier: u32::try_from(number("releases") + number("timeouts")).unwrap_or(u32::MAX),
        };
        Ok(Self {
            connection,
            source,
            id: job.id,
            ttr,
            good_until: reserved + ttr,
            touched: reserved,
            stopping,
            metrics,
            facts,
            body: job.body,
        })
    }

    /// Touches the job until it is lost, which it says; it never returns otherwise. It can be
    /// dropped at any time and called again.
    pub async fn keep(&mut self) -> Lost {
        let every = (self.ttr / 3).min(TOUCH_AT_LEAST);
        loop {
            tokio::select! {
                () = sleep_until(self.touched + every) => {}
                error = self.connection.closed() => return Lost::Connection(error),
                _ = self.stopping.wait_for(|stopping| *stopping) => return Lost::Stopping,
            }
            if let Err(lost) = self.touch_by(self.good_until).await {
                return lost;
            }
        }
    }

    async fn touch_by(&mut self, limit: Instant) -> Result<(), Lost> {
        let now = Instant::now();
        match timeout_at(limit, self.connection.touch(self.id)).await {
            Ok(Ok(Outcome::Done)) => {
                (self.touched, self.good_until) = (now, now + self.ttr);
                self.metrics.touches.inc();
                Ok(())
            }
            Ok(Ok(Outcome::NotFound)) => Err(Lost::Lease),
            Ok(Err(error)) => Err(Lost::Connection(error)),
            Err(_) => Err(Lost::Silence),
        }
    }

    /// Makes sure that the job is ours still, if so much time has passed that it may be another's: this
    /// process may have been stopped for a while.
    pub async fn confirm(&mut self) -> Result<(), Lost> {
        if Instant::now() < self.good_until {
            return Ok(());
        }
        self.touch_by(Instant::now() + self.ttr).await
    }

    /// Waits for something, and keeps the job meanwhile.
    pub async fn keep_while<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Lost> {
        tokio::select! {
            // What is done is done, also if the lease is lost in the same moment.
            biased;
            result = work => Ok(result),
            lost = self.keep() => Err(lost),
        }
    }

    /// Where it came from.
    pub fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }

    /// Deletes the job.
    pub async fn delete(mut self) -> Result<(), Lost> {
        let outcome = self.connection.delete(self.id);
        let outcome = answer(&mut self.stopping, outcome).await;
        self.end(outcome.map(Outcome::is_done))
    }

    /// Sets the job aside.
    pub async fn bury(mut self) -> Result<(), Lost> {
        let outcome = self.connection.bury(self.id, self.facts.priority);
        let outcome = answer(&mut self.stopping, outcome).await;
        self.end(outcome.map(Outcome::is_done))
    }

    /// Gives the job back, to be taken again after `delay`, which is rounded up to seconds.
    pub async fn release(mut self, delay: Duration) -> Result<(), Lost> {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        let delay = Seconds::try_from(seconds).unwrap_or(Seconds::MAX);
        let options = ReleaseOptions { priority: self.facts.priority, delay };
        let released = self.connection.release(self.id, options);
        let released = answer(&mut self.stopping, released).await;
        self.end(released.map(|released| released != Released::NotFound))
    }

    /// The connection can have another job.
    fn end(self, done: Result<bool, Lost>) -> Result<(), Lost> {
        let done = done?;
        self.source.give(self.connection);
        if done { Ok(()) } else { Err(Lost::Lease) }
    }
}

/// Waits for what the server says, unless nobody is to wait any longer.
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
