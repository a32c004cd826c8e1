//! The worker's end of its keepers: starting them, lending them out, hearing from them.
//!
//! Owned here: which keepers are idle, and that a process that nobody waits for any more is
//! ended. Not known here: pipes, time limits.

use super::cgroup::{Cgroups, Group};
use super::command::{Command, Limits};
use super::error::RunError;
use super::keeper::ARGUMENT;
use super::orphans;
use super::wire::{Ended, FILES, GROUP_FILES, MAX_MESSAGE, Order, Report};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;

/// A pool of keepers: as many as there were ever runs at one time. Starts them as they are
/// needed, and ends them when the last clone of it is dropped and the last run has ended.
///
/// Belongs to the tokio runtime that it is used in first.
#[derive(Debug, Clone)]
pub struct Keepers {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    program: PathBuf,
    cgroups: Option<Cgroups>,
    idle: Mutex<Vec<Keeper>>,
}

/// A keeper that runs nothing, or what a [`Process`] holds.
#[derive(Debug)]
struct Keeper {
    /// Connected, and of a kind that tells when the other end is closed (`SOCK_SEQPACKET`); for
    /// all that is done with it here that is the same as a datagram socket.
    socket: UnixDatagram,
    child: Child,
    /// Where its runs are, when they have limits for that. Made when it is first needed, and
    /// removed after the keeper's end.
    group: Option<Group>,
    /// The number of its latest run.
    run: u64,
}

/// A process that was started. Dropping it ends it and all that it started.
#[derive(Debug)]
pub(super) struct Process {
    /// The kernel killed something of the run for want of memory. Known at its end.
    pub(super) oom_killed: bool,
    pool: Arc<Pool>,
    command: Arc<Command>,
    /// None when the run has ended, and the keeper is back in the pool or gone.
    keeper: Option<Keeper>,
    /// The end of a keeper that was lost, and of all that it left.
    funeral: Option<(JoinHandle<()>, RunError)>,
}

impl Keepers {
    /// A pool whose keepers are `program`, run with the argument [`ARGUMENT`]: this very program,
    /// whose `main` then calls [`super::keeper::main`]. `/proc/self/exe` is it, even after
    /// another version was installed in its place.
    pub fn new(program: PathBuf) -> Self {
        Self { pool: Arc::new(Pool { program, cgroups: None, idle: Mutex::default() }) }
    }

    /// A pool that limits its runs by control groups too, as far as these can; they are to have
    /// been taken over ([`Cgroups::take_over`]).
    pub fn with_cgroups(program: PathBuf, cgroups: Cgroups) -> Self {
        let cgroups = Some(cgroups);
        Self { pool: Arc::new(Pool { program, cgroups, idle: Mutex::default() }) }
    }

    /// Has an idle keeper, or a new one, start `command`. That it could not be started is told
    /// by [`Process::ended`].
    pub(super) fn start(
        &self,
        command: Arc<Command>,
        files: [BorrowedFd<'_>; FILES],
    ) -> Result<Process, RunError> {
        loop {
            let idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let is_new = idle.is_none();
            let mut keeper = match idle {
                Some(keeper) => keeper,
                None => Keeper::start(&self.pool.program).map_err(RunError::Keeper)?,
            };
            let limits = match self.pool.limit(&mut keeper, &command.limits) {
                Ok(limits) => limits,
                Err(error) => {
                    self.pool.give_back(keeper);
                    return Err(RunError::Cgroup(error));
                }
            };
            let mut message = Order::encode_run(&command, &limits);
            let has_group = limits != command.limits;
            if message.len() > MAX_MESSAGE {
                self.pool.give_back(keeper);
                return Err(RunError::TooLong { bytes: message.len() });
            }
            match keeper.order(&mut message, files, has_group) {
                Ok(()) => {
                    let pool = self.pool.clone();
                    let keeper = Some(keeper);
                    return Ok(Process { oom_killed: false, pool, command, keeper, funeral: None });
                }
                Err(Errno::MSGSIZE) => {
                    self.pool.give_back(keeper);
                    return Err(RunError::TooLong { bytes: message.len() });
                }
                Err(error) if is_new => {
                    retire(vec![keeper]);
                    return Err(RunError::Keeper(error.into()));
                }
                // Somebody killed it while it was idle.
                Err(_) => retire(vec![keeper]),
            }
        }
    }
}

impl Pool {
    /// Has the control group of this keeper limit its next run, if it can. Gives the limits that
    /// are left for each process to have.
    fn limit(&self, keeper: &mut Keeper, limits: &Limits) -> io::Result<Limits> {
        let Some(cgroups) = self.cgroups.as_ref().filter(|it| it.is_of_use(limits)) else {
            return Ok(limits.clone());
        };
        match &mut keeper.group {
            Some(group) => group.limit(limits),
            none => none.insert(cgroups.group()?).limit(limits),
        }
    }

    fn give_back(&self, keeper: Keeper) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        retire(idle);
    }
}

impl Keeper {
    fn start(program: &PathBuf) -> io::Result<Self> {
        let (ours, its) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let socket = UnixDatagram::from_std(ours.into())?;
        let mut command = std::process::Command::new(program);
        // Nothing of the worker's environment, where secrets may be.
        command.arg(ARGUMENT).env_clear().stdin(Stdio::from(its)).stdout(Stdio::null());
        let child = orphans::start_keeper(&mut command)?;
        Ok(Self { socket, child, group: None, run: 0 })
    }

    fn order(
        &mut self,
        message: &mut [u8],
        files: [BorrowedFd<'_>; FILES],
        has_group: bool,
    ) -> Result<(), Errno> {
        let group = self.group.as_ref().filter(|_| has_group).map(Group::files);
        let files: Vec<_> = files.into_iter().chain(group.into_iter().flatten()).collect();
        self.run += 1;
        Order::number(message, self.run);
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES + GROUP_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(Errno::MSGSIZE);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let message = [IoSlice::new(message)];
        rustix::net::sendmsg(&self.socket, &message, &mut control, flags)?;
        Ok(())
    }

    /// A keeper that does not hear is found out by who waits for the end of its run.
    fn tell(&self, message: &[u8]) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = rustix::net::send(&self.socket, message, flags);
    }

    /// What it says next. `None`: it is dead, or mad.
    async fn hear(&self) -> Option<Report> {
        let mut message = [0; 128];
        let bytes = self.socket.recv(&mut message).await.ok()?;
        Report::decode(&message[..bytes])
    }
}

/// Closes the sockets of these keepers, whereupon they end what they keep and then themselves,
/// and waits for them on a thread of its own.
fn retire(keepers: Vec<Keeper>) {
    if keepers.is_empty() {
        return;
    }
    let ends: Vec<_> = keepers.into_iter().map(|keeper| (keeper.child, keeper.group)).collect();
    // Without a thread they are waited for by whoever gets the children of this process.
    let _ = thread::Builder::new().name("keepers-end".into()).spawn(|| {
        for (child, group) in ends {
            orphans::wait_for_keeper(child);
            drop(group);
        }
    });
}

impl Process {
    /// Asks its process group to end.
    pub(super) fn term(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.tell(&Order::encode_term(keeper.run));
        }
    }

    /// Has all of it killed.
    pub(super) fn kill(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.tell(&Order::encode_kill(keeper.run));
        }
    }

    /// Gives up on a keeper that does not say how its run ended, though that must have.
    pub(super) fn give_up(&mut self) {
        self.bury(RunError::Unkillable);
    }

    /// Waits for the end of all of it. Dropping this while it waits loses nothing; after it has
    /// given a result there is nothing more to wait for, and it waits forever.
    pub(super) async fn ended(&mut self) -> Result<Ended, RunError> {
        if let Some(keeper) = &mut self.keeper {
            let report = keeper.hear().await;
            self.oom_killed = keeper.group.as_mut().is_some_and(Group::has_oom_killed);
            match report {
                Some(Report::Ended(ended)) => {
                    let keeper = self.keeper.take().into_iter();
                    if ended.beyond_reach == 0 {
                        keeper.for_each(|keeper| self.pool.give_back(keeper));
                    } else {
                        retire(keeper.collect());
                    }
                    return Ok(ended);
                }
                Some(Report::Failed { errno }) => {
                    self.keeper.take().into_iter().for_each(|keeper| self.pool.give_back(keeper));
                    let source = io::Error::from_raw_os_error(errno);
                    let Command { program, directory, .. } = &*self.command;
                    return Err(RunError::start(program, directory, source));
                }
                Some(Report::Unkillable) => self.bury(RunError::Unkillable),
                None => self.bury(RunError::KeeperLost),
            }
        }
        if let Some((funeral, _)) = &mut self.funeral {
            // An error would be a panic in there, or the end of the runtime.
            let _ = funeral.await;
        }
        match self.funeral.take() {
            Some((_, error)) => Err(error),
            None => std::future::pending().await,
        }
    }

    fn bury(&mut self, error: RunError) {
        if let Some(Keeper { socket, child, group, .. }) = self.keeper.take() {
            drop(socket);
            let funeral = tokio::task::spawn_blocking(|| {
                group.iter().for_each(Group::kill_all);
                orphans::kill_keeper(child);
                drop(group);
            });
            self.funeral = Some((funeral, error));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        retire(self.keeper.take().into_iter().collect());
    }
}
