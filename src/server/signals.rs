//! What signals ask of the server.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGUSR1, as with beanstalkd: take no new jobs.
    Drain,
    /// SIGUSR2: take new jobs again.
    EndDrain,
    /// SIGTERM or SIGINT, by name: finish and exit.
    Stop(&'static str),
}

/// The signals that the server handles. They are handled as process 1 too, for which the kernel
/// has no default actions.
#[derive(Debug)]
pub struct Signals {
    usr1: Signal,
    usr2: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Begins to handle them.
    pub fn register() -> io::Result<Self> {
        Ok(Self {
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.usr1.recv() => Request::Drain,
            _ = self.usr2.recv() => Request::EndDrain,
            _ = self.term.recv() => Request::Stop("SIGTERM"),
            _ = self.int.recv() => Request::Stop("SIGINT"),
        }
    }
}
