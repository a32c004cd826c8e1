//! Whether the server does all of its work, and if not, why.
//!
//! The one table of reasons: `/readyz`, `/api/v1/server`, the events, the metrics and the problems of
//! refused requests read it here. Whoever adds a reason adds it to [`Reason`].

use std::fmt;

use beanstalk_protocol::{BinlogHealth, BinlogStats, ServerStats};
use jq_api::server::{ProblemKind, Reason as ReasonDocument, ServerState};

use crate::memory;
use crate::observe::{Snapshot, Standing};
use crate::server::hub::Hub;

/// A reason why the server does not do all of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It reads its log.
    Replaying,
    /// It is about to exit.
    Stopping,
    /// New jobs are refused until that is undone.
    Draining,
    /// The log has no room for new jobs, for this reason.
    LogFull(String),
    /// The log cannot be written, for this reason.
    LogFailed(String),
    /// The right to write the log is lost.
    LogLost,
    /// The system has no more memory.
    OutOfMemory,
}

impl Reason {
    /// The names of all reasons.
    pub(crate) const NAMES: [&str; 7] = [
        "replaying",
        "stopping",
        "draining",
        "log_full",
        "log_failed",
        "log_lost",
        "out_of_memory",
    ];

    /// Its name, for programs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Replaying => "replaying",
            Self::Stopping => "stopping",
            Self::Draining => "draining",
            Self::LogFull(_) => "log_full",
            Self::LogFailed(_) => "log_failed",
            Self::LogLost => "log_lost",
            Self::OutOfMemory => "out_of_memory",
        }
    }

    /// The kind of problem that a request has because of it.
    pub(crate) fn problem(&self) -> ProblemKind {
        match self {
            Self::Replaying => ProblemKind::Replaying,
            Self::Stopping => ProblemKind::Stopping,
            Self::Draining => ProblemKind::Draining,
            Self::LogFull(_) => ProblemKind::LogFull,
            Self::LogFailed(_) | Self::LogLost => ProblemKind::LogFailed,
            Self::OutOfMemory => ProblemKind::OutOfMemory,
        }
    }

    /// As documents have it.
    pub(crate) fn document(&self) -> ReasonDocument {
        ReasonDocument { name: self.name().to_owned(), detail: self.to_string() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaying => f.write_str("it reads its log and serves nobody yet"),
            Self::Stopping => f.write_str("it is about to exit"),
            Self::Draining => f.write_str("it is drained: new jobs are refused"),
            Self::LogFull(error) => {
                write!(f, "there is no room for the log: new jobs are refused: {error}")
            }
            Self::LogFailed(error) => {
                write!(f, "the log cannot be written: no changes are accepted: {error}")
            }
            Self::LogLost => f.write_str("the right to write the log is lost"),
            Self::OutOfMemory => f.write_str("the system has no more memory: new jobs are refused"),
        }
    }
}

/// What a server is doing, and all reasons why it does not do all of its work. `None`: it has no
/// queue yet. `numbers` are the hub's of this moment.
pub(crate) fn state(
    hub: Option<&Hub>,
    numbers: Option<&(ServerStats, BinlogStats)>,
) -> (ServerState, Vec<Reason>) {
    let (Some(hub), Some((queue, log))) = (hub, numbers) else {
        return (ServerState::Replaying, vec![Reason::Replaying]);
    };
    let mut reasons = Vec::new();
    if hub.is_stopping() {
        reasons.push(Reason::Stopping);
    }
    if queue.draining {
        reasons.push(Reason::Draining);
    }
    if hub.has_lost_log() {
        reasons.push(Reason::LogLost);
    }
    match log.own.as_ref().map(|own| &own.health) {
        Some(BinlogHealth::Full(error)) => reasons.push(Reason::LogFull(error.clone())),
        Some(BinlogHealth::Failed(error)) => reasons.push(Reason::LogFailed(error.clone())),
        Some(BinlogHealth::Good) | None => {}
    }
    if !memory::has_room() {
        reasons.push(Reason::OutOfMemory);
    }
    let state = if hub.is_stopping() {
        ServerState::Stopping
    } else if queue.draining {
        ServerState::Draining
    } else {
        ServerState::Running
    };
    (state, reasons)
}

/// As [`state`], as of a snapshot, and as documents have it.
pub(crate) fn standing(hub: &Hub, snapshot: &Snapshot) -> Standing {
    let numbers = (snapshot.server.clone(), snapshot.log.clone());
    let (state, reasons) = state(Some(hub), Some(&numbers));
    (state, reasons.iter().map(Reason::document).collect())
}

/// As [`state`], as of now.
pub(crate) fn state_now(hub: Option<&Hub>) -> (ServerState, Vec<Reason>) {
    state(hub, hub.map(Hub::stats).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../docs/api.md");

    #[test]
    fn each_reason_has_a_name_that_the_manual_lists() {
        let why = || "why".to_owned();
        let all = [
            Reason::Replaying,
            Reason::Stopping,
            Reason::Draining,
            Reason::LogFull(why()),
            Reason::LogFailed(why()),
            Reason::LogLost,
            Reason::OutOfMemory,
        ];
        assert_eq!(all.each_ref().map(Reason::name), Reason::NAMES);
        for reason in &all {
            assert!(DOCS.contains(&format!("| `{}` |", reason.name())), "{}", reason.name());
            assert!(reason.problem().status() >= 500);
        }
    }
}
