//! Signals, as requests to the server.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The meaning of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGUSR1, as with beanstalkd: take no new jobs.
    Drain,
    /// SIGUSR2: take new jobs again.
    EndDrain,
    /// SIGHUP: reread whatever is read at the start and may change.
    Reload,
    /// SIGTERM or SIGINT, by name: finish and exit.
    Stop(&'static str),
}

/// Has SIGHUP do nothing until [`Signals`] are registered, which comes after the log is read. Else a
/// service manager that asks for a reload in that time would end the server.
pub fn ignore_hangup() {
    // SAFETY: SIG_IGN runs no code of ours when the signal comes, and the call touches no memory.
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::signal(nix::libc::SIGHUP, nix::libc::SIG_IGN);
    }
}

/// The signals that the server handles, also as process 1, for which the kernel has no default
/// actions.
#[derive(Debug)]
pub struct Signals {
    usr1: Signal,
    usr2: Signal,
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Begins to handle the signals.
    pub fn register() -> io::Result<Self> {
        Ok(Self {
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.usr1.recv() => Request::Drain,
            _ = self.usr2.recv() => Request::EndDrain,
            _ = self.hup.recv() => Request::Reload,
            _ = self.term.recv() => Request::Stop("SIGTERM"),
            _ = self.int.recv() => Request::Stop("SIGINT"),
        }
    }
}
