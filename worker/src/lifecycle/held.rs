//! A job that this worker holds.

use std::sync::Arc;

use serde_json::value::RawValue;
use url::Url;

use crate::artifact::ArtifactName;
use crate::config::Handler;
use crate::ending::Verdict;
use crate::executor::Attempt;
use crate::health::Probe;
use crate::job::Job;
use crate::lease::Lease;
use crate::result::{JobResult, Status};
use crate::retry::{Backoff, JobRetry};
use crate::room::Permit;
use crate::setup::Setup;
use crate::store::{Entry, QueuedJob};
use crate::table::Registration;

use super::events::Event;

/// Most that is remembered of the end of an output while a job waits for its next attempt, in bytes.
const WAITING_TAIL: usize = 2048;

/// A job with all that this worker holds for it: reserved in the queue, counted in the room, listed in
/// the table. Dropping it gives all of that up, and the queue has the job again.
#[derive(Debug)]
pub(super) struct Held {
    /// Keeps the job reserved.
    pub(super) lease: Lease,
    /// Its place among those that run.
    pub(super) permit: Permit,
    /// Its place in the table.
    pub(super) active: Registration,
    /// The right to try its handler, if that did not work.
    pub(super) probe: Option<Probe>,
    /// What its body says.
    pub(super) job: Job,
    /// What runs it.
    pub(super) handler: Arc<Handler>,
    /// The configuration that counted when it came.
    pub(super) setup: Arc<Setup>,
    /// Why it is not run any more: workers die of it.
    pub(super) guilty: Option<String>,
}

impl Held {
    /// The job in events.
    pub(super) fn event(&self) -> Event<'_> {
        Event {
            id: Some(self.job.id),
            kind: Some(&self.job.kind),
            attempt: self.active.attempt,
            ..Event::default()
        }
    }

    /// How often it is tried.
    pub(super) fn retry(&self) -> JobRetry {
        let config = &self.setup.config;
        JobRetry {
            retries: self.job.retry.unwrap_or(self.handler.retry),
            backoff: Backoff { first: config.retry_delay, max: config.max_retry_delay },
        }
    }

    /// Whether there will be another attempt after this one, which says how it failed.
    pub(super) fn will_be_retried(&self, attempt: &Attempt) -> bool {
        let next = || self.retry().next(self.active.attempt, attempt.why(), 0.0);
        attempt.failure.is_some() && next().is_some()
    }

    /// The document that says what is known of it now.
    pub(super) fn document(&self) -> JobResult {
        self.active.document(&self.setup.name)
    }

    /// The result of its last attempt.
    pub(super) fn result(&self, verdict: Verdict, attempt: Attempt) -> JobResult {
        let (mut notes, job_digest) = (self.job.notes.clone(), Some(self.job.digest()));
        if verdict.is_of_attempt() {
            let has_made =
                |name: &ArtifactName| attempt.collected.artifacts.iter().any(|it| it.name == *name);
            let missing = self.job.artifacts.keys().filter(|name| !has_made(name));
            notes.extend(missing.map(|name| {
                format!("artifact {:?} is not there, so it is not sent to its URL", name.as_str())
            }));
        }
        let mut document = JobResult { notes, job_digest, ..self.document() };
        let was_broken_off = verdict == Verdict::Cancelled && self.active.started.get().is_some();
        if verdict.is_of_attempt() || was_broken_off {
            attempt.record(&mut document);
        }
        attempt.into_result(document, verdict.status().into(), self.job.custom.clone())
    }

    /// The document of an attempt that failed and is not the last.
    pub(super) fn interim(&self, status: Status, attempt: Attempt) -> JobResult {
        let mut document = self.document();
        // If this machine is at fault, it was none.
        if attempt.fault.is_none() {
            attempt.record(&mut document);
        }
        let result = attempt.into_result(document, status, None);
        JobResult {
            finished: None,
            // Many may wait, and for long.
            output: None,
            notes: Vec::new(),
            stdout: result.stdout.map(|written| written.cut(WAITING_TAIL)),
            stderr: result.stderr.map(|written| written.cut(WAITING_TAIL)),
            ..result
        }
    }

    /// A result with what is owed for it.
    pub(super) fn entry(&self, verdict: Verdict, result: &JobResult) -> Entry {
        let row = verdict.consequences();
        // Which of them is not allowed is looked at once more only then.
        let outbound = &self.setup.outbound;
        let facts = &self.lease.facts;
        // Without a token nobody can have it run again.
        let is_kept = self.setup.config.token.is_some();
        let queued = || QueuedJob::new(&self.lease.body, facts.priority, self.lease.ttr());
        let may = |url: &Url| verdict != Verdict::Forbidden || outbound.check(url).is_ok();
        let target = self.job.result.clone().filter(|target| row.is_sent && may(&target.url));
        let has_made = |name: &ArtifactName| result.artifacts.iter().any(|made| made.name == *name);
        let made = self.job.artifacts.iter().filter(|(name, _)| row.is_sent && has_made(name));
        let callback = row.callback.and_then(|event| event.url(&self.job.callback));
        Entry {
            id: self.job.id,
            place: result.queue.clone(),
            status: verdict.status(),
            target,
            callback: callback.filter(|url| may(url)).cloned(),
            finished: result.timestamp,
            result: raw(result),
            job: is_kept.then(queued).flatten(),
            then: Vec::new(),
            artifacts: None,
            sends: made
                .filter(|(_, to)| may(&to.url))
                .map(|(name, to)| (name.clone(), to.clone()))
                .collect(),
        }
    }
}

/// A result as it is kept.
pub(super) fn raw(result: &JobResult) -> Box<RawValue> {
    serde_json::value::to_raw_value(result).expect("a result has no keys that are not text")
}
