//! What of this machine is at fault when a job could not be run.
//!
//! Such a failure costs the job nothing: it goes back to the queue, and no attempt is counted. A failure
//! that the job itself may have caused has no part here, since such a job must come to an end.
//!
//! Owns: which part a failure is put down to. Must not know: what is done about it.

use std::fmt;

use crate::exec::{RunError, StartProblem};
use crate::job::JobType;

/// A part of this machine that jobs need.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The directory for results and working directories, and the disk that it is on.
    StateDirectory,
    /// Starting processes: file descriptors, memory, processes.
    Processes,
    /// The handler of this type; `None` is the command that runs every type.
    Handler(Option<JobType>),
}

impl Part {
    /// The part that kept a process of this handler from being started; `in_ours`: in a working directory
    /// that is ours, rather than in one of the handler's. `None`: the process ran.
    pub fn of(error: &RunError, handler: Option<JobType>, in_ours: bool) -> Option<Self> {
        match error {
            RunError::Start { problem: StartProblem::Directory, .. } if in_ours => {
                Some(Self::StateDirectory)
            }
            // Even want of memory can be the handler's own limit.
            RunError::Start { .. } | RunError::TooLong { .. } | RunError::Cgroup(_) => {
                Some(Self::Handler(handler))
            }
            RunError::Pipes(_) | RunError::Keeper(_) => Some(Self::Processes),
            RunError::KeeperLost | RunError::Unkillable => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateDirectory => write!(f, "the state directory"),
            Self::Processes => write!(f, "starting processes"),
            Self::Handler(Some(kind)) => write!(f, "the handler of the type {kind}"),
            Self::Handler(None) => write!(f, "the command"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn each_failure_to_start_has_its_part() {
        let start = |problem| RunError::Start {
            program: "/p".into(),
            directory: "/d".into(),
            problem,
            source: io::Error::from_raw_os_error(libc::ENOENT),
        };
        let of = |error: &RunError| Part::of(error, None, true);
        assert_eq!(of(&start(StartProblem::Directory)), Some(Part::StateDirectory));
        let handler = Some(Part::Handler(None));
        assert_eq!(Part::of(&start(StartProblem::Directory), None, false), handler);
        for problem in [
            StartProblem::NoProgram,
            StartProblem::NotExecutable,
            StartProblem::NoInterpreter,
            StartProblem::Format,
            StartProblem::Other,
        ] {
            assert_eq!(of(&start(problem)), handler, "{problem:?}");
        }
        assert_eq!(of(&RunError::TooLong { bytes: 1 }), handler);
        let system = || io::Error::from_raw_os_error(libc::EMFILE);
        assert_eq!(of(&RunError::Cgroup(system())), handler);
        assert_eq!(of(&RunError::Pipes(system())), Some(Part::Processes));
        assert_eq!(of(&RunError::Keeper(system())), Some(Part::Processes));
        // A job that kills its keeper must come to an end.
        assert_eq!(of(&RunError::KeeperLost), None);
        assert_eq!(of(&RunError::Unkillable), None);
    }
}
