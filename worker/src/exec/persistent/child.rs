//! A persistent process with its pipes, from its start to its end.
//!
//! Owns: bytes in and out, and ending the process in steps. Must not know: jobs, except for the
//! bytes of their lines.

use crate::exec::RunError;
use crate::exec::capture::Capture;
use crate::exec::clock::Clock;
use crate::exec::command::Command;
use crate::exec::keepers::{Keepers, Process};
use crate::exec::pipes::{self, Drain};
use crate::exec::wire::Ended;
use bytes::{Buf, BytesMut};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::time::sleep_until;

#[derive(Debug)]
pub(super) struct Child {
    pub(super) process: Process,
    /// `None` once it was closed, by us or by the process.
    pub(super) stdin: Option<Sender>,
    pub(super) stdout: Drain,
    pub(super) stderr: Drain,
}

/// How soon a process is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// Its input is closed, and it may end by itself within the grace.
    Close,
    /// It gets SIGTERM at once.
    Ask,
    /// It is killed at once.
    Kill,
}

impl Child {
    pub(super) fn start(keepers: &Keepers, command: Arc<Command>) -> Result<Self, RunError> {
        let (its_stdin, stdin) = pipes::input_pipe().map_err(RunError::Pipes)?;
        let (stdout, its_stdout) = pipes::output_pipe().map_err(RunError::Pipes)?;
        let (stderr, its_stderr) = pipes::output_pipe().map_err(RunError::Pipes)?;
        let files = [its_stdin.as_fd(), its_stdout.as_fd(), its_stderr.as_fd()];
        let process = keepers.start(command, files)?;
        Ok(Self { process, stdin: Some(stdin), stdout, stderr })
    }

    /// Writes some of `lines`. Cancel safe.
    pub(super) async fn write(stdin: &mut Option<Sender>, lines: &mut BytesMut) {
        let Some(pipe) = stdin else { return std::future::pending().await };
        match pipe.write(lines).await {
            Ok(written) => lines.advance(written),
            // It no longer reads its input. What that means for its jobs will show.
            Err(_) => *stdin = None,
        }
    }

    /// Ends the process, and waits until it and its descendants have ended. What it writes
    /// meanwhile goes to `stdout` and `stderr`, so that a full pipe does not block it.
    pub(super) async fn end(
        mut self,
        haste: Haste,
        grace: Duration,
        stderr: &mut Capture,
        mut stdout: impl FnMut(&[u8]),
    ) -> Result<Ended, RunError> {
        self.stdin = None;
        let at_first = if haste == Haste::Close { grace } else { Duration::ZERO };
        let mut clock = Clock::new(at_first, grace);
        if haste == Haste::Kill {
            clock.kill(&self.process);
        }
        loop {
            tokio::select! {
                ended = self.process.ended() => {
                    self.stdout.read_rest(&mut stdout);
                    self.stderr.read_rest(|chunk| stderr.push(chunk));
                    return ended;
                }
                // On an error, there is nothing more to read.
                _ = self.stdout.read(&mut stdout) => {}
                _ = self.stderr.read(|chunk| stderr.push(chunk)) => {}
                () = sleep_until(clock.next) => clock.strike(&mut self.process),
            }
        }
    }
}
