//! Why a measurement could not be made.

use std::{fmt, io, time::Duration};

/// How much of a wrong reply is shown.
const SHOWN_BYTES: usize = 100;

/// Why a measurement could not be made.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A system call failed; the text says which one, and on what.
    Io(String, io::Error),
    /// A reply that the protocol does not allow here.
    WrongReply { expected: String, got: String },
    /// A reply that is well-formed but cannot be true, such as one job handed out twice.
    Untrue(String),
    /// The server closed a connection.
    Closed,
    /// The server did not answer for this long.
    Silent(Duration),
    /// The server could not be started, or cannot do what the scenario needs.
    Server(String),
    /// The user asked to stop.
    Interrupted,
}

impl Failure {
    /// Says that `got` came where `expected` was due.
    pub(crate) fn wrong(expected: impl Into<String>, got: &[u8]) -> Self {
        let mut shown = got[..got.len().min(SHOWN_BYTES)].escape_ascii().to_string();
        if got.len() > SHOWN_BYTES {
            shown.push_str("...");
        }
        Self::WrongReply { expected: expected.into(), got: shown }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::WrongReply { expected, got } => {
                write!(f, "wrong reply: expected {expected}, got \"{got}\"")?;
                if got.starts_with("INTERNAL_ERROR") {
                    f.write_str(
                        ": the server failed, or does not allow this to whoever has shown what this program shows \
                         (--token-file)",
                    )?;
                } else if got == "NOT_AUTHENTICATED" {
                    f.write_str(": the server does not know this program's token")?;
                }
                Ok(())
            }
            Self::Untrue(what) => write!(f, "impossible reply: {what}"),
            Self::Closed => write!(f, "the server closed a connection"),
            Self::Silent(time) => write!(f, "the server did not answer for {time:?}"),
            Self::Server(what) => write!(f, "{what}"),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

/// Attaches what was being done to an I/O error.
pub(crate) trait Context<T> {
    /// Names the action that failed.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::Io(what(), error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_is_told_in_words() {
        for got in [&b"INTERNAL_ERROR"[..], b"INTERNAL_ERROR\r\n"] {
            let told = Failure::wrong("INSERTED", got).to_string();
            assert!(
                told.contains("does not allow this") && told.contains("--token-file"),
                "{told}"
            );
        }
        let told = Failure::wrong("AUTHENTICATED", b"NOT_AUTHENTICATED").to_string();
        assert!(told.ends_with("does not know this program's token"), "{told}");
        let told = Failure::wrong("DELETED", b"NOT_FOUND").to_string();
        assert_eq!(told, "wrong reply: expected DELETED, got \"NOT_FOUND\"");
    }
}
