//! A job that this worker holds.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::config::Handler;
use crate::ending::Verdict;
use crate::executor::Attempt;
use crate::health::Probe;
use crate::job::Job;
use crate::lease::Lease;
use crate::result::JobResult;
use crate::retry::{Backoff, JobRetry};
use crate::room::Permit;
use crate::setup::Setup;
use crate::store::Entry;
use crate::table::Registration;

use super::events::Event;

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

    /// The document that says what is known of it now.
    pub(super) fn document(&self) -> JobResult {
        self.active.document(&self.setup.name)
    }

    /// The result of its last attempt.
    pub(super) fn result(&self, verdict: Verdict, attempt: Attempt) -> JobResult {
        attempt.into_result(self.document(), verdict.status().into(), self.job.custom.clone())
    }

    /// A result with what is owed for it.
    pub(super) fn entry(&self, verdict: Verdict, result: &JobResult) -> Entry {
        let row = verdict.consequences();
        Entry {
            id: self.job.id,
            place: result.queue.clone(),
            status: verdict.status(),
            target: self.job.result.clone().filter(|_| row.is_sent),
            callback: row.callback.and_then(|event| event.url(&self.job.callback)).cloned(),
            finished: result.timestamp,
            result: raw(result),
        }
    }
}

/// A result as it is kept.
pub(super) fn raw(result: &JobResult) -> Box<RawValue> {
    serde_json::value::to_raw_value(result).expect("a result has no keys that are not text")
}
