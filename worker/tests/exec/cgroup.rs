//! Control groups: joining and killing are real where the machine has version 2 and lets us; the
//! limits go to plain files, since few machines that tests run on give them away.

use crate::support::{Mark, Marked, TempDir, program, sh};
use jq_worker::exec::{self, Cgroups, Exit, Finished, Keepers};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A tree with one group, whose `join` and `kill` are those of a real group.
struct HalfReal {
    tree: TempDir,
    real: PathBuf,
}

impl HalfReal {
    /// None: this machine does not let us.
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let name = format!("jq-test-{}-{name}", std::process::id());
        let real = Path::new(mount.split(' ').nth(4)?).join(name);
        if let Err(error) = fs::create_dir(&real) {
            println!("not tested, {}: {error}", real.display());
            return None;
        }
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
        Some(Self { tree, real })
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
