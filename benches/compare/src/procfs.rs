//! What the kernel tells about processes and cores.

use std::{collections::HashMap, fs, io, time::Duration};

use crate::affinity::Cpus;

/// The unit of `/proc/stat` and `/proc/PID/stat`, the same on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// CPU time that a process has used in user and kernel mode, all threads together.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    match threads_cpu_time(pid) {
        Ok(time) => Ok(time),
        // Kernels without scheduler statistics count in ticks only.
        Err(_) => Ok(Process::parse(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?.own),
    }
}

/// In nanoseconds, where `/proc/PID/stat` counts in hundredths of a second.
fn threads_cpu_time(pid: u32) -> io::Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += field(text.split_ascii_whitespace(), 0)?;
    }
    Ok(Duration::from_nanos(sum))
}

/// What a process has used so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// CPU time of its own.
    own: Duration,
    /// The same, and that of its children which have ended and their children.
    pub(crate) family: Duration,
}

impl Process {
    fn parse(stat: &str) -> io::Result<Self> {
        // The name in parentheses may contain anything; utime, stime and the same of the children
        // begin with the 12th field after it.
        let (name, fields) = stat
            .split_once('(')
            .and_then(|(_, rest)| rest.rsplit_once(')'))
            .ok_or_else(malformed)?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut next = || field(&mut fields, 0).map(ticks);
        let own = next()? + next()?;
        Ok(Self { name: name.to_owned(), own, family: own + next()? + next()? })
    }
}

/// All processes by their ids.
pub(crate) fn processes() -> io::Result<HashMap<u32, Process>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while we are looking.
        if let Ok(stat) = fs::read_to_string(entry.path().join("stat")) {
            all.insert(pid, Process::parse(&stat)?);
        }
    }
    Ok(all)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(malformed)?;
    Ok(field(line.split_ascii_whitespace(), 0)? * 1024)
}

/// Time that these cores together have spent idle since the machine started.
pub(crate) fn idle_time(cpus: &Cpus) -> io::Result<Duration> {
    idle_in(&fs::read_to_string("/proc/stat")?, cpus)
}

fn idle_in(stat: &str, cpus: &Cpus) -> io::Result<Duration> {
    let mut sum = 0;
    for cpu in cpus.iter() {
        let name = format!("cpu{cpu}");
        let mut fields = stat
            .lines()
            .map(str::split_ascii_whitespace)
            .find_map(|mut fields| (fields.next()? == name).then_some(fields))
            .ok_or_else(malformed)?;
        // user, nice, system, then idle and iowait.
        sum += field(&mut fields, 3)? + field(&mut fields, 0)?;
    }
    Ok(ticks(sum))
}

/// How many cores the machine has, whether we may use them or not.
pub(crate) fn cores() -> Option<usize> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let is_core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    Some(text.lines().filter(is_core).count())
}

/// The name of the processor model, if the kernel tells.
pub(crate) fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The version of the running kernel.
pub(crate) fn kernel() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim().to_owned())
}

fn field<'a>(mut fields: impl Iterator<Item = &'a str>, index: usize) -> io::Result<u64> {
    fields.nth(index).and_then(|text| text.parse().ok()).ok_or_else(malformed)
}

fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count * TICK.as_nanos() as u64)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a file under /proc has an unknown form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_process_with_a_hostile_name() {
        let stat = "42 (a) 1 (b) S 1 42 42 0 -1 4194304 103 0 0 0 150 50 7 7 20 0 1 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.name, "a) 1 (b");
        assert_eq!(process.own, Duration::from_secs(2));
        assert_eq!(process.family, Duration::from_millis(2140));
        assert!(Process::parse("42 (a) S 1").is_err());
    }

    #[test]
    fn idle_time_of_some_cores() {
        let stat = "cpu 1 2 3 600 50 0\ncpu0 1 2 3 100 10 0\ncpu1 0 0 0 200 20 0\n\
                    cpu10 0 0 0 300 20 0\nintr 5\n";
        let idle = |cpus: &str| idle_in(stat, &cpus.parse().unwrap());
        assert_eq!(idle("1").unwrap(), Duration::from_millis(2200));
        assert_eq!(idle("0,10").unwrap(), Duration::from_millis(4300));
        assert!(idle("2").is_err());
    }

    #[test]
    fn this_process() {
        let pid = std::process::id();
        assert!(resident(pid).unwrap() > 100_000);
        assert!(idle_time(&Cpus::allowed().unwrap()).is_ok());
        assert!(processes().unwrap().contains_key(&pid));
        let before = cpu_time(pid).unwrap();
        while cpu_time(pid).unwrap() == before {}
    }
}
