//! What to start, as known to both worker and keeper.

use std::ffi::OsString;
use std::path::PathBuf;

use super::priority::IoPriority;

/// What one process of a run may use, how it is to be treated, and as whom it runs. `None` leaves what the
/// worker itself was started with.
///
/// Memory, processes and cores are limited for all processes of a run together, where control
/// groups allow it ([`super::Cgroups`]). The other limits, and without control groups all but
/// `cpu_cores`, apply to each process separately (`setrlimit`), capped at the worker's own hard
/// limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Seconds of processor time. At the limit the process gets SIGXCPU, a second later SIGKILL.
    pub cpu_seconds: Option<u64>,
    /// Bytes of memory. In a control group, the whole run is killed when it exceeds this
    /// ([`super::Finished::oom_killed`]). Otherwise it limits each process's data, which is its
    /// heap and private mappings (`RLIMIT_DATA`), and allocations beyond it fail. It does not limit
    /// address space: runtimes that reserve much and use little could not start.
    pub memory_bytes: Option<u64>,
    /// Open files, sockets and pipes of a process.
    pub open_files: Option<u64>,
    /// Processes and threads. Without a control group, the kernel counts all processes of the
    /// worker's *user*, and does not limit root.
    pub processes: Option<u64>,
    /// Size of any one file, in bytes. At the limit the process gets SIGXFSZ, or its write fails.
    pub file_bytes: Option<u64>,
    /// Number of processors that the run may keep busy: 0.5 is half of one. Only in a control
    /// group.
    pub cpu_cores: Option<f64>,
    /// The permissions that files never have which it makes: 0 to 0o777.
    pub umask: Option<u32>,
    /// The nice value of its processes: -20 to 19.
    pub nice: Option<i32>,
    /// Its place in the line for the disk.
    pub io_priority: Option<IoPriority>,
    /// As whom. Only root can start a process as somebody else.
    pub identity: Option<Identity>,
}

/// A user and a group, by their numbers. There are no further groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A program with everything that is needed to start it, except its input and output.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Command {
    /// An absolute path, or a bare name to be looked up in the `PATH` of `env`.
    pub(super) program: PathBuf,
    /// Its arguments, without its name.
    pub(super) args: Vec<OsString>,
    /// The whole environment. Nothing is inherited.
    pub(super) env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub(super) directory: PathBuf,
    pub(super) limits: Limits,
}
