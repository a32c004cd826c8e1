//! Every command as a value: what is sent, and what its replies mean.
//!
//! Both [`Connection`](crate::Connection) and [`Client`](crate::Client) run these. Nothing here does
//! I/O.

use beanstalk_protocol::{
    Command, JobId, JobListing, JobMove, JobQuery, MAX_JOB_SIZE, Priority, PutHeader, Reply,
    Seconds, TubeName,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, PutError};
use crate::job::{Ignored, Job, Outcome, PutOptions, ReleaseOptions, Released, Reservation};
use crate::stats::{Stats, parse_tubes};

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Request<'a> {
    Command(Command),
    Put(PutHeader, &'a [u8]),
}

/// A request, and how its reply is read.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a, T> {
    pub(crate) request: Request<'a>,
    /// The replies that `read` knows, for messages.
    expected: &'static str,
    read: fn(Reply<Bytes>) -> Result<T, Mismatch>,
}

/// A reply that `Call::read` can make nothing of.
enum Mismatch {
    Reply(Reply<Bytes>),
    /// The reply is right, but its text has this line.
    Text(String),
}

/// A put has an outcome of its own beside the failures of all commands.
pub(crate) type PutResult = Result<JobId, PutRefusal>;

/// The failures of a put that leave the connection as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutRefusal {
    Buried(JobId),
    Draining,
    JobTooBig,
    OutOfMemory,
    ExpectedCrlf,
}

impl Request<'_> {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Command(command) => command.encode(out),
            Self::Put(header, body) => {
                // At once, so that a large body is moved once only: a line is shorter than this.
                out.reserve(body.len() + 64);
                header.encode(out);
                out.put_slice(body);
                out.put_slice(b"\r\n");
            }
        }
    }

    /// The command line, for messages.
    pub(crate) fn line(&self) -> String {
        let mut line = Vec::new();
        match self {
            Self::Command(command) => command.encode(&mut line),
            Self::Put(header, _body) => header.encode(&mut line),
        }
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }
}

impl<T> Call<'_, T> {
    /// The meaning of the reply.
    pub(crate) fn finish(&self, reply: Reply<Bytes>) -> Result<T, Error> {
        (self.read)(reply).map_err(|mismatch| {
            let command = self.request.line();
            let reply = match mismatch {
                Mismatch::Text(line) => return Error::BadText { command, line },
                Mismatch::Reply(reply) => reply,
            };
            Error::of_reply(command, self.expected, &reply)
        })
    }
}

/// A [`Call`] of a command, its replies as in a `match`.
macro_rules! call {
    ($command:expr, $expected:literal, { $($reply:pat => $value:expr),+ $(,)? }) => {
        Call {
            request: Request::Command($command),
            expected: $expected,
            read: |reply| match reply {
                $($reply => Ok($value),)+
                reply => Err(Mismatch::Reply(reply)),
            },
        }
    };
}

/// `Err` is a body that no server takes.
pub(crate) fn put(body: &[u8], options: PutOptions) -> Result<Call<'_, PutResult>, PutError> {
    let size = u32::try_from(body.len())
        .ok()
        .filter(|size| *size <= MAX_JOB_SIZE)
        .ok_or(PutError::JobTooBig { size: body.len() })?;
    let PutOptions { priority, delay, ttr } = options;
    Ok(Call {
        request: Request::Put(PutHeader { priority, delay, ttr, size }, body),
        expected: "INSERTED, BURIED, DRAINING, JOB_TOO_BIG, OUT_OF_MEMORY or EXPECTED_CRLF",
        read: |reply| match reply {
            Reply::Inserted(id) => Ok(Ok(id)),
            Reply::InsertedBuried(id) => Ok(Err(PutRefusal::Buried(id))),
            Reply::Draining => Ok(Err(PutRefusal::Draining)),
            Reply::JobTooBig => Ok(Err(PutRefusal::JobTooBig)),
            Reply::OutOfMemory => Ok(Err(PutRefusal::OutOfMemory)),
            Reply::ExpectedCrlf => Ok(Err(PutRefusal::ExpectedCrlf)),
            reply => Err(Mismatch::Reply(reply)),
        },
    })
}

impl PutRefusal {
    /// As the caller of a put of `size` bytes sees it.
    pub(crate) fn into_error(self, size: usize) -> PutError {
        match self {
            Self::Buried(id) => PutError::Buried(id),
            Self::Draining => PutError::Draining,
            Self::JobTooBig => PutError::JobTooBig { size },
            Self::OutOfMemory => PutError::OutOfMemory,
            Self::ExpectedCrlf => PutError::ExpectedCrlf,
        }
    }
}

/// `None` waits for ever.
pub(crate) fn reserve(timeout: Option<Seconds>) -> Call<'static, Reservation> {
    let command = match timeout {
        None => Command::Reserve,
        timeout => Command::ReserveWithTimeout(timeout),
    };
    call!(command, "RESERVED, TIMED_OUT or DEADLINE_SOON", {
        Reply::Reserved(id, body) => Reservation::Reserved(Job { id, body }),
        Reply::TimedOut => Reservation::TimedOut,
        Reply::DeadlineSoon => Reservation::DeadlineSoon,
    })
}

/// A batch itself is read by [`Connection`](crate::Connection), since more replies follow it.
pub(crate) fn batch_reserve(command: Command) -> Call<'static, Reservation<Vec<Job>>> {
    call!(command, "BATCH, TIMED_OUT or DEADLINE_SOON", {
        Reply::TimedOut => Reservation::TimedOut,
        Reply::DeadlineSoon => Reservation::DeadlineSoon,
    })
}

/// What follows a `BATCH`: its request was the one before.
pub(crate) fn job_of_batch() -> Call<'static, Job> {
    call!(Command::BatchReserve { max: 1, timeout: 0 }, "RESERVED after BATCH", {
        Reply::Reserved(id, body) => Job { id, body },
    })
}

/// `None`: there is no such tube.
pub(crate) fn clear_tube(tube: &TubeName) -> Call<'static, Option<u64>> {
    call!(Command::ClearTube(tube.clone()), "CLEARED or NOT_FOUND", {
        Reply::Cleared(count) => Some(count),
        Reply::NotFound => None,
    })
}

/// `None`: there is no such tube.
pub(crate) fn list_jobs(query: JobQuery) -> Call<'static, Option<JobListing>> {
    call!(Command::ListJobs(Box::new(query)), "OK or NOT_FOUND", {
        Reply::Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let listing = JobListing::from_yaml(&text);
            Some(listing.ok_or_else(|| Mismatch::Text(text.chars().take(80).collect()))?)
        },
        Reply::NotFound => None,
    })
}

pub(crate) fn move_job(id: JobId, to: &TubeName) -> Call<'static, Outcome> {
    let to = to.clone();
    call!(Command::Move(Box::new(JobMove { id, to })), "MOVED or NOT_FOUND", {
        Reply::Moved => Outcome::Done,
        Reply::NotFound => Outcome::NotFound,
    })
}

pub(crate) fn reserve_job(id: JobId) -> Call<'static, Option<Job>> {
    call!(Command::ReserveJob(id), "RESERVED or NOT_FOUND", {
        Reply::Reserved(id, body) => Some(Job { id, body }),
        Reply::NotFound => None,
    })
}

pub(crate) fn use_tube(tube: &TubeName) -> Call<'static, ()> {
    call!(Command::Use(tube.clone()), "USING", { Reply::Using(_) => () })
}

pub(crate) fn watch(tube: &TubeName) -> Call<'static, u64> {
    call!(Command::Watch(tube.clone()), "WATCHING", { Reply::Watching(count) => count })
}

pub(crate) fn ignore(tube: &TubeName) -> Call<'static, Ignored> {
    call!(Command::Ignore(tube.clone()), "WATCHING or NOT_IGNORED", {
        Reply::Watching(count) => Ignored::Watching(count),
        Reply::NotIgnored => Ignored::LastOne,
    })
}

pub(crate) fn delete(id: JobId) -> Call<'static, Outcome> {
    call!(Command::Delete(id), "DELETED or NOT_FOUND", {
        Reply::Deleted => Outcome::Done,
        Reply::NotFound => Outcome::NotFound,
    })
}

pub(crate) fn release(id: JobId, options: ReleaseOptions) -> Call<'static, Released> {
    let ReleaseOptions { priority, delay } = options;
    call!(Command::Release { id, priority, delay }, "RELEASED, BURIED or NOT_FOUND", {
        Reply::Released => Released::Released,
        Reply::Buried => Released::Buried,
        Reply::NotFound => Released::NotFound,
    })
}

pub(crate) fn bury(id: JobId, priority: Priority) -> Call<'static, Outcome> {
    call!(Command::Bury { id, priority }, "BURIED or NOT_FOUND", {
        Reply::Buried => Outcome::Done,
        Reply::NotFound => Outcome::NotFound,
    })
}

pub(crate) fn touch(id: JobId) -> Call<'static, Outcome> {
    call!(Command::Touch(id), "TOUCHED or NOT_FOUND", {
        Reply::Touched => Outcome::Done,
        Reply::NotFound => Outcome::NotFound,
    })
}

/// One of the peek commands.
pub(crate) fn peek(command: Command) -> Call<'static, Option<Job>> {
    call!(command, "FOUND or NOT_FOUND", {
        Reply::Found(id, body) => Some(Job { id, body }),
        Reply::NotFound => None,
    })
}

pub(crate) fn kick(bound: u32) -> Call<'static, u64> {
    call!(Command::Kick(bound), "KICKED and a number", { Reply::Kicked(count) => count })
}

pub(crate) fn kick_job(id: JobId) -> Call<'static, Outcome> {
    call!(Command::KickJob(id), "KICKED or NOT_FOUND", {
        Reply::KickedJob => Outcome::Done,
        Reply::NotFound => Outcome::NotFound,
    })
}

pub(crate) fn stats() -> Call<'static, Stats> {
    call!(Command::Stats, "OK", {
        Reply::Ok(text) => Stats::parse(&text).map_err(Mismatch::Text)?,
    })
}

/// `stats-job` or `stats-tube`.
pub(crate) fn stats_of(command: Command) -> Call<'static, Option<Stats>> {
    call!(command, "OK or NOT_FOUND", {
        Reply::Ok(text) => Some(Stats::parse(&text).map_err(Mismatch::Text)?),
        Reply::NotFound => None,
    })
}

/// `list-tubes` or `list-tubes-watched`.
pub(crate) fn list(command: Command) -> Call<'static, Vec<TubeName>> {
    call!(command, "OK", {
        Reply::Ok(text) => parse_tubes(&text).map_err(Mismatch::Text)?,
    })
}

pub(crate) fn list_tube_used() -> Call<'static, TubeName> {
    call!(Command::ListTubeUsed, "USING", { Reply::Using(tube) => tube })
}

pub(crate) fn pause_tube(tube: &TubeName, seconds: Seconds) -> Call<'static, Outcome> {
    call!(Command::PauseTube(tube.clone(), seconds), "PAUSED or NOT_FOUND", {
        Reply::Paused => Outcome::Done,
        Reply::NotFound => Outcome::NotFound,
    })
}
