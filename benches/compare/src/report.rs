//! Tables for people, JSON for programs.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

use crate::{
    args::Compare,
    meter::Others,
    metric::{Metric, Sample},
    procfs,
    scenario::{Kind, Scenario},
    spec::{Dialect, Spec, Target},
    stats::Summary,
};

/// The client is the limit if it is busier than this, in percent, and the server less so.
const CLIENT_LIMIT: f64 = 95.0;

/// What came of one scenario.
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) servers: Vec<Spec>,
    /// For each server its rounds; none if the scenario makes no sense for it.
    pub(crate) samples: Vec<Vec<Sample>>,
    /// Why it could not be measured.
    pub(crate) failure: Option<String>,
}

impl Outcome {
    /// Nothing measured yet.
    pub(crate) fn new(scenario: Scenario, servers: Vec<Spec>) -> Self {
        Self { scenario, samples: vec![Vec::new(); servers.len()], servers, failure: None }
    }

    /// The place of a server that took part.
    pub(crate) fn server(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|spec| spec.name == name)
    }

    /// The rounds of one server in short.
    pub(crate) fn summary(&self, server: usize, metric: Metric) -> Option<Summary> {
        Summary::of(self.samples[server].iter().filter_map(|sample| sample.get(metric)))
    }

    /// A server's median in terms of the first server's.
    pub(crate) fn ratio(&self, server: usize, metric: Metric) -> Option<f64> {
        Some(self.summary(server, metric)?.median / self.summary(0, metric)?.median)
    }

    /// How many rounds were measured, and how many of them were not quiet.
    pub(crate) fn rounds(&self) -> (usize, usize) {
        let all = || self.samples.iter().flatten();
        (all().count(), all().filter_map(noise).count())
    }

    /// The metrics that any server has, the most important first.
    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.scenario.kind.headlines().to_vec();
        for (metric, _) in self.samples.iter().flatten().flat_map(|sample| &sample.values) {
            if !metrics.contains(metric) {
                metrics.push(*metric);
            }
        }
        metrics
    }
}

/// One line about one round.
pub(crate) fn progress(scenario: &Scenario, sample: &Sample) -> String {
    let mut parts: Vec<String> = scenario
        .kind
        .headlines()
        .iter()
        .filter_map(|&metric| Some(format!("{} {}", figure(sample.get(metric)?), metric.title())))
        .collect();
    if let Some(others) = noise(sample) {
        parts.push(format!("NOT QUIET: {others}"));
    }
    parts.join(", ")
}

/// Who disturbed a round, if it was not quiet.
fn noise(sample: &Sample) -> Option<&Others> {
    sample.others.as_ref().filter(|others| !others.are_quiet())
}

/// A Markdown table of one scenario, and what to keep in mind when reading it.
pub(crate) fn table(outcome: &Outcome) -> String {
    let scenario = &outcome.scenario;
    let mut text = format!("### {}\n\n{scenario}\n\n", scenario.name);
    if let Some(failure) = &outcome.failure {
        writeln!(text, "COULD NOT BE MEASURED: {failure}").expect("a String takes all");
        return text;
    }
    let headlines = scenario.kind.headlines();
    let metrics = outcome.metrics();
    let mut rows = vec![vec!["server".to_owned()]];
    for metric in &metrics {
        rows[0].push(metric.title().to_owned());
        if headlines.contains(metric) {
            rows[0].extend(["ratio".to_owned(), "min-max".to_owned()]);
        }
    }
    for (server, spec) in outcome.servers.iter().enumerate() {
        let mut row = vec![spec.name.clone()];
        for &metric in &metrics {
            let summary = outcome.summary(server, metric);
            let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            row.push(cell(summary.map(|s| figure(s.median))));
            if headlines.contains(&metric) {
                row.push(cell(outcome.ratio(server, metric).map(|ratio| format!("{ratio:.2}"))));
                row.push(cell(summary.map(|s| format!("{}-{}", figure(s.min), figure(s.max)))));
            }
        }
        rows.push(row);
    }
    text.push_str(&markdown(&rows));
    text.push('\n');
    for (server, spec) in outcome.servers.iter().enumerate() {
        for remark in remarks(outcome, server) {
            writeln!(text, "* {}: {remark}", spec.name).expect("a String takes all");
        }
    }
    text
}

fn remarks(outcome: &Outcome, server: usize) -> Vec<String> {
    let mut remarks = Vec::new();
    let samples = &outcome.samples[server];
    if samples.is_empty() {
        let reason = match outcome.servers[server].dialect {
            Dialect::Queue | Dialect::Echo => "this scenario needs a real queue",
            Dialect::Redis => "redis has no equivalent",
        };
        remarks.push(reason.to_owned());
    }
    let noisy: Vec<&Others> = samples.iter().filter_map(noise).collect();
    if let Some(worst) = noisy.iter().max_by(|a, b| a.cores.total_cmp(&b.cores)) {
        let (count, all) = (noisy.len(), samples.len());
        remarks.push(format!("{count} of {all} rounds were not quiet; at worst, {worst}"));
    }
    let busy = |metric| outcome.summary(server, metric).map(|summary| summary.median);
    if let (Some(client), Some(server)) = (busy(Metric::ClientBusy), busy(Metric::ServerBusy))
        && client > CLIENT_LIMIT
        && server < client
    {
        remarks.push("the client was the bottleneck: compare CPU time".to_owned());
    }
    remarks
}

/// Aligned, so that it can be read as it is.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Names to the left, numbers to the right.
            let cell =
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            write!(text, "| {cell} ").expect("a String takes all");
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { '-' } else { ':' };
                write!(text, "|{}{end}", "-".repeat(width + 1)).expect("a String takes all");
            }
            text.push_str("|\n");
        }
    }
    text
}

/// About four digits: `12,345`, `123.4`, `1.234`.
pub(crate) fn figure(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.3}");
    }
    if value < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Everything that was measured.
pub(crate) struct Report<'a> {
    args: &'a Compare,
    /// Seconds since 1970.
    started: u64,
    outcomes: Vec<Outcome>,
}

impl<'a> Report<'a> {
    /// An empty report.
    pub(crate) fn new(args: &'a Compare) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self { args, started, outcomes: Vec::new() }
    }

    /// Adds a scenario.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// What came of the scenarios so far.
    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Whether all scenarios could be measured.
    pub(crate) fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.failure.is_none())
    }

    /// What a command costs with many tubes in terms of what it costs with one, if both were
    /// measured.
    pub(crate) fn tubes(&self) -> String {
        let tubes = |outcome: &Outcome| match outcome.scenario.kind {
            Kind::Tubes(tubes) if outcome.failure.is_none() => Some(tubes),
            _ => None,
        };
        let Some(one) = self.outcomes.iter().find(|outcome| tubes(outcome) == Some(1)) else {
            return String::new();
        };
        let mut text = String::new();
        for many in self.outcomes.iter().filter(|outcome| tubes(outcome).is_some_and(|n| n > 1)) {
            writeln!(text, "### {} in terms of {}\n", many.scenario.name, one.scenario.name)
                .expect("a String takes all");
            let mut rows =
                vec![["server", "time per command", "CPU time"].map(str::to_owned).to_vec()];
            for Spec { name, .. } in &one.servers {
                let times = |metric| {
                    // Each outcome has its own list of servers.
                    let median = |outcome: &Outcome| {
                        Some(outcome.summary(outcome.server(name)?, metric)?.median)
                    };
                    median(one)
                        .zip(median(many))
                        .map_or("-".to_owned(), |(one, many)| format!("{:.2}", one / many))
                };
                let (time, cpu) = (Metric::CommandsPerSecond, Metric::CommandsPerCpuSecond);
                rows.push(vec![name.clone(), times(time), times(cpu)]);
            }
            text.push_str(&markdown(&rows));
            text.push('\n');
        }
        text
    }

    /// Everything, each round included.
    pub(crate) fn json(&self) -> String {
        let scenarios: Vec<Value> = self.outcomes.iter().map(outcome_json).collect();
        let report = json!({
            "format": 1,
            "started": self.started,
            "machine": {
                "processor": procfs::processor(),
                "kernel": procfs::kernel(),
                "cores": procfs::cores(),
            },
            "seconds": self.args.seconds.as_secs_f64(),
            "warm_up": self.args.warm_up.as_secs_f64(),
            "scenarios": scenarios,
        });
        format!("{report:#}\n")
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    let servers: Vec<Value> = outcome
        .servers
        .iter()
        .enumerate()
        .map(|(server, spec)| {
            let medians: Map<String, Value> = outcome
                .metrics()
                .into_iter()
                .filter_map(|metric| {
                    let summary = outcome.summary(server, metric)?;
                    let value = json!({
                        "median": summary.median,
                        "min": summary.min,
                        "max": summary.max,
                        "ratio": outcome.ratio(server, metric),
                    });
                    Some((metric.key().to_owned(), value))
                })
                .collect();
            let rounds: Vec<Value> = outcome.samples[server].iter().map(sample_json).collect();
            json!({
                "name": spec.name,
                "server": match &spec.target {
                    Target::Command(words) => words.join(" "),
                    Target::Echo => "builtin:echo".to_owned(),
                    Target::Running { addr, .. } => addr.to_string(),
                },
                "metrics": medians,
                "rounds": rounds,
            })
        })
        .collect();
    json!({
        "name": outcome.scenario.name,
        "description": outcome.scenario.to_string(),
        "failure": outcome.failure,
        "servers": servers,
    })
}

fn sample_json(sample: &Sample) -> Value {
    let mut map: Map<String, Value> = sample
        .values
        .iter()
        .map(|(metric, value)| (metric.key().to_owned(), json!(value)))
        .collect();
    let others = sample.others.as_ref();
    map.insert("busy_cores_of_others".to_owned(), json!(others.map(|others| others.cores)));
    map.insert("quiet".to_owned(), json!(others.map(|_| noise(sample).is_none())));
    Value::Object(map)
}
