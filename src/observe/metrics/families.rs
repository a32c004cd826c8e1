//! Each of our metrics.

use std::fmt;

use beanstalk_protocol::PolicyCounts;
use jq_engine::{Activity, Cause, Histogram, Times};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{AccessNumbers, Exposition};
use crate::observe::snapshot::{TubeRow, age};
use crate::server::guard::Account;

/// The name of all tubes that have no series of their own.
pub(super) const OTHERS: &str = "";

/// The upper bounds of the buckets that are served, in seconds: some of those that are counted.
pub(super) const BOUNDS: [f64; 12] =
    [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0, 10_800.0, 86_400.0];

/// The bounds for the disk, likewise.
pub(super) const SYNC_BOUNDS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Writes families of metrics.
pub(super) struct Encoder<'a>(pub(super) DescriptorEncoder<'a>);

/// A label with its value.
pub(super) type Label<'a> = (&'static str, &'a str);

impl Encoder<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        mut write: impl FnMut(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut self.0.encode_descriptor(name, help, unit, kind)?)
    }

    /// One number.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl Into<Value>,
    ) -> fmt::Result {
        let value = value.into();
        self.family(name, help, unit.as_ref(), MetricType::Gauge, |metric| value.gauge(metric))
    }

    /// One number for each set of labels.
    pub(super) fn gauges<'l, L: EncodeLabelSet, V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (L, V)> + 'l,
    ) -> fmt::Result {
        let mut values = Some(values);
        self.family(name, help, unit.as_ref(), MetricType::Gauge, |metric| {
            for (labels, value) in values.take().into_iter().flatten() {
                value.into().gauge(&mut metric.encode_family(&labels)?)?;
            }
            Ok(())
        })
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl Into<Value>,
    ) -> fmt::Result {
        let value = value.into();
        self.family(name, help, unit.as_ref(), MetricType::Counter, |metric| value.counter(metric))
    }

    fn counters<L: EncodeLabelSet, V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut values = Some(values);
        self.family(name, help, None, MetricType::Counter, |metric| {
            for (labels, value) in values.take().into_iter().flatten() {
                value.into().counter(&mut metric.encode_family(&labels)?)?;
            }
            Ok(())
        })
    }

    fn histograms<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[f64],
        values: impl IntoIterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        let mut values = Some(values);
        self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram, |metric| {
            for (labels, histogram) in values.take().into_iter().flatten() {
                encode_histogram(&mut metric.encode_family(&labels)?, histogram, bounds)?;
            }
            Ok(())
        })
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[f64],
        histogram: &Histogram,
    ) -> fmt::Result {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram, |metric| {
            encode_histogram(metric, histogram, bounds)
        })
    }
}

fn encode_histogram(
    metric: &mut MetricEncoder<'_>,
    histogram: &Histogram,
    bounds: &[f64],
) -> fmt::Result {
    let (sum, count) = (histogram.sum_seconds(), histogram.count());
    metric.encode_histogram::<[Label<'_>; 0]>(sum, count, &buckets(histogram, bounds), None)
}

/// A number, whole or not.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Whole(u64),
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl Value {
    fn gauge(self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => metric.encode_gauge(&value),
            Self::Float(value) => metric.encode_gauge(&value),
        }
    }

    fn counter(self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => metric.encode_counter::<[Label<'_>; 0], _, u64>(&value, None),
            Self::Float(value) => metric.encode_counter::<[Label<'_>; 0], _, f64>(&value, None),
        }
    }
}

/// How many durations are in each of the buckets with these bounds, and in the last one without.
pub(super) fn buckets(histogram: &Histogram, bounds: &[f64]) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> = bounds.iter().map(|bound| (*bound, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    for (bucket, count) in histogram.counts().iter().enumerate() {
        let bound = Histogram::bound(bucket).map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let at = buckets.iter().position(|(other, _)| bound <= *other);
        if let Some((_, sum)) = at.and_then(|at| buckets.get_mut(at)) {
            *sum += count;
        }
    }
    buckets
}

fn events(activity: Activity) -> [(&'static str, u64); 5] {
    [
        ("put", activity.puts),
        ("reserve", activity.reserves),
        ("delete", activity.deletes),
        ("bury", activity.buries),
        ("timeout", activity.timeouts),
    ]
}

fn ruled(counts: &PolicyCounts) -> [(&'static str, u64); 5] {
    [
        ("refuse", counts.refused),
        ("duplicate", counts.duplicates),
        ("expire", counts.expired),
        ("dead_letter", counts.dead_letters),
        ("bury", counts.buried),
    ]
}

fn states(row: &TubeRow) -> [(&'static str, u64); 4] {
    let stats = &row.stats;
    [
        ("ready", stats.ready),
        ("reserved", stats.reserved),
        ("delayed", stats.delayed),
        ("buried", stats.buried),
    ]
}

fn roles(row: &TubeRow) -> [(&'static str, u64); 3] {
    let stats = &row.stats;
    [("using", stats.using), ("watching", stats.watching), ("waiting", stats.waiting)]
}

/// Sums numbers by their names.
fn sum<const N: usize>(
    rows: &[&TubeRow],
    numbers: fn(&TubeRow) -> [(&'static str, u64); N],
) -> Vec<(&'static str, u64)> {
    let mut sums: Vec<(&'static str, u64)> = Vec::new();
    for (at, (name, number)) in rows.iter().flat_map(|row| numbers(row).into_iter().enumerate()) {
        match sums.get_mut(at) {
            Some((_, sum)) => *sum += number,
            None => sums.push((name, number)),
        }
    }
    sums
}

/// The numbers of each tube with series of its own, and the sums of the others.
fn by_tube<'a, const N: usize>(
    own: &'a [&'a TubeRow],
    others: &'a [&'a TubeRow],
    label: &'static str,
    numbers: fn(&TubeRow) -> [(&'static str, u64); N],
) -> impl Iterator<Item = ([Label<'a>; 2], u64)> {
    let labels = move |tube: &'a str, name: &'static str| [("tube", tube), (label, name)];
    let own = own
        .iter()
        .flat_map(move |row| numbers(row).map(|(name, number)| (labels(&row.name, name), number)));
    let others = sum(others, numbers).into_iter();
    own.chain(others.map(move |(name, number)| (labels(OTHERS, name), number)))
}

impl Exposition {
    /// Nothing if there is no certificate.
    pub(super) fn tls(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let Some(tls) = &self.tls else { return Ok(()) };
        encoder.counters(
            "jq_tls_handshakes",
            "Handshakes of TLS with clients of the queue, by how they ended",
            tls.outcomes.iter().map(|(result, count)| ([("result", *result)], *count)),
        )?;
        encoder.gauge(
            "jq_tls_handshakes_in_progress",
            "Handshakes of TLS that are under way",
            None,
            tls.under_way as u64,
        )?;
        encoder.gauge(
            "jq_tls_certificate_expires",
            "When the certificate that is shown expires, since 1970",
            Some(Unit::Seconds),
            tls.expires,
        )?;
        encoder.gauge(
            "jq_tls_certificate_stale",
            "1 if the files of the certificate have changed and cannot be used, so that those of before are, otherwise 0",
            None,
            u64::from(tls.is_stale),
        )
    }

    /// What is known of principals. Whoever has not said who it is has the empty name, which no principal
    /// has.
    fn encode_access(encoder: &mut Encoder<'_>, access: &AccessNumbers) -> fmt::Result {
        let AccessNumbers { principals, nobody, verified } = access;
        let of_each = |number: fn(&Account) -> u64| {
            principals.iter().map(move |view| {
                let account = view.account.as_deref();
                ([("principal", &*view.principal.name)], account.map_or(0, number))
            })
        };
        let of_nobody = [([("principal", "")], nobody.denied())];
        encoder.counters(
            "jq_denied_commands",
            "Commands that were refused because the client had no right to them",
            of_each(Account::denied).chain(of_nobody),
        )?;
        encoder.gauges(
            "jq_principal_connections",
            "Open connections that act for this principal",
            None,
            of_each(|account| account.connections().into()),
        )?;
        encoder.counters(
            "jq_principal_refused_connections",
            "Connections that were one too many for this principal",
            of_each(Account::turned_away),
        )?;
        encoder.counters(
            "jq_principal_waits",
            "How often a connection had to wait because of the rate of this principal",
            of_each(Account::waits),
        )?;
        encoder.gauges(
            "jq_principal_body",
            "Bytes in the queue that count towards the limit of this principal",
            Some(Unit::Bytes),
            of_each(Account::bytes),
        )?;
        let results = [
            ("right", verified.right),
            ("remembered", verified.remembered),
            ("wrong", verified.wrong),
            ("unknown", verified.unknown),
        ];
        encoder.counters(
            "jq_authentications",
            "Tokens that clients have shown, by what became of them",
            results.map(|(result, count)| ([("result", result)], count)),
        )
    }

    pub(super) fn server(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let server = &self.snapshot.server;
        let build = [("version", crate::VERSION), ("compat", self.compat_version)];
        encoder.gauges("jq_build_info", "The version of the program, and the release of beanstalkd that it behaves like. Always 1", None, [(build, 1_u64)])?;
        let is_ready = self.standing.1.is_empty();
        encoder.gauge(
            "jq_ready",
            "1 if the server does all of its work, otherwise 0",
            None,
            u64::from(is_ready),
        )?;
        let reasons = self.reasons.iter().map(|name| {
            let holds = self.standing.1.iter().any(|reason| reason.name == *name);
            ([("reason", *name)], u64::from(holds))
        });
        encoder.gauges(
            "jq_reasons",
            "1 for each reason why the server does not do all of its work, as in /readyz",
            None,
            reasons,
        )?;
        let commands = server.commands.by_key();
        let commands = commands
            .iter()
            .map(|(key, count)| ([("command", key.trim_start_matches("cmd-"))], *count));
        encoder.counters("jq_commands", "Commands that were received in valid form", commands)?;
        let refusals =
            Cause::ALL.map(|cause| ([("cause", cause.as_str())], self.snapshot.refusals.of(cause)));
        encoder.counters(
            "jq_refusals",
            "Requests that were refused, by the reply, in lower case",
            refusals,
        )?;
        let policies = ruled(&server.policies).map(|(event, count)| ([("event", event)], count));
        encoder.counters(
            "jq_policy_events",
            "What the policies of all tubes have brought about: refuse, duplicate, expire, dead_letter, bury",
            policies,
        )?;
        encoder.gauges(
            "jq_limit",
            "The limits of the server that are set: of jobs, the memory that they take, connections",
            None,
            self.limits.iter().map(|(limit, value)| ([("limit", *limit)], *value)),
        )?;
        encoder.counter(
            "jq_refused_connections",
            "Connections that were closed at once, because there were as many as there may be",
            None,
            self.refused_connections,
        )?;
        if let Some(access) = &self.access {
            Self::encode_access(encoder, access)?;
        }
        encoder.counter(
            "jq_disconnects",
            "Reserved jobs whose connection vanished without a quit",
            None,
            server.disconnects,
        )?;
        encoder.gauge("jq_connections", "Open connections", None, server.connections)?;
        encoder.gauge(
            "jq_producers",
            "Open connections that have put a job",
            None,
            server.producers,
        )?;
        encoder.gauge(
            "jq_workers",
            "Open connections that have asked for a job",
            None,
            server.workers,
        )?;
        encoder.gauge(
            "jq_waiting_connections",
            "Open connections that wait for a job",
            None,
            server.waiting,
        )?;
        encoder.counter(
            "jq_accepted_connections",
            "Connections since the start",
            None,
            server.total_connections,
        )?;
        encoder.gauge(
            "jq_held_connections",
            "Connections whose replies wait until the log has committed what they tell",
            None,
            self.log.held,
        )?;
        encoder.gauge(
            "jq_body",
            "Bytes in the bodies of all jobs",
            Some(Unit::Bytes),
            server.body_bytes,
        )?;
        encoder.gauge(
            "jq_job_memory",
            "About how many bytes all jobs take, with their bodies: what --max-memory limits",
            Some(Unit::Bytes),
            self.snapshot.held_bytes,
        )?;
        encoder.gauge(
            "jq_max_job",
            "The largest body that is accepted",
            Some(Unit::Bytes),
            u64::from(self.max_job_size),
        )
    }

    pub(super) fn tubes(
        &self,
        encoder: &mut Encoder<'_>,
        own: &[&TubeRow],
        others: &[&TubeRow],
    ) -> fmt::Result {
        let snapshot = &self.snapshot;
        encoder.gauge("jq_tubes", "Tubes", None, snapshot.server.tubes)?;
        encoder.gauge(
            "jq_summed_tubes",
            "Tubes without series of their own, which are summed under the empty name",
            None,
            others.len() as u64,
        )?;
        encoder.gauges(
            "jq_jobs",
            "Jobs, by tube and state",
            None,
            by_tube(own, others, "state", states),
        )?;
        encoder.gauges(
            "jq_urgent_jobs",
            "Ready jobs with a priority below 1024, by tube",
            None,
            numbers(own, others, |row| row.stats.urgent),
        )?;
        let activity = by_tube(own, &[], "event", |row| events(row.activity));
        let gone = events(snapshot.others)
            .map(|(event, count)| ([("tube", OTHERS), ("event", event)], count));
        encoder.counters(
            "jq_job_events",
            "What happened to jobs, by tube: put, reserve, delete, bury, timeout",
            activity.chain(gone),
        )?;
        let oldest =
            |row: &&TubeRow| row.oldest.map_or(0.0, |oldest| age(snapshot.at, oldest.since));
        let own_ages = own.iter().map(|row| ([("tube", &*row.name)], oldest(row)));
        let others_age = others.iter().map(oldest).reduce(f64::max);
        encoder.gauges(
            "jq_oldest_ready",
            "For how long the oldest ready job has been ready, by tube; 0 if there is none",
            Some(Unit::Seconds),
            own_ages.chain(others_age.map(|age| ([("tube", OTHERS)], age))),
        )?;
        encoder.gauges(
            "jq_tube_connections",
            "Connections that use a tube, that watch it, and those of them that wait, by tube",
            None,
            by_tube(own, others, "role", roles),
        )?;
        encoder.gauges(
            "jq_pause_left",
            "What is left of the pause of a tube; 0 if it is not paused",
            Some(Unit::Seconds),
            own.iter().map(|row| ([("tube", &*row.name)], row.stats.pause_time_left)),
        )?;
        let policies = own.iter().filter_map(|row| Some((row, row.stats.policy.as_deref()?)));
        let policies = policies.flat_map(|(row, counts)| {
            ruled(counts).map(|(event, count)| ([("tube", &*row.name), ("event", event)], count))
        });
        encoder.counters(
            "jq_tube_policy_events",
            "What the policy of a tube has brought about since it has one, by tube and event",
            policies,
        )?;
        encoder.gauges(
            "jq_tube_body",
            "Bytes in the bodies of its jobs, by tube",
            Some(Unit::Bytes),
            numbers(own, others, |row| row.stats.body_bytes),
        )?;
        let times = |of: fn(&Times) -> &Histogram| {
            let own = own
                .iter()
                .filter_map(move |row| Some(([("tube", &*row.name)], of(snapshot.times_of(row)?))));
            own.chain([([("tube", OTHERS)], of(&snapshot.overall.shared))])
        };
        encoder.histograms(
            "jq_wait",
            "How long jobs were ready until they were reserved, by tube",
            &BOUNDS,
            times(|times| &times.wait),
        )?;
        encoder.histograms(
            "jq_service",
            "How long jobs were reserved until they were deleted, by tube",
            &BOUNDS,
            times(|times| &times.service),
        )
    }

    pub(super) fn log(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let Some(log) = self.snapshot.log.own.as_deref() else { return Ok(()) };
        let bytes = || Some(Unit::Bytes);
        encoder.counter(
            "jq_log_committed",
            "The position up to which the log is committed, in bytes since the start",
            bytes(),
            self.log.committed,
        )?;
        encoder.gauge(
            "jq_log_pending",
            "What was appended to the log and is not committed yet",
            bytes(),
            log.pending_bytes,
        )?;
        encoder.gauge(
            "jq_log_unsynced",
            "What was appended to the log and would be lost in a power cut",
            bytes(),
            log.unsynced_bytes,
        )?;
        encoder.gauge("jq_log_segments", "Files of the log", None, log.segments)?;
        encoder.gauge("jq_log_size", "Size of all files of the log", bytes(), log.bytes)?;
        encoder.gauge(
            "jq_log_live",
            "How much of the log is needed for the jobs that there are",
            bytes(),
            log.live_bytes,
        )?;
        encoder.gauge(
            "jq_log_dead",
            "How much of the log is not needed any more",
            bytes(),
            log.bytes.saturating_sub(log.live_bytes),
        )?;
        let binlog = &self.snapshot.log;
        encoder.gauge(
            "jq_log_oldest_segment",
            "The number of the oldest file of the log",
            None,
            binlog.oldest_index,
        )?;
        encoder.gauge(
            "jq_log_current_segment",
            "The number of the file of the log that is written",
            None,
            binlog.current_index,
        )?;
        let records = [
            ([("kind", "written")], binlog.records_written),
            ([("kind", "migrated")], binlog.records_migrated),
        ];
        encoder.counters(
            "jq_log_records",
            "Records: those that were written, and those of them that a compaction has copied",
            records,
        )?;
        encoder.counter(
            "jq_log_failures",
            "How often writing or syncing the log has failed",
            None,
            log.failures,
        )?;
        encoder.histogram(
            "jq_log_sync",
            "How long the disk took to keep what was written",
            &SYNC_BOUNDS,
            &self.log.syncs,
        )
    }

    pub(super) fn process(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let process = &self.process;
        if let Some(seconds) = process.cpu_seconds {
            encoder.counter(
                "jq_process_cpu",
                "Time of the processor that the process has used",
                Some(Unit::Seconds),
                seconds,
            )?;
        }
        encoder.gauge(
            "jq_process_resident_memory",
            "Memory of the process that is in use",
            Some(Unit::Bytes),
            self.resident_bytes,
        )?;
        let numbers = [
            ("jq_process_open_fds", "Descriptors that the process has open", process.open_fds),
            ("jq_process_max_fds", "How many descriptors it may have open", process.max_fds),
            ("jq_process_threads", "Threads of the process", process.threads),
        ];
        for (name, help, number) in numbers {
            if let Some(number) = number {
                encoder.gauge(name, help, None, number)?;
            }
        }
        encoder.gauge(
            "jq_process_start_time",
            "When the process was started, in seconds since 1970",
            Some(Unit::Seconds),
            self.started,
        )
    }
}

/// A number of each tube with series of its own, and the sum of the others.
fn numbers<'a>(
    own: &'a [&'a TubeRow],
    others: &'a [&'a TubeRow],
    number: fn(&TubeRow) -> u64,
) -> impl Iterator<Item = ([Label<'a>; 1], u64)> {
    let own = own.iter().map(move |row| ([("tube", &*row.name)], number(row)));
    let sum = others.iter().map(|row| number(row)).reduce(|a, b| a + b);
    own.chain(sum.map(|sum| ([("tube", OTHERS)], sum)))
}
