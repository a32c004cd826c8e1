//! One process for one job: its input, its output, its time.
//!
//! Owned here: when a run is ordered to end, and that it has ended when this says so. Not known
//! here: how the end is brought about (the keeper), what the run was for.

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

/// A command to be run once.
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
    /// What each of its processes may use.
    pub limits: Limits,
    /// What it can read from its standard input. It need not.
    pub stdin: Bytes,
    /// How long it may run before it is asked to end (SIGTERM to its process group).
    pub timeout: Duration,
    /// How long it may take to end when asked, before all of it is killed. Zero: it is not asked.
    pub grace: Duration,
    /// How many bytes of each output are kept; the rest is counted.
    pub output_limit: usize,
}

/// How a run ended. Of its processes none is left, unless `beyond_reach` says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// How its first process ended.
    pub exit: Exit,
    /// Who had it end.
    pub ended_by: EndedBy,
    /// What it wrote to standard output.
    pub stdout: Captured,
    /// What it wrote to standard error.
    pub stderr: Captured,
    /// What it used.
    pub usage: Usage,
    /// How many processes were still there when the first one had ended, and were killed. At
    /// least: one whose parent noticed its death before dying itself is not counted.
    pub left_behind: u32,
    /// How many processes did not end within ten seconds of being killed: they wait within the
    /// kernel, are another user's, or multiply faster than they can be found. Commonly 0.
    pub beyond_reach: u32,
    /// The run, or something of it, was killed by the kernel because it wanted more memory than
    /// [`Limits::memory_bytes`]. Only known in a control group.
    pub oom_killed: bool,
}

/// Who had a run end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// Its first process did, or something outside of us.
    Itself,
    /// Its time was up.
    Timeout,
    /// The caller did not want it any more.
    Cancelled,
}

/// Runs `spec` to its end, and gives its output to `log` as it comes. When `cancel` is ready, all
/// of it is killed at once.
///
/// When this returns, all processes of the run are gone. When the future is dropped, they are
/// killed soon after.
pub async fn run(
    keepers: &Keepers,
    spec: Spec,
    log: Arc<LiveLog>,
    cancel: impl Future<Output = ()>,
) -> Result<Finished, RunError> {
    let Spec { program, args, env, directory, limits, stdin, timeout, grace, output_limit } = spec;
    let command = Arc::new(Command { program, args, env, directory, limits });
    let (input, mut feed) = pipes::filled_pipe(stdin).map_err(RunError::Pipes)?;
    let mut stdout = Tap::new(Stream::Stdout, output_limit, &log)?;
    let mut stderr = Tap::new(Stream::Stderr, output_limit, &log)?;
    let mut clock = Clock::new(timeout, grace);
    let mut process =
        keepers.start(command, [input.as_fd(), stdout.its_end.as_fd(), stderr.its_end.as_fd()])?;
    // Only the process reads it, so that we hear when it does not any more.
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
    /// Held until the end, so that the pipe does not wake us when the process closes it: its end
    /// is nothing to go by, as anything that the process started may hold it, or nothing.
    its_end: OwnedFd,
    capture: Capture,
    /// What says how far the job is, among all else; on standard error, since the whole of standard
    /// output may be what the job gives.
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
            // A pipe of our own does not fail, unless the runtime goes down.
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
