//! Metrics, in the text format of Prometheus (OpenMetrics).
//!
//! `docs/worker.md` lists the names; they are an interface.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jq_api::status::ResourceStatus;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::job::JobType;
use crate::readiness::Reason;
use crate::result::{FailureKind, FinalStatus};

/// Maximum number of types with counters of their own. Types come from jobs, and a counter is never
/// removed.
const MAX_TYPES: usize = 200;

/// The label for all further types.
const OTHER: &str = "other";

/// Labels of metrics by type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfType {
    r#type: String,
}

/// Labels of an attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    r#type: String,
    outcome: Outcome,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The job is over.
    Over(FinalStatus),
    /// It will be retried.
    Retried,
    /// This machine could not run it. It does not count as an attempt.
    Returned,
    /// The queue gave the job to another worker.
    Lost,
}

impl Outcome {
    /// The name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Over(status) => status.as_str(),
            Self::Retried => "retried",
            Self::Returned => "returned",
            Self::Lost => "lost",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// Counters of endings that are not outcomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// [`Metrics::refused`].
    Refused,
    /// [`Metrics::given_back`].
    GivenBack,
    /// [`Metrics::leases_lost`].
    LeasesLost,
}

impl Counted {
    /// The name of the counter, without prefix and suffix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::GivenBack => "given_back",
            Self::LeasesLost => "leases_lost",
        }
    }
}

/// Labels of an attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailedBy {
    r#type: String,
    kind: &'static str,
}

/// Labels of a reason why no jobs, or not all, are taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfReason {
    reason: &'static str,
}

/// Labels of a resource that jobs have for themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfResource {
    resource: String,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    types: Mutex<BTreeSet<String>>,
    ended: Family<Ended, Counter>,
    failures: Family<FailedBy, Counter>,
    run: Family<OfType, Histogram>,
    wait: Family<OfType, Histogram>,
    running: Family<OfType, Gauge>,
    reasons: Family<OfReason, Gauge>,
    resource_units: Family<OfResource, Gauge>,
    resource_in_use: Family<OfResource, Gauge>,
    resource_waiting: Family<OfResource, Gauge>,
    /// Bodies that are not jobs, or jobs of an unknown type.
    pub refused: Counter,
    /// Jobs that were given back for lack of room.
    pub given_back: Counter,
    /// Jobs that were to follow others and that the queue did not take.
    pub followers_refused: Counter,
    /// Touches that were answered.
    pub touches: Counter,
    /// Leases that were lost while this worker had the job.
    pub leases_lost: Counter,
    /// Failed attempts to send a result.
    pub publish_failures: Counter,
    /// Failed attempts to write a result or its artifacts to the store that workers share.
    pub store_failures: Counter,
    /// Failed callback attempts.
    pub callback_failures: Counter,
    /// Processes that were killed after their job was over.
    pub left_behind: Counter,
    /// Results that are not sent yet, or whose job is still in the queue.
    pub spool: Gauge,
    /// What artifacts take up on the disk.
    pub artifact_bytes: Gauge,
    /// Servers that can be reached.
    pub servers_connected: Gauge,
    /// 1 if jobs are taken, otherwise 0.
    pub ready: Gauge,
}

/// Buckets from a millisecond to half a day.
fn durations() -> Histogram {
    const BOUNDS: [f64; 17] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0,
        1800.0, 7200.0, 43200.0,
    ];
    Histogram::new(BOUNDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("jq_worker");
        let metrics = Self {
            types: Mutex::default(),
            ended: Family::default(),
            failures: Family::default(),
            run: Family::new_with_constructor(durations),
            wait: Family::new_with_constructor(durations),
            running: Family::default(),
            reasons: Family::default(),
            resource_units: Family::default(),
            resource_in_use: Family::default(),
            resource_waiting: Family::default(),
            refused: Counter::default(),
            given_back: Counter::default(),
            followers_refused: Counter::default(),
            touches: Counter::default(),
            leases_lost: Counter::default(),
            publish_failures: Counter::default(),
            store_failures: Counter::default(),
            callback_failures: Counter::default(),
            left_behind: Counter::default(),
            spool: Gauge::default(),
            artifact_bytes: Gauge::default(),
            servers_connected: Gauge::default(),
            ready: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("jobs", "Attempts by type and outcome", metrics.ended.clone());
        registry.register(
            "failures",
            "Failed attempts by type and cause",
            metrics.failures.clone(),
        );
        let seconds = Unit::Seconds;
        registry.register_with_unit(
            "run",
            "Run time of processes",
            seconds.clone(),
            metrics.run.clone(),
        );
        registry.register_with_unit(
            "queue_wait",
            "Age of jobs when their first attempt began",
            seconds,
            metrics.wait.clone(),
        );
        registry.register("running", "Jobs that run", metrics.running.clone());
        let [refused, given_back, leases_lost] =
            [Counted::Refused, Counted::GivenBack, Counted::LeasesLost].map(Counted::name);
        for (name, help, counter) in [
            (refused, "Bodies that are no job, or of an unknown type", &metrics.refused),
            (given_back, "Jobs given back for want of room", &metrics.given_back),
            (
                "followers_refused",
                "Jobs that were to follow others and that the queue did not take",
                &metrics.followers_refused,
            ),
            ("touches", "Touches that were answered", &metrics.touches),
            (leases_lost, "Jobs that were lost while they were here", &metrics.leases_lost),
            ("publish_failures", "Failed attempts to send a result", &metrics.publish_failures),
            (
                "store_failures",
                "Failed attempts to write to the shared store",
                &metrics.store_failures,
            ),
            ("callback_failures", "Failed attempts at a callback", &metrics.callback_failures),
            ("left_behind", "Processes killed after their job was over", &metrics.left_behind),
        ] {
            registry.register(name, help, counter.clone());
        }
        let spool = "Results that are not sent, or whose job is still in the queue";
        registry.register("spool", spool, metrics.spool.clone());
        let artifacts = "What the artifacts of results take up on the disk";
        registry.register("artifact_bytes", artifacts, metrics.artifact_bytes.clone());
        let connected = "Servers that jobs can be taken from";
        registry.register("servers_connected", connected, metrics.servers_connected.clone());
        registry.register("ready", "Whether jobs are taken", metrics.ready.clone());
        let reasons = "Reasons why no jobs, or not all, are taken";
        registry.register("reasons", reasons, metrics.reasons.clone());
        for (name, help, gauge) in [
            ("resource_units", "Units of a resource", &metrics.resource_units),
            ("resource_in_use", "Units that jobs have", &metrics.resource_in_use),
            ("resource_waiting", "Jobs that wait for some", &metrics.resource_waiting),
        ] {
            registry.register(name, help, gauge.clone());
        }
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts the end of an attempt, and its failure if it failed. Without a type, the label is
    /// `unknown`.
    pub fn ended(&self, kind: Option<&JobType>, outcome: Outcome, failure: Option<FailureKind>) {
        let r#type = self.label(kind);
        if let Some(failure) = failure {
            let kind = failure.as_str();
            self.failures.get_or_create(&FailedBy { r#type: r#type.clone(), kind }).inc();
        }
        self.ended.get_or_create(&Ended { r#type, outcome }).inc();
    }

    /// Adds one to a counter.
    pub fn add(&self, counter: Counted) {
        let counter = match counter {
            Counted::Refused => &self.refused,
            Counted::GivenBack => &self.given_back,
            Counted::LeasesLost => &self.leases_lost,
        };
        counter.inc();
    }

    /// The number of attempts of this type with this outcome.
    pub fn count(&self, kind: &JobType, outcome: Outcome) -> u64 {
        self.ended.get_or_create(&Ended { r#type: self.label(Some(kind)), outcome }).get()
    }

    /// The types with counters of their own.
    pub fn types(&self) -> Vec<JobType> {
        let types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        types.iter().filter_map(|kind| kind.parse().ok()).collect()
    }

    /// Records how long a process ran, in seconds.
    pub fn ran(&self, kind: &JobType, seconds: f64) {
        self.run.get_or_create(&OfType { r#type: self.label(Some(kind)) }).observe(seconds);
    }

    /// Records how old a job was when its first attempt began, in seconds.
    pub fn waited(&self, kind: &JobType, seconds: f64) {
        self.wait.get_or_create(&OfType { r#type: self.label(Some(kind)) }).observe(seconds);
    }

    /// Sets the reasons why no jobs, or not all, are taken.
    pub fn set_reasons(&self, reasons: &[Reason]) {
        for reason in Reason::NAMES {
            let count = reasons.iter().filter(|it| it.name() == reason).count();
            self.reasons.get_or_create(&OfReason { reason }).set(count as i64);
        }
        self.ready.set(i64::from(!reasons.iter().any(Reason::is_blocking)));
    }

    /// Sets what jobs have for themselves.
    pub fn set_resources(&self, resources: &[ResourceStatus]) {
        for family in [&self.resource_units, &self.resource_in_use, &self.resource_waiting] {
            // A reload can take some away.
            family.clear();
        }
        for ResourceStatus { name, total, in_use, waiting } in resources {
            let of = OfResource { resource: name.clone() };
            self.resource_units.get_or_create(&of).set(*total as i64);
            self.resource_in_use.get_or_create(&of).set(*in_use as i64);
            self.resource_waiting.get_or_create(&of).set(*waiting as i64);
        }
    }

    /// Counts a job as running until the returned value is dropped.
    pub fn running(&self, kind: &JobType) -> Running {
        let gauge = self.running.get_or_create_owned(&OfType { r#type: self.label(Some(kind)) });
        gauge.inc();
        Running(gauge)
    }

    /// All metrics as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn label(&self, kind: Option<&JobType>) -> String {
        let Some(kind) = kind else { return "unknown".to_owned() };
        let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        if !types.contains(kind.as_str()) {
            if types.len() >= MAX_TYPES {
                return OTHER.to_owned();
            }
            types.insert(kind.as_str().to_owned());
        }
        kind.as_str().to_owned()
    }
}

/// See [`Metrics::running`].
#[derive(Debug)]
pub struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        let metrics = Metrics::default();
        let kind: JobType = "sailor".parse().unwrap();
        let failure = FailureKind::Timeout;
        metrics.ended(Some(&kind), Outcome::Over(FinalStatus::Successful), None);
        metrics.ended(Some(&kind), Outcome::Retried, Some(failure));
        metrics.ran(&kind, 0.3);
        let running = metrics.running(&kind);
        let text = metrics.text();
        for line in [
            r#"jq_worker_jobs_total{type="sailor",outcome="successful"} 1"#,
            r#"jq_worker_jobs_total{type="sailor",outcome="retried"} 1"#,
            r#"jq_worker_failures_total{type="sailor",kind="timeout"} 1"#,
            r#"jq_worker_run_seconds_bucket{le="0.5",type="sailor"} 1"#,
            r#"jq_worker_running{type="sailor"} 1"#,
            "jq_worker_touches_total 0",
            "jq_worker_spool 0",
            "jq_worker_artifact_bytes 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(running);
        assert!(metrics.text().contains(r#"jq_worker_running{type="sailor"} 0"#));
    }

    #[test]
    fn any_number_of_types_is_counted_under_a_limited_number_of_names() {
        let metrics = Metrics::default();
        for number in 0..1_000 {
            let kind: JobType = format!("t{number}").parse().unwrap();
            metrics.ended(Some(&kind), Outcome::Over(FinalStatus::Successful), None);
        }
        let text = metrics.text();
        assert!(text.contains(r#"{type="other",outcome="successful"} 800"#));
        assert_eq!(text.matches("jq_worker_jobs_total").count(), MAX_TYPES + 1);
    }
}
