//! Manages one process: starts it, sends it jobs, reads its answers, and ends it when it breaks the
//! rules.
//!
//! Owns: the jobs that the process was sent, in order. Must not know: other processes.

use super::child::{Child, Haste};
use super::job::Job;
use super::lines::{Lines, Said, TooLong};
use super::queue::Next;
use super::{Answer, PersistentError, Shared};
use crate::exec::capture::Capture;
use crate::exec::error::RunError;
use crate::exec::livelog::Stream;
use crate::exec::wire::{Ended, Exit};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

/// Pause between a process that ended without an answer and the next one: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How much of a bad line is shown, in bytes.
const BAD_LINE_SHOWN: usize = 200;

pub(super) struct Lane {
    shared: Arc<Shared>,
    number: usize,
    /// The jobs that were sent, or are about to be, and are not answered. The process is working on
    /// the first.
    pending: VecDeque<Job>,
    /// Number of processes in a row that ended by themselves, or broke the rules, without any
    /// answer.
    failures: u32,
}

/// One process, and the data in flight between it and its lane.
struct Talk {
    child: Child,
    /// Lines that are still to be sent to it.
    outgoing: BytesMut,
    heard: Heard,
    stderr: Complaints,
}

/// The standard error of a process.
struct Complaints {
    all: Capture,
    /// Its size when the process became free for the current job.
    begin: u64,
}

/// The output of a process.
struct Heard {
    lines: Lines,
    has_answered: bool,
}

/// Why a talk is over.
enum Over {
    /// The process ended.
    Ended(Result<Ended, RunError>),
    /// It closed its output, so there can be no more answers.
    Silent,
    /// It wrote something that is not an answer.
    Fault(PersistentError),
    /// The oldest job exceeded its time limit.
    Timeout,
    /// The oldest job was cancelled.
    Unwanted,
    /// The lane was stopped.
    Stop,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, number, pending: VecDeque::new(), failures: 0 }
    }

    /// Serves until the lane is stopped.
    pub(super) async fn serve(mut self) {
        while self.has_jobs().await {
            match Child::start(&self.shared.keepers, self.shared.command.clone()) {
                Ok(child) => {
                    let talk = Talk {
                        child,
                        outgoing: BytesMut::new(),
                        heard: Heard {
                            lines: Lines::new(self.shared.output_limit),
                            has_answered: false,
                        },
                        stderr: Complaints::new(),
                    };
                    self.keep_up(talk).await;
                }
                Err(error) => {
                    self.failures += 1;
                    self.finish_all(&Arc::new(error));
                }
            }
        }
    }

    /// Waits until there is a job, and for the pause after a process that failed. False: stop.
    async fn has_jobs(&mut self) -> bool {
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => (FIRST_PAUSE * 2_u32.pow((failures - 1).min(16))).min(LONGEST_PAUSE),
        };
        let resume = Instant::now() + pause;
        loop {
            self.drop_unwanted();
            if !self.pending.is_empty() && Instant::now() >= resume {
                return true;
            }
            let is_paused = !self.pending.is_empty();
            tokio::select! {
                next = self.shared.queue.next(self.number) => match next {
                    Next::Jobs(jobs) => self.pending.extend(jobs),
                    Next::Stop => return false,
                },
                () = sleep_until(resume), if is_paused => {}
            }
        }
    }

    fn drop_unwanted(&mut self) {
        let before = self.pending.len();
        self.pending.retain(Job::is_wanted);
        self.shared.queue.done(self.number, before - self.pending.len());
    }

    /// Talks to a process until the talk is over, then ends the process and settles the oldest job.
    async fn keep_up(&mut self, mut talk: Talk) {
        for job in &self.pending {
            talk.send(job);
        }
        self.begin_oldest();
        let over = self.talk(&mut talk).await;
        let is_own_fault = !matches!(over, Over::Timeout | Over::Unwanted | Over::Stop);
        let has_answered = self.end(talk, over).await;
        if has_answered {
            self.failures = 0;
        } else if is_own_fault {
            self.failures += 1;
        }
    }

    async fn talk(&mut self, talk: &mut Talk) -> Over {
        loop {
            let Talk { child, outgoing, heard, stderr } = &mut *talk;
            let Child { process, stdin, stdout, stderr: errors } = child;
            let oldest = self.pending.front();
            tokio::select! {
                ended = process.ended() => return Over::Ended(ended),
                read = stdout.read(|chunk| heard.lines.push(chunk)) => {
                    if !matches!(read, Ok(1..)) {
                        return Over::Silent;
                    }
                    // What it wrote to standard error before its answer belongs to the same job.
                    errors.read_rest(|chunk| stderr.push(chunk, oldest));
                    if let Err(fault) = self.hear(heard, stderr) {
                        return Over::Fault(fault);
                    }
                }
                _ = errors.read(|chunk| stderr.push(chunk, oldest)) => {}
                () = Child::write(stdin, outgoing), if !outgoing.is_empty() => {}
                next = self.shared.queue.next(self.number) => match next {
                    Next::Jobs(mut jobs) => {
                        // Jobs that come at the same moment are written to it together.
                        yield_now().await;
                        jobs.extend(self.shared.queue.take(self.number));
                        jobs.iter().for_each(|job| talk.send(job));
                        self.pending.extend(jobs);
                        self.begin_oldest();
                    }
                    Next::Stop => return Over::Stop,
                },
                () = unwanted(oldest) => return Over::Unwanted,
                () = too_late(oldest) => return Over::Timeout,
            }
        }
    }

    /// Handles the lines that have arrived.
    fn hear(&mut self, heard: &mut Heard, stderr: &mut Complaints) -> Result<(), PersistentError> {
        let mut answered = 0;
        let result = loop {
            let line = match heard.lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break Ok(()),
                Err(TooLong) => {
                    let limit = self.shared.output_limit;
                    break Err(PersistentError::LineTooLong { limit });
                }
            };
            match (Said::of(line), self.pending.front()) {
                (Said::Progress(percent), oldest) => {
                    oldest.into_iter().for_each(|job| job.log.set_progress(percent));
                }
                (Said::Answer, Some(job)) => {
                    let answer = Answer {
                        line: Bytes::copy_from_slice(line),
                        stderr_tail: stderr.of_this_job(),
                        wall: job.since.map_or(Duration::ZERO, |since| since.elapsed()),
                    };
                    if let Some(job) = self.pending.pop_front() {
                        job.finish(Ok(answer));
                    }
                    answered += 1;
                    self.begin_oldest();
                }
                // An answer without a job: all further answers would go to the wrong jobs.
                (Said::Noise | Said::Answer, _) => {
                    let shown = &line[..line.len().min(BAD_LINE_SHOWN)];
                    let text = String::from_utf8_lossy(shown).into_owned();
                    break Err(PersistentError::BadLine { text });
                }
            }
        };
        heard.has_answered |= answered > 0;
        self.shared.queue.done(self.number, answered);
        result
    }

    /// Ends the process, and then settles the job that it was working on. Returns whether it has
    /// answered any job.
    async fn end(&mut self, talk: Talk, over: Over) -> bool {
        let Talk { child, outgoing, mut heard, mut stderr } = talk;
        let grace = self.shared.grace;
        let ignore = |_: &[u8]| {};
        let error = match over {
            Over::Ended(ended) => {
                child.stderr.read_rest(|chunk| stderr.push(chunk, self.pending.front()));
                match self.hear_rest(&child, &mut heard, &mut stderr) {
                    Err(fault) => Some(fault),
                    Ok(()) => self.judge(ended, &heard, &mut stderr),
                }
            }
            Over::Silent => {
                let told = Instant::now() + grace;
                let ended = child.end(Haste::Close, grace, &mut stderr.all, ignore).await;
                match &ended {
                    // The signal was ours.
                    Ok(Ended { exit: Exit::Signal(_), .. }) if Instant::now() >= told => {
                        Some(PersistentError::Mute { stderr_tail: stderr.all.tail_after(0).into() })
                    }
                    _ => self.judge(ended, &heard, &mut stderr),
                }
            }
            // However it ends in these cases, the reason why it was ended is what is reported.
            Over::Fault(fault) => {
                let _ = child.end(Haste::Ask, grace, &mut stderr.all, ignore).await;
                Some(fault)
            }
            Over::Timeout => {
                let _ = child.end(Haste::Ask, grace, &mut stderr.all, ignore).await;
                Some(PersistentError::Timeout { stderr_tail: stderr.all.tail_after(0).into() })
            }
            Over::Unwanted => {
                let _ = child.end(Haste::Kill, grace, &mut stderr.all, ignore).await;
                Some(PersistentError::Cancelled)
            }
            Over::Stop => {
                self.forget_unsent(outgoing.len());
                let mut is_sane = true;
                // What it writes to standard error from here on is drained, and belongs to no job.
                let mut apart = Complaints::new();
                let hear = |chunk: &[u8]| {
                    if is_sane {
                        heard.lines.push(chunk);
                        is_sane = self.hear(&mut heard, &mut apart).is_ok();
                    }
                };
                let _ = child.end(Haste::Close, grace, &mut stderr.all, hear).await;
                // The callers are told of the stop.
                self.pending.clear();
                None
            }
        };
        if let Some(error) = error {
            self.finish_oldest(error);
        }
        heard.has_answered
    }

    /// Handles the remaining lines of a process that has ended.
    fn hear_rest(
        &mut self,
        child: &Child,
        heard: &mut Heard,
        stderr: &mut Complaints,
    ) -> Result<(), PersistentError> {
        let mut result = Ok(());
        child.stdout.read_rest(|chunk| {
            if result.is_ok() {
                heard.lines.push(chunk);
                result = self.hear(heard, stderr);
            }
        });
        result
    }

    /// The error for the job that a process was working on when it ended. `None`: no error yet, or
    /// there is no such job.
    fn judge(
        &mut self,
        ended: Result<Ended, RunError>,
        heard: &Heard,
        stderr: &mut Complaints,
    ) -> Option<PersistentError> {
        match ended {
            Ok(Ended { exit: Exit::Code(0), .. }) if self.may_try_again(heard) => None,
            Ok(Ended { exit, .. }) => {
                Some(PersistentError::Died { exit, stderr_tail: stderr.all.tail_after(0).into() })
            }
            Err(error) => Some(PersistentError::Run(Arc::new(error))),
        }
    }

    /// A process that has answered jobs and then exits with 0 wants to be replaced. The job that it
    /// was sent meanwhile goes to the next process; but only once, in case the job is the cause.
    fn may_try_again(&mut self, heard: &Heard) -> bool {
        match self.pending.front_mut() {
            Some(job) if !heard.has_answered || job.is_second_try => false,
            Some(job) => {
                job.is_second_try = true;
                job.begin_again();
                true
            }
            // It was idle, and may exit at any time.
            None => true,
        }
    }

    /// Gives up the jobs whose lines are at least partly among the last `unsent` bytes.
    fn forget_unsent(&mut self, mut unsent: usize) {
        while unsent > 0
            && let Some(job) = self.pending.pop_back()
        {
            unsent = unsent.saturating_sub(job.line.len() + 1);
        }
    }

    fn begin_oldest(&mut self) {
        if let Some(job) = self.pending.front_mut()
            && job.since.is_none()
        {
            job.begin();
        }
    }

    /// No process could be started, whatever the job.
    fn finish_all(&mut self, error: &Arc<RunError>) {
        self.shared.queue.done(self.number, self.pending.len());
        for job in self.pending.drain(..) {
            job.finish(Err(PersistentError::Run(Arc::clone(error))));
        }
    }

    fn finish_oldest(&mut self, error: PersistentError) {
        if let Some(job) = self.pending.pop_front() {
            job.finish(Err(error));
            self.shared.queue.done(self.number, 1);
        } else {
            let program = self.shared.command.program.display();
            tracing::warn!(%program, "a persistent process, while it had no job: {error}");
        }
    }
}

impl Talk {
    fn send(&mut self, job: &Job) {
        self.outgoing.extend_from_slice(&job.line);
        self.outgoing.extend_from_slice(b"\n");
    }
}

impl Complaints {
    fn new() -> Self {
        Self { all: Capture::new(0), begin: 0 }
    }

    fn push(&mut self, chunk: &[u8], oldest: Option<&Job>) {
        self.all.push(chunk);
        oldest.into_iter().for_each(|job| job.log.push(Stream::Stderr, chunk));
    }

    /// The end of what it wrote since the last call, which is made at each answer.
    fn of_this_job(&mut self) -> Vec<u8> {
        let tail = self.all.tail_after(self.begin).into();
        self.begin = self.all.bytes();
        tail
    }
}

async fn unwanted(oldest: Option<&Job>) {
    match oldest {
        Some(job) => job.unwanted().await,
        None => std::future::pending().await,
    }
}

async fn too_late(oldest: Option<&Job>) {
    match oldest.and_then(|job| job.since.map(|since| (since, job.timeout))) {
        Some((since, timeout)) => match since.checked_add(timeout) {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
