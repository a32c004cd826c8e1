//! Persistent processes, for jobs too short to justify starting a process for each.
//!
//! Such a process reads one JSON document per line from its standard input, and writes one JSON
//! line for each, in order, to its standard output. A line `{"progress":40}` reports the progress
//! of the oldest unanswered job. Its standard error is for people.
//!
//! Owns: which process a job goes to, the time limit of each job, and what happens when a process
//! breaks the rules: it is ended, a new one is started, and the jobs that it had not begun are
//! transparently given to the new one. Must not know: what a job or its answer means.

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

/// Which processes to run, and how.
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
    /// Its resource limits: over its whole life, not for each job.
    pub limits: Limits,
    /// How long a process may take to end after its input was closed, and again after SIGTERM,
    /// before it and its descendants are killed.
    pub grace: Duration,
    /// Number of processes; at least 1.
    pub processes: usize,
    /// Maximum number of lines that are sent to a process before it has answered the first; at
    /// least 1.
    pub pipeline: usize,
    /// Maximum length of a line of its output, in bytes.
    pub output_limit: usize,
}

/// The answer of a process to one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The line, without its newline: UTF-8 and JSON.
    pub line: Bytes,
    /// The end of what it wrote to standard error during this job, at most [`super::TAIL`] bytes.
    /// If the process has already been sent its next job, this may include some output of that.
    pub stderr_tail: Vec<u8>,
    /// The time from when it was free for this job until its answer.
    pub wall: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum PersistentError {
    /// The process ended during this job.
    Died {
        /// How it ended.
        exit: Exit,
        /// The end of its standard error, at most [`super::TAIL`] bytes.
        stderr_tail: Vec<u8>,
    },
    /// The process closed its standard output and did not exit. It was ended.
    Mute {
        /// The end of its standard error, at most [`super::TAIL`] bytes.
        stderr_tail: Vec<u8>,
    },
    /// The job exceeded its time limit. The process was ended.
    Timeout {
        /// The end of its standard error, at most [`super::TAIL`] bytes.
        stderr_tail: Vec<u8>,
    },
    /// The caller cancelled the job. If a process was working on it, that was killed.
    Cancelled,
    /// The process wrote a line that is not JSON. It was ended.
    BadLine {
        /// The beginning of the line.
        text: String,
    },
    /// The process wrote a line that is too long. It was ended.
    LineTooLong {
        /// The maximum length of a line, in bytes.
        limit: usize,
    },
    /// The job contains a newline, so it is not one line. It was sent to no process.
    NotOneLine,
    /// The process could not be started, or its keeper was lost.
    Run(Arc<RunError>),
    /// [`Persistent::stop`] was called.
    Stopped,
}

/// A number of persistent processes. They are started when the first job arrives for them, and
/// killed when this is dropped.
#[derive(Debug)]
pub struct Persistent {
    shared: Arc<Shared>,
    /// The task of each process. Empty before the first job, and after the stop.
    lanes: Mutex<Vec<JoinHandle<()>>>,
}

/// What the tasks of the processes share.
#[derive(Debug)]
struct Shared {
    keepers: Keepers,
    command: Arc<Command>,
    grace: Duration,
    output_limit: usize,
    queue: Queue,
}

impl Persistent {
    /// Starts nothing yet.
    pub fn new(keepers: Keepers, options: PersistentOptions) -> Self {
        let PersistentOptions { program, args, env, directory, limits, .. } = options;
        let PersistentOptions { grace, processes, pipeline, output_limit, .. } = options;
        let command = Arc::new(Command { program, args, env, directory, limits });
        let queue = Queue::new(processes.max(1), pipeline.max(1));
        let shared = Arc::new(Shared { keepers, command, grace, output_limit, queue });
        Self { shared, lanes: Mutex::default() }
    }

    /// Sends `line`, one JSON document, to a process and waits for its answer. What the process
    /// writes to standard error meanwhile goes to `log`.
    ///
    /// `timeout` counts from when the process is free for it. When `cancel` is ready or the future
    /// is dropped, the process is killed if it is working on this job; otherwise the answer is
    /// discarded when it comes.
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

    /// Ends the processes: closes their standard input, waits for the grace, sends SIGTERM, waits
    /// again, and kills. Jobs that they were sent may still be answered meanwhile; all others fail.
    pub async fn stop(&self) {
        self.shared.queue.stop();
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in lanes {
            // An error would mean that the task panicked, or that the runtime is shutting down.
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
            Self::Mute { .. } => {
                f.write_str("the process closed its standard output before it answered")
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
