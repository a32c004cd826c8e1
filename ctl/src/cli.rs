//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jq_client::{DEFAULT_PRIORITY, DEFAULT_TTR, Endpoint, EndpointParser, JobId, TubeName};
use url::Url;

/// Look into a job queue and steer it.
///
/// Most commands work with jq-server and with beanstalkd. Those marked (HTTP) need jq-server with
/// --http, and that address in --http here.
#[derive(Debug, Parser)]
#[command(name = "jq-ctl", version, disable_version_flag = true, after_help = EXIT_STATUSES)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The statuses of `failed.rs`, for people.
const EXIT_STATUSES: &str = "Exit status:
  0  done
  1  the server refused it, or something else went wrong
  2  there is no such job, tube or connection
  3  what was waited for did not happen in time
  4  a question was not answered with yes
  5  the command line or the configuration is wrong
  6  the server cannot be reached
  7  a file cannot be read or written, or a line of it is wrong";

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS
    /// [default: 127.0.0.1:11300]
    #[arg(long, value_name = "ADDR", env = "JQ_SERVER", hide_env_values = true, global = true)]
    #[arg(value_parser = EndpointParser)]
    pub(crate) server: Option<Endpoint>,

    /// jq-server's HTTP API, for what the protocol has no command for
    #[arg(long, value_name = "URL", env = "JQ_HTTP", global = true)]
    pub(crate) http: Option<Url>,

    /// File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API.
    /// One in the URL of --server can be seen in ps
    #[arg(long, value_name = "FILE", env = "JQ_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,

    /// File with the token for the HTTP API, if that has another
    #[arg(long, value_name = "FILE", env = "JQ_HTTP_TOKEN_FILE", global = true)]
    pub(crate) http_token_file: Option<PathBuf>,

    /// By TLS: trust the authorities in this PEM file, instead of those that the system trusts
    #[arg(long, value_name = "FILE", env = "JQ_TLS_CA", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,

    /// By TLS: show the server this certificate (PEM)
    #[arg(long, value_name = "FILE", env = "JQ_TLS_CERT", global = true)]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key to it (PEM)
    #[arg(long, value_name = "FILE", env = "JQ_TLS_KEY", global = true)]
    pub(crate) tls_key: Option<PathBuf>,

    /// Use the server of this name in the configuration file
    #[arg(short, long, value_name = "NAME", env = "JQ_PROFILE", global = true)]
    pub(crate) profile: Option<String>,

    /// Configuration file [default: ~/.config/jq/ctl.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "JQ_CTL_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub(crate) color: Color,

    /// Do not ask before something is destroyed
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,

    /// Seconds to wait for the server's answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30, global = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,

    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Ready,
    Reserved,
    Delayed,
    Buried,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Reserved => "reserved",
            Self::Delayed => "delayed",
            Self::Buried => "buried",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the server says about itself
    Stats {
        /// Only the keys that contain this text
        #[arg(value_name = "TEXT")]
        filter: Option<String>,
    },
    /// List the tubes
    Tubes(TubesArgs),
    /// Show what the server says about a tube
    Tube { tube: TubeName },
    /// List the jobs of a tube (jq-server only)
    Jobs(JobsArgs),
    /// Show a job: what the server says about it, and its body
    Job { id: JobId },
    /// Print the body of the first job of a tube
    Peek {
        tube: TubeName,
        /// First among the jobs in this state
        #[arg(long, value_enum, default_value = "ready")]
        state: PeekState,
    },
    /// Put jobs into a tube, and print their numbers
    Put(PutArgs),
    /// Reserve a job, print its body, and then do with it what --then says
    Reserve(ReserveArgs),
    /// Show what passes through the tubes, second by second, without taking anything (HTTP)
    Tail {
        /// Only these tubes
        tubes: Vec<TubeName>,
    },
    /// Make buried jobs of a tube ready, or delayed ones if none is buried
    Kick(KickArgs),
    /// Bury jobs: set them aside until they are kicked
    Bury {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<JobId>,
    },
    /// Delete jobs
    Delete {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<JobId>,
    },
    /// Move jobs to another tube (jq-server only)
    Move(MoveArgs),
    /// Delete all jobs of a tube that are not reserved
    Clear { tube: TubeName },
    /// Let no job of a tube be reserved for a while
    Pause {
        tube: TubeName,
        /// How long
        #[arg(value_name = "SECONDS")]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// End a tube's pause
    Resume { tube: TubeName },
    /// Show or change the policy of a tube: its limits, and what becomes of failing jobs (HTTP)
    Policy(PolicyArgs),
    /// Let the server accept no new jobs (HTTP)
    Drain,
    /// Let the server accept new jobs again (HTTP)
    Undrain,
    /// List the connections, or close some (HTTP)
    Connections(ConnectionsArgs),
    /// Watch the tubes live: what hurts most comes first
    Top {
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
    },
    /// Write the jobs of a tube to a file, one JSON object per line
    Export(ExportArgs),
    /// Put the jobs of such a file
    Import(ImportArgs),
    /// Measure puts, reserves and deletes on this server
    Bench(BenchArgs),
    /// Wait until a tube has no jobs, for scripts
    Wait(WaitArgs),
    /// Print completions for a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TubesArgs {
    /// Only tubes whose name contains this text
    #[arg(value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Which come first: by name, or those with the most
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: TubeSort,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// A column of the list of tubes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TubeSort {
    #[default]
    Name,
    Ready,
    Reserved,
    Delayed,
    Buried,
    Waiting,
    Total,
}

/// The states of which there is a first job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeekState {
    Ready,
    Delayed,
    Buried,
}

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    pub(crate) tube: TubeName,
    /// Only jobs in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<State>,
    /// Only jobs that came back at least this often: timed out, were released, or were held by a
    /// connection that vanished
    #[arg(long, value_name = "N")]
    pub(crate) returned: Option<u64>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Go on where an earlier list ended
    #[arg(long)]
    pub(crate) cursor: Option<u32>,
}

/// How jobs are put.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PutOptions {
    /// Priority; the lowest number is taken first
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PRIORITY)]
    pub(crate) priority: u32,
    /// Seconds until the job can be taken
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) delay: u32,
    /// Time to run: seconds that a worker may hold the job without a sign of life
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTR)]
    pub(crate) ttr: u32,
}

impl From<PutOptions> for jq_client::PutOptions {
    fn from(PutOptions { priority, delay, ttr }: PutOptions) -> Self {
        Self { priority, delay, ttr }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    pub(crate) tube: TubeName,
    /// The body of the job; without it, standard input is the body
    #[arg(conflicts_with_all = ["file", "lines"])]
    pub(crate) body: Option<String>,
    /// The contents of this file are the body
    #[arg(long, value_name = "FILE", conflicts_with = "lines")]
    pub(crate) file: Option<PathBuf>,
    /// Each line of standard input is the body of a job
    #[arg(long)]
    pub(crate) lines: bool,
    #[command(flatten)]
    pub(crate) options: PutOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ReserveArgs {
    #[arg(required = true)]
    pub(crate) tubes: Vec<TubeName>,
    /// Seconds to wait for a job; without it, as long as necessary
    #[arg(long, value_name = "SECONDS")]
    pub(crate) within: Option<u32>,
    /// What to do with the job when its body is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) then: Then,
    /// Reserve this many, one after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: u64,
}

/// What becomes of a job that was reserved to be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Then {
    /// Give it back: it is ready again
    #[default]
    Release,
    /// Delete it
    Delete,
    /// Bury it
    Bury,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").args(["count", "all", "job"]).required(true))]
pub(crate) struct KickArgs {
    #[arg(required_unless_present = "job", conflicts_with = "job")]
    pub(crate) tube: Option<TubeName>,
    /// This many
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u32>,
    /// All that are buried or, if none is, all that are delayed
    #[arg(long)]
    pub(crate) all: bool,
    /// This job; may be repeated
    #[arg(long, value_name = "ID")]
    pub(crate) job: Vec<JobId>,
}

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The tube to move them to
    #[arg(long, value_name = "TUBE")]
    pub(crate) to: TubeName,
    /// The jobs
    #[arg(value_name = "ID", required_unless_present = "from", conflicts_with = "from")]
    pub(crate) ids: Vec<JobId>,
    /// All jobs of this tube (HTTP)
    #[arg(long, value_name = "TUBE")]
    pub(crate) from: Option<TubeName>,
    /// With --from: only jobs in this state
    #[arg(long, value_enum, requires = "from")]
    pub(crate) state: Option<State>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    pub(crate) tube: TubeName,
    /// Set these: NAME=VALUE, or NAME= to remove one
    #[arg(value_name = "NAME=VALUE", conflicts_with = "remove")]
    pub(crate) set: Vec<String>,
    /// Remove the whole policy
    #[arg(long)]
    pub(crate) remove: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectionsArgs {
    /// Only those of clients on this host: an IP address, or "unix"
    #[arg(long, value_name = "HOST")]
    pub(crate) from: Option<String>,
    /// Sum them up for each host, those with the most first
    #[arg(long, conflicts_with_all = ["close", "close_all"])]
    pub(crate) by_host: bool,
    /// Close this connection; may be repeated
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    pub(crate) close: Vec<u64>,
    /// With --from: close all of them
    #[arg(long, requires = "from")]
    pub(crate) close_all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    pub(crate) tube: TubeName,
    /// The file; "-": standard output
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Only jobs in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<State>,
    /// Bodies as base64 even if they are text
    #[arg(long)]
    pub(crate) base64: bool,
    /// For beanstalkd, which cannot list jobs: reserve all ready ones, and give them back at the
    /// end. Workers get none of them meanwhile, and the server counts the reserves
    #[arg(long, conflicts_with = "state")]
    pub(crate) by_reserving: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file; "-": standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Put all jobs into this tube, whatever the file says
    #[arg(long, value_name = "TUBE")]
    pub(crate) tube: Option<TubeName>,
    /// Also set the policies in the file, when all jobs are in (HTTP)
    #[arg(long)]
    pub(crate) with_policy: bool,
    /// Go on at this line, as an import that failed said
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) from_line: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Number of jobs
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) jobs: u64,
    /// Size of each body in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_073_741_824))]
    pub(crate) size: u32,
    /// Commands in flight; 1 waits for each reply
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) in_flight: u64,
    /// The tube, which must be empty. It is so again afterwards, unless the command fails
    #[arg(long, value_name = "TUBE", default_value = "jq-ctl-bench")]
    pub(crate) tube: TubeName,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    pub(crate) tube: TubeName,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) within: Option<u64>,
    /// Do not wait for jobs in this state; may be repeated
    #[arg(long, value_enum, value_name = "STATE")]
    pub(crate) except: Vec<State>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["jq-ctl"], args].concat());
        for args in [
            &["kick", "t"][..],
            &["kick", "--all"],
            &["kick", "t", "--all", "--count", "1"],
            &["kick", "t", "--job", "1"],
            &["move", "--to", "t"],
            &["move", "--to", "t", "1", "--from", "u"],
            &["put"],
            &["put", "t", "body", "--lines"],
            &["put", "two words", "body"],
            &["pause", "t", "0"],
            &["policy", "t", "max-jobs=1", "--remove"],
            &["stats", "--server", "nowhere"],
            &["import", "f", "--from-line", "0"],
            &["connections", "--close-all"],
            &["connections", "--close", "1", "--from", "unix"],
            &["connections", "--by-host", "--close", "1"],
            &[],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
        for args in [
            &["kick", "t", "--all"][..],
            &["kick", "--job", "1", "--job", "2"],
            &["move", "--to", "t", "1", "2"],
            &["move", "--to", "t", "--from", "u", "--state", "buried"],
            &["--json", "stats"],
            &["stats", "--json", "--server", "[::1]:1"],
            &["pause", "t", "4294967295"],
        ] {
            parse(args).unwrap();
        }
    }
}
