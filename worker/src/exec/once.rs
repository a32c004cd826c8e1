//! One process for one job: its input, its output and its time limit.
//!
//! Owns: when a run is ordered to end, and the guarantee that it has ended when this reports so.
//! Must not know: how it is ended (that is the keeper's work), or what the run is for.

use super::capture::{Capture, Captured};
use super::clock::Clock;
use super::command::{Command, Limits};
use super::error::RunError;
use super::keepers::Keepers;
use super::livelog::{LiveLog, Stream};
use super::pipes::{self, Drain, Feed};
use super::progress::Scanner;
use super::wire::{Ended, Exit, Usage};
use bytes::Bytes;
use std::ffi::OsString;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep_until;

/// A command to run once.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// An absolute path, or a bare name to be looked up in the `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// The whole environment. Nothing of the worker's is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its resource limits.
    pub limits: Limits,
    /// Its standard input, which it need not read.
    pub stdin: Bytes,
    /// Time limit, after which it is asked to end (SIGTERM to its process group).
    pub timeout: Duration,
    /// Time between SIGTERM and SIGKILL to all of the run. Zero: it is killed at once.
    pub grace: Duration,
    /// How much of the beginning of each output is kept, in bytes; the rest is only counted.
    pub output_limit: usize,
    /// How many bytes of the end of standard output are kept, if that is more than [`super::TAIL`].
    pub tail_limit: usize,
}

/// How a run ended. None of its processes is left, except those counted in `beyond_reach`.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// How its first process ended.
    pub exit: Exit,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// The resources that it used.
    pub usage: Usage,
    /// The number of processes that were left when the first one had ended, and were killed. This
    /// is a lower bound: a process whose parent noticed its death before dying itself is not
    /// counted.
    pub left_behind: u32,
    /// The number of processes that did not end within ten seconds of being killed: they are
    /// blocked in the kernel, belong to another user, or multiply faster than they can be found.
    /// Usually 0.
    pub beyond_reach: u32,
    /// Whether the kernel killed the run, or a part of it, because it exceeded
    /// [`Limits::memory_bytes`]. Only known in a control group.
    pub oom_killed: bool,
}

/// Who ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// Its first process exited, or something outside the worker ended it.
    Itself,
    /// The time limit.
    Timeout,
    /// The caller, who cancelled it.
    Cancelled,
}

/// Runs `spec` to its end, and passes its output to `log` as it arrives. When `cancel` is ready,
/// the whole run is killed at once.
///
/// When this returns, all processes of the run are gone. When the future is dropped, they are
/// killed soon after.
pub async fn run(
    keepers: &Keepers,
    spec: Spec,
    log: Arc<LiveLog>,
    cancel: impl Future<Output = ()>,
) -> Result<Finished, RunError> {
    let Spec { program, args, env, directory, limits, stdin, timeout, grace, .. } = spec;
    let Spec { output_limit, tail_limit, .. } = spec;
    let command = Arc::new(Command { program, args, env, directory, limits });
    let (input, mut feed) = pipes::filled_pipe(stdin).map_err(RunError::Pipes)?;
    let mut stdout = Tap::new(Stream::Stdout, output_limit, &log)?;
    stdout.capture = stdout.capture.with_tail(tail_limit);
    let mut stderr = Tap::new(Stream::Stderr, output_limit, &log)?;
    let mut clock = Clock::new(timeout, grace);
    let mut process =
        keepers.start(command, [input.as_fd(), stdout.its_end.as_fd(), stderr.its_end.as_fd()])?;
    // Only the process has the reading end, so that we notice when it stops reading.
    drop(input);

    let mut cancel = pin!(cancel);
    let mut is_cancelled = false;
    let mut timer = pin!(sleep_until(clock.next));
    let ended = loop {
        tokio::select! {
            ended = process.ended() => break ended?,
            () = stdout.read() => {}
            () = stderr.read() => {}
            () = write_all(&mut feed), if feed.is_some() => feed = None,
            () = &mut cancel, if !is_cancelled => {
                is_cancelled = true;
                clock.kill(&process);
                timer.as_mut().reset(clock.next);
            }
            () = &mut timer => {
                clock.strike(&mut process);
                timer.as_mut().reset(clock.next);
            }
        }
    };
    Ok(finish(ended, is_cancelled, process.oom_killed, stdout, stderr))
}

fn finish(
    ended: Ended,
    is_cancelled: bool,
    oom_killed: bool,
    stdout: Tap<'_>,
    stderr: Tap<'_>,
) -> Finished {
    let Ended { exit, usage, stop_ordered, left_behind, beyond_reach } = ended;
    let ended_by = match (stop_ordered, is_cancelled) {
        (false, _) => EndedBy::Itself,
        (true, false) => EndedBy::Timeout,
        (true, true) => EndedBy::Cancelled,
    };
    let (stdout, stderr) = (stdout.finish(), stderr.finish());
    Finished { exit, ended_by, stdout, stderr, usage, left_behind, beyond_reach, oom_killed }
}

async fn write_all(feed: &mut Option<Feed>) {
    match feed {
        Some(feed) => feed.write_all().await,
        None => std::future::pending().await,
    }
}

/// One output of the process.
struct Tap<'a> {
    stream: Stream,
    drain: Drain,
    /// Held until the end, so that the pipe does not wake us when the process closes it. The end of
    /// the pipe means nothing, because any number of processes that it started may have it open.
    its_end: OwnedFd,
    capture: Capture,
    /// Looks for progress lines. Only on standard error, because all of standard output may be the
    /// job's output.
    progress: Option<Scanner>,
    log: &'a LiveLog,
}

impl<'a> Tap<'a> {
    fn new(stream: Stream, limit: usize, log: &'a LiveLog) -> Result<Self, RunError> {
        let (drain, its_end) = pipes::output_pipe().map_err(RunError::Pipes)?;
        let progress = (stream == Stream::Stderr).then(Scanner::default);
        Ok(Self { stream, drain, its_end, capture: Capture::new(limit), progress, log })
    }

    async fn read(&mut self) {
        let Self { stream, drain, capture, progress, log, .. } = self;
        let read = drain
            .read(|chunk| {
                capture.push(chunk);
                log.push(*stream, chunk);
                if let Some(percent) = progress.as_mut().and_then(|it| it.push(chunk)) {
                    log.set_progress(percent);
                }
            })
            .await;
        if read.is_err() {
            // Our own pipe does not fail, unless the runtime is shutting down.
            std::future::pending::<()>().await;
        }
    }

    fn finish(self) -> Captured {
        let Self { stream, drain, mut capture, log, .. } = self;
        drain.read_rest(|chunk| {
            capture.push(chunk);
            log.push(stream, chunk);
        });
        capture.finish()
    }
}
