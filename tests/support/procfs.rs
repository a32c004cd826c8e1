//! What the kernel tells of a process from outside.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// A line of `/proc/PID/status`, without its name.
pub(crate) fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("the status has {name}")).trim().to_owned()
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS")
}

/// Memory that a process has set aside, whether it uses it or not, in bytes.
pub(crate) fn address_space(pid: u32) -> u64 {
    memory(pid, "VmSize")
}

fn memory(pid: u32, name: &str) -> u64 {
    let text = status(pid, name);
    let kib = text.strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("{name} is in kB, not {text}")) * 1024
}

/// The thread of a process that has this name.
pub(crate) fn thread(pid: u32, name: &str) -> i32 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is running");
    let mut threads = threads.map(|thread| thread.expect("it is a directory").path());
    let found = threads.find(|path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    let number = found.as_ref().and_then(|path| path.file_name()?.to_str()?.parse().ok());
    number.unwrap_or_else(|| panic!("there is a thread {name}"))
}

/// Number of open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is running").count()
}

/// Processor time that a process has used, in user and system mode together.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is running");
    // The second field is the name in parentheses, in which anything may be.
    let (_, fields) = text.rsplit_once(") ").expect("the name is in parentheses");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("the kernel has a tick");
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}
