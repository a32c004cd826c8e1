//! Control groups: joining and killing are real; the limits go to plain files, since few machines
//! that tests run on give them away.

use crate::peer::skip;
use crate::support::{Mark, Marked, TempDir, program, sh};
use jq_worker::exec::{self, Cgroups, Exit, Finished, Keepers};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tree with one group, whose `join` and `kill` are those of a real group.
struct HalfReal {
    tree: TempDir,
    real: PathBuf,
    /// Of version 2 of the control groups, if the machine has it where we may not write.
    _mount: Option<Mount>,
}

/// A file system of control groups that we have mounted.
struct Mount(TempDir);

impl Mount {
    fn new() -> Result<Self, String> {
        let directory = TempDir::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "cgroup2", "jq-test"]).arg(directory.path());
        let output = mount.output().map_err(|error| format!("mount: {error}"))?;
        if output.status.success() {
            return Ok(Self(directory));
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().into())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Makes a real group: in the group that we are in, or in the root of all, wherever these are mounted;
/// or else where we mount them. The error is all that was tried.
fn make_real(name: &str) -> Result<(PathBuf, Option<Mount>), String> {
    let mut tried = Vec::new();
    let mut make = |folder: &Path| {
        let real = folder.join(name);
        // Of an old kernel's groups one can be joined, and cannot be killed.
        match fs::create_dir(&real) {
            Ok(()) if real.join("cgroup.kill").exists() => return Some(real),
            Ok(()) => {
                fs::remove_dir(&real).unwrap();
                tried.push(format!("{}: this kernel cannot kill a group", real.display()));
            }
            Err(error) => tried.push(format!("{}: {error}", real.display())),
        }
        None
    };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup2 ")) {
        let mount_point = Path::new(line.split(' ').nth(4).unwrap());
        for folder in [mount_point.join(own), mount_point.into()] {
            if let Some(real) = make(&folder) {
                return Ok((real, None));
            }
        }
    }
    let failed = match Mount::new() {
        Ok(mount) => match make(mount.0.path()) {
            Some(real) => return Ok((real, Some(mount))),
            None => String::new(),
        },
        Err(error) => error,
    };
    tried.push(failed);
    Err(tried.join("; "))
}

impl HalfReal {
    /// `None`, after saying so, if this machine does not let us.
    fn new(name: &str) -> Option<Self> {
        let (real, mount) = match make_real(&format!("jq-test-{}-{name}", std::process::id())) {
            Ok(made) => made,
            Err(tried) => {
                skip("control groups", &tried);
                return None;
            }
        };
        let tree = TempDir::new();
        let group = tree.path().join(format!("jq-{}-0", std::process::id()));
        fs::create_dir(&group).unwrap();
        for file in ["cgroup.procs", "cgroup.kill"] {
            symlink(real.join(file), group.join(file)).unwrap();
        }
        for file in ["memory.max", "memory.events", "pids.max", "cpu.max"] {
            fs::write(group.join(file), "").unwrap();
        }
        fs::write(tree.path().join("cgroup.controllers"), "memory pids cpu").unwrap();
        fs::write(tree.path().join("cgroup.subtree_control"), "").unwrap();
        Some(Self { tree, real, _mount: mount })
    }

    async fn run(&self, Marked { mut spec, mark }: Marked) -> (Finished, Mark) {
        let cgroups = Cgroups::at(Ok(self.tree.path().into())).take_over();
        let keepers = Keepers::with_cgroups(program(), cgroups);
        spec.limits.memory_bytes = Some(123_456_789);
        let finished = exec::run(&keepers, spec, Default::default(), std::future::pending()).await;
        (finished.unwrap(), mark)
    }
}

impl Drop for HalfReal {
    fn drop(&mut self) {
        fs::remove_dir(&self.real).unwrap();
    }
}

#[tokio::test]
async fn a_run_with_limits_is_in_a_group_of_its_own() {
    let Some(group) = HalfReal::new("joins") else { return };
    let (finished, _) = group.run(sh("cat /proc/self/cgroup; ulimit -d")).await;
    let text = String::from_utf8(finished.stdout.head).unwrap();
    let name = group.real.file_name().unwrap().to_str().unwrap();
    assert!(text.lines().any(|line| line.starts_with("0::") && line.ends_with(name)), "{text}");
    // Not limited a second time.
    assert!(text.ends_with("unlimited\n"), "{text}");
    assert!(!finished.oom_killed);
    let limit = group.tree.path().join(format!("jq-{}-0/memory.max", std::process::id()));
    assert_eq!(fs::read_to_string(limit).unwrap(), "123456789");
}

#[tokio::test]
async fn nothing_in_a_group_is_too_quick_to_be_killed() {
    let Some(group) = HalfReal::new("kills") else { return };
    let script = "hop='if [ $0 -gt 0 ]; then setsid sh -c \"$1\" $(($0 - 1)) \"$1\" & exit; fi'
        for i in 1 2 3 4; do sh -c \"$hop\" 100000 \"$hop\" & done; sleep 0.3; exit 3";
    let (finished, mark) = group.run(sh(script)).await;
    assert_eq!((finished.exit, finished.beyond_reach), (Exit::Code(3), 0));
    assert_eq!(mark.count(), 0);
}
