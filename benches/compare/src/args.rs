//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    affinity::Cpus,
    scenario::{self, Scenarios},
    spec::{Spec, SpecParser},
    way::Shown,
};

/// Measures servers that speak the beanstalkd protocol, side by side.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) compare: Compare,
    #[command(subcommand)]
    pub(crate) helper: Option<Helper>,
}

/// What to measure, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// A server; ratios are to the first one. NAME=COMMAND is started anew for each round, with
    /// {port} replaced by a free port and {dir} by an empty directory; the command is split at
    /// spaces. NAME=addr:HOST:PORT or NAME=addr:HOST:PORT@PID is already running; HOST:PORT can be a
    /// URL, beanstalk://HOST:PORT or, by TLS, beanstalks://HOST:PORT, perhaps with TOKEN@ before HOST,
    /// which can be seen in ps. NAME=builtin:echo answers with constants. redis:NAME=... is a server that speaks the redis protocol; tls:NAME=COMMAND one that
    /// is connected to by TLS, with a certificate for localhost
    #[arg(long, value_name = "NAME=SERVER", required_unless_present = "list")]
    #[arg(value_parser = SpecParser)]
    pub(crate) server: Vec<Spec>,

    #[command(flatten)]
    pub(crate) shown: Shown,

    /// Scenarios to run, in this order; the numbers in their names can be changed, and NAME@BYTES
    /// sets the size of bodies
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = scenario::DEFAULT)]
    pub(crate) scenario: Vec<Scenarios>,

    /// How often each server is measured (at most 3 times for sizes and for scenarios that take
    /// long to prepare)
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,

    /// How often to repeat a round that was not quiet; the quietest one counts
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) retries: u32,

    /// Measuring time of each round
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// Warm-up of each round before it is measured
    #[arg(long, value_name = "SECONDS", default_value = "0.3", value_parser = seconds)]
    pub(crate) warm_up: Duration,

    /// Cores for the servers, such as 0 or 0,2-3; none: not pinned [default: the first allowed]
    #[arg(long, value_name = "CPUS", value_parser = placement)]
    pub(crate) server_cpus: Option<Placement>,

    /// Cores for the client [default: the second allowed]
    #[arg(long, value_name = "CPUS", value_parser = placement)]
    pub(crate) client_cpus: Option<Placement>,

    /// Also count the system calls of loads, in a separate run for each server
    #[arg(long)]
    pub(crate) syscalls: bool,

    /// Measure everything that docs/performance.md shows, and print one table. The first server
    /// should be beanstalkd, the second the one to judge; options for their logs are added to the
    /// commands
    #[arg(long, conflicts_with = "scenario")]
    pub(crate) suite: bool,

    /// Run the suite with fewer and shorter rounds
    #[arg(long, requires = "suite")]
    pub(crate) quick: bool,

    /// Also write the suite's table to this file
    #[arg(long, value_name = "FILE", requires = "suite")]
    pub(crate) markdown: Option<PathBuf>,

    /// Also write all results, including each round, to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Describe the scenarios and exit
    #[arg(long)]
    pub(crate) list: bool,
}

/// Where a process runs: on some cores, or anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Placement(pub(crate) Option<Cpus>);

/// What this program does as a process of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum Helper {
    /// Serve constants on a loopback port; builtin:echo starts this
    Echo {
        /// The port to listen on
        #[arg(long)]
        port: u16,
    },
    /// Become a server that ends when its parent does
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        cpus: Cpus,
        #[arg(long)]
        parent: u32,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn placement(text: &str) -> Result<Placement, String> {
    if text == "none" { Ok(Placement(None)) } else { text.parse().map(|c| Placement(Some(c))) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected 0 to 3600 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn helpers_need_no_server() {
        let args = Args::try_parse_from(["jq-compare", "echo", "--port", "1"]).unwrap();
        assert!(matches!(args.helper, Some(Helper::Echo { port: 1 })));
        assert!(Args::try_parse_from(["jq-compare"]).is_err());
    }

    #[test]
    fn scenarios_are_listed_with_commas() {
        let line = ["jq-compare", "--server", "a=b {port}", "--scenario", "cycle-1,tubes-5"];
        let args = Args::try_parse_from(line).unwrap();
        assert_eq!(args.compare.scenario.len(), 2);
        assert_eq!(args.compare.seconds, Duration::from_secs(2));
    }

    #[test]
    fn the_suite_names_its_own_scenarios() {
        let parse = |more: &[&str]| {
            let line = ["jq-compare", "--server", "a=b {port}"];
            Args::try_parse_from(line.iter().chain(more))
        };
        assert!(parse(&["--suite", "--quick", "--markdown", "x"]).is_ok());
        assert!(parse(&["--suite", "--scenario", "cycle-1"]).is_err());
        assert!(parse(&["--quick"]).is_err());
    }
}
