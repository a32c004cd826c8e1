//! Jobs that are queued at certain times, once for each, by whichever of several workers comes first.
//!
//! A schedule has one job in a tube of its own, its baton. Who has reserved it queues what is due. Its priority is
//! the last moment that was dealt with, in seconds since 1970, because that is all of a job that a release changes. The
//! job that is due and the release of the baton are sent in one write, so a worker that is killed has sent both or
//! neither. If several workers made batons at the same moment, nobody queues anything until one holds all of them.
//!
//! Owns: when jobs are due, and whose turn it is. Must not know: what is done with them.

use std::time::{Duration, Instant};

use croner::Cron;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use jq_client::{
    Command, ConnectOptions, Connection, JobId, Outcome, PutOptions, ReleaseOptions, Reply,
    Reservation, TubeName,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};
use uuid::{Builder, Uuid};

use crate::retry::{Backoff, jitter};

/// A moment that is longer ago has been missed.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// When the last moment is further ahead than this, somebody's clock was wrong.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// The baton is looked at as often, in seconds: clocks can jump meanwhile.
const MAX_DELAY: i64 = 60;

/// For how long a baton belongs to who reserved it, and for how much of that it is relied on.
const TTR: u32 = 10;
const RELIED_ON: Duration = Duration::from_secs(5);

/// How long a server may take to answer, beside what it is told to wait.
const PATIENCE: Duration = Duration::from_secs(10);

const RETRY: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(30) };

/// What becomes of moments at which no worker was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// Nothing.
    #[default]
    Skip,
    /// One job is queued for all of them, as of the last.
    RunOnce,
}

/// Jobs that are queued at certain times.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Workers that have one of the same name share it.
    pub name: String,
    /// When.
    pub cron: Cron,
    /// Where that is the time.
    pub time_zone: TimeZone,
    /// Where the jobs are queued.
    pub tube: TubeName,
    /// Where the baton is.
    pub baton: TubeName,
    /// What becomes of missed moments.
    pub missed: Missed,
    /// The members of the jobs, without the id.
    pub job: Map<String, Value>,
}

/// What is to be done by who has the baton.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Queue the job of this moment.
    Queue(Timestamp),
    /// All moments up to this one are over.
    Skip(Timestamp),
    /// Nothing before this.
    Wait(Timestamp),
    /// The last moment cannot be right.
    ClockWasWrong,
}

impl Schedule {
    /// The first moment after `time`. `None`: there is none.
    pub fn next(&self, time: Timestamp) -> Option<Timestamp> {
        let time = time.to_zoned(self.time_zone.clone());
        self.cron.find_next_occurrence(&time, false).ok().map(|next| next.timestamp())
    }

    /// The last moment that is not after `time`.
    fn last(&self, time: Timestamp) -> Option<Timestamp> {
        let time = time.to_zoned(self.time_zone.clone());
        self.cron.find_previous_occurrence(&time, true).ok().map(|last| last.timestamp())
    }

    /// The job of a moment. It has the same id whoever queues it.
    pub fn job_of(&self, moment: Timestamp) -> Vec<u8> {
        let mut hasher = Sha256::new();
        hasher.update(b"schedule");
        hasher.update(moment.as_second().to_le_bytes());
        hasher.update(&self.name);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize()[..16]);
        // Of version 8 (RFC 9562): a digest of what it stands for.
        let id: Uuid = Builder::from_custom_bytes(bytes).into_uuid();
        let mut job = self.job.clone();
        job.insert("id".to_owned(), id.to_string().into());
        job.insert("created_at".to_owned(), format!("{moment:.3}").into());
        Value::Object(job).to_string().into_bytes()
    }

    /// What is to be done now, if all moments up to `last` were dealt with.
    fn due(&self, last: Timestamp, now: Timestamp) -> Due {
        if last.duration_since(now) > AHEAD {
            return Due::ClockWasWrong;
        }
        let far = now + SignedDuration::from_hours(24);
        let Some(next) = self.next(last) else { return Due::Wait(far) };
        if next > now {
            return Due::Wait(next);
        }
        if now.duration_since(next) <= LATE {
            return Due::Queue(next);
        }
        // It was missed, and perhaps millions of others. One stands for all.
        let missed = self.last(now - LATE).unwrap_or(next).max(next);
        match self.missed {
            Missed::Skip => Due::Skip(missed),
            Missed::RunOnce => Due::Queue(missed),
        }
    }

    /// Queues the jobs of this schedule as long as it is polled.
    pub async fn keep(self, server: ConnectOptions) {
        let mut failures = 0;
        loop {
            let why = match self.work(&server, &mut failures).await {
                Ok(never) => match never {},
                Err(why) => why,
            };
            failures += 1;
            let delay = RETRY.delay(failures, jitter());
            let schedule = self.name.as_str();
            warn!(schedule, why, retry_in = ?delay, "cannot see to the schedule");
            sleep(delay).await;
        }
    }

    async fn work(
        &self,
        server: &ConnectOptions,
        failures: &mut u32,
    ) -> Result<std::convert::Infallible, String> {
        let mut connection = Connection::connect(server).await.map_err(text)?;
        connection.watch(&self.baton).await.map_err(text)?;
        let default = "default".parse().expect("it is a tube's name");
        let _ = connection.ignore(&default).await.map_err(text)?;
        loop {
            connection.use_tube(&self.baton).await.map_err(text)?;
            if self.batons(&mut connection).await? == 0 {
                self.begin(&mut connection).await?;
            }
            let wait = u32::try_from(MAX_DELAY).expect("it is small");
            let patience = Duration::from_secs(wait.into()) + PATIENCE;
            let reserved = timeout(patience, connection.reserve_with_timeout(wait)).await;
            let reserved = reserved.map_err(|_| "the server has stopped answering".to_owned())?;
            if let Reservation::Reserved(job) = reserved.map_err(text)? {
                let turn = self.turn(&mut connection, job.id);
                let done = timeout(RELIED_ON, turn).await;
                done.map_err(|_| "the server takes too long to answer".to_owned())??;
            }
            *failures = 0;
        }
    }

    /// How many batons there are.
    async fn batons(&self, connection: &mut Connection) -> Result<u64, String> {
        let stats = connection.stats_tube(&self.baton).await.map_err(text)?;
        let Some(stats) = stats else { return Ok(0) };
        let states = ["current-jobs-ready", "current-jobs-reserved", "current-jobs-delayed"];
        Ok(states.iter().filter_map(|state| stats.number(state)).sum())
    }

    /// The schedule begins now.
    async fn begin(&self, connection: &mut Connection) -> Result<(), String> {
        let body = serde_json::json!({"schedule": self.name}).to_string();
        let options = PutOptions { priority: seconds(Timestamp::now()), delay: 0, ttr: TTR };
        connection.put(body.as_bytes(), options).await.map_err(text)?;
        info!(schedule = self.name, tube = %self.baton, "the schedule begins");
        Ok(())
    }

    /// Does what is due, if the one baton that we have is all there is.
    async fn turn(&self, connection: &mut Connection, baton: JobId) -> Result<(), String> {
        let mut held = vec![baton];
        while self.batons(connection).await? > held.len() as u64 {
            let delayed = connection.peek_delayed().await.map_err(text)?;
            let other = match delayed {
                Some(job) => connection.reserve_job(job.id).await.map_err(text)?,
                None => match connection.reserve_with_timeout(0).await.map_err(text)? {
                    Reservation::Reserved(job) => Some(job),
                    Reservation::TimedOut | Reservation::DeadlineSoon => None,
                },
            };
            match other {
                Some(job) => held.push(job.id),
                // Somebody has it. Who comes next may find all of them.
                None => return self.yield_all(connection, &held).await,
            }
        }
        let mut known = Vec::new();
        for id in &held {
            let last = last_of(connection, *id).await?;
            known.push((last.ok_or("the baton is gone")?, *id));
        }
        known.sort_unstable();
        let (last, baton) = known.pop().expect("there is one");
        for (_, other) in known {
            let _ = connection.delete(other).await.map_err(text)?;
        }
        self.deal(connection, baton, last).await
    }

    async fn yield_all(&self, connection: &mut Connection, held: &[JobId]) -> Result<(), String> {
        for id in held {
            if let Some(priority) = last_of(connection, *id).await? {
                let options = ReleaseOptions { priority, delay: 0 };
                let _ = connection.release(*id, options).await.map_err(text)?;
            }
        }
        debug!(schedule = self.name, "there are several batons");
        sleep(Duration::from_millis(fastrand::u64(20..500))).await;
        Ok(())
    }

    async fn deal(
        &self,
        connection: &mut Connection,
        baton: JobId,
        last: u32,
    ) -> Result<(), String> {
        let now = Timestamp::now();
        let moment = Timestamp::from_second(last.into()).map_err(text)?;
        let (schedule, mut job) = (self.name.as_str(), None);
        let (priority, delay) = match self.due(moment, now) {
            Due::Wait(next) => (last, self.delay(next, now)),
            Due::Queue(moment) => {
                job = Some(moment);
                (seconds(moment), self.delay_after(moment, now))
            }
            Due::Skip(moment) => {
                warn!(schedule, until = %moment, "moments were missed");
                (seconds(moment), self.delay_after(moment, now))
            }
            Due::ClockWasWrong => {
                warn!(schedule, last = %moment, "the last moment is ahead of the clock: begins anew");
                (seconds(now), 1)
            }
        };
        if job.is_some() {
            connection.use_tube(&self.tube).await.map_err(text)?;
        }
        // Who was suspended may have got the baton long ago, and have lost it since.
        let since = Instant::now();
        match connection.touch(baton).await.map_err(text)? {
            Outcome::Done => {}
            Outcome::NotFound => return Err("the baton is somebody else's by now".to_owned()),
        }
        let mut commands = connection.pipeline().await.map_err(text)?;
        if since.elapsed() >= RELIED_ON {
            return Err("it took too long".to_owned());
        }
        if let Some(moment) = job {
            commands.put(&self.job_of(moment), PutOptions::default()).map_err(text)?;
        }
        commands.send(&Command::Release { id: baton, priority, delay });
        let replies = commands.collect().await.map_err(text)?;
        let Some(moment) = job else { return Ok(()) };
        match &replies[0] {
            Reply::Inserted(id) => {
                info!(schedule, %moment, job = id, "queued a job of the schedule")
            }
            Reply::JobTooBig => error!(schedule, %moment, "the job is too big for the queue"),
            // It is tried again, if nobody has the baton by now.
            other => {
                if connection.reserve_job(baton).await.map_err(text)?.is_some() {
                    let options = ReleaseOptions { priority: last, delay: 2 };
                    let _ = connection.release(baton, options).await.map_err(text)?;
                }
                return Err(format!("the queue does not take its job: {other:?}"));
            }
        }
        Ok(())
    }

    /// The delay of the baton when this moment is done with. Not 0 if that can be helped: then beanstalkd's log has
    /// nothing of the release, and so not the moment either.
    fn delay_after(&self, moment: Timestamp, now: Timestamp) -> u32 {
        self.next(moment).map_or(60, |next| self.delay(next, now))
    }

    /// In how many seconds the baton is to be there again.
    fn delay(&self, next: Timestamp, now: Timestamp) -> u32 {
        let millis = next.duration_since(now).as_millis().clamp(0, 1000 * i128::from(MAX_DELAY));
        u32::try_from((millis + 999) / 1000).expect("it is small")
    }
}

/// The priority of a baton. `None`: it is gone.
async fn last_of(connection: &mut Connection, baton: JobId) -> Result<Option<u32>, String> {
    let stats = connection.stats_job(baton).await.map_err(text)?;
    Ok(stats.and_then(|stats| stats.number("pri")?.try_into().ok()))
}

/// As a priority.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second()).unwrap_or(0)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
