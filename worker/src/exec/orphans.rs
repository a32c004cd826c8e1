//! What remains of a run whose keeper was killed: found among the worker's own children, ended.
//!
//! Owned here: which children of this process are keepers, and that all others are orphans. Not
//! known here: what a keeper does.

use super::keeper::PATIENCE;
use super::procfs;
use rustix::process::{Pid, Signal, WaitOptions};
use std::collections::HashSet;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

/// How long to wait for what was killed before looking again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Children that are no orphans. The kernel has one list of children for a process, so this is
/// one for the process too.
static KEEPERS: LazyLock<Mutex<HashSet<Pid>>> = LazyLock::new(Mutex::default);

/// Has the kernel give this process the orphans among its descendants, so that what remains of a
/// run whose keeper was killed can be ended too.
///
/// For a program that starts no children except through [`super::Keepers`]: after a keeper was
/// lost, every other child of this process is taken for an orphan and killed.
pub fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    ADOPTS.store(true, Ordering::Relaxed);
    Ok(())
}

/// Starts a keeper, and knows it for one before anybody could take it for an orphan.
pub(super) fn start_keeper(command: &mut Command) -> io::Result<Child> {
    let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    keepers.insert(Pid::from_child(&child));
    Ok(child)
}

/// Waits for a keeper that is about to end, its socket being closed, and kills it if it does not
/// in time. Blocks. Then there may be orphans.
pub(super) fn wait_for_keeper(mut child: Child) {
    let pid = Pid::from_child(&child);
    let has_ended = || -> io::Result<bool> {
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let mut pidfd = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        // Its own patience, and a little for the way.
        let timeout = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64 + 2, tv_nsec: 0 };
        Ok(rustix::event::poll(&mut pidfd, Some(&timeout))? > 0)
    };
    if has_ended().unwrap_or(false) {
        forget(&mut child);
    } else {
        kill_keeper(child);
    }
}

/// Kills a keeper that is dead already or good for nothing, and what it leaves. Blocks.
pub(super) fn kill_keeper(mut child: Child) {
    // It may have ended by itself.
    let _ = child.kill();
    forget(&mut child);
    end_orphans();
}

fn forget(child: &mut Child) {
    // Under the lock: once it has been waited for, its number may be another process's.
    let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    // The only error would be that somebody else waited for it.
    let _ = child.wait();
    keepers.remove(&Pid::from_child(child));
}

/// Kills and waits for every child that is no keeper, until there is none.
fn end_orphans() {
    if !ADOPTS.load(Ordering::Relaxed) {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    while has_orphans() && Instant::now() < deadline {
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// One look: waits for those that have ended, kills the others. What hangs below them is ours,
/// and seen, when they are gone.
fn has_orphans() -> bool {
    let keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut has_any = false;
    for child in procfs::children_of(rustix::process::getpid()) {
        if keepers.contains(&child.pid) {
            continue;
        }
        has_any = true;
        if !child.is_zombie {
            let _ = rustix::process::kill_process(child.pid, Signal::KILL);
        }
        let _ = rustix::process::waitpid(Some(child.pid), WaitOptions::NOHANG);
    }
    has_any
}
