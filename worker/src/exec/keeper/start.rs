//! Starting the first process of a run: its limits, its signals, its death with the keeper.

use crate::exec::command::{Command, Identity, Limits};
use crate::exec::priority;
use crate::exec::wire::FILES;
use nix::sys::signal::SigSet;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;
use std::{io, thread};

/// A program that somebody has open for writing cannot be started. Often nobody has: another
/// process was forked while the program's file was written, and is about to close its copy.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The most of [`Limits`] that are `setrlimit`'s.
const RLIMITS: usize = 5;

/// Starts `command` in a process group of its own.
///
/// `join` is where it joins its control group, before it is its program.
pub(super) fn start(
    command: &Command,
    [stdin, stdout, stderr]: [OwnedFd; FILES],
    join: Option<OwnedFd>,
) -> io::Result<Pid> {
    let mut child = std::process::Command::new(&command.program);
    child
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&command.directory)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .process_group(0);
    if let Some(Identity { uid, gid }) = command.limits.identity {
        // Before all that follows, and without any other group.
        child.uid(uid).gid(gid);
    }
    before_exec(&mut child, &command.limits, join);
    let mut tries = 1;
    loop {
        match child.spawn() {
            Ok(child) => return Ok(Pid::from_child(&child)),
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) && tries < BUSY_TRIES => {
                tries += 1;
                thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Has the child open its ears, set its limits and priorities, and die with us, before it becomes its program.
#[allow(unsafe_code)]
fn before_exec(child: &mut std::process::Command, limits: &Limits, join: Option<OwnedFd>) {
    let keeper = rustix::process::getpid();
    let no_signals = SigSet::empty();
    let rlimits = rlimits(limits);
    let &Limits { umask, nice, io_priority, .. } = limits;
    let prepare = move || {
        // The mask of the keeper goes to its children, and on to the program.
        no_signals.thread_set_mask()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(keeper) {
            // The keeper died before the line above: nobody would end this process.
            return Err(Errno::SRCH.into());
        }
        if let Some(join) = &join {
            // Zero is whoever writes it.
            rustix::io::write(join, b"0")?;
        }
        for (resource, limit) in rlimits.into_iter().flatten() {
            rustix::process::setrlimit(resource, limit)?;
        }
        if let Some(mask) = umask {
            rustix::process::umask(Mode::from_raw_mode(mask));
        }
        nice.map_or(Ok(()), priority::set_nice)?;
        io_priority.map_or(Ok(()), priority::set_io)?;
        Ok(())
    };
    // SAFETY: between fork and exec only what is async-signal-safe may be called. `prepare` does
    // nothing but the system calls sigprocmask, prctl, getppid, write, setrlimit, umask, setpriority
    // and ioprio_set, on values
    // that were made before the fork and are copied into it. It takes no lock, allocates nothing
    // (an `io::Error` from an error number is that number), closes no file, and changes no other
    // state.
    unsafe { child.pre_exec(prepare) };
}

/// The limits as the kernel wants them, none above what we may give.
fn rlimits(limits: &Limits) -> [Option<(Resource, Rlimit)>; RLIMITS] {
    let as_is = |resource, limit: Option<u64>| limit.map(|limit| (resource, limit, limit));
    [
        // The second between the two: at the first limit the process may still say something.
        limits.cpu_seconds.map(|limit| (Resource::Cpu, limit, limit.saturating_add(1))),
        as_is(Resource::Data, limits.memory_bytes),
        as_is(Resource::Nofile, limits.open_files),
        as_is(Resource::Nproc, limits.processes),
        as_is(Resource::Fsize, limits.file_bytes),
    ]
    .map(|limit| {
        let (resource, soft, hard) = limit?;
        let ours = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        Some((resource, Rlimit { current: Some(soft.min(ours)), maximum: Some(hard.min(ours)) }))
    })
}

/// Has every file that we were started with, but for the first three, closed in what we start.
/// What the worker was given by a shell or a supervisor that was careless is none of a job's.
#[allow(unsafe_code)]
pub(super) fn keep_files_to_ourselves() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        if let Some(file) = name.to_str().and_then(|name| name.parse().ok())
            && file > 2
        {
            // SAFETY: this sets a flag of a file descriptor, and neither closes one nor changes
            // what it refers to. For one that is closed meanwhile it fails, and nothing changes.
            unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Every signal does what it does by default, whatever we were started with (`nohup`, say):
/// what is ignored here would be ignored in every program that is started.
#[allow(unsafe_code)]
pub(super) fn default_dispositions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is no function of ours, so nothing can be called at a wrong moment.
        // For KILL, STOP and the two that libc keeps for itself this fails, and nothing changes.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
