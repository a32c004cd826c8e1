//! How handshakes end.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use jq_engine::Nanos;
use rustls::{AlertDescription, Error};
use tracing::warn;

use crate::paced::Paced;

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection is served.
    Done,
    /// The client has taken too long.
    TimedOut,
    /// There were too many at once, and the client was not the one to stay.
    CrowdedOut,
    /// The client was gone.
    Closed,
    /// What the client said is not TLS.
    NotTls,
    /// There is no version, cipher or protocol that both sides speak.
    Incompatible,
    /// The client has shown no certificate, or one that is not accepted.
    ClientCertificate,
    /// The client refused to go on: it does not accept our certificate, for example.
    Refused,
    /// Anything else.
    Failed,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 9] = [
        Self::Done,
        Self::TimedOut,
        Self::CrowdedOut,
        Self::Closed,
        Self::NotTls,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::Refused,
        Self::Failed,
    ];

    /// Its name, for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::TimedOut => "timed_out",
            Self::CrowdedOut => "crowded_out",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// How a handshake ended that failed with this.
    pub(super) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::Incompatible,
            Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => {
                Self::ClientCertificate
            }
            Some(Error::AlertReceived(AlertDescription::CloseNotify)) => Self::Closed,
            Some(Error::AlertReceived(_)) => Self::Refused,
            Some(_) => Self::Failed,
            None => match error.kind() {
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Closed,
                _ => Self::Failed,
            },
        }
    }
}

/// How many handshakes ended in which way.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    counts: [AtomicU64; Outcome::ALL.len()],
    failures: Paced,
}

impl Outcomes {
    /// Counts one.
    pub(super) fn count(&self, outcome: Outcome) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Logs that one has failed, unless a line was logged just before.
    pub(super) fn tell(
        &self,
        now: Nanos,
        outcome: Outcome,
        peer: &str,
        error: &dyn std::fmt::Display,
    ) {
        if let Some(handshakes) = self.failures.count(now) {
            let result = outcome.name();
            warn!(peer, result, %error, handshakes, "TLS handshakes have failed");
        }
    }

    /// How many ended in this way since the start.
    pub(crate) fn total(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_of_its_own() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
    }
}
