//! The keeper: the process between the worker and a run, which outlives neither.
//!
//! Owned here: one run at a time, from its start to the moment when the kernel has nothing of it
//! any more. Not known here: time limits, output, jobs. The worker says when to end a run.
//!
//! It is our own executable with a hidden first argument, so that there is one file to install
//! and no question of versions. It has one thread and blocks in one place: a new process uses its memory
//! until it is its program (`becoming`). Its standard input is its end of a socket to the worker; when that
//! closes, the worker is gone, and everything ends.

mod becoming;
mod start;
mod tree;

use super::command::Command;
use super::wire::{FILES, GROUP_FILES, MAX_MESSAGE, Order, Report};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tree::Tree;

/// The hidden first argument.
pub const ARGUMENT: &str = "keeper";

/// How long what was killed may take to be gone. Beyond it, it is reported as out of reach: it waits
/// within the kernel, or is another user's, or multiplies faster than it can be found.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What `main` does when the first argument is [`ARGUMENT`]: to be called before anything else
/// is done, so that the process stays small and has one thread.
pub fn main() -> ExitCode {
    if rustix::net::sockopt::socket_type(io::stdin()) != Ok(rustix::net::SocketType::SEQPACKET) {
        eprintln!("jq-worker {ARGUMENT}: only jq-worker itself starts this");
        return ExitCode::from(2);
    }
    match Keeper::new().and_then(|mut keeper| keeper.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jq-worker {ARGUMENT}: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Keeper {
    /// Readable when a child of ours has ended.
    children: SignalFd,
    /// What the worker says. Kept, because it is long.
    message: Box<[u8]>,
    /// What a new process has as a stack until it is its program.
    stack: Box<[u8]>,
}

/// What was heard from the worker.
enum Heard {
    Order(Box<Order>, Vec<OwnedFd>),
    /// The worker is gone, or has no more use for this keeper.
    Closed,
}

impl Keeper {
    fn new() -> io::Result<Self> {
        start::keep_files_to_ourselves()?;
        start::default_dispositions();
        // What is meant for the worker, a Ctrl-C say, must not end a job behind its back.
        SigSet::all().thread_block()?;
        let mut child_ended = SigSet::empty();
        child_ended.add(Signal::SIGCHLD);
        let children =
            SignalFd::with_flags(&child_ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        rustix::process::setsid()?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // So that no file system stays busy because the worker was started there.
        rustix::process::chdir("/")?;
        // Only a name, for who looks at the list of processes.
        let _ = rustix::thread::set_name(c"jq-keeper");
        Ok(Self {
            children,
            message: vec![0; MAX_MESSAGE].into(),
            stack: vec![0; becoming::STACK].into(),
        })
    }

    /// Until the worker closes its end.
    fn serve(&mut self) -> io::Result<()> {
        while let Heard::Order(order, files) = self.hear()? {
            // Otherwise it is about a run that ended meanwhile.
            if let Order::Run { run, command } = *order
                && !self.run(run, &command, files)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Runs one command, and says how it ended. False: the worker is gone.
    fn run(&mut self, run: u64, command: &Command, files: Vec<OwnedFd>) -> io::Result<bool> {
        let mut files = files.into_iter();
        let (Some(stdin), Some(stdout), Some(stderr)) = (files.next(), files.next(), files.next())
        else {
            return Err(io::Error::other("an order without its files"));
        };
        let (join, kill_group) = (files.next(), files.next());
        let began = Instant::now();
        let report = match start::start(command, [stdin, stdout, stderr], join, &mut self.stack) {
            Ok(main) => self.keep(run, Tree::new(main, began, kill_group))?,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                Some(Report::Failed { errno })
            }
        };
        Ok(report.is_some_and(|report| say(&report).is_ok()))
    }

    /// Waits for a run to end, and ends what is left of it. `None`: the worker is gone.
    fn keep(&mut self, run: u64, mut tree: Tree) -> io::Result<Option<Report>> {
        let mut is_closed = false;
        loop {
            let [is_said, is_ended] = self.wait(None)?;
            if is_ended {
                tree.reap();
                if tree.main_exit().is_some() {
                    break;
                }
            }
            if is_said {
                let Heard::Order(order, _) = self.hear()? else {
                    is_closed = true;
                    break;
                };
                match *order {
                    Order::Term { run: about } if about == run => tree.term(),
                    Order::Kill { run: about } if about == run => {
                        tree.order_kill();
                        break;
                    }
                    Order::Term { .. } | Order::Kill { .. } => {}
                    Order::Run { .. } => {
                        return Err(io::Error::other("a second run before the first one ended"));
                    }
                }
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while tree.has_any() && Instant::now() < deadline {
            let killed = tree.kill();
            // One look at all processes is dear; let what was killed go before the next.
            let next_look = Instant::now() + tree::BETWEEN_LOOKS;
            let mut gone = tree.reap();
            while tree.has_any() && gone < killed {
                let left = next_look.saturating_duration_since(Instant::now());
                let [_, is_ended] = self.wait(Some(left))?;
                if !is_ended {
                    break;
                }
                gone += tree.reap();
            }
        }
        Ok(if is_closed { None } else { Some(tree.into_report()) })
    }

    /// Waits until the worker says something or a child ends, for `at_most` so long; when things
    /// are being ended (`at_most` is set), only for children.
    fn wait(&self, at_most: Option<Duration>) -> io::Result<[bool; 2]> {
        let stdin = io::stdin();
        let mut both =
            [PollFd::new(&self.children, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
        let (watched, timeout) = match at_most {
            None => (&mut both[..], None),
            Some(at_most) => (&mut both[..1], Some(at_most)),
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ended = !both[0].revents().is_empty();
        let is_said = !both[1].revents().is_empty();
        if is_ended {
            // Only empties it: the kernel merges these signals, and waiting tells who ended.
            while let Ok(Some(_)) = self.children.read_signal() {}
        }
        Ok([is_said, is_ended])
    }

    /// Blocks until the worker says something.
    fn hear(&mut self) -> io::Result<Heard> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES + GROUP_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            io::stdin(),
            &mut [IoSliceMut::new(&mut self.message)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let bytes = match received {
            Ok(received) => received.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if bytes == 0 {
            return Ok(Heard::Closed);
        }
        let files = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(files) => Some(files),
                _ => None,
            })
            .flatten()
            .collect();
        let order = Order::decode(&self.message[..bytes])
            .ok_or_else(|| io::Error::other("a message that cannot be read"))?;
        Ok(Heard::Order(Box::new(order), files))
    }
}

fn say(report: &Report) -> io::Result<()> {
    rustix::net::send(io::stdin(), &report.encode(), SendFlags::NOSIGNAL)?;
    Ok(())
}
