//! What to start, as worker and keeper both know it.

use std::ffi::OsString;
use std::path::PathBuf;

/// What one process of a run may use. `None` leaves what the worker itself was started with.
///
/// Memory, processes and cores are kept for all processes of a run together, where control groups
/// can do that ([`super::Cgroups`]). The others, and otherwise all but `cpu_cores`, are limits of
/// each process for itself (`setrlimit`), cut to the worker's own hard limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Seconds of processor time. At the limit the process gets SIGXCPU, a second later SIGKILL.
    pub cpu_seconds: Option<u64>,
    /// Bytes of memory. In a control group the whole run is killed beyond it
    /// ([`super::Finished::oom_killed`]). Otherwise it is each process's data, which is its heap
    /// and private mappings (`RLIMIT_DATA`), and allocating fails beyond it. Not address space:
    /// runtimes that reserve much and use little would not start.
    pub memory_bytes: Option<u64>,
    /// Open files, sockets and pipes of a process.
    pub open_files: Option<u64>,
    /// Processes and threads. Without a control group the kernel counts all of the worker's
    /// *user*, and does not for root.
    pub processes: Option<u64>,
    /// Bytes of any one file. At the limit the process gets SIGXFSZ, or its write fails.
    pub file_bytes: Option<u64>,
    /// Processors that it may keep busy, in all: 0.5 is half of one's time. Only in a control
    /// group.
    pub cpu_cores: Option<f64>,
}

/// A program with everything that it starts with, but for its input and output.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Command {
    /// An absolute path, or a bare name to be looked up in the `PATH` of `env`.
    pub(super) program: PathBuf,
    /// Its arguments, without its name.
    pub(super) args: Vec<OsString>,
    /// The whole environment. Nothing is inherited.
    pub(super) env: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub(super) directory: PathBuf,
    pub(super) limits: Limits,
}
