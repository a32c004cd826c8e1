//! Why a command failed, and the exit status that says so.

use std::fmt;
use std::io;

use jq_client::{Bytes, Command, ConnectError, Error, PutError, Refusal, Reply};

/// Exit status when the server refused something, or anything else went wrong.
pub const EXIT_FAILED: u8 = 1;
/// Exit status when there is no such job, tube or connection.
pub const EXIT_NOT_FOUND: u8 = 2;
/// Exit status when what was waited for did not happen in time.
pub const EXIT_TIMED_OUT: u8 = 3;
/// Exit status when a question was not answered with yes, or nobody could be asked.
pub const EXIT_NOT_CONFIRMED: u8 = 4;
/// Exit status for an invalid command line or configuration.
pub const EXIT_USAGE: u8 = 5;
/// Exit status when the server cannot be reached.
pub const EXIT_UNREACHABLE: u8 = 6;
/// Exit status when a file cannot be read or written, or a line of it is wrong.
pub const EXIT_FILE: u8 = 7;

/// What a reply to this command means that is none of the `expected` ones.
pub(crate) fn answered(command: &Command, expected: &'static str, reply: &Reply<Bytes>) -> Failed {
    let mut line = Vec::new();
    command.encode(&mut line);
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    Error::of_reply(line, expected, reply).into()
}

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failed {
    pub(crate) fn new(status: u8, message: impl fmt::Display) -> Self {
        Self { status, message: message.to_string() }
    }

    pub(crate) fn other(message: impl fmt::Display) -> Self {
        Self::new(EXIT_FAILED, message)
    }

    pub(crate) fn not_found(what: impl fmt::Display) -> Self {
        Self::new(EXIT_NOT_FOUND, format!("there is no {what}"))
    }

    /// Says what may have to be done to be allowed to, if the message says that something is not: it has the word
    /// of the protocol then, by whichever way it came.
    pub(crate) fn with_hint(mut self, hint: Option<&impl fmt::Display>) -> Self {
        if let Some(hint) = hint
            && self.message.contains(&Refusal::InternalError.to_string())
        {
            self.message = format!("{}; {hint}", self.message);
        }
        self
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(EXIT_USAGE, message)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        // A put that is refused is told by its reply. Nothing else that comes from here needs room.
        if let Error::Refused { refusal: Refusal::OutOfMemory, .. } = error {
            return Self::new(
                EXIT_FAILED,
                format!(
                    "{error}: it has as many connections as --max-connections allows, or no memory. With --http, \
                     jq-ctl connections lists and closes some"
                ),
            );
        }
        let status = match &error {
            Error::Connect(error) => status(error),
            Error::Disconnected { .. } | Error::NoReply { .. } => EXIT_UNREACHABLE,
            _ => EXIT_FAILED,
        };
        Self::new(status, error)
    }
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        Self::new(status(&error), error)
    }
}

/// What is to be changed here, the token or a file, is a mistake of the configuration.
fn status(error: &ConnectError) -> u8 {
    if error.is_permanent() { EXIT_USAGE } else { EXIT_UNREACHABLE }
}

impl From<PutError> for Failed {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Failed(error) => error.into(),
            PutError::OutOfMemory => Self::other(
                "the server has no room for the job: a limit is reached, or its memory or its disk is full. \
                 jq-ctl stats refused says which",
            ),
            error => Self::other(error),
        }
    }
}

/// Of standard input or output: files have [`EXIT_FILE`] and their name in the message.
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        // Whoever read the output wants no more of it.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(0, "");
        }
        Self::new(EXIT_FILE, error)
    }
}
