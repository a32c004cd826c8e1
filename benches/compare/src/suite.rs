//! Everything that `docs/performance.md` shows, measured with one command and in one table.

use std::{fmt::Write, time::Duration};

use crate::{
    args::Compare,
    metric::Metric::{
        self, BytesPerConnection, BytesPerJob, CommandsPerCpuSecond, CommandsPerSecond,
        CpuPerMillion, HandOversPerSecond, LongestStall, P50, P99, RestartSeconds, SystemCalls,
    },
    report::{self, Outcome},
    round::{self, Plan},
    scenario::{Scenario, Scenarios},
    spec::{Dialect, Spec, Target},
};

/// Rounds and seconds of the suite that is in a hurry.
const QUICK_ROUNDS: u32 = 2;
const QUICK_SECONDS: Duration = Duration::from_secs(1);

/// One row of the table.
struct Row {
    work: &'static str,
    scenario: &'static str,
    /// The scenario when there is little time.
    quick: Option<&'static str>,
    /// What is added to the commands of queues. Other servers do not take part then.
    flags: &'static [&'static str],
    metrics: &'static [Metric],
    form: Form,
    /// What the second server must reach, in the form of its cell; or more, or less, whichever
    /// is better.
    goal: &'static str,
}

/// What a cell shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The median in terms of the first server's.
    Ratio,
    /// The median itself.
    Absolute,
    /// How many times as long the server takes as in another scenario. The first server does not
    /// take part.
    LongerThan(&'static str),
}

const RATE: Row = Row {
    work: "",
    scenario: "",
    quick: None,
    flags: &[],
    metrics: &[CommandsPerSecond, CommandsPerCpuSecond],
    form: Form::Ratio,
    goal: "",
};
const LOGGED: &[&str] = &["-b", "{dir}"];
const SYNCED: &[&str] = &["-b", "{dir}", "-f", "0"];
/// A log whose files have room for a job of a gigabyte.
const LARGE: &[&str] = &["-b", "{dir}", "-z", "1073741824", "-s", "1200000000"];

const ROWS: &[Row] = &[
    Row { work: "1 connection, no pipelining", scenario: "cycle-1", goal: "1.12", ..RATE },
    Row {
        work: "50 connections, no pipelining (commands per CPU second)",
        scenario: "cycle-50",
        metrics: &[CommandsPerCpuSecond],
        goal: "1.37",
        ..RATE
    },
    Row {
        work: "8 connections, 64 in flight, own tubes",
        scenario: "pipeline-8x64",
        goal: "20",
        ..RATE
    },
    Row { work: "the same, one shared tube", scenario: "pipeline-8x64-shared", goal: "16", ..RATE },
    Row { work: "60 KB bodies", scenario: "body-60k", goal: "1.2", ..RATE },
    Row { work: "put only, 50 connections", scenario: "put-only-50", goal: "1.3", ..RATE },
    Row {
        work: "reserve and delete only, 50 connections",
        scenario: "take-only-50",
        goal: "1.6",
        ..RATE
    },
    Row {
        work: "wake-up of a waiting worker, p50 / p99 in us",
        scenario: "wakeup",
        metrics: &[P50, P99],
        form: Form::Absolute,
        goal: "25 / 45",
        ..RATE
    },
    Row {
        work: "50 waiting workers, one producer: hand-overs a second / wake-up p50 / p99",
        scenario: "handover-50",
        metrics: &[HandOversPerSecond, P50, P99],
        goal: "1.1 / 0.53",
        ..RATE
    },
    Row { work: "1 tube", scenario: "tubes-1", ..RATE },
    Row { work: "10,000 tubes", scenario: "tubes-10k", goal: "28", ..RATE },
    Row {
        work: "100,000 tubes: time as a multiple of that with 1",
        scenario: "tubes-100k",
        form: Form::LongerThan("tubes-1"),
        goal: "1.3",
        ..RATE
    },
    Row {
        work: "on top of millions of ready jobs",
        scenario: "deep-5m",
        quick: Some("deep-1m"),
        goal: "1.4",
        ..RATE
    },
    Row {
        work: "1 million delayed jobs fall due together: longest stall for others in ms",
        scenario: "delayed-1m",
        metrics: &[LongestStall],
        form: Form::Absolute,
        goal: "5",
        ..RATE
    },
    Row {
        work: "1 million buried jobs kicked at once: the same",
        scenario: "kick-1m",
        metrics: &[LongestStall],
        form: Form::Absolute,
        ..RATE
    },
    Row {
        work: "1 million reserved jobs return at once: the same",
        scenario: "disconnect-1m",
        metrics: &[LongestStall],
        form: Form::Absolute,
        ..RATE
    },
    Row {
        work: "nothing else happens: the same",
        scenario: "undisturbed",
        metrics: &[LongestStall],
        form: Form::Absolute,
        ..RATE
    },
    Row {
        work: "a client sends 200,000 `list-tubes`, reads nothing and closes: the same",
        scenario: "lists-close-10k",
        metrics: &[LongestStall],
        form: Form::Absolute,
        goal: "5",
        ..RATE
    },
    Row {
        work: "a client sends 200,000 `stats`, reads nothing and closes: the same",
        scenario: "stats-close-10",
        metrics: &[LongestStall],
        form: Form::Absolute,
        goal: "5",
        ..RATE
    },
    Row {
        work: "default fsync, 300,000 jobs deleted by one client, 2,000 commands in flight: the same",
        scenario: "delete-300k",
        flags: LOGGED,
        metrics: &[LongestStall],
        form: Form::Absolute,
        goal: "5",
        ..RATE
    },
    Row {
        work: "default fsync, 300,000 jobs reserved and deleted by one client: the same",
        scenario: "drain-300k",
        flags: LOGGED,
        metrics: &[LongestStall],
        form: Form::Absolute,
        goal: "5",
        ..RATE
    },
    Row {
        work: "default fsync, a job of a gigabyte is put and deleted: the same",
        scenario: "large-put-1g",
        quick: Some("large-put-100m"),
        flags: LARGE,
        metrics: &[LongestStall],
        form: Form::Absolute,
        goal: "5",
    },
    Row {
        work: "`-f 0`, 50 connections",
        scenario: "cycle-50",
        flags: SYNCED,
        metrics: &[CommandsPerSecond],
        goal: "5",
        ..RATE
    },
    Row {
        work: "`-f 0`, 8 connections with 64 in flight",
        scenario: "pipeline-8x64",
        flags: SYNCED,
        metrics: &[CommandsPerSecond],
        goal: "60",
        ..RATE
    },
    Row {
        work: "default fsync, 50 connections",
        scenario: "cycle-50",
        flags: LOGGED,
        goal: "1.5",
        ..RATE
    },
    Row {
        work: "resident bytes per job of 128 bytes, a million",
        scenario: "memory-1m@128",
        metrics: &[BytesPerJob],
        form: Form::Absolute,
        goal: "220",
        ..RATE
    },
    Row {
        work: "resident bytes per waiting connection",
        scenario: "waiting-10k",
        metrics: &[BytesPerConnection],
        form: Form::Absolute,
        goal: "2,048",
        ..RATE
    },
    Row {
        work: "restart with a million jobs in the log, seconds",
        scenario: "restart-1m",
        flags: LOGGED,
        metrics: &[RestartSeconds],
        form: Form::Absolute,
        goal: "0.5",
        ..RATE
    },
];

impl Row {
    fn scenario(&self, quick: bool) -> Scenario {
        let name = self.quick.filter(|_| quick).unwrap_or(self.scenario);
        let scenarios: Result<Scenarios, String> = name.parse();
        scenarios.ok().and_then(|s| s.0.into_iter().next()).expect("the rows name scenarios")
    }

    /// The servers that take part.
    fn servers(&self, all: &[Spec]) -> Vec<Spec> {
        let skipped = usize::from(matches!(self.form, Form::LongerThan(_)) && all.len() > 1);
        all[skipped..].iter().filter_map(|spec| self.with_flags(spec)).collect()
    }

    fn with_flags(&self, spec: &Spec) -> Option<Spec> {
        if self.flags.is_empty() {
            return Some(spec.clone());
        }
        match (&spec.target, spec.dialect) {
            (Target::Command(words), Dialect::Queue) => {
                let flags = self.flags.iter().map(|&flag| flag.to_owned());
                let words = words.iter().cloned().chain(flags).collect();
                Some(Spec { target: Target::Command(words), ..spec.clone() })
            }
            _ => None,
        }
    }

    fn title(&self, outcome: &Outcome) -> String {
        format!("{} (`{}`)", self.work, outcome.scenario.name)
    }

    fn cell(&self, name: &str, outcome: &Outcome, all: &[Outcome]) -> String {
        let Some(server) = outcome.server(name) else {
            return String::new();
        };
        if outcome.failure.is_some() {
            return "failed".to_owned();
        }
        let values = self.metrics.iter().filter_map(|&metric| match self.form {
            Form::Absolute => median(outcome, server, metric),
            Form::Ratio => Some(format!("{:.2}", outcome.ratio(server, metric)?)),
            Form::LongerThan(other) => {
                let other = all.iter().find(|outcome| outcome.scenario.name == other)?;
                let before = other.summary(other.server(name)?, metric)?.median;
                Some(format!("{:.2}", before / outcome.summary(server, metric)?.median))
            }
        });
        values.collect::<Vec<_>>().join(" / ")
    }
}

/// Fewer and shorter rounds.
pub(crate) fn hurry(args: &mut Compare) {
    args.rounds = args.rounds.min(QUICK_ROUNDS);
    args.seconds = args.seconds.min(QUICK_SECONDS);
}

/// What is to be measured, row by row.
pub(crate) fn plans(args: &Compare) -> Vec<Plan> {
    let plan = |row: &Row| {
        let scenario = row.scenario(args.quick);
        let rounds = round::rounds(args, &scenario);
        Plan { servers: row.servers(&args.server), rounds, scenario }
    };
    ROWS.iter().map(plan).collect()
}

/// The median of a metric, as it is shown.
fn median(outcome: &Outcome, server: usize, metric: Metric) -> Option<String> {
    Some(report::figure(outcome.summary(server, metric)?.median))
}

/// What a command costs the servers, in a Markdown table of its own: each has CPU seconds per
/// million commands and, if they were counted, system calls per command. The rows are those of
/// [`table`] that are rates; empty if there are none yet.
fn costs(names: &[&str], outcomes: &[Outcome]) -> String {
    let cell = |name: &str, outcome: &Outcome| {
        let server = outcome.server(name).filter(|_| outcome.failure.is_none())?;
        let figures = [CpuPerMillion, SystemCalls].map(|metric| median(outcome, server, metric));
        Some(figures.into_iter().flatten().collect::<Vec<_>>().join(" / "))
    };
    let mut rows = Vec::new();
    for (row, outcome) in ROWS.iter().zip(outcomes) {
        let cells: Vec<String> =
            names.iter().map(|name| cell(name, outcome).unwrap_or_default()).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push([vec![row.title(outcome)], cells].concat());
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = ["work"].iter().chain(names).map(|&title| title.to_owned()).collect();
    rows.insert(0, head);
    let mut text = String::from("\n### What a command costs\n\n");
    text.push_str(&report::markdown(&rows));
    text.push_str(
        "\nSeconds of the server's CPU time per million commands and, after the slash, system calls \
         per command where they were counted.\n",
    );
    text
}

/// The whole suite in Markdown, from the outcomes of [`plans`] in the same order; those that are
/// missing were not measured because the user had enough.
pub(crate) fn table(args: &Compare, outcomes: &[Outcome]) -> String {
    let names: Vec<&str> = args.server.iter().map(|spec| &*spec.name).collect();
    let mut rows = vec![vec!["work".to_owned()]];
    rows[0].extend(names.iter().map(|&name| name.to_owned()));
    rows[0].push("target".to_owned());
    for (row, outcome) in ROWS.iter().zip(outcomes) {
        let mut cells = vec![row.title(outcome)];
        cells.extend(names.iter().map(|name| row.cell(name, outcome, outcomes)));
        cells.push(row.goal.to_owned());
        rows.push(cells);
    }
    let mut text = String::from("### In short\n\n");
    text.push_str(&report::markdown(&rows));
    writeln!(
        text,
        "\nNumbers without a unit are ratios to {}: of commands per second and, after the slash, \
         of commands per second of the server's CPU time.",
        names[0]
    )
    .expect("a String takes all");
    let rounds = outcomes.iter().map(Outcome::rounds);
    let (all, noisy) = rounds.fold((0, 0), |sum, (all, noisy)| (sum.0 + all, sum.1 + noisy));
    writeln!(text, "\n{noisy} of {all} rounds were not quiet.").expect("a String takes all");
    text.push_str(&costs(&names, outcomes));
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{args::Args, metric::Sample, report::Report};

    const SERVERS: [&str; 6] =
        ["--server", "a=x -p {port}", "--server", "b=y -p {port}", "--server", "echo=builtin:echo"];

    fn args(more: &[&str]) -> Compare {
        let line = ["jq-compare", "--suite"].iter().chain(&SERVERS).chain(more);
        Args::try_parse_from(line).unwrap().compare
    }

    #[test]
    fn flags_are_for_queues() {
        let plans = plans(&args(&[]));
        let restart = plans.iter().find(|plan| plan.scenario.name == "restart-1m").unwrap();
        let names: Vec<_> = restart.servers.iter().map(|spec| &*spec.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(restart.servers.iter().all(|spec| spec.target.has_directory()));
        assert_eq!(plans[0].servers, args(&[]).server);
    }

    #[test]
    fn what_would_take_the_first_server_forever_is_not_asked_of_it() {
        let plans = plans(&args(&[]));
        let tubes = plans.iter().find(|plan| plan.scenario.name == "tubes-100k").unwrap();
        assert!(tubes.servers.iter().all(|spec| spec.name != "a"));
    }

    #[test]
    fn a_hurried_suite_has_fewer_rounds() {
        let mut quick = args(&["--quick"]);
        hurry(&mut quick);
        assert_eq!((quick.rounds, quick.seconds), (QUICK_ROUNDS, QUICK_SECONDS));
        let (quick, thorough) = (plans(&quick), plans(&args(&[])));
        assert_eq!(quick.len(), thorough.len());
        assert!(quick.iter().zip(&thorough).all(|(quick, full)| quick.rounds < full.rounds));
        assert!(quick.iter().any(|plan| plan.scenario.name == "deep-1m"));
    }

    #[test]
    fn cells() {
        let args = args(&[]);
        let outcomes: Vec<Outcome> = plans(&args)
            .into_iter()
            .zip(ROWS)
            .map(|(plan, row)| {
                let mut outcome = Outcome::new(plan.scenario, plan.servers);
                for (server, spec) in outcome.servers.iter().enumerate() {
                    let tubes = if outcome.scenario.name == "tubes-100k" { 5.0 } else { 1.0 };
                    let value = if spec.name == "a" { 10.0 } else { 15.0 / tubes };
                    let mut values: Vec<_> =
                        row.metrics.iter().map(|&metric| (metric, value)).collect();
                    if row.metrics.contains(&CommandsPerCpuSecond) {
                        values.push((CpuPerMillion, value * 2.0));
                    }
                    if outcome.scenario.name == "cycle-1" {
                        values.push((SystemCalls, value / 5.0));
                    }
                    outcome.samples[server].push(Sample { values, others: None });
                }
                outcome
            })
            .collect();
        let text = table(&args, &outcomes);
        let mut report = Report::new(&args);
        outcomes.into_iter().for_each(|outcome| report.add(outcome));
        assert!(report.tubes().contains("tubes-100k in terms of tubes-1"));
        assert!(report.json().contains("\"restart-1m\""));
        let (text, costs) = text.split_once("\n### What a command costs\n").unwrap();
        let cells = |text: &str, scenario: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(&format!("(`{scenario}`)")));
            line.unwrap().split('|').skip(2).map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(
            cells(text, "cycle-1")[..4],
            ["1.00 / 1.00", "1.50 / 1.50", "1.50 / 1.50", "1.12"]
        );
        assert_eq!(cells(text, "restart-1m")[..4], ["10.0", "15.0", "", "0.5"]);
        assert_eq!(cells(text, "tubes-100k")[..4], ["", "5.00 / 5.00", "5.00 / 5.00", "1.3"]);
        assert!(text.ends_with("\n0 of 76 rounds were not quiet.\n"), "{text}");
        assert_eq!(cells(costs, "cycle-1")[..3], ["20.0 / 2.000", "30.0 / 3.000", "30.0 / 3.000"]);
        assert_eq!(cells(costs, "body-60k")[..3], ["20.0", "30.0", "30.0"]);
        assert!(!costs.contains("wakeup"), "only rates have costs: {costs}");
    }
}
