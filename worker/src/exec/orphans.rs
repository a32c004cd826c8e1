//! Finds and kills what remains of a run whose keeper was killed, among the worker's own children.
//!
//! Owns: which children of this process are keepers, so that all others are orphans. Must not know:
//! what a keeper does.

use super::keeper::PATIENCE;
use super::procfs;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, waitid};
use std::collections::HashSet;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// Time to wait for killed processes before looking again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Children that are not orphans. A process has one list of children, so this is global too.
static KEEPERS: LazyLock<Mutex<HashSet<Pid>>> = LazyLock::new(Mutex::default);

/// Makes this process the parent of orphans among its descendants, so that what remains of a run
/// whose keeper was killed can be killed too.
///
/// Only for a program that starts all of its children through [`super::Keepers`]: after a keeper
/// was lost, every other child of this process counts as an orphan and is killed.
pub fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    ADOPTS.store(true, Ordering::Relaxed);
    Ok(())
}

/// Starts a keeper, and registers it before it could be taken for an orphan.
pub(super) fn start_keeper(command: &mut Command) -> io::Result<Child> {
    let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    keepers.insert(Pid::from_child(&child));
    Ok(child)
}

/// Waits for a keeper whose socket was closed, and kills it if it does not end in time, along with
/// the orphans that it may leave. Blocks.
pub(super) fn wait_for_keeper(mut child: Child) {
    let pid = Pid::from_child(&child);
    let has_ended = || -> io::Result<bool> {
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let mut pidfd = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        // The keeper's own patience, and a margin.
        let timeout = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64 + 2, tv_nsec: 0 };
        Ok(rustix::event::poll(&mut pidfd, Some(&timeout))? > 0)
    };
    if has_ended().unwrap_or(false) {
        forget(&mut child);
    } else {
        kill_keeper(child);
    }
}

/// Kills a keeper that is already dead or no longer usable, and the orphans that it leaves. Blocks.
pub(super) fn kill_keeper(mut child: Child) {
    // It may have ended by itself.
    let _ = child.kill();
    forget(&mut child);
    end_orphans();
}

/// Lets keepers go on that somebody has stopped, whenever the kernel says that something happened to a
/// child of this process. A stopped keeper ends nothing, whatever the time limit. As long as it is polled.
///
/// # Errors
///
/// The signal that tells it cannot be had.
pub async fn keep_keepers_going() -> io::Result<()> {
    let mut happened = signal(SignalKind::child())?;
    loop {
        continue_stopped_keepers();
        if happened.recv().await.is_none() {
            return Ok(());
        }
    }
}

fn continue_stopped_keepers() {
    // Under the lock none of them is waited for, so each number is a keeper's.
    let keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    for pid in keepers.iter() {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        if let Ok(Some(status)) = waitid(WaitId::Pid(*pid), options)
            && status.stopped()
        {
            warn!(keeper = pid.as_raw_nonzero(), "a keeper was stopped by somebody: it goes on");
            let _ = rustix::process::kill_process(*pid, Signal::CONT);
        }
    }
}

fn forget(child: &mut Child) {
    // Under the lock: once it has been waited for, its PID may be reused.
    let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    // It could only fail if something else had waited for it.
    let _ = child.wait();
    keepers.remove(&Pid::from_child(child));
}

/// Kills and waits for every child that is not a keeper, until there are none.
fn end_orphans() {
    if !ADOPTS.load(Ordering::Relaxed) {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    while has_orphans() && Instant::now() < deadline {
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// One pass: waits for the orphans that have ended, and kills the others. Their children become
/// ours when they are gone, and are seen in a later pass.
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
