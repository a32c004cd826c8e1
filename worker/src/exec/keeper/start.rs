//! Starting the first process of a run: its limits, its signals, its death with the keeper.

use super::becoming::{Program, string};
use crate::exec::command::{Command, Identity, Limits};
use crate::exec::priority;
use crate::exec::wire::FILES;
use nix::sys::signal::SigSet;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{
    Gid, Pid, Resource, Rlimit, Signal, Uid, chdir, getppid, set_parent_process_death_signal,
    setpgid, setrlimit,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::{io, thread};

/// A program that somebody has open for writing cannot be started. Often nobody has: another
/// process was forked while the program's file was written, and is about to close its copy.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The most of [`Limits`] that are `setrlimit`'s.
const RLIMITS: usize = 5;

/// Starts `command` in a process group of its own. `stack` is for the new process, while it is not yet its
/// program.
///
/// `join` is where it joins its control group, before it is its program.
pub(super) fn start(
    command: &Command,
    [stdin, stdout, stderr]: [OwnedFd; FILES],
    join: Option<OwnedFd>,
    stack: &mut [u8],
) -> io::Result<Pid> {
    let Command { program, args, env, directory, limits } = command;
    let program = Program::new(program, args, env)?;
    let directory = string(directory.as_os_str())?;
    let keeper = rustix::process::getpid();
    let no_signals = SigSet::empty();
    let rlimits = rlimits(limits);
    let &Limits { umask, nice, io_priority, identity, .. } = limits;
    let prepare = || {
        dup2_stdin(&stdin)?;
        dup2_stdout(&stdout)?;
        dup2_stderr(&stderr)?;
        if let Some(Identity { uid, gid }) = identity {
            // Before all that follows, and without any other group.
            set_thread_groups(&[])?;
            set_thread_gid(Gid::from_raw(gid))?;
            set_thread_uid(Uid::from_raw(uid))?;
        }
        chdir(&*directory)?;
        setpgid(None, None)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(keeper) {
            // The keeper died before the line above: nobody would end this process.
            return Err(Errno::SRCH);
        }
        if let Some(join) = &join {
            // Zero is whoever writes it.
            rustix::io::write(join, b"0")?;
        }
        for (resource, limit) in rlimits.into_iter().flatten() {
            setrlimit(resource, limit)?;
        }
        if let Some(mask) = umask {
            rustix::process::umask(Mode::from_raw_mode(mask));
        }
        nice.map_or(Ok(()), priority::set_nice)?;
        io_priority.map_or(Ok(()), priority::set_io)?;
        // The mask of the keeper would go on to the program.
        no_signals.thread_set_mask().map_err(|error| Errno::from_raw_os_error(error as i32))
    };
    let mut tries = 1;
    loop {
        // SAFETY: the keeper has one thread, blocks all signals (`Keeper::new`), and has them do what they do
        // by default (`default_dispositions`). `prepare` makes system calls only, of values that were made
        // before: dup2, setgroups, setgid, setuid, chdir, setpgid, prctl, getppid, write, setrlimit, umask,
        // setpriority, ioprio_set and sigprocmask, none of which changes anything of the keeper's, since files,
        // the directory, the user and the rest are not shared. An `Errno` is a number; there is nothing in it
        // that takes a lock, allocates, or panics.
        #[allow(unsafe_code)]
        let started = unsafe { program.start(stack, prepare) };
        match started {
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) && tries < BUSY_TRIES => {
                tries += 1;
                thread::sleep(BUSY_PAUSE);
            }
            started => return started,
        }
    }
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
