//! A server that jobs come from: connections to it, and the loop that reserves.
//!
//! With several servers there is a loop for each, and they share the room. While there are jobs
//! everywhere, the loops take turns, so that each server gets its share. A server that has none is
//! waited for without a turn, so that it holds nobody up; if jobs arrive from two at once and there
//! is room for one, the other goes back at once.
//!
//! While some of the ready jobs cannot be run here, the loop does not wait for jobs: it [looks through
//! them](crate::look).
//!
//! Where all jobs are short, [many](crate::many) are reserved at once while there is a backlog.
//!
//! Owns: connections without a job. Must not know: what a job is for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jq_client::{
    ConnectError, ConnectOptions, Connection, Error, Job, JobId, Reservation, Seconds, TubeName,
};
use tokio::sync::Mutex as Turn;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::given_back::GivenBack;
use crate::look::Looks;
use crate::many::{MANY, Many, reserve_many};
use crate::metrics::Metrics;
use crate::parked::Candidate;
use crate::retry::{Backoff, jitter};
use crate::room::{Permit, Room};

/// Delays between attempts to reach a server.
const RECONNECT: Backoff =
    Backoff { first: Duration::from_millis(100), max: Duration::from_secs(30) };

/// How long a server may be silent while the others wait for their turn.
pub(crate) const TURN: Duration = Duration::from_secs(1);

/// How much longer than it was told to wait a server may take to answer: as long again, within these.
const MIN_PATIENCE: Duration = Duration::from_secs(2);
const MAX_PATIENCE: Duration = Duration::from_secs(30);

/// A waiting reserve is taken back when there has been no room for so long. Less would close and
/// open connections all the time, when jobs are short.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who deals with the jobs of a server.
pub trait Taker: Clone + Send + Sync + 'static {
    /// Deals with a job that was just reserved over this connection.
    fn take(&self, source: Arc<Source>, connection: Connection, job: Job, permit: Permit);

    /// Deals with jobs that were just reserved over this connection.
    fn take_all(
        &self,
        source: Arc<Source>,
        connection: Connection,
        jobs: Vec<Job>,
        permits: Vec<Permit>,
    );

    /// Whether jobs may share a connection: none of them holds up another for long.
    fn may_share(&self) -> bool;

    /// Whether jobs of this server are ready that cannot be run now.
    fn is_selective(&self, source: &Arc<Source>) -> bool;

    /// Whether there are types whose jobs could be run now.
    fn wants_any(&self) -> bool;

    /// A look through the ready jobs of this server begins.
    fn begin_look(&self, source: &Arc<Source>);

    /// What to note of a job that is ready, and whether it can be run now.
    fn choose(&self, source: &Arc<Source>, job: JobId, body: &[u8]) -> (Candidate, bool);

    /// Whether a job that cannot be run may be released with a delay, which the queue counts.
    fn may_set_aside(&self, found: &Candidate) -> bool;

    /// Notes that this is done. Returns how often it was, now included.
    fn note_set_aside(&self, source: &Arc<Source>, job: JobId) -> u32;

    /// The look is over: reserves these as they can be run. If these are all, forgets all others of this
    /// server.
    fn end_look(&self, source: &Arc<Source>, found: Vec<Candidate>, is_all: bool);

    /// How many jobs are known to be ready on this server.
    fn known(&self, source: &Arc<Source>) -> usize;

    /// Whether jobs of this server are known that can be run now.
    fn has_runnable(&self, source: &Arc<Source>) -> bool;
}

/// A server that jobs come from.
#[derive(Debug)]
pub struct Source {
    connect: ConnectOptions,
    name: String,
    tubes: Vec<TubeName>,
    /// Connections that watch our tubes and have no job.
    idle: Mutex<Vec<Connection>>,
    link: Mutex<Link>,
    /// Jobs whose connection was lost while this worker held them, and lives on.
    lost: GivenBack,
    /// Jobs that were given back by the end of a connection.
    returned: GivenBack,
}

/// The state of the connection to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether the last exchange with it succeeded.
    pub connected: bool,
    /// Why the last exchange failed. `None`: it succeeded, or there was none yet.
    pub error: Option<String>,
}

impl Source {
    /// A server, and the tubes that jobs are taken from. Does not connect yet.
    pub fn new(connect: ConnectOptions, tubes: Vec<TubeName>) -> Self {
        let name = connect.address().to_string();
        Self {
            connect,
            name,
            tubes,
            idle: Mutex::default(),
            link: Mutex::default(),
            lost: GivenBack::default(),
            returned: GivenBack::default(),
        }
    }

    /// As it is configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tubes that jobs are taken from.
    pub fn tubes(&self) -> &[TubeName] {
        &self.tubes
    }

    /// Whether it can be reached.
    pub fn link(&self) -> Link {
        lock(&self.link).clone()
    }

    /// A connection that watches our tubes: one without a job, or a new one.
    pub async fn connection(&self) -> Result<Connection, Error> {
        let idle = lock(&self.idle).pop();
        match idle {
            Some(connection) if connection.is_open() => Ok(connection),
            _ => {
                let connected = self.connect().await;
                self.note(connected.as_ref().err());
                connected
            }
        }
    }

    /// Takes back a connection that has no job.
    pub fn give(&self, connection: Connection) {
        lock(&self.idle).push(connection);
    }

    /// Whether the server has this job; `is_it` tells by its body, since a server that lost its jobs gives
    /// out the same numbers again.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub async fn has_job(&self, job: JobId, is_it: impl Fn(&[u8]) -> bool) -> Result<bool, Error> {
        let mut connection = self.connection().await?;
        let job = connection.peek(job).await?;
        self.give(connection);
        Ok(job.is_some_and(|job| is_it(&job.body)))
    }

    /// Notes that this worker lost a job with its connection: no worker has died.
    pub fn note_lost(&self, job: JobId) {
        self.lost.add(&self.name, job);
    }

    /// Notes that a job is given back by a `quit`.
    pub fn note_returned(&self, job: JobId) {
        self.returned.add(&self.name, job);
    }

    /// How often a job's connection has vanished for a reason that this worker knows. Where the queue does
    /// not count these, its number has a `quit` in it too.
    pub fn explained(&self, job: JobId, is_exact: bool) -> u32 {
        let returned = if is_exact { 0 } else { self.returned.count(&self.name, job) };
        self.lost.count(&self.name, job).saturating_add(returned)
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let mut connection = Connection::connect(&self.connect).await?;
        let mut is_default = false;
        for tube in &self.tubes {
            connection.watch(tube).await?;
            is_default |= tube.as_str() == "default";
        }
        if !is_default && !self.tubes.is_empty() {
            let default = "default".parse().expect("it is a tube's name");
            let _ = connection.ignore(&default).await?;
        }
        Ok(connection)
    }

    fn note(&self, error: Option<&Error>) {
        // That a server which was lost cannot be reached is none.
        let is_news = !matches!(
            error,
            Some(Error::Connect(ConnectError::Io { .. } | ConnectError::TimedOut { .. }))
        );
        self.note_failed(error.map(ToString::to_string), is_news);
    }

    /// `None`: it has not failed. Logs it if the server was in order before, or if `is_news` and it failed
    /// for another reason.
    fn note_failed(&self, error: Option<String>, is_news: bool) {
        let mut link = lock(&self.link);
        let now = Link { connected: error.is_none(), error };
        match &now.error {
            Some(error) if link.error.is_none() || (is_news && link.error != now.error) => {
                warn!(
                    server = self.name,
                    error, "cannot take jobs from the server; will keep trying"
                );
            }
            None if !link.connected => info!(server = self.name, "taking jobs from the server"),
            _ => {}
        }
        *link = now;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are whole between two statements, whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reserves jobs as long as it is polled. `turn` is shared by the loops of all servers.
///
/// A server that has no job is asked again after `idle_check` seconds: a relay between here and there can
/// keep a connection that leads nowhere any more.
pub async fn fetch(
    source: Arc<Source>,
    room: Arc<Room>,
    turn: Option<Arc<Turn<()>>>,
    idle_check: Seconds,
    metrics: Arc<Metrics>,
    taker: impl Taker,
) {
    let idle = Duration::from_secs(idle_check.into());
    let patience = idle + idle.clamp(MIN_PATIENCE, MAX_PATIENCE);
    let mut failures = 0_u32;
    let mut looks = Looks::default();
    // With one server nobody waits for a turn.
    let mut seems_empty = turn.is_none();
    // How many jobs are reserved at once: more and more, while there are so many.
    let mut many = 1;
    loop {
        if seems_empty {
            room.wait_open().await;
        }
        if taker.is_selective(&source) {
            room.wait_open().await;
            match looks.round(&source, &taker).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    source.note(Some(&error));
                    failures = failures.saturating_add(1);
                    sleep(RECONNECT.delay(failures, jitter())).await;
                }
            }
            continue;
        }
        let mut connection = match source.connection().await {
            Ok(connection) => connection,
            Err(_) => {
                failures = failures.saturating_add(1);
                sleep(RECONNECT.delay(failures, jitter())).await;
                continue;
            }
        };
        if taker.may_share() && (many > 1 || !seems_empty) {
            let reserved = reserve_many(&source, connection, &room, turn.as_deref(), many).await;
            let Some(reserved) = reserved else {
                seems_empty = true;
                continue;
            };
            match reserved {
                Ok(Many { connection, jobs, mut permits }) => {
                    failures = 0;
                    many = if jobs.len() == permits.len() { 2 * many.min(MANY / 2) } else { 1 };
                    seems_empty = turn.is_none() || jobs.is_empty();
                    permits.truncate(jobs.len());
                    if jobs.is_empty() {
                        source.give(connection);
                    } else {
                        taker.take_all(Arc::clone(&source), connection, jobs, permits);
                    }
                }
                Err(error) => failed(&source, &error, &mut failures).await,
            }
            continue;
        }
        let reserved = match &turn {
            Some(turn) if !seems_empty => {
                // Room is waited for in turn, too: who came first gets what is free next.
                let _turn = turn.lock().await;
                room.wait_open().await;
                match timeout(TURN, connection.reserve_with_timeout(0)).await {
                    Ok(reserved) => reserved.map(|reserved| (reserved, room.take())),
                    // Somebody else's turn. Without the connection, no job can come of this.
                    Err(_) => {
                        seems_empty = true;
                        continue;
                    }
                }
            }
            _ => {
                tokio::select! {
                    reserved = timeout(patience, connection.reserve_with_timeout(idle_check)) => {
                        let Ok(reserved) = reserved else {
                            source.note_failed(Some("the server has stopped answering".to_owned()), false);
                            lock(&source.idle).clear();
                            continue;
                        };
                        reserved.map(|reserved| (reserved, room.take()))
                    }
                    // Dropping the connection takes the reserve back.
                    () = full_for_long(&room) => continue,
                }
            }
        };
        match reserved {
            Ok((Reservation::Reserved(job), Some(permit))) => {
                failures = 0;
                seems_empty = turn.is_none();
                many = 2;
                taker.take(Arc::clone(&source), connection, job, permit);
            }
            Ok((Reservation::Reserved(job), None)) => {
                // With a `quit`, the job is ready for others, and the queue does not count it as one
                // whose worker vanished. Nobody waits for that; if it fails, the connection ends
                // all the same.
                source.note_returned(job.id);
                tokio::spawn(connection.quit());
                debug!(server = source.name(), job = job.id, "no room: given back");
                metrics.given_back.inc();
                seems_empty = turn.is_none();
            }
            Ok((Reservation::TimedOut | Reservation::DeadlineSoon, _)) => {
                seems_empty = true;
                source.give(connection);
            }
            Err(error) => failed(&source, &error, &mut failures).await,
        }
    }
}

/// A connection is lost.
async fn failed(source: &Source, error: &Error, failures: &mut u32) {
    source.note(Some(error));
    // What was lost with this one was lost with the others.
    lock(&source.idle).clear();
    // The first attempt to connect again is made at once; after it the delays grow.
    if *failures > 0 {
        sleep(RECONNECT.delay(*failures, jitter())).await;
    }
    *failures = failures.saturating_add(1);
}

async fn full_for_long(room: &Room) {
    loop {
        room.wait_full().await;
        if timeout(PATIENCE, room.wait_open()).await.is_err() {
            return;
        }
    }
}
