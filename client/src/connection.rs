//! One connection: who waits for which reply, and what happens to replies that nobody waits for.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use beanstalk_protocol::{Command, Reply, Seconds};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};

use crate::auth::authenticate;
use crate::call::{self, Call, Request};
use crate::dial::{Dialled, dial};
use crate::error::{ConnectError, Error};
use crate::job::{Job, Reservation};
use crate::options::{ConnectOptions, ConnectionLimits};
use crate::pipeline::Pipeline;
use crate::transport::{Failure, Transport};

/// One connection to a server: a method for each command of the protocol.
///
/// ```no_run
/// use jq_client::{ConnectOptions, Connection, PutOptions, Reservation};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let server = ConnectOptions::new("127.0.0.1:11300".parse()?);
/// let mut connection = Connection::connect(&server).await?;
/// let id = connection.put(b"resize 42.png", PutOptions::default()).await?;
///
/// if let Reservation::Reserved(job) = connection.reserve().await? {
///     assert_eq!(job.id, id);
///     if !connection.delete(job.id).await?.is_done() {
///         eprintln!("job {} took longer than its time to run", job.id);
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Jobs belong to the connection
///
/// A reserved job belongs to the connection that reserved it. Only there can it be touched,
/// released or buried. When the connection ends, for whatever reason, the server makes the job
/// ready for others at once. While a connection waits in a reserve, it can do nothing else. So a
/// worker that runs several jobs at a time needs a connection for each.
///
/// # Dropped futures
///
/// Every future may be dropped before it is ready, as `select!` and `timeout` do. Whether its
/// command takes effect is then unknown: if it was already queued, the unsent part of it is sent
/// with the next command. The next command skips its reply, with two exceptions, so that no job is
/// reserved unnoticed:
///
/// - A *reserve* keeps waiting. The next [`reserve`](Self::reserve) or
///   [`reserve_with_timeout`](Self::reserve_with_timeout) sends nothing, but resumes that wait,
///   with its time limit. Any other command fails with [`Error::ReservePending`], because the
///   server reads no command until the wait is over. Dropping the connection ends it.
/// - A *job* that arrives with a skipped reply is kept, and the next reserve returns it. Its time
///   to run has already started.
///
/// # After an error
///
/// [`Error::ends_connection`] tells whether a connection can still be used. If not, it was closed,
/// and every later command fails with [`Error::Disconnected`].
pub struct Connection {
    transport: Transport,
    /// The requests whose replies have not been read, oldest first. Empty between two commands,
    /// unless a future was dropped.
    owed: VecDeque<Owed>,
    /// Jobs that came with replies that nobody waited for.
    unclaimed: VecDeque<Job>,
    reply_timeout: Option<Duration>,
    /// The server has no `batch-reserve`.
    pub(crate) lacks_batches: bool,
}

/// A request that was queued.
#[derive(Debug, Clone, Copy)]
struct Owed {
    kind: Kind,
    /// Where its last byte is, counted from the beginning of the connection. It has no effect
    /// before the server has that byte.
    end: u64,
}

/// What matters of a request until its reply comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A reserve that may take its time; `None` is for ever.
    Wait(Option<Seconds>),
    /// A reserve of so many jobs, which may take so many seconds. Each job has a reply of its own.
    Batch(u32, Seconds),
    Put,
    /// Answered at once.
    Prompt,
}

impl Kind {
    fn of(request: &Request<'_>) -> Self {
        match request {
            Request::Put(..) => Self::Put,
            Request::Command(Command::Reserve) => Self::Wait(None),
            Request::Command(Command::ReserveWithTimeout(Some(0))) => Self::Prompt,
            Request::Command(Command::ReserveWithTimeout(limit)) => Self::Wait(*limit),
            Request::Command(Command::BatchReserve { max, timeout }) => Self::Batch(*max, *timeout),
            Request::Command(_) => Self::Prompt,
        }
    }
}

/// A time limit that is as good as none.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Connection {
    /// Connects. Over TCP, small packets are not held back, and a silent connection is probed from
    /// time to time.
    ///
    /// If there is a token, it is sent first, and its reply awaited: a wrong one is an error here, and no
    /// command is sent without its rights.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + options.timeout.min(FAR);
        let Dialled { stream, is_ahead } = dial(options, deadline).await?;
        let transport = Transport::new(stream, options.limits.max_body).ahead(is_ahead);
        let mut connection = Self::new(transport, options.limits);
        if let Some(token) = &options.token {
            let shown = authenticate(&mut connection.transport, options.address(), token);
            timeout_at(deadline, shown).await.unwrap_or_else(|_| Err(options.timed_out()))?;
        }
        Ok(connection)
    }

    /// A connection over a stream that exists already: a TLS session, a tunnel, one end of a
    /// [`tokio::io::duplex`] in a test.
    pub fn from_stream(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        limits: ConnectionLimits,
    ) -> Self {
        Self::new(Transport::new(Box::new(stream), limits.max_body), limits)
    }

    fn new(transport: Transport, limits: ConnectionLimits) -> Self {
        Self {
            transport,
            owed: VecDeque::new(),
            unclaimed: VecDeque::new(),
            reply_timeout: limits.reply_timeout,
            lacks_batches: false,
        }
    }

    /// Whether the connection is open, as far as is known.
    pub fn is_open(&self) -> bool {
        self.transport.is_open()
    }

    /// Whether a reserve whose future was dropped still waits at the server.
    pub fn is_reserve_pending(&self) -> bool {
        let waits = |kind| matches!(kind, Kind::Wait(_) | Kind::Batch(_, 1..));
        self.owed.iter().any(|owed| waits(owed.kind))
    }

    /// Waits until the connection ends, and returns the reason. For a connection that holds a job
    /// and has nothing to send: when this returns, the job is lost.
    pub async fn closed(&mut self) -> Error {
        if let Err(error) = self.settle().await {
            return error;
        }
        let failure = self.transport.closed().await;
        self.forget();
        unsent(failure)
    }

    /// A batch of commands that are sent without waiting for the replies of those before them.
    /// Waits only for replies that earlier dropped futures left behind.
    pub async fn pipeline(&mut self) -> Result<Pipeline<'_>, Error> {
        self.settle().await?;
        Ok(Pipeline::new(self))
    }

    /// Sends `quit` and waits for the server to close. Dropping a connection closes it as well;
    /// this also makes sure that everything before it took effect.
    pub async fn quit(mut self) -> Result<(), Error> {
        self.settle().await?;
        let request = Request::Command(Command::Quit);
        request.encode(self.transport.output());
        let end = self.transport.end_of_output();
        let goodbye = async {
            match self.transport.flush().await {
                Ok(()) => self.transport.closed().await,
                Err(failure) => failure,
            }
        };
        match within(self.reply_timeout, goodbye).await {
            Some(Failure::Closed) => Ok(()),
            Some(failure) => Err(failed(failure, self.transport.written() >= end)),
            None => Err(Error::NoReply {
                command: request.line(),
                after: self.reply_timeout.unwrap_or_default(),
                sent: self.transport.written() >= end,
            }),
        }
    }

    /// Runs a command.
    pub(crate) async fn call<T>(&mut self, call: &Call<'_, T>) -> Result<T, Error> {
        self.settle().await?;
        let reply = match self.claim(&call.request) {
            Some(reply) => reply,
            None => {
                self.queue(&call.request);
                self.next_in_time(Some(&call.request)).await?.1
            }
        };
        self.finish(call, reply)
    }

    /// Reserves, within so many seconds.
    pub(crate) async fn reserve_within(
        &mut self,
        timeout: Option<Seconds>,
    ) -> Result<Reservation, Error> {
        let call = call::reserve(timeout);
        while self.is_reserve_pending() && self.unclaimed.is_empty() {
            match self.next_in_time(None).await? {
                // Its jobs are read below.
                (Kind::Batch(..), Reply::Batch(_)) => {}
                (Kind::Wait(_) | Kind::Batch(..), reply) => return self.finish(&call, reply),
                (_, reply) => self.skip(reply),
            }
        }
        if self.unclaimed.is_empty() {
            self.settle().await?;
        }
        match self.unclaimed.pop_front() {
            Some(job) => Ok(Reservation::Reserved(job)),
            None => self.call(&call).await,
        }
    }

    /// The reply to a `reserve-job`, if it came already, to an earlier one that was dropped.
    fn claim(&mut self, request: &Request<'_>) -> Option<Reply<Bytes>> {
        let Request::Command(Command::ReserveJob(id)) = request else { return None };
        let position = self.unclaimed.iter().position(|job| job.id == *id)?;
        let Job { id, body } = self.unclaimed.remove(position)?;
        Some(Reply::Reserved(id, body))
    }

    /// Reads the replies that dropped futures left behind, so that the next reply is the next
    /// command's. Also notices a connection that ended meanwhile, before anything is sent over it.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        if self.is_reserve_pending() {
            return Err(Error::ReservePending);
        }
        while !self.owed.is_empty() {
            // Whatever goes wrong here, the command that is to come has not been sent.
            let (_, reply) = self.next_in_time(None).await.map_err(mark_unsent)?;
            self.skip(reply);
        }
        self.transport.probe().await.map_err(|failure| {
            self.forget();
            unsent(failure)
        })
    }

    fn skip(&mut self, reply: Reply<Bytes>) {
        if let Reply::Reserved(id, body) = reply {
            self.keep(Job { id, body });
        }
    }

    /// Keeps a job for the next reserve.
    pub(crate) fn keep(&mut self, job: Job) {
        self.unclaimed.push_back(job);
    }

    pub(crate) fn has_unclaimed(&self) -> bool {
        !self.unclaimed.is_empty()
    }

    /// Up to so many of the jobs that are kept.
    pub(crate) fn claim_all(&mut self, most: usize) -> Vec<Job> {
        let count = self.unclaimed.len().min(most);
        self.unclaimed.drain(..count).collect()
    }

    /// Queues a request, to be written when a reply is awaited.
    pub(crate) fn queue(&mut self, request: &Request<'_>) {
        request.encode(self.transport.output());
        // The only command without a reply.
        if !matches!(request, Request::Command(Command::Quit)) {
            let end = self.transport.end_of_output();
            self.owed.push_back(Owed { kind: Kind::of(request), end });
        }
    }

    /// Writes what is queued.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        self.transport.flush().await.map_err(|failure| {
            let sent = self.owed.front().is_none_or(|owed| owed.end <= self.transport.written());
            self.forget();
            failed(failure, sent)
        })
    }

    /// The oldest reply that is owed. Waits for ever if none is.
    async fn next(&mut self) -> Result<(Kind, Reply<Bytes>), Error> {
        let received = self.transport.receive().await;
        let Owed { kind, end } = match self.owed.pop_front() {
            Some(owed) => owed,
            None => Owed { kind: Kind::Prompt, end: 0 },
        };
        match received {
            Ok(reply) => {
                // A put whose line is refused has its body read as commands: nothing that comes
                // from now on is to be trusted.
                if kind == Kind::Put && matches!(reply, Reply::BadFormat | Reply::UnknownCommand) {
                    self.end();
                }
                if let (Kind::Batch(max, _), Reply::Batch(count)) = (kind, &reply)
                    && (1..=u64::from(max)).contains(count)
                {
                    // Its jobs come before the replies to later commands.
                    for _ in 0..*count {
                        self.owed.push_front(Owed { kind: Kind::Prompt, end });
                    }
                } else if matches!(reply, Reply::Batch(_)) {
                    // Not one that was asked for: nobody knows what follows.
                    self.end();
                }
                Ok((kind, reply))
            }
            Err(failure) => {
                self.forget();
                Err(failed(failure, end <= self.transport.written()))
            }
        }
    }

    /// The reply to the next command of a pipeline, without a time limit.
    pub(crate) async fn next_reply(&mut self) -> Result<Option<Reply<Bytes>>, Error> {
        if self.owed.is_empty() { Ok(None) } else { Ok(Some(self.next().await?.1)) }
    }

    /// How many replies are owed.
    pub(crate) fn owed(&self) -> usize {
        self.owed.len()
    }

    /// As [`Self::next`], with the time limit that its request has. `request` is for the message.
    pub(crate) async fn next_in_time(
        &mut self,
        request: Option<&Request<'_>>,
    ) -> Result<(Kind, Reply<Bytes>), Error> {
        let Some(owed) = self.owed.front().copied() else { return self.next().await };
        let limit = match owed.kind {
            Kind::Wait(None) => None,
            Kind::Wait(Some(seconds)) | Kind::Batch(_, seconds) => {
                self.reply_timeout.map(|limit| limit + Duration::from_secs(seconds.into()))
            }
            Kind::Put | Kind::Prompt => self.reply_timeout,
        };
        match within(limit, self.next()).await {
            Some(result) => result,
            None => {
                let command = request.map_or_else(|| "an earlier command".into(), Request::line);
                let sent = owed.end <= self.transport.written();
                self.end();
                Err(Error::NoReply { command, after: limit.unwrap_or_default(), sent })
            }
        }
    }

    pub(crate) fn finish<T>(
        &mut self,
        call: &Call<'_, T>,
        reply: Reply<Bytes>,
    ) -> Result<T, Error> {
        call.finish(reply).inspect_err(|error| {
            if error.ends_connection() {
                self.end();
            }
        })
    }

    fn end(&mut self) {
        self.transport.close();
        self.forget();
    }

    /// No reply comes any more, and the server has taken back what it handed out.
    fn forget(&mut self) {
        self.owed.clear();
        self.unclaimed.clear();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("open", &self.is_open())
            .field("replies_owed", &self.owed.len())
            .field("jobs_unclaimed", &self.unclaimed.len())
            .finish_non_exhaustive()
    }
}

/// `None` is over time.
async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

fn failed(failure: Failure, sent: bool) -> Error {
    match failure {
        Failure::Closed => Error::Disconnected { sent, source: None },
        Failure::Io(source) => Error::Disconnected { sent, source: Some(source) },
        Failure::Reply(source) => Error::BadReply(source),
        Failure::Unsolicited => Error::Unsolicited,
    }
}

fn unsent(failure: Failure) -> Error {
    failed(failure, false)
}

fn mark_unsent(error: Error) -> Error {
    with_sent(error, false)
}

/// A loss is all the same, but what it means for the whole of several commands may be more, or less,
/// than for the one that it hit.
pub(crate) fn with_sent(error: Error, sent: bool) -> Error {
    match error {
        Error::Disconnected { source, .. } => Error::Disconnected { sent, source },
        Error::NoReply { command, after, .. } => Error::NoReply { command, after, sent },
        error => error,
    }
}
