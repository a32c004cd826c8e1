//! Counts, shows and logs how jobs leave this worker, as the [table of endings](crate::ending) says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{Level, event};
use uuid::Uuid;

use crate::ending::{Ending, Verdict};
use crate::job::JobType;
use crate::lease::Lost;
use crate::metrics::Metrics;
use crate::result::Failure;
use crate::table::{FailedAttempt, Table};

/// A job that leaves this worker.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Event<'a> {
    /// The job's, if it could be read.
    pub(super) id: Option<Uuid>,
    /// The job's, if it could be read.
    pub(super) kind: Option<&'a JobType>,
    /// The first is 1.
    pub(super) attempt: u32,
    /// Why, if it is a failure.
    pub(super) failure: Option<&'a Failure>,
    /// When it is tried again, if so.
    pub(super) retry_in: Option<Duration>,
    /// How long its process ran, in milliseconds.
    pub(super) wall_ms: Option<u64>,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Events {
    pub(super) metrics: Arc<Metrics>,
    pub(super) table: Arc<Table>,
}

impl Events {
    /// Counts, shows and logs it.
    pub(super) fn record(&self, ending: Ending, job: &Event<'_>) {
        let row = ending.consequences();
        if let Some(counter) = row.counter {
            self.metrics.add(counter);
        }
        if let Some(outcome) = row.outcome {
            let kind = job.kind.filter(|_| row.counts_type);
            self.metrics.ended(kind, outcome, job.failure.map(|failure| failure.kind));
        }
        if let Some(error) = job.failure.filter(|_| row.on_page) {
            self.table.push_failure(FailedAttempt {
                timestamp: Timestamp::now(),
                id: job.id,
                kind: job.kind.cloned(),
                attempt: job.attempt,
                error: error.clone(),
            });
        }
        log(ending, job);
    }

    /// As [`record`](Self::record), for a job that was lost: `ending` is for one that the queue gave to
    /// somebody else. When the worker stops, there is nothing to say but that attempts are broken off.
    pub(super) fn lost(&self, ending: Ending, lost: &Lost, job: &Event<'_>) {
        match (lost, ending) {
            (Lost::Stopping, Ending::Lost) => self.record(Ending::Interrupted, job),
            (Lost::Stopping, _) => {}
            _ => self.record(ending, &Event { failure: ending.failure(lost).as_ref(), ..*job }),
        }
    }
}

fn log(ending: Ending, job: &Event<'_>) {
    let row = ending.consequences();
    let error = job.failure.map(|failure| failure.message.as_str());
    let kind = job.failure.map(|failure| failure.kind.as_str());
    let status = match ending {
        Ending::Over(Verdict::Successful) => None,
        Ending::Over(verdict) => Some(verdict.status().as_str()),
        _ => None,
    };
    let retry_in = job.retry_in.map(tracing::field::debug);
    let (wall_ms, message) = (job.wall_ms, row.message);
    // A level is a part of what the compiler makes of each of these.
    macro_rules! at {
        ($level:expr) => {
            event!($level, error, kind, status, retry_in, wall_ms, "{message}")
        };
    }
    match row.level {
        Level::ERROR => at!(Level::ERROR),
        Level::WARN => at!(Level::WARN),
        Level::INFO => at!(Level::INFO),
        _ => at!(Level::DEBUG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::FailureKind;

    fn events() -> Events {
        Events { metrics: Arc::default(), table: Arc::default() }
    }

    #[test]
    fn what_the_table_says_is_counted_and_shown() {
        for ending in Ending::ALL {
            let (events, row) = (events(), ending.consequences());
            let kind: JobType = "sailor".parse().unwrap();
            let attempt = Failure::new(FailureKind::Timeout, "late");
            let failure = ending.failure("why");
            let failure = failure.as_ref().or(Some(&attempt).filter(|_| row.on_page));
            let id = Some(Uuid::from_u128(7));
            let event = Event { id, kind: Some(&kind), attempt: 2, failure, ..Event::default() };
            events.record(ending, &event);
            let text = events.metrics.text();
            let label = if row.counts_type { "sailor" } else { "unknown" };
            let counted = row.outcome.map(|outcome| {
                let outcome = outcome.as_str();
                format!("jq_worker_jobs_total{{type=\"{label}\",outcome=\"{outcome}\"}} 1\n")
            });
            assert!(counted.iter().all(|line| text.contains(line)), "{ending:?}: {text}");
            let jobs = text.matches("jq_worker_jobs_total{").count();
            assert_eq!(jobs, usize::from(row.outcome.is_some()), "{ending:?}");
            for name in ["refused", "given_back", "leases_lost"] {
                let is_it = row.counter.is_some_and(|counter| counter.name() == name);
                let line = format!("jq_worker_{name}_total {}\n", u8::from(is_it));
                assert!(text.contains(&line), "{ending:?}: {line} is not in {text}");
            }
            let shown = events.table.last_failures();
            assert_eq!(shown.len(), usize::from(row.on_page), "{ending:?}");
            if let (Some(shown), Some(failure)) = (shown.first(), failure) {
                assert_eq!((shown.id, shown.attempt, &shown.error), (id, 2, failure));
                let counted = format!("kind=\"{}\"", failure.kind.as_str());
                assert_eq!(text.contains(&counted), row.outcome.is_some(), "{ending:?}");
            }
        }
    }

    #[test]
    fn a_worker_that_stops_counts_nothing() {
        let events = events();
        for ending in [Ending::Lost, Ending::LostWithResult, Ending::LostOnReturn] {
            events.lost(ending, &Lost::Stopping, &Event::default());
        }
        assert!(events.table.last_failures().is_empty());
        assert!(events.metrics.text().contains("jq_worker_leases_lost_total 0\n"));
        events.lost(Ending::Lost, &Lost::Lease, &Event::default());
        assert_eq!(events.table.last_failures()[0].error.kind, FailureKind::LeaseLost);
        assert!(events.metrics.text().contains("jq_worker_leases_lost_total 1\n"));
    }
}
