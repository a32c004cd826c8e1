//! What a worker is to do: flags over the configuration file over the defaults, checked.
//!
//! Owns: names, defaults and limits of all settings. Must not know: how any of them is carried out.

mod artifacts;
mod credentials;
mod file;
mod handlers;
mod identity;
mod process;
mod schedule;
mod secure;
mod shared;
mod size;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Args;
use jq_client::{Address, Credentials, Endpoint, EndpointParser, TubeName};
use url::Url;

use crate::outbound;
use crate::schedule::Schedule;
use crate::shared::SharedOptions;
use crate::store::Sync;

pub use artifacts::Artifacts;
pub use handlers::{Handler, Handlers, InputMode, Mode, OutputFrom, Persistence, Rerun};
pub use process::{EX_DATAERR, EX_TEMPFAIL, ExitMeaning, ExitTable};
pub use secure::ServerFlags;
pub use size::Size;

use file::File;

/// The configuration file, if none is named and it is there.
pub const DEFAULT_FILE: &str = "jq-worker.toml";

/// The folder of handlers, if neither it nor a file is named.
pub const DEFAULT_HANDLERS: &str = "handlers";

/// Where results are served unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:11380";

/// Most jobs that a worker runs at a time.
pub const MAX_CONCURRENCY: usize = 10_000;

/// The flags that say what to do. They go before what the file says.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Configuration file [default: jq-worker.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take jobs from this server; can be repeated. beanstalks://HOST:PORT: by TLS
    /// [default: 127.0.0.1:11300]
    #[arg(long, value_name = "HOST:PORT", value_parser = EndpointParser)]
    pub server: Vec<Endpoint>,
    /// What is shown to the servers.
    #[command(flatten)]
    pub shown: ServerFlags,
    /// Take jobs from this tube; can be repeated
    #[arg(long, value_name = "NAME")]
    pub tube: Vec<TubeName>,
    /// Every executable file in this directory is a handler for the job type that it is named after
    /// [default: handlers]
    #[arg(long, value_name = "DIR")]
    pub handlers: Option<PathBuf>,
    /// Serve results at this address; "none": do not serve them [default: 127.0.0.1:11380]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// URL at which others reach that address
    #[arg(long, value_name = "URL")]
    pub public_url: Option<Url>,
    /// Keep results and state in this directory [default: results]
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Maximum number of jobs at a time [default: one per processor]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
    /// Name of this worker in results [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// Allow only URLs in jobs that start with this one; can be repeated [default: any public
    /// address]
    #[arg(long, value_name = "URL")]
    pub allow_url: Vec<String>,
    /// One command for every job, whatever its type
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it came from.
    pub file: Option<PathBuf>,
    /// Name of this worker in results.
    pub worker_id: String,
    /// Where jobs come from. Not empty.
    pub servers: Vec<Endpoint>,
    /// What is shown to them.
    pub credentials: Credentials,
    /// From which tubes. Empty only for commands that need none.
    pub tubes: Vec<TubeName>,
    /// To which tubes jobs that follow others can be sent.
    pub then_tubes: Vec<TubeName>,
    /// What is queued at certain times.
    pub schedules: Vec<Schedule>,
    /// Most jobs that run at a time; 1 to [`MAX_CONCURRENCY`].
    pub concurrency: usize,
    /// Where results are served.
    pub listen: Option<SocketAddr>,
    /// The address that this came to, if it leaves the port to the system. `None`: it is not known yet.
    pub served_at: Option<SocketAddr>,
    /// With this certificate. `None`: without TLS.
    pub listen_tls: Option<Arc<jq_tls::Server>>,
    /// Where others reach that.
    pub public_url: Option<Url>,
    /// The state directory.
    pub results: PathBuf,
    /// How long results stay.
    pub retention: Duration,
    /// When a result counts as being on the disk.
    pub sync: Sync,
    /// How long running jobs may go on after SIGTERM.
    pub stop_timeout: Duration,
    /// Delay before the first retry of a job. It doubles with each that follows, half of it random.
    pub retry_delay: Duration,
    /// Longest such delay.
    pub max_retry_delay: Duration,
    /// How often workers may die while a job runs before it is buried; 0: nobody counts.
    pub max_crashes: u32,
    /// How long it is tried to send a result to where it goes.
    pub publish_timeout: Duration,
    /// Most results that wait to be sent. When there are as many, no jobs are taken.
    pub max_unpublished: usize,
    /// Whether results show the query of an input's URL.
    pub show_input_query: bool,
    /// A server that does not answer for so long, while there are no jobs, is taken for lost. At least a
    /// second.
    pub idle_check: Duration,
    /// For fetching and sending.
    pub outbound: outbound::Options,
    /// What callbacks are signed with, the newest first.
    pub callback_secrets: Vec<String>,
    /// Who has it may hold and halt the worker over HTTP.
    pub token: Option<String>,
    /// Whose pages may read results.
    pub cors_origins: Vec<String>,
    /// How much is kept of what processes leave besides their output.
    pub artifacts: Artifacts,
    /// The store that workers share. `None`: there is none.
    pub shared: Option<SharedOptions>,
    /// Other workers that are asked for what is not here; each ends with a slash.
    pub peers: Vec<Url>,
    /// How much there is of each resource that jobs have for themselves.
    pub resources: BTreeMap<String, u32>,
    /// What is run.
    pub handlers: Handlers,
}

/// The configuration cannot be used; the text names the setting and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file, if there is one, and puts the flags over it.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let path = match &flags.config {
            Some(path) => Some(path.clone()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
        };
        let file = path.as_deref().map_or_else(|| Ok(File::default()), File::read)?;
        let base = path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        Self::merge(flags, file, path, &base)
    }

    fn merge(
        flags: &Flags,
        file: File,
        path: Option<PathBuf>,
        base: &Path,
    ) -> Result<Self, ConfigError> {
        process::resources(&file.resources).map_err(ConfigError)?;
        let named_in_file = file.servers.iter().map(|text| {
            // Here and not in the file's parser, which would show the line with the token in it.
            text.parse().map_err(|error| ConfigError(format!("servers: {error}")))
        });
        let named_in_file = named_in_file.collect::<Result<_, _>>()?;
        let shown_in_file = file.shown_to_servers(base);
        let allow_urls = or(flags.allow_url.clone(), file.allow_urls.clone());
        let outbound = file.outbound(path.as_deref(), base, allow_urls)?;
        let tubes = or(flags.tube.clone(), file.tubes.clone());
        let schedules = file.schedules(path.as_deref(), &tubes)?;
        let handlers = handlers::choose(flags, &file, path.as_deref(), base)?;
        let concurrency = flags.concurrency.or(file.concurrency).unwrap_or_else(processors);
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            return Err(ConfigError(format!(
                "concurrency is {concurrency}: expected 1 to {MAX_CONCURRENCY}"
            )));
        }
        if file.max_unpublished == Some(0) {
            let message = "max_unpublished is 0: expected 1 or more";
            return Err(ConfigError(message.to_owned()));
        }
        let listen = flags.listen.clone().or(file.listen);
        let listen = match listen.as_deref().unwrap_or(DEFAULT_LISTEN) {
            "none" => None,
            text => Some(resolve(text)?),
        };
        let public_url = flags.public_url.clone().or(file.public_url);
        if let Some(url) = &public_url
            && !matches!(url.scheme(), "http" | "https")
        {
            return Err(ConfigError(format!("public_url is {url}: expected http or https")));
        }
        if let Some(url) = public_url.as_ref().filter(|it| it.query().or(it.fragment()).is_some()) {
            let why = format!("public_url is {url}: expected neither a query nor a fragment");
            return Err(ConfigError(why));
        }
        let worker_id = flags.id.clone().or(file.id).unwrap_or_else(host_name);
        if worker_id.is_empty() || worker_id.contains(char::is_control) {
            let why = "expected one or more characters, none of them a control character";
            return Err(ConfigError(format!("id is {worker_id:?}: {why}")));
        }
        let servers = or(flags.server.clone(), named_in_file);
        let default_server = Address::Tcp { host: "127.0.0.1".into(), port: 11300 };
        let servers = if servers.is_empty() { vec![default_server.into()] } else { servers };
        let credentials = credentials(&flags.shown, shown_in_file, &servers)?;
        let secret = |name: &str, path: &Path| secret(name, &base.join(path));
        let token = file.control.token_file.as_deref();
        let callback_secrets = file.callbacks.secret_files.iter();
        Ok(Self {
            worker_id,
            servers,
            credentials,
            then_tubes: or(file.then_tubes, tubes.clone()),
            tubes,
            schedules,
            concurrency,
            listen,
            served_at: None,
            listen_tls: secure::listen_tls(&file.http.tls_cert, &file.http.tls_key, base)?,
            public_url,
            results: flags
                .results
                .clone()
                .or_else(|| file.results.map(|path| base.join(path)))
                .or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from))
                .unwrap_or_else(|| PathBuf::from("results")),
            retention: seconds("retention", file.retention, 7 * 24 * 3600)?,
            sync: file.sync.unwrap_or_default(),
            stop_timeout: seconds("stop_timeout", file.stop_timeout, 60)?,
            retry_delay: seconds("retry_delay", file.retry_delay, 2)?,
            max_retry_delay: seconds("max_retry_delay", file.max_retry_delay, 3600)?,
            max_crashes: file.max_crashes.unwrap_or(3),
            publish_timeout: seconds("publish_timeout", file.publish_timeout, 24 * 3600)?,
            max_unpublished: file.max_unpublished.unwrap_or_else(|| (4 * concurrency).max(64)),
            show_input_query: file.http.show_input_query,
            idle_check: seconds("idle_check", file.idle_check, 60)?.max(Duration::from_secs(1)),
            outbound: outbound.clone(),
            callback_secrets: callback_secrets
                .map(|path| secret("callbacks.secret_files", path))
                .collect::<Result<_, _>>()?,
            token: token.map(|path| secret("control.token_file", path)).transpose()?,
            cors_origins: file.cors_origins.unwrap_or_else(|| vec!["*".to_owned()]),
            artifacts: file.artifacts.read()?,
            shared: file.store.read(base, &outbound.ca_files)?,
            peers: shared::peers(&file.peers)?,
            resources: file.resources,
            handlers,
            file: path,
        })
    }

    /// Makes sure that there are tubes to take jobs from.
    pub fn require_tubes(&self) -> Result<(), ConfigError> {
        if self.tubes.is_empty() {
            let message = "no tube is named: give one with --tube";
            return Err(ConfigError(message.to_owned()));
        }
        Ok(())
    }

    /// Where the result of a job can be seen, if it is served.
    pub fn result_url(&self, id: uuid::Uuid) -> Option<String> {
        match (&self.public_url, self.served_at.or(self.listen)) {
            (Some(url), _) => Some(format!("{}/{id}", url.as_str().trim_end_matches('/'))),
            (None, Some(address)) => {
                let scheme = if self.listen_tls.is_some() { "https" } else { "http" };
                Some(format!("{scheme}://{address}/{id}"))
            }
            (None, None) => None,
        }
    }

    /// The path under which results are served beside `/`, from `public_url`.
    pub fn prefix(&self) -> String {
        let path = self.public_url.as_ref().map_or("", |url| url.path());
        path.trim_end_matches('/').to_owned()
    }
}

/// Each flag goes before what the file says; a certificate and its key are one.
fn credentials(
    flags: &ServerFlags,
    file: ServerFlags,
    servers: &[Endpoint],
) -> Result<Credentials, ConfigError> {
    if *flags == ServerFlags::default() {
        return file.named(servers, |name| format!("server_{name}"));
    }
    let ServerFlags { token_file, tls_ca, tls_cert, tls_key } = flags.clone();
    let identity = tls_cert.zip(tls_key);
    let (tls_cert, tls_key) =
        identity.map_or((file.tls_cert, file.tls_key), |(cert, key)| (Some(cert), Some(key)));
    let token_file = token_file.or(file.token_file);
    let both = ServerFlags { token_file, tls_ca: tls_ca.or(file.tls_ca), tls_cert, tls_key };
    both.credentials(servers)
}

fn or<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    if first.is_empty() { second } else { first }
}

/// Longest time that can be configured, in seconds: ten years.
const MAX_SECONDS: u64 = 10 * 366 * 24 * 3600;

fn seconds(name: &str, setting: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    match setting.unwrap_or(default) {
        seconds @ 0..=MAX_SECONDS => Ok(Duration::from_secs(seconds)),
        seconds => {
            Err(ConfigError(format!("{name} is {seconds}: expected at most {MAX_SECONDS} seconds")))
        }
    }
}

fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn resolve(text: &str) -> Result<SocketAddr, ConfigError> {
    let bad = |why: &dyn fmt::Display| {
        ConfigError(format!(
            "listen is {text:?}: expected an address like {DEFAULT_LISTEN:?} ({why})"
        ))
    };
    let mut addresses = text.to_socket_addrs().map_err(|error| bad(&error))?;
    addresses.next().ok_or_else(|| bad(&"it has no address"))
}

/// Reads a secret from a file of its own: configuration files are shown around.
pub(crate) fn secret(name: &str, path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{name}: {}: {error}", path.display())))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(ConfigError(format!("{name}: {} is empty", path.display())));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
