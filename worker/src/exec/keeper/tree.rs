//! All processes of one run: counted as they end, and ended when the run has.
//!
//! Only children of the keeper are ever signalled, or groups with such a child in it. A child's
//! number cannot pass to a stranger as long as we have not waited for it; a grandchild's could.
//! Grandchildren become children when what is above them has ended.

use crate::exec::procfs;
use crate::exec::wire::{Ended, Exit, Report, Usage};
use rustix::process::{Pid, Signal};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long to wait for what was killed before looking at all processes again.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

pub(super) struct Tree {
    main: Pid,
    main_exit: Option<Exit>,
    began: Instant,
    usage: Usage,
    /// The kernel had children of ours when it was last asked.
    has_any: bool,
    /// The worker has ordered the end of the run.
    stop_ordered: bool,
    /// The worker has ordered that all is killed: what dies was not left behind.
    kill_ordered: bool,
    killed_after_main: u32,
    /// Where all of its control group can be killed.
    kill_group: Option<OwnedFd>,
}

/// A process that has ended, and what it and those that it had waited for used.
struct Reaped {
    pid: Pid,
    exit: Exit,
    cpu: Duration,
    max_rss_bytes: u64,
}

impl Tree {
    pub(super) fn new(main: Pid, began: Instant, kill_group: Option<OwnedFd>) -> Self {
        Self {
            main,
            main_exit: None,
            began,
            usage: Usage::default(),
            has_any: true,
            stop_ordered: false,
            kill_ordered: false,
            killed_after_main: 0,
            kill_group,
        }
    }

    pub(super) fn main_exit(&self) -> Option<Exit> {
        self.main_exit
    }

    pub(super) fn has_any(&self) -> bool {
        self.has_any
    }

    /// Takes note of every child that has ended, and says how many. With none left the kernel
    /// tells so at the same price: descendants further down hang below a child of ours, always.
    pub(super) fn reap(&mut self) -> usize {
        let mut count = 0;
        while self.has_any {
            match wait_for_any() {
                Waited::Ended(reaped) => {
                    self.note(&reaped);
                    count += 1;
                }
                Waited::NoneEnded => break,
                Waited::NoChildren => self.has_any = false,
            }
        }
        count
    }

    fn note(&mut self, reaped: &Reaped) {
        self.usage.cpu += reaped.cpu;
        self.usage.max_rss_bytes = self.usage.max_rss_bytes.max(reaped.max_rss_bytes);
        if reaped.pid == self.main && self.main_exit.is_none() {
            self.main_exit = Some(reaped.exit);
            self.usage.wall = self.began.elapsed();
        } else if self.main_exit.is_some()
            && !self.kill_ordered
            && reaped.exit == Exit::Signal(libc::SIGKILL)
        {
            self.killed_after_main += 1;
        }
    }

    /// Asks the process group to end. A stopped process is woken, so that it can.
    pub(super) fn term(&mut self) {
        self.stop_ordered = true;
        for signal in [Signal::TERM, Signal::CONT] {
            if rustix::process::kill_process_group(self.main, signal).is_err() {
                // It moved to another group.
                let _ = rustix::process::kill_process(self.main, signal);
            }
        }
    }

    /// From now on everything is to be killed, the first process with it.
    pub(super) fn order_kill(&mut self) {
        self.stop_ordered = true;
        self.kill_ordered = true;
    }

    /// Kills every child, and every process group that one of them is in: the kernel kills a
    /// group at one stroke, so that nothing of it can fork in between. Says how many children
    /// there were.
    pub(super) fn kill(&mut self) -> usize {
        if let Some(kill_group) = &self.kill_group {
            // Nothing is quick enough for this. What it cannot do, the rest does.
            let _ = rustix::io::write(kill_group, b"1");
        }
        if self.main_exit.is_none() {
            let _ = rustix::process::kill_process_group(self.main, Signal::KILL);
        }
        let our_group = rustix::process::getpgrp();
        let mut last_group = None;
        let mut killed = 0;
        for child in procfs::children_of(rustix::process::getpid()) {
            killed += 1;
            if child.is_zombie {
                continue;
            }
            if child.group.is_some() && child.group != Some(our_group) && child.group != last_group
            {
                last_group = child.group;
                let _ = child
                    .group
                    .map(|group| rustix::process::kill_process_group(group, Signal::KILL));
            }
            let _ = rustix::process::kill_process(child.pid, Signal::KILL);
        }
        killed
    }

    /// How it all ended; called when nothing is left, or patience has.
    pub(super) fn into_report(self) -> Report {
        let Some(exit) = self.main_exit else { return Report::Unkillable };
        let beyond_reach = if self.has_any {
            procfs::children_of(rustix::process::getpid()).len().max(1)
        } else {
            0
        };
        Report::Ended(Ended {
            exit,
            usage: self.usage,
            stop_ordered: self.stop_ordered,
            left_behind: self.killed_after_main,
            beyond_reach: u32::try_from(beyond_reach).unwrap_or(u32::MAX),
        })
    }
}

enum Waited {
    Ended(Reaped),
    NoneEnded,
    NoChildren,
}

/// Waits for any child that has ended already.
#[allow(unsafe_code)]
fn wait_for_any() -> Waited {
    let mut status = 0;
    // SAFETY: `rusage` is a plain C structure of integers, for which all bits zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live across the call, which is all that wait4
    // asks. Waiting for any child takes no child from somebody else: the keeper has one thread,
    // and `std` waits only for a child whose start failed, within `spawn`.
    let pid = unsafe { libc::wait4(-1, &mut status, libc::WNOHANG | libc::__WALL, &mut usage) };
    let Some(pid) = (if pid > 0 { Pid::from_raw(pid) } else { None }) else {
        // The only error that can come is ECHILD.
        return if pid == 0 { Waited::NoneEnded } else { Waited::NoChildren };
    };
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    };
    let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
    let max_rss_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    Waited::Ended(Reaped { pid, exit, cpu, max_rss_bytes })
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
