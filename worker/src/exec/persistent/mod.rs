//! Processes that stay up, for jobs too short to pay for a start.
//!
//! Such a process reads one JSON document a line on its standard input, and writes one JSON line
//! for each, in order, to its standard output. Lines `{"progress":40}` say how far the oldest
//! unanswered job is. Its standard error is for people.
//!
//! Owned here: which process a job goes to, the time of each, and what happens when a process
//! breaks the rules: it is ended, a new one is started, and what it had not begun is given to the
//! new one without anybody noticing. Not known here: what a job or its answer means.

mod child;
mod job;
mod lane;
mod lines;
mod queue;

use super::command::{Command, Limits};
use super::error::RunError;
use super::keepers::Keepers;
use super::livelog::LiveLog;
use super::wire::Exit;
use bytes::Bytes;
use job::Job;
use lane::Lane;
use queue::Queue;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What to keep up, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct PersistentOptions {
    /// An absolute path, or a bare name to be looked up in the `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// The whole environment. Nothing of the worker's is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// What each of its processes may use: in its whole life, not for one job.
    pub limits: Limits,
    /// How long a process may take to end when its input was closed, and again when it was asked
    /// to (SIGTERM), before all of it is killed.
    pub grace: Duration,
    /// How many processes; at least 1.
    pub processes: usize,
    /// How many lines one process is sent before it has answered the first; at least 1.
    pub pipeline: usize,
    /// How many bytes a line of its output may have.
    pub output_limit: usize,
}

/// What a process answered to one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The line, without its newline: UTF-8 and JSON.
    pub line: Bytes,
    /// The last that it wrote to standard error while it was at this job, at most
    /// [`super::TAIL`] bytes. A process that has been sent its next job already may be at that
    /// when this is read: then some of it may be here.
    pub stderr_tail: Vec<u8>,
    /// From when it was free for this job to its answer.
    pub wall: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum PersistentError {
    /// The process ended while it was at this job.
    Died {
        /// How.
        exit: Exit,
        /// The last that it wrote to standard error, at most [`super::TAIL`] bytes.
        stderr_tail: Vec<u8>,
    },
    /// The job took longer than it may. The process was ended.
    Timeout {
        /// The last that it wrote to standard error, at most [`super::TAIL`] bytes.
        stderr_tail: Vec<u8>,
    },
    /// The caller did not want it any more. If the process was at it, it was killed.
    Cancelled,
    /// The process wrote a line that is not JSON. It was ended.
    BadLine {
        /// The beginning of the line.
        text: String,
    },
    /// The process wrote a line that is too long. It was ended.
    LineTooLong {
        /// How many bytes a line may have.
        limit: usize,
    },
    /// The job is no line: there is a newline in it. No process was told of it.
    NotOneLine,
    /// The process could not be started, or its keeper was lost.
    Run(RunError),
    /// [`Persistent::stop`] was called.
    Stopped,
}

/// A number of processes that stay up. They are started when there is a first job for them, and
/// killed when this is dropped.
#[derive(Debug)]
pub struct Persistent {
    shared: Arc<Shared>,
    /// What looks after each process. Empty before the first job, and after the stop.
    lanes: Mutex<Vec<JoinHandle<()>>>,
}

/// What those who look after the processes share.
#[derive(Debug)]
struct Shared {
    keepers: Keepers,
    command: Arc<Command>,
    grace: Duration,
    output_limit: usize,
    queue: Queue,
}

impl Persistent {
    /// Nothing is started yet.
    pub fn new(keepers: Keepers, options: PersistentOptions) -> Self {
        let PersistentOptions { program, args, env, directory, limits, .. } = options;
        let PersistentOptions { grace, processes, pipeline, output_limit, .. } = options;
        let command = Arc::new(Command { program, args, env, directory, limits });
        let queue = Queue::new(processes.max(1), pipeline.max(1));
        let shared = Arc::new(Shared { keepers, command, grace, output_limit, queue });
        Self { shared, lanes: Mutex::default() }
    }

    /// Gives `line`, one JSON document, to a process and waits for its answer. What the process
    /// writes to standard error meanwhile goes to `log`.
    ///
    /// `timeout` counts from when the process is free for it. When `cancel` is ready, or the
    /// future is dropped, and the process is at it, the process is killed; otherwise the answer
    /// will be dropped when it comes.
    pub async fn run(
        &self,
        line: Bytes,
        timeout: Duration,
        log: Arc<LiveLog>,
        cancel: impl Future<Output = ()>,
    ) -> Result<Answer, PersistentError> {
        if line.contains(&b'\n') {
            return Err(PersistentError::NotOneLine);
        }
        self.start_lanes();
        let (job, mut ticket) = Job::new(line, timeout, log);
        if self.shared.queue.push(job).is_err() {
            return Err(PersistentError::Stopped);
        }
        tokio::select! {
            answer = &mut ticket.answer => answer.unwrap_or(Err(PersistentError::Stopped)),
            () = cancel => {
                ticket.take_back().await;
                Err(PersistentError::Cancelled)
            }
        }
    }

    fn start_lanes(&self) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.is_empty() && !self.shared.queue.is_stopped() {
            lanes.extend((0..self.shared.queue.lanes()).map(|number| {
                let lane = Lane::new(self.shared.clone(), number);
                tokio::spawn(lane.serve())
            }));
        }
    }

    /// Ends the processes: closes their standard input, waits for the grace, asks, waits again,
    /// kills. Jobs that they were sent may still be answered meanwhile; all others fail.
    pub async fn stop(&self) {
        self.shared.queue.stop();
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in lanes {
            // An error would be a panic in there, or the end of the runtime.
            let _ = lane.await;
        }
    }
}

impl Drop for Persistent {
    fn drop(&mut self) {
        let lanes = self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Display for PersistentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died { exit: Exit::Code(code), .. } => {
                write!(f, "the process exited with {code} before it answered")
            }
            Self::Died { exit: Exit::Signal(signal), .. } => {
                write!(f, "signal {signal} ended the process before it answered")
            }
            Self::Timeout { .. } => f.write_str("the process did not answer in time"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::BadLine { text } => {
                write!(f, "the process wrote a line that is not JSON: {text:?}")
            }
            Self::LineTooLong { limit } => {
                write!(f, "the process wrote a line of more than {limit} bytes")
            }
            Self::NotOneLine => f.write_str("a job for a persistent process must be one line"),
            Self::Run(error) => error.fmt(f),
            Self::Stopped => f.write_str("the worker ends its persistent processes"),
        }
    }
}

impl std::error::Error for PersistentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Run(error) => error.source(),
            _ => None,
        }
    }
}
