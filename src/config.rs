//! Flags, checked and turned into a configuration.
//!
//! The short flags are beanstalkd's, with its meanings, defaults and exit statuses; everything of
//! our own is a long one.

mod credential;
mod listen_url;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use beanstalk_protocol::{DEFAULT_MAX_JOB_SIZE, Dialect, MAX_JOB_SIZE};
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use jq_engine::Limits;

use self::listen_url::ListenUrl;
use crate::access::{HashToken, token};
use crate::log::binlog::SyncPolicy;
use crate::logging;
use crate::observe::{self, metrics::Compat};

/// Exit status for an invalid command line (beanstalkd's).
pub const EXIT_USAGE: u8 = 5;
/// Exit status when the directory of `-b` is missing or in use by another server (beanstalkd's).
pub const EXIT_CANNOT_LOCK: u8 = 10;
/// Exit status when the contents of the directory of `-b` are damaged or cannot be read.
pub const EXIT_CANNOT_REPLAY: u8 = 11;
/// Exit status when the user of `-u` does not exist (beanstalkd's).
pub const EXIT_NO_SUCH_USER: u8 = 33;
/// Exit status when the server cannot switch to the user of `-u` (beanstalkd's).
pub const EXIT_CANNOT_BECOME: u8 = 34;
/// Exit status when the server cannot listen on an address (beanstalkd's).
pub const EXIT_CANNOT_LISTEN: u8 = 111;

/// The port that beanstalkd's clients expect.
pub const DEFAULT_PORT: u16 = 11_300;

/// More threads than this never helped: the queue itself is behind one lock.
const MAX_THREADS: usize = 256;

/// Two histograms of each take 30 lines of text.
const DEFAULT_METRICS_TUBES: usize = 1000;

/// beanstalkd's size of a binlog file, in bytes.
const DEFAULT_BINLOG_SIZE: u64 = 10_485_760;

/// beanstalkd's interval between syncs, in milliseconds.
const DEFAULT_FSYNC_MS: u64 = 50;

/// A job queue server that speaks the protocol of beanstalkd.
#[derive(Debug, Clone, Parser)]
#[command(name = "jq-server", version, about, disable_version_flag = true)]
// The last of several equal flags counts, as with getopt: images and units append to defaults.
#[command(args_override_self = true)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,

    /// Keep jobs in write-ahead log files in this directory, and start with the jobs found there
    #[arg(short = 'b', value_name = "DIR")]
    binlog: Option<PathBuf>,

    /// With -b: fsync within MS milliseconds; 0: before each answer
    #[arg(short = 'f', value_name = "MS", default_value_t = DEFAULT_FSYNC_MS)]
    #[arg(overrides_with = "no_fsync")]
    fsync_ms: u64,

    /// With -b: never fsync
    #[arg(short = 'F', overrides_with = "fsync_ms")]
    no_fsync: bool,

    /// Listen on this address: an IPv4 or IPv6 address, a host name, or unix:PATH
    #[arg(short = 'l', value_name = "ADDR", default_value = "0.0.0.0")]
    listen: Host,

    /// Listen on this TCP port; 0 picks a free one and logs it
    #[arg(short = 'p', value_name = "PORT", default_value_t = DEFAULT_PORT)]
    port: u16,

    /// Also listen here, and may be given several times: tcp://ADDR:PORT, tls://ADDR:PORT or unix:PATH,
    /// with options behind a question mark. Without -l and -p, listen nowhere else
    #[arg(long = "listen", value_name = "URL")]
    listeners: Vec<ListenUrl>,

    /// The certificate that is shown on tls:// and https://, and those that lead from it to a known
    /// authority, in PEM; read again on SIGHUP and when the file changes. credential:NAME is a
    /// credential of the service manager
    #[arg(long, value_name = "FILE", requires = "tls_key", value_parser = credential::file)]
    tls_cert: Option<PathBuf>,

    /// The private key to the certificate of --tls-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_parser = credential::file)]
    tls_key: Option<PathBuf>,

    /// On tls://, let only those in who show a certificate of one of the authorities in this file,
    /// in PEM; with client-cert=optional, also those who show none
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_parser = credential::file)]
    tls_client_ca: Option<PathBuf>,

    /// Switch to this user and its groups once the port is open
    #[arg(short = 'u', value_name = "USER")]
    user: Option<String>,

    /// Maximum job size in bytes, at most 1073741824
    #[arg(short = 'z', value_name = "BYTES", default_value_t = u64::from(DEFAULT_MAX_JOB_SIZE))]
    #[arg(value_parser = size)]
    max_job_size: u64,

    /// With -b: size of each write-ahead log file in bytes
    #[arg(short = 's', value_name = "BYTES", default_value_t = DEFAULT_BINLOG_SIZE)]
    binlog_size: u64,

    /// Obsolete: does nothing
    #[arg(short = 'c', hide = true)]
    obsolete_c: bool,

    /// Obsolete: does nothing
    #[arg(short = 'n', hide = true)]
    obsolete_n: bool,

    /// Print the version
    #[arg(short = 'v', long = "version", action = ArgAction::Version)]
    version: Option<bool>,

    /// Log more: -V each connection, -VV also each batch of commands
    #[arg(short = 'V', action = ArgAction::Count)]
    verbosity: u8,

    /// Behave on the wire like this release of beanstalkd: 1.12 or 1.13
    #[arg(long, value_name = "VERSION", default_value = "1.13")]
    compat: Dialect,

    /// Threads that serve connections, 1 to 256; more than one helps only when one core is not
    /// enough
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,

    /// With -b: if the files are damaged, serve the intact records and copy the rest aside
    #[arg(long)]
    binlog_repair: bool,

    /// Convert the jobs that -b has kept in this directory to beanstalkd's format, and exit; then
    /// `beanstalkd -b DIR` continues with them. -s sets the size of the files. Our own files are
    /// moved to DIR/jq-binlog.exported. Unless the exit status is 0, nothing has changed
    #[arg(long, value_name = "DIR", conflicts_with = "binlog")]
    binlog_export_v7: Option<PathBuf>,

    /// Copy the jobs that -b keeps in DIR to DEST, which must be empty or missing, and exit. A server
    /// may be using DIR. Files are linked where that is possible
    #[arg(long, value_names = ["DIR", "DEST"], num_args = 2)]
    #[arg(conflicts_with_all = ["binlog", "binlog_export_v7"])]
    binlog_backup: Option<Vec<PathBuf>>,

    /// Read everything that -b keeps in this directory, change nothing, and exit: with 0 if all is
    /// sound, with 11 if not. A server may be using it
    #[arg(long, value_name = "DIR")]
    #[arg(conflicts_with_all = ["binlog", "binlog_export_v7", "binlog_backup"])]
    binlog_check: Option<PathBuf>,

    /// Print the records that -b keeps in this directory, one JSON object per line, and exit
    #[arg(long, value_name = "DIR")]
    #[arg(conflicts_with_all = ["binlog", "binlog_export_v7", "binlog_backup", "binlog_check"])]
    binlog_dump: Option<PathBuf>,

    /// Serve the HTTP API, metrics and health checks on this address: HOST:PORT, with an IPv6 address
    /// in brackets, or unix:PATH; port 0 picks a free one and logs it. Without --http-token-file, only
    /// a loopback address, and only for reading. https://HOST:PORT shows the certificate of --tls-cert
    #[arg(long, value_name = "ADDR")]
    http: Option<HttpAddress>,

    /// With --http: read the tokens of those who may use it, and what each may do, from this TOML
    /// file, and again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "http")]
    http_token_file: Option<PathBuf>,

    /// With --http: allow web pages of this origin, which is a scheme, a host and perhaps a port, to use
    /// it; * for any. May be given several times
    #[arg(long, value_name = "ORIGIN", requires = "http", value_parser = origin)]
    http_cors: Vec<String>,

    /// With --http: maximum number of tubes with metrics of their own; all others are summed
    #[arg(long, value_name = "N", requires = "http", default_value_t = DEFAULT_METRICS_TUBES)]
    metrics_max_tubes: usize,

    /// With --http: also serve the metrics under the names of these exporters, separated by commas:
    /// messagebird, davidtannock
    #[arg(long, value_name = "EXPORTERS", requires = "http", value_delimiter = ',')]
    metrics_compat: Vec<Compat>,

    /// Maximum number of jobs, in all tubes and states; a put beyond that is refused
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    max_jobs: Option<u64>,

    /// Maximum number of bytes that jobs take, bodies and all; a put beyond that is refused
    #[arg(long, value_name = "BYTES", value_parser = at_least_one, allow_negative_numbers = true)]
    max_memory: Option<u64>,

    /// Maximum number of connections, those of --http not counted; more are closed at once
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    max_connections: Option<u64>,

    /// Read the policies of tubes from this TOML file, and again on SIGHUP
    #[arg(long, value_name = "FILE")]
    tubes: Option<PathBuf>,

    /// Serve only the principals of this TOML file, each according to its rights; read again on SIGHUP.
    /// credential:NAME is the systemd credential of that name
    #[arg(long, value_name = "FILE", value_parser = credential::file)]
    auth: Option<PathBuf>,

    /// Format of log lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: logging::Format,
}

/// What this program does besides serving, and what no flag may stand beside.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Make the lines for the file of --auth that a principal and its token need, and exit. Reads the
    /// token, or only its secret, from the terminal, which does not show it, or from standard input.
    /// Writes the lines to standard output
    HashToken {
        /// The name of the principal, with which its token begins: 1 to 64 characters from
        /// A-Z a-z 0-9 _ -
        #[arg(value_parser = principal_name)]
        name: String,

        /// Make a token with 32 random bytes, and write it to standard error
        #[arg(long)]
        generate: bool,
    },
}

/// The name of a principal.
fn principal_name(text: &str) -> Result<String, &'static str> {
    if token::is_name(text.as_bytes()) { Ok(text.to_owned()) } else { Err(token::EXPECTED_NAME) }
}

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    Flags::command()
}

/// A number of bytes. What does not fit is as large as possible, since a limit follows anyway.
fn size(text: &str) -> Result<u64, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("expected a number of bytes");
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// A limit. What does not fit is as large as possible.
fn at_least_one(text: &str) -> Result<u64, &'static str> {
    match size(text) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a whole number of at least 1"),
    }
}

/// An origin of web pages: scheme, host and port.
fn origin(text: &str) -> Result<String, &'static str> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_origin = host.is_some_and(|host| {
        // People add a slash, which an origin does not have.
        let host = host.strip_suffix('/').unwrap_or(host);
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte))
    });
    if is_origin || text == "*" {
        Ok(text.to_owned())
    } else {
        Err("expected * or an origin such as https://site.example, without a path")
    }
}

/// A socket to listen on, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where it listens.
    pub address: ListenAddress,
    /// What connections to it are for.
    pub service: Service,
    /// Whether and how its connections are encrypted.
    pub tls: Option<ListenTls>,
    /// The principal that its connections act for, if they do not say another.
    pub acts_as: Option<Arc<str>>,
    /// Who may connect to a Unix socket.
    pub file: SocketFileAccess,
}

impl ListenerConfig {
    /// For this service at this address, with nothing else set.
    pub fn plain(address: ListenAddress, service: Service) -> Self {
        let file = SocketFileAccess::default();
        Self { address, service, tls: None, acts_as: None, file }
    }
}

/// How the connections of a listener are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenTls {
    /// What is asked of clients, if it is said. Otherwise they must have a certificate if there is an
    /// authority for these.
    pub client_certificate: Option<ClientCertificate>,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// They have to.
    Required,
    /// They may do without.
    Optional,
}

/// The files of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate that is shown, and those that lead from it to a known authority.
    pub certificate: PathBuf,
    /// The key to it.
    pub key: PathBuf,
    /// The authorities of clients' certificates.
    pub client_authorities: Option<PathBuf>,
}

/// The permissions of a Unix socket's file; what is not set is left as the system makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketFileAccess {
    /// As of chmod(1).
    pub mode: Option<u32>,
    /// The group that owns it.
    pub group: Option<String>,
}

/// What is spoken over the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The protocol of beanstalkd.
    Protocol,
    /// HTTP, on a thread of its own.
    Http,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A host and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    /// `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected HOST:PORT, [IPV6]:PORT or unix:PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(EXPECTED) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
        let port =
            port.parse().map_err(|_| "expected a port from 0 to 65535 after the last colon")?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare {
            None if host.is_empty() || host.contains([':', '[', ']']) => Err(EXPECTED),
            Some("") => Err(EXPECTED),
            _ => Ok(Self::Tcp(bare.unwrap_or(host).to_owned(), port)),
        }
    }
}

/// The value of `--http`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HttpAddress {
    address: ListenAddress,
    tls: bool,
}

impl FromStr for HttpAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(secure) = text.strip_prefix("https://") else {
            let address = text.strip_prefix("http://").unwrap_or(text).parse()?;
            return Ok(Self { address, tls: false });
        };
        match secure.parse()? {
            ListenAddress::Unix(_) => Err("expected HOST:PORT after https://"),
            address => Ok(Self { address, tls: true }),
        }
    }
}

/// Serving HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where.
    pub address: ListenAddress,
    /// Over TLS.
    pub tls: bool,
    /// The file of tokens. Without it, only reading is possible, and only from this machine.
    pub token_file: Option<PathBuf>,
    /// The origins of web pages that may use it; `*` for any.
    pub cors: Vec<String>,
    /// What is observed.
    pub observe: observe::Options,
}

/// The value of `-l`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    Unix(PathBuf),
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("expected a path after \"unix:\"")
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if bare.is_empty() { Err("expected an address") } else { Ok(Self::Name(bare.to_owned())) }
    }
}

/// Everything that a server needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, and for what, unless the service manager passes sockets.
    pub listeners: Vec<ListenerConfig>,
    /// The files of TLS.
    pub tls: Option<TlsConfig>,
    /// Serve HTTP too.
    pub http: Option<HttpConfig>,
    /// Who to become.
    pub user: Option<String>,
    /// Largest job body in bytes.
    pub max_job_size: u32,
    /// Where jobs are kept, if not in memory only.
    pub binlog: Option<PathBuf>,
    /// When what is written there is synced.
    pub sync_policy: SyncPolicy,
    /// Size of each file there, in bytes.
    pub binlog_size: u64,
    /// Whether to serve what is sound of damaged files.
    pub binlog_repair: bool,
    /// Serve nobody, but make beanstalkd's files of the jobs that are kept here.
    pub binlog_export_v7: Option<PathBuf>,
    /// Serve nobody, but copy what is kept in the first directory to the second.
    pub binlog_backup: Option<(PathBuf, PathBuf)>,
    /// Serve nobody, but see whether what is kept here is sound.
    pub binlog_check: Option<PathBuf>,
    /// Serve nobody, but print what is kept here.
    pub binlog_dump: Option<PathBuf>,
    /// Serve nobody, but hash a token.
    pub hash_token: Option<HashToken>,
    /// Limits on the jobs of all tubes together.
    pub limits: Limits,
    /// Maximum number of connections of the protocol.
    pub max_connections: Option<usize>,
    /// The file that says what is set for tubes.
    pub tubes: Option<PathBuf>,
    /// The file that says who is served. Without it, everybody is.
    pub auth: Option<PathBuf>,
    /// Whose wire behaviour to follow.
    pub dialect: Dialect,
    /// Threads that serve connections, at least 1.
    pub threads: usize,
    /// How many `-V` there were.
    pub verbosity: u8,
    /// How log lines are written.
    pub log_format: logging::Format,
    /// What to tell the operator once logging has begun.
    pub warnings: Vec<String>,
}

/// The flags ask for no server: print `message` and exit with `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// For standard output if the status is 0, else for standard error.
    pub message: String,
    /// The exit status.
    pub status: u8,
}

impl Config {
    /// Reads a command line, the program's name first.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        let parsed = Flags::command().try_get_matches_from(args).and_then(|matches| {
            let flags = Flags::from_arg_matches(&matches)?;
            Ok((flags, matches))
        });
        let (flags, matches) = parsed.map_err(|error| Exit {
            status: if error.use_stderr() { EXIT_USAGE } else { 0 },
            message: error.to_string(),
        })?;
        let given = |flag: &str| matches.value_source(flag) == Some(ValueSource::CommandLine);
        Self::from_flags(flags, given)
    }

    fn from_flags(flags: Flags, given: impl Fn(&str) -> bool) -> Result<Self, Exit> {
        let usage =
            |message: String| Exit { message: format!("error: {message}\n"), status: EXIT_USAGE };
        let mut warnings = Vec::new();
        let obsolete = [("-c", flags.obsolete_c), ("-n", flags.obsolete_n)];
        for (flag, _) in obsolete.iter().filter(|(_, given)| *given) {
            warnings.push(format!("{flag} is obsolete and does nothing"));
        }
        if flags.max_job_size > u64::from(MAX_JOB_SIZE) {
            warnings
                .push(format!("-z {}: using the maximum of {MAX_JOB_SIZE}", flags.max_job_size));
        }
        let max_job_size =
            u32::try_from(flags.max_job_size).unwrap_or(MAX_JOB_SIZE).min(MAX_JOB_SIZE);
        let threads = flags.threads;
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(usage(format!(
                "--threads {threads}: expected a number from 1 to {MAX_THREADS}"
            )));
        }
        let address = match flags.listen {
            Host::Name(host) => ListenAddress::Tcp(host, flags.port),
            Host::Unix(path) => ListenAddress::Unix(path),
        };
        let mut listeners: Vec<_> = flags.listeners.into_iter().map(|url| url.0).collect();
        if listeners.is_empty() || given("listen") || given("port") {
            listeners.insert(0, ListenerConfig::plain(address, Service::Protocol));
        }
        let tls = flags.tls_cert.zip(flags.tls_key).map(|(certificate, key)| TlsConfig {
            certificate,
            key,
            client_authorities: flags.tls_client_ca,
        });
        for listener in &listeners {
            if let Some(ListenTls { client_certificate }) = listener.tls {
                let address = &listener.address;
                let Some(tls) = &tls else {
                    return Err(usage(format!("--listen tls://{address}: it needs --tls-cert")));
                };
                if client_certificate.is_some() && tls.client_authorities.is_none() {
                    let what = format!("--listen tls://{address}?client-cert");
                    return Err(usage(format!("{what}: it needs --tls-client-ca")));
                }
            }
            if let (Some(name), None) = (&listener.acts_as, &flags.auth) {
                let message = format!("--listen {}?as={name}: it needs --auth", listener.address);
                return Err(usage(message));
            }
        }
        if let Some(HttpAddress { address, tls: true }) = &flags.http
            && tls.is_none()
        {
            return Err(usage(format!("--http https://{address}: it needs --tls-cert")));
        }
        let http = flags.http.map(|HttpAddress { address, tls }| HttpConfig {
            address,
            tls,
            token_file: flags.http_token_file,
            cors: flags.http_cors,
            observe: observe::Options {
                max_tubes: flags.metrics_max_tubes,
                compat: flags.metrics_compat,
            },
        });
        Ok(Self {
            listeners,
            tls,
            http,
            user: flags.user,
            max_job_size,
            binlog: flags.binlog,
            sync_policy: match flags.fsync_ms {
                _ if flags.no_fsync => SyncPolicy::Never,
                0 => SyncPolicy::Always,
                millis => SyncPolicy::Every(Duration::from_millis(millis)),
            },
            binlog_size: flags.binlog_size,
            binlog_repair: flags.binlog_repair,
            binlog_export_v7: flags.binlog_export_v7,
            binlog_backup: flags.binlog_backup.and_then(|paths| {
                match <[PathBuf; 2]>::try_from(paths) {
                    Ok([from, to]) => Some((from, to)),
                    Err(_) => None,
                }
            }),
            binlog_check: flags.binlog_check,
            binlog_dump: flags.binlog_dump,
            hash_token: flags
                .command
                .map(|Command::HashToken { name, generate }| HashToken { name, generate }),
            limits: Limits {
                jobs: flags.max_jobs.unwrap_or(Limits::NONE.jobs),
                memory: flags.max_memory.unwrap_or(Limits::NONE.memory),
            },
            max_connections: flags
                .max_connections
                .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            tubes: flags.tubes,
            auth: flags.auth,
            dialect: flags.compat,
            threads,
            verbosity: flags.verbosity,
            log_format: flags.log_format,
            warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Config, Exit> {
        let args = ["jq-server"].iter().chain(args).map(OsString::from);
        Config::from_args(args)
    }

    /// The address of the only listener.
    fn address(config: &Config) -> &ListenAddress {
        let [ListenerConfig { address, service: Service::Protocol, .. }] = &config.listeners[..]
        else {
            panic!("{:?}", config.listeners);
        };
        address
    }

    fn tcp(host: &str, port: u16) -> ListenAddress {
        ListenAddress::Tcp(host.into(), port)
    }

    #[test]
    fn defaults_are_beanstalkds() {
        let config = parse(&[]).unwrap();
        assert_eq!(*address(&config), tcp("0.0.0.0", 11_300));
        assert_eq!(config.max_job_size, 65_535);
        assert_eq!(config.binlog_size, 10_485_760);
        assert_eq!(config.dialect, Dialect::V1_13);
        assert_eq!(config.threads, 1);
        assert_eq!((config.limits, config.max_connections), (Limits::NONE, None));
        assert_eq!(config.tubes, None);
    }

    #[test]
    fn limits() {
        let args = ["--max-jobs", "7", "--max-memory", "99999999999999999999"];
        let config = parse(&[&args[..], &["--max-connections=1", "--tubes", "t.toml"]].concat());
        let config = config.unwrap();
        assert_eq!(config.limits, Limits { jobs: 7, memory: u64::MAX });
        assert_eq!((config.max_connections, config.tubes), (Some(1), Some("t.toml".into())));
    }

    #[test]
    fn flags_may_be_bundled_and_values_attached() {
        let config = parse(&["-VVFp4000", "-l::1", "-z100", "-unobody"]).unwrap();
        assert_eq!(*address(&config), tcp("::1", 4000));
        assert_eq!(config.max_job_size, 100);
        assert_eq!(config.verbosity, 2);
        assert_eq!(config.user.as_deref(), Some("nobody"));
        assert_eq!(address(&config).to_string(), "[::1]:4000");
    }

    #[test]
    fn addresses() {
        let config = parse(&["-l", "[::1]"]).unwrap();
        assert_eq!(*address(&config), tcp("::1", 11_300));
        let config = parse(&["-l", "unix:/run/q.sock"]).unwrap();
        assert_eq!(*address(&config), ListenAddress::Unix("/run/q.sock".into()));
        assert_eq!(parse(&["-l", "unix:"]).unwrap_err().status, EXIT_USAGE);
    }

    #[test]
    fn http_is_off_unless_asked_for() {
        assert_eq!(parse(&[]).unwrap().http, None);
        let address = |text: &str| parse(&["--http", text]).unwrap().http.unwrap().address;
        assert_eq!(address("localhost:80"), tcp("localhost", 80));
        assert_eq!(address("[::1]:0"), tcp("::1", 0));
        assert_eq!(address("unix:/run/h.sock"), ListenAddress::Unix("/run/h.sock".into()));
        let args = ["--http", "a:1", "--http", "127.0.0.1:2", "--http-token-file", "/etc/tokens"];
        let origins = ["--http-cors", "https://a.example", "--http-cors", "http://b.example:81/"];
        let http = parse(&[&args[..], &origins].concat()).unwrap().http.unwrap();
        assert_eq!(http.address, tcp("127.0.0.1", 2));
        assert_eq!(http.token_file, Some("/etc/tokens".into()));
        assert_eq!(http.cors, ["https://a.example", "http://b.example:81/"]);
        assert_eq!(http.observe, observe::Options { max_tubes: 1000, compat: vec![] });
        let metrics = ["--metrics-max-tubes", "0", "--metrics-compat", "davidtannock,messagebird"];
        let http = parse(&[&args[..], &metrics].concat()).unwrap().http.unwrap();
        let compat = vec![Compat::Davidtannock, Compat::Messagebird];
        assert_eq!(http.observe, observe::Options { max_tubes: 0, compat });
    }

    #[test]
    fn tls_is_off_unless_asked_for() {
        assert_eq!(parse(&[]).unwrap().tls, None);
        let args = ["--tls-cert", "/c.pem", "--tls-key", "/k.pem", "--listen", "tls://h:1"];
        let config = parse(&args).unwrap();
        let tls = TlsConfig {
            certificate: "/c.pem".into(),
            key: "/k.pem".into(),
            client_authorities: None,
        };
        assert_eq!(config.tls, Some(tls.clone()));
        assert_eq!(config.listeners[0].tls, Some(ListenTls { client_certificate: None }));
        let more = ["--tls-client-ca", "/a.pem", "--http", "https://[::1]:2"];
        let config = parse(&[&args[..], &more].concat()).unwrap();
        assert_eq!(
            config.tls,
            Some(TlsConfig { client_authorities: Some("/a.pem".into()), ..tls })
        );
        let http = config.http.unwrap();
        assert_eq!((http.address, http.tls), (tcp("::1", 2), true));
        let plain = parse(&["--http", "http://localhost:3"]).unwrap().http.unwrap();
        assert_eq!((plain.address, plain.tls), (tcp("localhost", 3), false));
    }

    #[test]
    fn help_and_version_are_no_errors() {
        let help = parse(&["-h"]).unwrap_err();
        assert_eq!(help.status, 0);
        for flag in ["-b", "-f", "-F", "-l", "-p", "-u", "-z", "-s", "-v", "-V", "-h"] {
            assert!(help.message.contains(flag), "{flag} in {}", help.message);
        }
        let version = parse(&["-v"]).unwrap_err();
        assert_eq!(version, Exit { message: "jq-server 0.1.0\n".into(), status: 0 });
    }

    #[test]
    fn mistakes_exit_with_5_and_name_the_flag() {
        for args in [
            &["-p", "70000"][..],
            &["-p", "x"],
            &["-z", "x"],
            &["-z"],
            &["-q"],
            &["stray"],
            &["--compat", "1.11"],
            &["--threads", "0"],
            &["-f", "x"],
            &["--binlog-export-v7", "x", "-b", "y"],
            &["--binlog-backup", "x", "y", "-b", "z"],
            &["--binlog-backup", "x"],
            &["--binlog-check", "x", "-b", "y"],
            &["--binlog-dump", "x", "--binlog-check", "y"],
            &["--http", "8080"],
            &["--http", "localhost"],
            &["--http", "::1:8080"],
            &["--http", "localhost:x"],
            &["--http", "localhost:65536"],
            &["--http", ":8080"],
            &["--http", "[]:8080"],
            &["--http", "unix:"],
            &["--http", ""],
            &["--http-token-file", "x"],
            &["--metrics-max-tubes", "5"],
            &["--metrics-max-tubes", "many", "--http", "localhost:1"],
            &["--metrics-compat", "messagebird"],
            &["--metrics-compat", "prometheus", "--http", "localhost:1"],
            &["--metrics-compat", "", "--http", "localhost:1"],
            &["--max-jobs", "0"],
            &["--max-jobs", "-1"],
            &["--max-jobs", "many"],
            &["--max-memory", "0"],
            &["--max-memory", "1G"],
            &["--max-memory", ""],
            &["--max-connections", "0"],
            &["--max-connections", "1.5"],
            &["--tubes"],
            &["--listen", "127.0.0.1:1"],
            &["--listen", "tcp://127.0.0.1"],
            &["--listen", "tls://127.0.0.1:1"],
            &["--listen", "tls://h:1?client-cert=required", "--tls-cert", "c", "--tls-key", "k"],
            &["--http", "https://127.0.0.1:1"],
            &["--http", "https://unix:/x", "--tls-cert", "c", "--tls-key", "k"],
            &["--tls-cert", "c"],
            &["--tls-key", "k"],
            &["--tls-client-ca", "a"],
            &["--tls-cert", "", "--tls-key", "k"],
            &["--listen"],
            &["--http-cors", "*"],
            &["--http-cors", "site.example", "--http", "localhost:1"],
            &["--http-cors", "https://site.example/path", "--http", "localhost:1"],
            &["--http-cors", "https://", "--http", "localhost:1"],
        ] {
            let exit = parse(args).unwrap_err();
            assert_eq!(exit.status, EXIT_USAGE, "{args:?}");
            assert!(exit.message.contains(args[0]), "{args:?}: {}", exit.message);
        }
    }

    #[test]
    fn listeners_come_beside_the_usual_one_only_if_that_is_asked_for_too() {
        let addresses = |args: &[&str]| {
            let listeners = parse(args).unwrap().listeners;
            listeners.iter().map(|it| it.address.to_string()).collect::<Vec<_>>()
        };
        let two = ["--listen", "tcp://127.0.0.1:1", "--listen", "unix:/q"];
        assert_eq!(addresses(&two), ["127.0.0.1:1", "unix:/q"]);
        let all = addresses(&[&two[..], &["-p", "5"]].concat());
        assert_eq!(all, ["0.0.0.0:5", "127.0.0.1:1", "unix:/q"]);
        let all = addresses(&[&["-l", "::1"], &two[..]].concat());
        assert_eq!(all, ["[::1]:11300", "127.0.0.1:1", "unix:/q"]);
    }

    #[test]
    fn hashing_a_token_stands_beside_no_flag() {
        for args in [["hash-token", "site", "--generate"], ["hash-token", "--generate", "site"]] {
            let hash_token = HashToken { name: "site".to_owned(), generate: true };
            assert_eq!(parse(&args).unwrap().hash_token, Some(hash_token));
        }
        assert!(!parse(&["hash-token", "a"]).unwrap().hash_token.unwrap().generate);
        for args in [
            &["hash-token"][..],
            &["hash-token", "a.b"],
            &["hash-token", "a", "-V"],
            &["-V", "hash-token", "a"],
            &["-b", "d", "hash-token", "a"],
            &["hash-token", "a", "b"],
            &["hash", "a"],
            &["help"],
        ] {
            assert_eq!(parse(args).unwrap_err().status, EXIT_USAGE, "{args:?}");
        }
        // The value of a flag is what it was before.
        let config = parse(&["-l", "hash-token", "-u", "hash-token", "-b", "hash-token"]).unwrap();
        assert_eq!(*address(&config), tcp("hash-token", 11_300));
        assert_eq!((config.user.as_deref(), config.hash_token), (Some("hash-token"), None));
        assert_eq!(config.binlog, Some("hash-token".into()));
    }

    #[test]
    fn a_listener_may_name_a_principal_if_there_are_any() {
        let listen = ["--listen", "tcp://127.0.0.1:1?as=site"];
        assert!(parse(&listen).unwrap_err().message.contains("it needs --auth"));
        let config = parse(&[&listen[..], &["--auth", "auth.toml"]].concat()).unwrap();
        assert_eq!(config.auth, Some("auth.toml".into()));
        assert_eq!(parse(&["--auth", "credential:a/b"]).unwrap_err().status, EXIT_USAGE);
    }

    #[test]
    fn obsolete_flags_and_large_sizes_warn() {
        let config = parse(&["-c", "-n", "-z", "5000000000"]).unwrap();
        assert_eq!(config.max_job_size, 1_073_741_824);
        assert_eq!(config.warnings.len(), 3);
        assert!(config.warnings[0].contains("-c"));
        assert_eq!(parse(&["-z", "99999999999999999999"]).unwrap().max_job_size, 1_073_741_824);
    }

    #[test]
    fn the_last_word_on_syncing_counts() {
        let policy = |args: &[&str]| parse(args).unwrap().sync_policy;
        let every = |millis| SyncPolicy::Every(Duration::from_millis(millis));
        assert_eq!(policy(&[]), every(50));
        assert_eq!(policy(&["-f", "7"]), every(7));
        assert_eq!(policy(&["-f0"]), SyncPolicy::Always);
        assert_eq!(policy(&["-F"]), SyncPolicy::Never);
        assert_eq!(policy(&["-F", "-f", "0"]), SyncPolicy::Always);
        assert_eq!(policy(&["-f", "0", "-F"]), SyncPolicy::Never);
    }

    #[test]
    fn the_last_of_equal_flags_counts() {
        let config = parse(&["-p", "1", "-z10", "-F", "-F", "-p", "2", "-z", "20"]).unwrap();
        assert_eq!(*address(&config), tcp("0.0.0.0", 2));
        assert_eq!(config.max_job_size, 20);
    }
}
