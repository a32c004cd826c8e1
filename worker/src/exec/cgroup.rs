//! Control groups (version 2), where they exist and we may use them: limits for all processes of a
//! run together, and a way to kill them that no process can escape.
//!
//! Owns: our part of the tree, what can be limited there, and one group for each keeper that needs
//! one. Must not know: which limits a run has. A run joins its keeper's group only if it has a
//! limit that the group can enforce: joining costs more than everything else at its start.

use super::command::Limits;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The period of the processor time limit, in microseconds: the kernel's default.
const CPU_PERIOD: f64 = 100_000.0;

/// The minimum processor time per period that the kernel accepts, in microseconds.
const CPU_LEAST: f64 = 1_000.0;

/// The group that the worker itself moves to: a group whose children have limits must not have
/// processes itself.
const OWN: &str = "worker";

/// The prefix of the names of keepers' groups.
const PREFIX: &str = "jq-";

/// What control groups can do on this machine. `Display` describes it.
#[derive(Debug)]
pub struct Cgroups {
    /// The group that this process is in, or why there is none.
    directory: Result<PathBuf, String>,
    controllers: Controllers,
    next: AtomicU32,
}

/// What can be limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Controllers {
    memory: bool,
    processes: bool,
    cpu: bool,
}

/// The group of one keeper.
#[derive(Debug)]
pub(super) struct Group {
    directory: PathBuf,
    controllers: Controllers,
    /// A process that writes to this joins the group.
    join: File,
    /// Writing to this kills the group.
    kill: File,
    /// Number of times the kernel has killed in it for lack of memory.
    oom_kills: u64,
}

impl Cgroups {
    /// Detects what there is, without changing anything.
    pub fn detect() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let directory = own_directory(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        Self::at(directory.ok_or_else(|| "this machine has no control groups version 2".into()))
    }

    /// The same for a known directory, or the reason why there is none.
    pub fn at(directory: Result<PathBuf, String>) -> Self {
        let directory = directory.and_then(|directory| usable(&directory).map(|()| directory));
        let controllers = match &directory {
            Ok(directory) => Controllers::read(&directory.join("cgroup.controllers")),
            Err(_) => Controllers::default(),
        };
        Self { directory, controllers, next: AtomicU32::new(0) }
    }

    /// Prepares for limiting runs: moves this process to a group of its own below its current one,
    /// and enables limits for the other children of that. Must be called before there is any
    /// keeper. The `Display` of the result says what is not available.
    pub fn take_over(mut self) -> Self {
        let Ok(directory) = &self.directory else { return self };
        let wanted = std::mem::take(&mut self.controllers);
        match take_over(directory, wanted) {
            Ok(controllers) => self.controllers = controllers,
            Err(error) => self.directory = Err(format!("{}: {error}", directory.display())),
        }
        self
    }

    /// Whether a run with these limits needs a group.
    pub(super) fn is_of_use(&self, limits: &Limits) -> bool {
        let Controllers { memory, processes, cpu } = self.controllers;
        memory && limits.memory_bytes.is_some()
            || processes && limits.processes.is_some()
            || cpu && limits.cpu_cores.is_some()
    }

    pub(super) fn group(&self) -> io::Result<Group> {
        let root = self.directory.as_ref().map_err(|why| io::Error::other(why.clone()))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        Group::new(root.join(name), self.controllers)
    }
}

/// The directory of the group that a process is in, by its `/proc/self/cgroup` and `mountinfo`.
fn own_directory(cgroup: &str, mounts: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then_some(())?;
        let mut fields = mount.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        // In a container, the mount may begin below what the process sees as root.
        let below = Path::new(path).strip_prefix(root).ok()?;
        let directory = Path::new(mount_point).join(below);
        // Joining an empty path leaves a trailing slash.
        Some(directory.components().collect())
    })
}

/// Whether groups can be made in this one.
fn usable(directory: &Path) -> Result<(), String> {
    use rustix::fs::Access;
    rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| format!("{}: {error}", directory.display()))
}

fn take_over(directory: &Path, wanted: Controllers) -> io::Result<Controllers> {
    remove_leftovers(directory)?;
    // The root group has no type, and may have both processes and limits.
    let is_root = !directory.join("cgroup.type").exists();
    if !is_root && wanted != Controllers::default() {
        let us = std::process::id().to_string();
        let members = fs::read_to_string(directory.join("cgroup.procs"))?;
        if members.lines().any(|member| member != us) {
            return Err(io::Error::other("other processes are in the same group"));
        }
        let own = directory.join(OWN);
        make_directory(&own)?;
        write_file(&own.join("cgroup.procs"), &us)?;
    }
    let control = directory.join("cgroup.subtree_control");
    let enable = |name: &str, is_wanted| is_wanted && write_file(&control, name).is_ok();
    Ok(Controllers {
        memory: enable("+memory", wanted.memory),
        processes: enable("+pids", wanted.processes),
        cpu: enable("+cpu", wanted.cpu),
    })
}

/// Removes the groups of a worker that was killed. Groups that still have processes stay.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

impl Controllers {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let has = |name| text.split_ascii_whitespace().any(|it| it == name);
        Self { memory: has("memory"), processes: has("pids"), cpu: has("cpu") }
    }
}

impl Group {
    fn new(directory: PathBuf, controllers: Controllers) -> io::Result<Self> {
        make_directory(&directory)?;
        let open = |name| OpenOptions::new().write(true).open(directory.join(name));
        let (join, kill) = (open("cgroup.procs")?, open("cgroup.kill")?);
        if controllers.memory {
            // A run that is out of memory is killed as a whole, and does not use swap. Older
            // kernels have neither setting, so errors are ignored.
            let _ = write_file(&directory.join("memory.oom.group"), "1");
            let _ = write_file(&directory.join("memory.swap.max"), "0");
        }
        let mut group = Self { directory, controllers, join, kill, oom_kills: 0 };
        group.oom_kills = group.count_oom_kills();
        Ok(group)
    }

    /// Sets the limits of the next run. Returns the limits that must be set for each process
    /// instead.
    pub(super) fn limit(&self, limits: &Limits) -> io::Result<Limits> {
        let Controllers { memory, processes, cpu } = self.controllers;
        let mut left = limits.clone();
        let number = |limit: Option<u64>| limit.map_or("max".into(), |limit| limit.to_string());
        if memory {
            self.set("memory.max", &number(left.memory_bytes.take()))?;
        }
        if processes {
            self.set("pids.max", &number(left.processes.take()))?;
        }
        if cpu {
            let share = left.cpu_cores.take().map_or("max".into(), |cores| {
                let micros = (cores * CPU_PERIOD).max(CPU_LEAST);
                format!("{micros:.0}")
            });
            self.set("cpu.max", &format!("{share} {CPU_PERIOD:.0}"))?;
        }
        Ok(left)
    }

    fn set(&self, name: &str, value: &str) -> io::Result<()> {
        let path = self.directory.join(name);
        write_file(&path, value).map_err(|error| {
            io::Error::new(error.kind(), format!("{} = {value}: {error}", path.display()))
        })
    }

    /// Kills everything in it, asynchronously, for when its keeper cannot.
    pub(super) fn kill_all(&self) {
        let _ = (&self.kill).write_all(b"1");
    }

    /// The files that a keeper needs: to join the group, and to kill it.
    pub(super) fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.join.as_fd(), self.kill.as_fd()]
    }

    /// Whether the kernel has killed for lack of memory since the last call.
    pub(super) fn has_oom_killed(&mut self) -> bool {
        let before = self.oom_kills;
        self.oom_kills = self.count_oom_kills();
        self.oom_kills > before
    }

    fn count_oom_kills(&self) -> u64 {
        let events = fs::read_to_string(self.directory.join("memory.events")).unwrap_or_default();
        let mut counts = events.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        counts.next().and_then(|count| count.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails if something in it could not be killed: then a later worker tries again.
        let _ = fs::remove_dir(&self.directory);
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

impl fmt::Display for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = match &self.directory {
            Ok(directory) => directory.display(),
            Err(why) => return write!(f, "none ({why})"),
        };
        let Controllers { memory, processes, cpu } = self.controllers;
        let names = [(memory, "memory"), (processes, "processes"), (cpu, "cpu")];
        let names: Vec<&str> =
            names.iter().filter(|(can, _)| *can).map(|&(_, name)| name).collect();
        match names[..] {
            [] => write!(f, "none (nothing can be limited in {directory})"),
            _ => write!(f, "{} of a run, in {directory}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        25 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        41 31 0:38 /pod /sys/fs/cgroup rw,relatime shared:1 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_group_that_we_are_in_is_found() {
        let own = |cgroup| own_directory(cgroup, MOUNTS);
        assert_eq!(own("4:memory:/x\n0::/pod/a/b\n"), Some("/sys/fs/cgroup/a/b".into()));
        assert_eq!(own("0::/pod\n"), Some("/sys/fs/cgroup".into()));
        assert_eq!(own("0::/elsewhere\n"), None);
        assert_eq!(own("4:memory:/x\n"), None);
        assert_eq!(own_directory("0::/\n", "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }

    /// A tree that looks like the kernel's.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("jq-cgroup-{}-{name}", std::process::id()));
            fs::create_dir(&root).unwrap();
            let fake = Self(root);
            fake.write("cgroup.controllers", "cpuset cpu memory pids\n");
            fake.write("cgroup.subtree_control", "");
            fake.write("cgroup.type", "domain\n");
            fake.write("cgroup.procs", &format!("{}\n", std::process::id()));
            fs::create_dir(fake.0.join(OWN)).unwrap();
            fake.write("worker/cgroup.procs", "");
            let group = fake.group();
            fs::create_dir(fake.0.join(&group)).unwrap();
            let files = ["cgroup.procs", "cgroup.kill", "memory.max", "memory.events", "pids.max"];
            for file in files.into_iter().chain(["cpu.max"]) {
                fake.write(&format!("{group}/{file}"), "");
            }
            fake
        }

        fn group(&self) -> String {
            format!("{PREFIX}{}-0", std::process::id())
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn limits_are_the_groups_where_it_can_keep_them() {
        let fake = Fake::new("limits");
        let cgroups = Cgroups::at(Ok(fake.0.clone())).take_over();
        assert_eq!(
            cgroups.to_string(),
            format!("memory, processes, cpu of a run, in {}", fake.0.display())
        );
        assert_eq!(fake.read("worker/cgroup.procs"), std::process::id().to_string());
        let limits = Limits {
            memory_bytes: Some(1000),
            processes: Some(7),
            cpu_cores: Some(1.5),
            open_files: Some(3),
            ..Limits::default()
        };
        assert!(cgroups.is_of_use(&limits));
        assert!(!cgroups.is_of_use(&Limits { open_files: Some(3), ..Limits::default() }));
        let mut group = cgroups.group().unwrap();
        let left = group.limit(&limits).unwrap();
        assert_eq!(left, Limits { open_files: Some(3), ..Limits::default() });
        let name = fake.group();
        let read = |file: &str| fake.read(&format!("{name}/{file}"));
        assert_eq!((read("memory.max"), read("pids.max")), ("1000".into(), "7".into()));
        assert_eq!(read("cpu.max"), "150000 100000");

        assert!(!group.has_oom_killed());
        fake.write(&format!("{name}/memory.events"), "oom 3\noom_kill 2\noom_group_kill 1\n");
        assert!(group.has_oom_killed());
        assert!(!group.has_oom_killed());
    }

    #[test]
    fn a_group_that_is_shared_is_left_alone() {
        let fake = Fake::new("shared");
        fake.write("cgroup.procs", &format!("1\n{}\n", std::process::id()));
        let cgroups = Cgroups::at(Ok(fake.0.clone())).take_over();
        assert!(cgroups.to_string().contains("other processes"), "{cgroups}");
        assert_eq!(fake.read("worker/cgroup.procs"), "");
        assert!(!cgroups.is_of_use(&Limits { memory_bytes: Some(1), ..Limits::default() }));
    }

    #[test]
    fn without_any_it_says_why() {
        let cgroups = Cgroups::at(Err("no such thing".into())).take_over();
        assert_eq!(cgroups.to_string(), "none (no such thing)");
        let cgroups = Cgroups::at(Ok("/no/such/directory".into()));
        assert!(cgroups.to_string().contains("/no/such/directory"), "{cgroups}");
    }
}
