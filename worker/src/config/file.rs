//! The configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jq_client::TubeName;
use jq_tls::Identity;
use serde::{Deserialize, Deserializer};
use url::Url;

use super::artifacts::Table;
use super::credentials::{self, Basic, CredentialSettings, Tables};
use super::handlers::{InputMode, ModeName, OutputFrom, Rerun};
use super::process::ExitMeaning;
use super::schedule::{self, ScheduleSettings};
use super::secure::{ClientCertificate, ServerFlags};
use super::shared::StoreTable;
use super::{ConfigError, Size};
use crate::job::JobType;
use crate::outbound;
use crate::schedule::Schedule;
use crate::store::Sync;

/// As it is written. `docs/worker.md` explains every member.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) servers: Vec<String>,
    pub(super) server_token_file: Option<PathBuf>,
    pub(super) server_tls_ca: Option<PathBuf>,
    pub(super) server_tls_cert: Option<PathBuf>,
    pub(super) server_tls_key: Option<PathBuf>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) tubes: Vec<TubeName>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) then_tubes: Vec<TubeName>,
    pub(super) concurrency: Option<usize>,
    pub(super) listen: Option<String>,
    pub(super) public_url: Option<Url>,
    pub(super) results: Option<PathBuf>,
    pub(super) retention: Option<u64>,
    pub(super) sync: Option<Sync>,
    pub(super) stop_timeout: Option<u64>,
    pub(super) retry_delay: Option<u64>,
    pub(super) max_retry_delay: Option<u64>,
    pub(super) idle_check: Option<u64>,
    pub(super) max_crashes: Option<u32>,
    pub(super) publish_timeout: Option<u64>,
    pub(super) max_unpublished: Option<usize>,
    #[serde(default)]
    pub(super) allow_urls: Vec<String>,
    pub(super) cors_origins: Option<Vec<String>>,
    #[serde(default)]
    pub(super) credentials: Vec<CredentialSettings>,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) callbacks: Callbacks,
    #[serde(default)]
    pub(super) control: Control,
    #[serde(default)]
    pub(super) artifacts: Table,
    #[serde(default)]
    pub(super) store: StoreTable,
    #[serde(default)]
    pub(super) peers: Vec<String>,
    #[serde(default)]
    pub(super) schedule: Vec<ScheduleSettings>,
    pub(super) handlers_dir: Option<PathBuf>,
    /// How much there is of what only one job at a time can have.
    #[serde(default)]
    pub(super) resources: BTreeMap<String, u32>,
    /// What each handler has unless it says otherwise.
    #[serde(default)]
    pub(super) defaults: HandlerSettings,
    #[serde(default)]
    pub(super) handlers: BTreeMap<JobType, HandlerSettings>,
    /// All of it, to tell lines by their numbers.
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    connect_timeout: Option<u64>,
    timeout: Option<u64>,
    max_input: Option<Size>,
    #[serde(default)]
    pub(super) show_input_query: bool,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    #[serde(default)]
    ca_files: Vec<PathBuf>,
    #[serde(default)]
    client_certificates: Vec<ClientCertificate>,
    proxy: Option<String>,
    proxy_basic: Option<Basic>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Callbacks {
    #[serde(default)]
    pub(super) secret_files: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Control {
    pub(super) token_file: Option<PathBuf>,
}

/// A table `[handlers.TYPE]`, or `[defaults]`, which has no command.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandlerSettings {
    pub(super) command: Option<Vec<String>>,
    pub(super) mode: Option<ModeName>,
    pub(super) concurrency: Option<usize>,
    pub(super) processes: Option<usize>,
    pub(super) pipeline: Option<usize>,
    pub(super) timeout: Option<u64>,
    pub(super) grace: Option<u64>,
    pub(super) retry: Option<u32>,
    pub(super) rerun: Option<Rerun>,
    pub(super) input: Option<InputMode>,
    pub(super) artifacts: Option<bool>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) pass_env: Vec<String>,
    pub(super) output: Option<Size>,
    pub(super) output_from: Option<OutputFrom>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) memory: Option<Size>,
    pub(super) cpu_cores: Option<f64>,
    pub(super) cpu_seconds: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) max_processes: Option<u64>,
    pub(super) file_size: Option<Size>,
    #[serde(default)]
    pub(super) exit: BTreeMap<String, ExitMeaning>,
    pub(super) working_directory: Option<PathBuf>,
    pub(super) env_file: Option<PathBuf>,
    pub(super) umask: Option<String>,
    pub(super) nice: Option<i32>,
    pub(super) ionice: Option<String>,
    #[serde(default)]
    pub(super) needs: BTreeMap<String, u32>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |error: &dyn std::fmt::Display| {
            ConfigError(format!("{}: {}", path.display(), error.to_string().trim_end()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        // The name alone: what is in its way of being read can be anything.
        let has_secrets = text.contains("credentials") || text.contains("proxy");
        match toml::from_str(&text) {
            Ok(file) => Ok(Self { text, ..file }),
            Err(error) if has_secrets => Err(failed(&credentials::without_secrets(&text, &error))),
            Err(error) => Err(failed(&error)),
        }
    }

    /// What fetching and sending is to keep to, with paths relative to `base`. Reads the files of credentials.
    pub(super) fn outbound(
        &self,
        path: Option<&Path>,
        base: &Path,
        allow_urls: Vec<String>,
    ) -> Result<outbound::Options, ConfigError> {
        let mut options = self.http.options(allow_urls, base);
        let Http { proxy, proxy_basic, .. } = &self.http;
        options.proxy = credentials::proxy(proxy.as_deref(), proxy_basic.as_ref(), base)?;
        let path = path.unwrap_or(Path::new(""));
        let tables = Tables { path, text: &self.text, base, allow_urls: &options.allow_urls };
        options.credentials = tables.read(&self.credentials)?;
        Ok(options)
    }

    /// What is queued at certain times. `tubes`: those of the worker.
    pub(super) fn schedules(
        &self,
        path: Option<&Path>,
        tubes: &[TubeName],
    ) -> Result<Vec<Schedule>, ConfigError> {
        schedule::read(&self.schedule, tubes, path.unwrap_or(Path::new("")), &self.text)
    }

    /// What is shown to servers, with paths relative to `base`.
    pub(super) fn shown_to_servers(&self, base: &Path) -> ServerFlags {
        let at = |path: &Option<PathBuf>| path.as_ref().map(|path| base.join(path));
        ServerFlags {
            token_file: at(&self.server_token_file),
            tls_ca: at(&self.server_tls_ca),
            tls_cert: at(&self.server_tls_cert),
            tls_key: at(&self.server_tls_key),
        }
    }
}

impl Http {
    fn options(&self, allow_urls: Vec<String>, base: &Path) -> outbound::Options {
        let mut options = outbound::Options { allow_urls, ..outbound::Options::default() };
        let seconds = Duration::from_secs;
        self.connect_timeout.into_iter().for_each(|it| options.connect_timeout = seconds(it));
        self.timeout.into_iter().for_each(|it| options.timeout = seconds(it));
        self.max_input.into_iter().for_each(|it| options.max_input_bytes = it.0);
        options.ca_files = self.ca_files.iter().map(|path| base.join(path)).collect();
        let certificates = self.client_certificates.iter();
        options.client_certificates = certificates
            .map(|ClientCertificate { prefix, cert, key }| outbound::ClientCertificate {
                prefix: prefix.clone(),
                identity: Identity { certificate: base.join(cert), key: base.join(key) },
            })
            .collect();
        options
    }
}

/// A list of texts, each read as a `T`.
fn texts<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}
