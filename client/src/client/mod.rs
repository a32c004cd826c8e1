//! A connection that reconnects.

mod commands;
mod extensions;
mod pace;
mod tubes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use beanstalk_protocol::{JobId, Seconds, TubeName};
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::address::Address;
use crate::call::{self, Call};
use crate::connection::Connection;
use crate::error::Error;
use crate::job::{Job, Reservation};
use crate::options::ConnectOptions;
use pace::Pace;
use tubes::{Applied, Step, Wanted};

/// A connection that reconnects: it is established when first needed, and again after a loss, with
/// growing, jittered delays. Then the used and watched tubes are restored.
///
/// Nothing happens in the background. There is no task and no polling: the next operation notices
/// and repairs a connection that was lost while idle. Use [`closed`](Self::closed) to learn of a
/// loss at once.
///
/// ```no_run
/// use jq_client::{Client, ClientOptions, ConnectOptions, Reservation};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ClientOptions { give_up_after: None, ..ClientOptions::default() };
/// let server = ConnectOptions::new("queue.example:11300".parse()?);
/// let mut client = Client::new(server, options);
/// client.watch(&"thumbnails".parse()?);
/// client.ignore(&"default".parse()?);
/// loop {
///     let Reservation::Reserved(lease) = client.reserve().await? else { continue };
///     println!("job {} has {} bytes", lease.id(), lease.body().len());
///     if !client.delete(&lease).await?.is_done() {
///         println!("the lease was lost");
///     }
/// }
/// # }
/// ```
///
/// # What is repeated after a loss
///
/// An operation is always repeated if it cannot have had an effect, because its last byte was never
/// handed to the operating system. Otherwise it depends:
///
/// - Operations that only look are repeated: `peek*`, `stats*`, `list_*`.
/// - Reserves are repeated. If a job was on its way when the connection was lost, the server gives
///   it to others.
/// - A put, which would put the job twice, fails with an [`Error::Disconnected`] that says `sent`,
///   unless [`ClientOptions::resend_puts`] allows it.
/// - `kick*`, `pause_tube`, `delete_job`, `move_job` and `clear_tube` fail in the same way.
/// - Operations on a [`Lease`] are never repeated, because the lease is gone.
///
/// # Leases
///
/// The server takes back the jobs of a connection that is lost. So a [`Lease`] is valid only for
/// the connection that it came over. With a lease of an earlier connection, [`touch`](Self::touch),
/// [`delete`](Self::delete), [`release`](Self::release), [`bury`](Self::bury) and
/// [`move_reserved`](Self::move_reserved) return `NotFound` and send nothing: with the id alone they could affect a job that another worker has by now, or
/// even a different job, if a server without a log was restarted and its ids started from 1 again.
///
/// # Dropped futures
///
/// The same as for a [`Connection`](Connection#dropped-futures). While a reserve is pending,
/// changes to the watched tubes wait for the next operation after it.
#[derive(Debug)]
pub struct Client {
    connect: Arc<ConnectOptions>,
    options: ClientOptions,
    live: Option<Live>,
    pace: Pace,
    wanted: Wanted,
}

/// When a [`Client`] connects again and when it gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// Delay between the first attempt to connect and the second. It doubles with each further
    /// attempt, and half of it is random. The first attempt is made at once. Default: 100
    /// milliseconds.
    pub first_delay: Duration,
    /// Longest such delay. Default: 30 seconds.
    pub max_delay: Duration,
    /// How long an operation tries to reach the server before it fails. `None` never gives up,
    /// which suits a worker. Default: one minute. A token that the server does not know, and a file that
    /// cannot be used, fail at once ([`ConnectError::is_permanent`](crate::ConnectError::is_permanent)); the
    /// delay before the next attempt is there all the same, so the next operation waits for it.
    pub give_up_after: Option<Duration>,
    /// Whether a put is sent again if the connection is lost before its reply. If so, the job may
    /// be in the queue twice; if not, it may be there once although the put failed. Default: no.
    pub resend_puts: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            give_up_after: Some(Duration::from_secs(60)),
            resend_puts: false,
        }
    }
}

/// A job that a [`Client`] reserved, and the connection that it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    job: Job,
    serial: u64,
}

impl Lease {
    /// Id of the job.
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        &self.job.body
    }
}

/// The serial number that no connection has.
const NO_CONNECTION: u64 = 0;

#[derive(Debug)]
struct Live {
    connection: Connection,
    /// Differs from that of every other connection of the process.
    serial: u64,
    since: Instant,
    applied: Applied,
}

/// Whether an operation may be repeated although it may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Always,
    IfWithoutEffect,
}

impl Client {
    /// A client that connects in this way, to an [`Address`] if that is all there is to say. Does
    /// not connect yet.
    pub fn new(connect: impl Into<Arc<ConnectOptions>>, options: ClientOptions) -> Self {
        let pace = Pace::new(&options);
        Self { connect: connect.into(), options, live: None, pace, wanted: Wanted::new() }
    }

    /// The server.
    pub fn address(&self) -> &Address {
        self.connect.address()
    }

    /// Makes puts, peeks and kicks apply to this tube, from the next operation on.
    pub fn use_tube(&mut self, tube: &TubeName) {
        self.wanted.use_tube(tube);
    }

    /// Watches this tube too, from the next operation on.
    pub fn watch(&mut self, tube: &TubeName) {
        self.wanted.watch(tube);
    }

    /// Stops watching this tube, from the next operation on. Returns false for the only
    /// watched tube, which stays watched.
    #[must_use = "the last watched tube cannot be ignored"]
    pub fn ignore(&mut self, tube: &TubeName) -> bool {
        self.wanted.ignore(tube)
    }

    /// The used tube.
    pub fn used(&self) -> &TubeName {
        &self.wanted.used
    }

    /// The watched tubes, in the order in which they were watched.
    pub fn watched(&self) -> &[TubeName] {
        &self.wanted.watched
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.connection.is_open())
    }

    /// Connects if necessary, and returns the connection with its tubes set up, for example for a
    /// [`Pipeline`](crate::Pipeline). Its jobs are not [`Lease`]s. Do not change its tubes: this
    /// client would not notice.
    pub async fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.pace.begin();
        Ok(&mut self.ready().await?.connection)
    }

    /// Waits until the connection is lost, and returns the reason; returns at once if there is
    /// none. All leases are gone then. Fails with [`Error::ReservePending`] if a reserve is
    /// pending.
    pub async fn closed(&mut self) -> Error {
        let Some(live) = &mut self.live else {
            return Error::Disconnected { sent: false, source: None };
        };
        let error = live.connection.closed().await;
        if error.ends_connection() {
            self.lose();
        }
        error
    }

    /// Closes the connection in an orderly way, if there is one.
    pub async fn quit(self) -> Result<(), Error> {
        match self.live {
            Some(live) => live.connection.quit().await,
            None => Ok(()),
        }
    }

    /// Runs a call, over as many connections as it takes.
    async fn run<T>(&mut self, call: &Call<'_, T>, repeat: Repeat) -> Result<T, Error> {
        self.pace.begin();
        loop {
            let live = self.ready().await?;
            let result = live.connection.call(call).await;
            if let Err(error) = &result
                && error.is_loss()
                && (repeat == Repeat::Always || !error.may_have_had_effect())
                && self.may_go_on()
            {
                continue;
            }
            return self.note(result);
        }
    }

    /// Reserves, within so many seconds, with what is left of them after each loss.
    async fn reserve_within(
        &mut self,
        seconds: Option<Seconds>,
    ) -> Result<Reservation<Lease>, Error> {
        let until = seconds.map(|it| Instant::now() + Duration::from_secs(it.into()));
        self.pace.begin();
        loop {
            let live = self.ready().await?;
            let result = live.connection.reserve_within(until.map(seconds_until)).await;
            if matches!(&result, Err(error) if error.is_loss()) && self.may_go_on() {
                continue;
            }
            return self.note(result).map(|it| it.map(|job| self.lease(job)));
        }
    }

    /// A job that has just come is bound to the connection that there is.
    fn lease(&self, job: Job) -> Lease {
        Lease { job, serial: self.live.as_ref().map_or(NO_CONNECTION, |live| live.serial) }
    }

    /// Runs a call about a reserved job. `gone` answers it if the lease is.
    async fn run_leased<T>(
        &mut self,
        lease: &Lease,
        call: Call<'_, T>,
        gone: T,
    ) -> Result<T, Error> {
        let Some(live) = self.live.as_mut().filter(|live| live.serial == lease.serial) else {
            return Ok(gone);
        };
        let result = live.connection.call(&call).await;
        match self.note(result) {
            Err(error) if error.is_loss() && !error.may_have_had_effect() => Ok(gone),
            result => result,
        }
    }

    /// The connection, made if need be, with the tubes that are wanted.
    async fn ready(&mut self) -> Result<&mut Live, Error> {
        loop {
            self.connect().await?;
            match self.set_up().await {
                // Not noted as a success: a server that closes at the first real command must not
                // be dialled in a tight loop.
                Ok(()) => break,
                Err(error) if error.is_loss() && self.may_go_on() => {}
                Err(error) => return self.note(Err(error)),
            }
        }
        // `connect` left it there, and `set_up` did not fail.
        self.live.as_mut().ok_or(Error::Disconnected { sent: false, source: None })
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if self.live.is_some() && !self.is_connected() {
            self.lose();
        }
        while self.live.is_none() {
            if let Some(at) = self.pace.not_before() {
                sleep_until(at).await;
            }
            self.pace.attempt(Instant::now(), fastrand::f64());
            match Connection::connect(&self.connect).await {
                Ok(connection) => self.live = Some(Live::new(connection)),
                Err(error) if error.is_permanent() || self.pace.is_exhausted(Instant::now()) => {
                    return Err(error.into());
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Has the server use and watch what is wanted.
    async fn set_up(&mut self) -> Result<(), Error> {
        let Some(Live { connection, applied, .. }) = &mut self.live else { return Ok(()) };
        if connection.is_reserve_pending() {
            return Ok(());
        }
        for step in applied.steps_to(&self.wanted) {
            applied.begin(&step);
            match &step {
                Step::Use(tube) => connection.call(&call::use_tube(tube)).await?,
                Step::Watch(tube) => drop(connection.call(&call::watch(tube)).await?),
                Step::Ignore(tube) => drop(connection.call(&call::ignore(tube)).await?),
            }
            applied.confirm(&step);
        }
        applied.complete(&self.wanted);
        Ok(())
    }

    /// After a loss: whether there is patience left for another attempt.
    fn may_go_on(&mut self) -> bool {
        self.lose();
        !self.pace.is_exhausted(Instant::now())
    }

    /// Draws the conclusions from a result that is handed to the caller.
    fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Err(error) if error.ends_connection() => self.lose(),
            Err(Error::ReservePending) => {}
            Ok(_) | Err(_) => self.pace.succeed(),
        }
        result
    }

    fn lose(&mut self) {
        if let Some(live) = self.live.take() {
            self.pace.lose(live.since.elapsed());
        }
    }
}

impl Live {
    fn new(connection: Connection) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(NO_CONNECTION + 1);
        Self {
            connection,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            since: Instant::now(),
            applied: Applied::new(),
        }
    }
}

/// Whole seconds until then, rounded up, and 0 if it is past.
fn seconds_until(then: Instant) -> Seconds {
    let left = then.saturating_duration_since(Instant::now());
    let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Seconds::try_from(whole).unwrap_or(Seconds::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_seconds_that_are_left_are_rounded_up() {
        let then = Instant::now() + Duration::from_secs(10);
        let mut left = Vec::new();
        for pause_ms in [0, 1, 8_999, 999, 1, 1] {
            tokio::time::advance(Duration::from_millis(pause_ms)).await;
            left.push(seconds_until(then));
        }
        assert_eq!(left, [10, 10, 1, 1, 0, 0]);
    }
}
