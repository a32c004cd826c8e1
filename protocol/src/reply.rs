//! Replies: what a server answers, and how a reply is encoded on the wire.

use bytes::BufMut;

use crate::command::put_argument;
use crate::types::{JobId, TubeName};

/// Every reply of the protocol. `B` is the type that holds a body: a reference inside a server,
/// owned bytes in a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<B> {
    /// To `put`: the job is in the queue.
    Inserted(JobId),
    /// To `put`: the job had to be buried because memory ran out.
    InsertedBuried(JobId),
    /// To `use` and `list-tube-used`.
    Using(TubeName),
    /// To the reserve commands: the job now belongs to this connection.
    Reserved(JobId, B),
    /// To the reserve commands: a job that this connection holds is about to time out.
    DeadlineSoon,
    /// To the reserve commands: the timeout passed without a job.
    TimedOut,
    /// To `delete`.
    Deleted,
    /// To `release`.
    Released,
    /// To `bury`, and to `release` if memory ran out.
    Buried,
    /// To `touch`.
    Touched,
    /// To `watch` and `ignore`: the number of watched tubes.
    Watching(u64),
    /// To `ignore`, for the only watched tube.
    NotIgnored,
    /// To the peek commands.
    Found(JobId, B),
    /// To `kick`: the number of jobs kicked.
    Kicked(u64),
    /// To `kick-job`.
    KickedJob,
    /// To the stats and list commands: a text in YAML.
    Ok(B),
    /// To `pause-tube`.
    Paused,
    /// To `batch-reserve`: so many replies [`Reply::Reserved`] follow, which belong to it.
    Batch(u64),
    /// To `clear-tube`: the number of jobs removed.
    Cleared(u64),
    /// To `move`.
    Moved,
    /// To `auth`: the server knows who it is.
    Authenticated,
    /// To `auth`: the token is nobody's.
    NotAuthenticated,
    /// The job or tube does not exist, or not in a state that allows the command.
    NotFound,
    /// The server has no room for the job.
    OutOfMemory,
    /// The server failed.
    InternalError,
    /// The server takes no new jobs.
    Draining,
    /// The command line is malformed.
    BadFormat,
    /// The command line does not begin with a known command.
    UnknownCommand,
    /// A body was not followed by CRLF.
    ExpectedCrlf,
    /// The announced body is over the server's limit.
    JobTooBig,
}

impl<B> Reply<B> {
    /// The same reply with another type of body.
    pub fn map_body<C>(self, convert: impl FnOnce(B) -> C) -> Reply<C> {
        match self {
            Self::Reserved(id, body) => Reply::Reserved(id, convert(body)),
            Self::Found(id, body) => Reply::Found(id, convert(body)),
            Self::Ok(body) => Reply::Ok(convert(body)),
            Self::Inserted(id) => Reply::Inserted(id),
            Self::InsertedBuried(id) => Reply::InsertedBuried(id),
            Self::Using(tube) => Reply::Using(tube),
            Self::DeadlineSoon => Reply::DeadlineSoon,
            Self::TimedOut => Reply::TimedOut,
            Self::Deleted => Reply::Deleted,
            Self::Released => Reply::Released,
            Self::Buried => Reply::Buried,
            Self::Touched => Reply::Touched,
            Self::Watching(count) => Reply::Watching(count),
            Self::NotIgnored => Reply::NotIgnored,
            Self::Kicked(count) => Reply::Kicked(count),
            Self::KickedJob => Reply::KickedJob,
            Self::Paused => Reply::Paused,
            Self::Batch(count) => Reply::Batch(count),
            Self::Cleared(count) => Reply::Cleared(count),
            Self::Moved => Reply::Moved,
            Self::Authenticated => Reply::Authenticated,
            Self::NotAuthenticated => Reply::NotAuthenticated,
            Self::NotFound => Reply::NotFound,
            Self::OutOfMemory => Reply::OutOfMemory,
            Self::InternalError => Reply::InternalError,
            Self::Draining => Reply::Draining,
            Self::BadFormat => Reply::BadFormat,
            Self::UnknownCommand => Reply::UnknownCommand,
            Self::ExpectedCrlf => Reply::ExpectedCrlf,
            Self::JobTooBig => Reply::JobTooBig,
        }
    }
}

impl<B: AsRef<[u8]>> Reply<B> {
    /// Appends the reply as a server sends it, its body included.
    pub fn encode(&self, out: &mut impl BufMut) {
        if let Some(body) = self.encode_head(out) {
            out.put_slice(body.as_ref());
            out.put_slice(b"\r\n");
        }
    }

    /// Appends the reply up to where its body begins, and returns the body. The caller writes it,
    /// and a CRLF after it; so a large body need not be copied.
    #[inline(always)]
    pub fn encode_head(&self, out: &mut impl BufMut) -> Option<&B> {
        let word: &[u8] = match self {
            Self::Inserted(id) => return put_line(out, b"INSERTED", [*id]),
            Self::InsertedBuried(id) => return put_line(out, b"BURIED", [*id]),
            Self::Using(tube) => {
                out.put_slice(b"USING ");
                out.put_slice(tube.as_bytes());
                out.put_slice(b"\r\n");
                return None;
            }
            Self::Reserved(id, body) => {
                put_line::<B, 2>(out, b"RESERVED", [*id, len(body)]);
                return Some(body);
            }
            Self::Watching(count) => return put_line(out, b"WATCHING", [*count]),
            Self::Found(id, body) => {
                put_line::<B, 2>(out, b"FOUND", [*id, len(body)]);
                return Some(body);
            }
            Self::Kicked(count) => return put_line(out, b"KICKED", [*count]),
            Self::Batch(count) => return put_line(out, b"BATCH", [*count]),
            Self::Cleared(count) => return put_line(out, b"CLEARED", [*count]),
            Self::Ok(body) => {
                put_line::<B, 1>(out, b"OK", [len(body)]);
                return Some(body);
            }
            Self::DeadlineSoon => b"DEADLINE_SOON\r\n",
            Self::TimedOut => b"TIMED_OUT\r\n",
            Self::Deleted => b"DELETED\r\n",
            Self::Released => b"RELEASED\r\n",
            Self::Buried => b"BURIED\r\n",
            Self::Touched => b"TOUCHED\r\n",
            Self::NotIgnored => b"NOT_IGNORED\r\n",
            Self::KickedJob => b"KICKED\r\n",
            Self::Paused => b"PAUSED\r\n",
            Self::Moved => b"MOVED\r\n",
            Self::Authenticated => b"AUTHENTICATED\r\n",
            Self::NotAuthenticated => b"NOT_AUTHENTICATED\r\n",
            Self::NotFound => b"NOT_FOUND\r\n",
            Self::OutOfMemory => b"OUT_OF_MEMORY\r\n",
            Self::InternalError => b"INTERNAL_ERROR\r\n",
            Self::Draining => b"DRAINING\r\n",
            Self::BadFormat => b"BAD_FORMAT\r\n",
            Self::UnknownCommand => b"UNKNOWN_COMMAND\r\n",
            Self::ExpectedCrlf => b"EXPECTED_CRLF\r\n",
            Self::JobTooBig => b"JOB_TOO_BIG\r\n",
        };
        out.put_slice(word);
        None
    }
}

fn len(body: &impl AsRef<[u8]>) -> u64 {
    body.as_ref().len() as u64
}

/// A word and numbers. Returns `None` so that an arm of [`Reply::encode_head`] can end in it.
fn put_line<'a, B, const N: usize>(
    out: &mut impl BufMut,
    word: &[u8],
    numbers: [u64; N],
) -> Option<&'a B> {
    out.put_slice(word);
    for number in numbers {
        put_argument(out, number);
    }
    out.put_slice(b"\r\n");
    None
}
