//! What the system says about this process.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;

use crate::descriptors;

/// Numbers of a process; those that the system does not tell are missing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Process {
    /// Seconds of the processor that it has used.
    pub(super) cpu_seconds: Option<f64>,
    /// Those for itself, and those that the system spent for it.
    pub(super) user_seconds: Option<f64>,
    pub(super) system_seconds: Option<f64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) threads: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let user = usage.map(|usage| seconds(usage.user_time()));
        let system = usage.map(|usage| seconds(usage.system_time()));
        let count = |path: &str| fs::read_dir(path).map(|entries| entries.count() as u64);
        let max_fds = getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft);
        Self {
            cpu_seconds: user.zip(system).map(|(user, system)| user + system),
            user_seconds: user,
            system_seconds: system,
            open_fds: match count("/proc/self/fd") {
                // The one that reads the directory is not counted.
                Ok(count) => Some(count.saturating_sub(1)),
                // There is none for that: all are open.
                Err(error) if descriptors::are_missing(&error) => max_fds,
                Err(_) => None,
            },
            max_fds,
            threads: count("/proc/self/task").ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let process = Process::now();
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds >= 0.0));
        assert!(process.threads.is_some_and(|threads| threads >= 1));
        let (open, max) = (process.open_fds.unwrap(), process.max_fds.unwrap());
        assert!(open >= 3 && open <= max, "{open} of {max}");
        let more: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(Process::now().open_fds.unwrap() >= 100);
        drop(more);
    }
}
