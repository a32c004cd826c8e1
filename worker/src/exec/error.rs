//! Errors that prevent a result of a process.

use super::wire::MAX_MESSAGE;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why there is no result of a process.
#[derive(Debug)]
pub enum RunError {
    /// The command could not be started. Nothing of it ran.
    Start {
        /// The program to be started.
        program: PathBuf,
        /// Its working directory.
        directory: PathBuf,
        /// What the problem was, as far as is known.
        problem: StartProblem,
        /// The error of the system call.
        source: io::Error,
    },
    /// Arguments and environment together are longer than a keeper accepts. Nothing ran.
    TooLong {
        /// Their length in bytes, including a few bytes of overhead for each.
        bytes: usize,
    },
    /// The pipes of the process could not be created: most likely too many files are open. Nothing
    /// ran.
    Pipes(io::Error),
    /// No keeper could be started to run the command. Nothing ran.
    Keeper(io::Error),
    /// Its control group could not be created, or did not accept its limits. Nothing ran.
    Cgroup(io::Error),
    /// The keeper of the run died. The whole run was killed.
    KeeperLost,
    /// A process of the run did not end although it was killed: it is blocked in the kernel, for
    /// example by a device or a file server, or belongs to another user.
    Unkillable,
}

/// Why a command could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartProblem {
    /// The working directory does not exist, is not a directory, or cannot be entered.
    Directory,
    /// There is no such program.
    NoProgram,
    /// The program exists but may not be executed.
    NotExecutable,
    /// The program exists, but the interpreter that it names does not.
    NoInterpreter,
    /// The kernel cannot run the program's format: a script without `#!`, or a binary for another
    /// machine, and `/bin/sh`, which is tried for such a file, could not be started either.
    Format,
    /// Anything else: out of memory, too many processes, a NUL byte in an argument.
    Other,
}

impl RunError {
    /// A start that failed with `source`. The cause is determined afterwards, because the kernel
    /// uses one error number for several causes.
    pub(super) fn start(program: &Path, directory: &Path, source: io::Error) -> Self {
        let problem = StartProblem::find(program, directory, &source);
        Self::Start { program: program.into(), directory: directory.into(), problem, source }
    }
}

impl StartProblem {
    fn find(program: &Path, directory: &Path, source: &io::Error) -> Self {
        let errno = source.raw_os_error().unwrap_or(0);
        if !matches!(errno, libc::ENOENT | libc::EACCES | libc::ENOTDIR | libc::ENOEXEC) {
            return Self::Other;
        }
        if errno == libc::ENOEXEC {
            return Self::Format;
        }
        let may_enter = rustix::fs::access(directory, rustix::fs::Access::EXEC_OK).is_ok();
        if !directory.is_dir() || !may_enter {
            return Self::Directory;
        }
        // A bare name was looked up in a PATH, and would have been found there.
        let is_path = program.components().count() > 1;
        if errno == libc::EACCES {
            let path = directory.join(program);
            let may_run = rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok();
            return if is_path && may_run && path.is_file() {
                Self::Other
            } else {
                Self::NotExecutable
            };
        }
        if is_path && directory.join(program).exists() {
            Self::NoInterpreter
        } else {
            Self::NoProgram
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, directory, problem, source } => {
                let program = program.display();
                match problem {
                    StartProblem::Directory => {
                        let directory = directory.display();
                        write!(f, "cannot start {program} in the directory {directory}")
                    }
                    StartProblem::NoProgram => write!(f, "there is no program {program}"),
                    StartProblem::NotExecutable => write!(f, "{program} may not be executed"),
                    StartProblem::NoInterpreter => {
                        write!(f, "the interpreter that {program} names is not there")
                    }
                    StartProblem::Format => {
                        write!(
                            f,
                            "{program} is neither a program for this machine nor has it a #! line"
                        )
                    }
                    StartProblem::Other => write!(f, "cannot start {program}"),
                }?;
                write!(f, ": {source}")
            }
            Self::TooLong { bytes } => write!(
                f,
                "arguments and environment are {bytes} bytes together, at most {MAX_MESSAGE} can be given"
            ),
            Self::Pipes(source) => write!(f, "cannot make pipes for a process: {source}"),
            Self::Cgroup(source) => write!(f, "cannot limit a process: {source}"),
            Self::Keeper(source) => write!(f, "cannot start a keeper process: {source}"),
            Self::KeeperLost => {
                f.write_str("the keeper of the process was killed, and the process with it")
            }
            Self::Unkillable => f.write_str("the process does not end though it was killed"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. }
            | Self::Pipes(source)
            | Self::Cgroup(source)
            | Self::Keeper(source) => Some(source),
            Self::TooLong { .. } | Self::KeeperLost | Self::Unkillable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_alone_does_not_tell() {
        let problem = |program: &str, directory: &str, errno| {
            let source = io::Error::from_raw_os_error(errno);
            match RunError::start(program.as_ref(), directory.as_ref(), source) {
                RunError::Start { problem, .. } => problem,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(problem("/no/such", "/", libc::ENOENT), StartProblem::NoProgram);
        assert_eq!(problem("/bin/sh", "/", libc::ENOENT), StartProblem::NoInterpreter);
        assert_eq!(problem("/bin/sh", "/no/such", libc::ENOENT), StartProblem::Directory);
        assert_eq!(problem("/etc/passwd", "/", libc::EACCES), StartProblem::NotExecutable);
        // A priority, say, that we may not give.
        assert_eq!(problem("/bin/sh", "/", libc::EACCES), StartProblem::Other);
        assert_eq!(problem("/bin/sh", "/", libc::ENOEXEC), StartProblem::Format);
        assert_eq!(problem("/bin/sh", "/", libc::ENOMEM), StartProblem::Other);
    }
}
