//! Errors, one type for each boundary: connecting, a command, a put.

use std::fmt;
use std::io;
use std::time::Duration;

use beanstalk_protocol::{JobId, Reply, ReplyError};

use crate::address::Address;
use crate::rights::why_not_allowed;

/// A connection could not be established.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The operating system reported an error.
    Io {
        /// The server.
        address: Address,
        /// The reason.
        source: io::Error,
    },
    /// The connect timeout expired.
    TimedOut {
        /// The server.
        address: Address,
        /// The timeout.
        after: Duration,
    },
    /// There is no secure connection: the server has no certificate that is trusted, does not accept this
    /// program's, or does not speak TLS.
    Tls {
        /// The server.
        address: Address,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with a token, a certificate or a key cannot be used.
    Credentials {
        /// The server.
        address: Address,
        /// Which file, and why.
        reason: String,
    },
    /// The server does not know the token (`NOT_AUTHENTICATED`).
    NotAuthenticated {
        /// The server.
        address: Address,
    },
}

impl ConnectError {
    /// Whether the same attempt fails again until somebody has changed something: the token is nobody's, or
    /// a file cannot be used.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Credentials { .. } | Self::NotAuthenticated { .. })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { address, source } => write!(f, "cannot connect to {address}: {source}"),
            Self::TimedOut { address, after } => {
                write!(f, "cannot connect to {address}: no answer within {after:?}")
            }
            Self::Tls { address, reason } => {
                write!(f, "no secure connection (TLS) to {address}: {reason}")
            }
            Self::Credentials { address, reason } => {
                write!(f, "cannot connect to {address}: {reason}")
            }
            Self::NotAuthenticated { address } => {
                write!(f, "{address} does not know this program's token (NOT_AUTHENTICATED)")
            }
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A command failed. That a job or tube does not exist is not an error, but a return value of the
/// methods to which it can happen.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The connection is lost. The server gives the jobs that it reserved to other workers.
    Disconnected {
        /// Whether the whole command had been handed to the operating system. If not, it had no
        /// effect; if so, it is unknown whether it had.
        sent: bool,
        /// The error of the operating system; `None` if the server closed the connection normally,
        /// or if it had been lost before.
        source: Option<io::Error>,
    },
    /// The reply timeout expired. The connection was closed.
    NoReply {
        /// The command line.
        command: String,
        /// How long the client waited.
        after: Duration,
        /// As in [`Error::Disconnected`].
        sent: bool,
    },
    /// The server sent something that is not a reply. The connection was closed.
    BadReply(ReplyError),
    /// The server sent a reply that does not fit the command. The connection was closed, because it
    /// is no longer known which reply belongs to which command.
    Unexpected {
        /// The command line.
        command: String,
        /// The replies that were expected.
        expected: &'static str,
        /// The line of the reply that came.
        reply: String,
    },
    /// The server sent something although no reply was due. The connection was closed.
    Unsolicited,
    /// The server could not or would not do this. The connection is still usable.
    Refused {
        /// The command line.
        command: String,
        /// What the server said.
        refusal: Refusal,
    },
    /// The reply to a stats or list command is malformed. The connection is still usable.
    BadText {
        /// The command line.
        command: String,
        /// The line that cannot be parsed.
        line: String,
    },
    /// A reserve whose future was dropped still waits at the server, which reads nothing else from
    /// this connection until a job arrives or the timeout expires. Reserve again, which resumes
    /// that wait, or drop the connection.
    ReservePending,
    /// From a [`Client`](crate::Client) only: no connection could be established within the time
    /// that its options allow.
    Connect(ConnectError),
}

/// An error reply that any command can get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `BAD_FORMAT`: to the server, the command line is malformed.
    BadFormat,
    /// `UNKNOWN_COMMAND`: the server is too old for the command.
    UnknownCommand,
    /// `OUT_OF_MEMORY`: the server has no space left.
    OutOfMemory,
    /// `INTERNAL_ERROR`: the server failed, or does not allow it to this client.
    InternalError,
    /// `DRAINING`: the server accepts no new jobs.
    Draining,
}

impl Error {
    /// What a reply means that is none of the `expected` ones: for replies that are read one by one, from a
    /// [`Pipeline`](crate::Pipeline). `command` is the command line, or as much of it as is known.
    pub fn of_reply<B: AsRef<[u8]>>(
        command: impl Into<String>,
        expected: &'static str,
        reply: &Reply<B>,
    ) -> Self {
        let command = command.into();
        let refusal = match reply {
            Reply::BadFormat => Refusal::BadFormat,
            Reply::UnknownCommand => Refusal::UnknownCommand,
            Reply::OutOfMemory => Refusal::OutOfMemory,
            Reply::InternalError => Refusal::InternalError,
            Reply::Draining => Refusal::Draining,
            reply => {
                let mut line = Vec::new();
                reply.encode_head(&mut line);
                let reply = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
                return Self::Unexpected { command, expected, reply };
            }
        };
        Self::Refused { command, refusal }
    }

    /// Whether the connection can no longer be used: lost, or closed because of this error.
    pub fn ends_connection(&self) -> bool {
        match self {
            Self::Disconnected { .. }
            | Self::NoReply { .. }
            | Self::BadReply(_)
            | Self::Unexpected { .. }
            | Self::Unsolicited
            | Self::Connect(_) => true,
            Self::Refused { .. } | Self::BadText { .. } | Self::ReservePending => false,
        }
    }

    /// Whether the command may have had an effect although it failed. `false` is certain.
    pub fn may_have_had_effect(&self) -> bool {
        match self {
            Self::Disconnected { sent, .. } | Self::NoReply { sent, .. } => *sent,
            Self::BadReply(_) | Self::Unexpected { .. } | Self::BadText { .. } => true,
            Self::Refused { refusal, .. } => *refusal == Refusal::InternalError,
            Self::Unsolicited | Self::ReservePending | Self::Connect(_) => false,
        }
    }

    /// Whether the server cannot be reached, as opposed to having replied.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Disconnected { .. } | Self::NoReply { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected { source: Some(source), .. } => {
                write!(f, "the connection to the server was lost: {source}")
            }
            Self::Disconnected { source: None, .. } => {
                write!(f, "the connection to the server is closed")
            }
            Self::NoReply { command, after, .. } => {
                write!(f, "the server did not answer {command:?} within {after:?}")
            }
            Self::BadReply(source) => source.fmt(f),
            Self::Unexpected { command, expected, reply } => {
                write!(f, "to {command:?} the server answered {reply:?} instead of {expected}")
            }
            Self::Unsolicited => write!(f, "the server sent a reply although none was due"),
            Self::Refused { command, refusal: refusal @ Refusal::InternalError } => {
                let why = why_not_allowed(command);
                write!(f, "to {command:?} the server answered {refusal}: it failed, or {why}")
            }
            Self::Refused { command, refusal } => {
                write!(f, "to {command:?} the server answered {refusal}")
            }
            Self::BadText { command, line } => {
                write!(f, "the server's answer to {command:?} has a malformed line: {line:?}")
            }
            Self::ReservePending => {
                write!(f, "an earlier reserve is still waiting on this connection")
            }
            Self::Connect(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disconnected { source: Some(source), .. } => Some(source),
            Self::BadReply(source) => Some(source),
            Self::Connect(source) => Some(source),
            _ => None,
        }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadFormat => "BAD_FORMAT",
            Self::UnknownCommand => "UNKNOWN_COMMAND",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::InternalError => "INTERNAL_ERROR",
            Self::Draining => "DRAINING",
        })
    }
}

/// A put failed. In all cases but [`PutError::Buried`], and perhaps [`PutError::Failed`], the job
/// is not in the queue.
#[derive(Debug)]
#[non_exhaustive]
pub enum PutError {
    /// The job is in the queue, but buried, because the server had no memory to make it ready. A
    /// kick makes it ready.
    Buried(JobId),
    /// The server is draining and accepts no new jobs.
    Draining,
    /// The body exceeds the server's limit; or it exceeds [`MAX_JOB_SIZE`](crate::MAX_JOB_SIZE),
    /// which no server accepts, and was not sent.
    JobTooBig {
        /// Size of the body in bytes.
        size: usize,
    },
    /// The server has no space for the job.
    OutOfMemory,
    /// The server did not find the end of the body where it was announced. Only something between
    /// client and server that changes bytes can cause this.
    ExpectedCrlf,
    /// The command failed for another reason. [`Error::may_have_had_effect`] tells whether the job
    /// may be in the queue nevertheless.
    Failed(Error),
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buried(id) => {
                write!(f, "the server is out of memory, and has buried the new job {id}")
            }
            Self::Draining => write!(f, "the server is draining and accepts no new jobs"),
            Self::JobTooBig { size } => {
                write!(f, "a job of {size} bytes exceeds the server's limit")
            }
            Self::OutOfMemory => write!(f, "the server is out of memory"),
            Self::ExpectedCrlf => write!(f, "the server did not find the end of the job's body"),
            Self::Failed(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for PutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(source) => Some(source),
            _ => None,
        }
    }
}

impl From<Error> for PutError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
