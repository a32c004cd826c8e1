//! One job of a persistent process, from the call to its answer.

use super::{Answer, PersistentError};
use crate::exec::LiveLog;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// The process's side of a job. Dropping it tells the caller that there will be no answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) line: Bytes,
    pub(super) timeout: Duration,
    pub(super) log: Arc<LiveLog>,
    answer: oneshot::Sender<Result<Answer, PersistentError>>,
    fate: Arc<Fate>,
    /// When it became the oldest job of its process, which counts as its beginning.
    pub(super) since: Option<Instant>,
    /// Whether a process exited normally without answering it, so that it was given to another.
    pub(super) is_second_try: bool,
    /// Whether it was already cancelled when it began: then its process need not be killed for it.
    is_ignored: bool,
}

/// The caller's side of a job. Dropping it cancels the job.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) answer: oneshot::Receiver<Result<Answer, PersistentError>>,
    fate: Arc<Fate>,
}

/// The state that both sides share.
#[derive(Debug, Default)]
struct Fate {
    has_begun: AtomicBool,
    is_unwanted: AtomicBool,
    unwanted: Notify,
}

impl Job {
    pub(super) fn new(line: Bytes, timeout: Duration, log: Arc<LiveLog>) -> (Self, Ticket) {
        let (answer, answered) = oneshot::channel();
        let fate = Arc::new(Fate::default());
        let job = Self {
            line,
            timeout,
            log,
            answer,
            fate: fate.clone(),
            since: None,
            is_second_try: false,
            is_ignored: false,
        };
        (job, Ticket { answer: answered, fate })
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.fate.is_unwanted.load(Ordering::SeqCst)
    }

    /// From now on it is the oldest job of its process.
    pub(super) fn begin(&mut self) {
        self.since = Some(Instant::now());
        if self.is_wanted() {
            self.fate.has_begun.store(true, Ordering::SeqCst);
        } else {
            self.is_ignored = true;
        }
    }

    /// It will be given to another process.
    pub(super) fn begin_again(&mut self) {
        self.since = None;
        self.fate.has_begun.store(false, Ordering::SeqCst);
    }

    /// Waits until the caller cancels it. Only for a job that has begun; a job that was cancelled
    /// before that is left to the process.
    pub(super) async fn unwanted(&self) {
        if self.is_ignored {
            std::future::pending().await
        }
        while self.is_wanted() {
            self.fate.unwanted.notified().await;
        }
    }

    pub(super) fn finish(self, answer: Result<Answer, PersistentError>) {
        // The answer to a cancelled job is dropped.
        let _ = self.answer.send(answer);
    }
}

impl Ticket {
    /// Cancels the job. If a process is working on it, waits until that has been killed.
    pub(super) async fn take_back(mut self) {
        self.fate.is_unwanted.store(true, Ordering::SeqCst);
        self.fate.unwanted.notify_one();
        if self.fate.has_begun.load(Ordering::SeqCst) {
            let _ = (&mut self.answer).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.fate.is_unwanted.store(true, Ordering::SeqCst);
        self.fate.unwanted.notify_one();
    }
}
