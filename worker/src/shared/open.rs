//! From a URL and options to a store.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use tokio::sync::Semaphore;
use url::Url;

use super::{MAX_FILES, MAX_WRITES, SharedStore, said};

/// What a URL of a store begins with.
const SCHEMES: [&str; 4] = ["s3", "gs", "az", "file"];

/// Where results and artifacts are kept for all workers.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedOptions {
    /// Checked by [`check_url`].
    pub url: Url,
    /// Names and values, in addition to those of the environment. They may be secret.
    pub options: Vec<(String, String)>,
    /// PEM files with authorities that are trusted besides the system's.
    pub ca_files: Vec<PathBuf>,
}

impl fmt::Debug for SharedOptions {
    /// Without the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.options.iter().map(|(name, _)| name).collect();
        let mut debug = f.debug_struct("SharedOptions");
        debug.field("url", &self.url.as_str()).field("options", &names).finish_non_exhaustive()
    }
}

/// Reads the URL of a store.
///
/// # Errors
///
/// What was expected. The text is not shown: it may have a password in it.
pub fn check_url(text: &str) -> Result<Url, String> {
    let expected = || {
        "expected s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH or file:///PATH"
            .to_owned()
    };
    let url = Url::parse(text).map_err(|_| expected())?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(expected());
    }
    if text.contains(['@', '?', '#']) {
        let why = "expected neither a user, a query nor a fragment: credentials are in the environment or in \
                   store.options_file";
        return Err(why.to_owned());
    }
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    let is_whole =
        if url.scheme() == "file" { !has_host } else { has_host && url.port().is_none() };
    if is_whole { Ok(url) } else { Err(expected()) }
}

impl SharedStore {
    /// Makes a store ready. Makes no connection.
    ///
    /// # Errors
    ///
    /// What is wrong with its options, without their values; or with its folder.
    pub fn open(options: &SharedOptions) -> Result<Self, String> {
        // Whoever came first in this process has installed one; ours or theirs, both will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let SharedOptions { url, options: given, ca_files } = options;
        let mut folder = None;
        let retry = RetryConfig {
            // Whoever calls tries again.
            max_retries: 1,
            retry_timeout: Duration::from_secs(10),
            ..RetryConfig::default()
        };
        let connector = Connector::new(ca_files)?;
        macro_rules! remote {
            ($builder:ty, $key:ty, $prefix:literal) => {{
                let mut builder = <$builder>::new();
                for (key, value) in defaults() {
                    builder = builder.with_config(<$key>::Client(key), value);
                }
                for (key, value) in from_environment::<$key>($prefix) {
                    builder = builder.with_config(key, value);
                }
                for (name, value) in given {
                    let key = <$key>::from_str(&name.to_ascii_lowercase());
                    let key =
                        key.map_err(|_| format!("{name} is no option of {}://", url.scheme()))?;
                    builder = builder.with_config(key, value);
                }
                let builder = builder.with_url(url.as_str()).with_retry(retry);
                let built = builder.with_http_connector(connector).build();
                Arc::new(built.map_err(|error| said(&error))?) as Arc<dyn ObjectStore>
            }};
        }
        let objects = match url.scheme() {
            "s3" => remote!(AmazonS3Builder, AmazonS3ConfigKey, "AWS_"),
            "gs" => remote!(GoogleCloudStorageBuilder, GoogleConfigKey, "GOOGLE_"),
            "az" => remote!(MicrosoftAzureBuilder, AzureConfigKey, "AZURE_"),
            _ => {
                if let Some((name, _)) = given.first() {
                    return Err(format!("{name}: a folder has no options"));
                }
                let path = url.to_file_path().map_err(|()| "it is no path".to_owned())?;
                let shown = path.display().to_string();
                match fs::metadata(&path) {
                    Ok(meta) if meta.is_dir() => {}
                    Ok(_) => return Err(format!("{shown} is not a folder")),
                    Err(error) => return Err(format!("{shown}: {error}")),
                }
                let store =
                    LocalFileSystem::new_with_prefix(&path).map_err(|error| said(&error))?;
                folder = Some(path);
                Arc::new(store.with_fsync(true)) as Arc<dyn ObjectStore>
            }
        };
        let prefix = if folder.is_some() { "" } else { url.path() };
        Ok(Self {
            name: url.as_str().trim_end_matches('/').to_owned(),
            objects,
            prefix: Path::from_url_path(prefix).map_err(|error| said(&error))?,
            folder,
            writes: Semaphore::new(MAX_WRITES),
            files: Semaphore::new(MAX_FILES),
            failed: Mutex::default(),
        })
    }
}

/// What counts unless the environment or the options say otherwise.
fn defaults() -> [(ClientConfigKey, &'static str); 4] {
    [
        (ClientConfigKey::ConnectTimeout, "5 seconds"),
        (ClientConfigKey::Timeout, "10 minutes"),
        (ClientConfigKey::ReadTimeout, "30 seconds"),
        (ClientConfigKey::UserAgent, concat!("jq-worker/", env!("CARGO_PKG_VERSION"))),
    ]
}

/// Variables whose names begin like this and that are options.
fn from_environment<K: FromStr>(prefix: &str) -> Vec<(K, String)> {
    let texts = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        let key = name.starts_with(prefix).then(|| name.to_ascii_lowercase().parse().ok())??;
        Some((key, value))
    });
    texts.collect()
}

/// Makes HTTP clients that trust more authorities.
#[derive(Debug)]
struct Connector {
    authorities: Vec<Certificate>,
}

impl Connector {
    fn new(ca_files: &[PathBuf]) -> Result<Self, String> {
        let mut authorities = Vec::new();
        for path in ca_files {
            let bad = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
            let pem = fs::read(path).map_err(|error| bad(&error))?;
            let read = Certificate::from_pem_bundle(&pem).map_err(|error| bad(&error))?;
            authorities.extend(read);
        }
        Ok(Self { authorities })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let trusting = |options: ClientOptions, authority: &Certificate| {
            options.with_root_certificate(authority.clone())
        };
        let options = self.authorities.iter().fold(options.clone(), trusting);
        ReqwestConnector::default().connect(&options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_store_is_made_of_its_options() {
        let key = "c2VjcmV0";
        for (url, given, is_whole) in [
            (
                "s3://b/of/us",
                vec![("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", key)],
                true,
            ),
            (
                "az://b/of/us",
                vec![("AZURE_STORAGE_ACCOUNT_NAME", "x"), ("AZURE_STORAGE_ACCOUNT_KEY", key)],
                true,
            ),
            ("gs://b/of/us", vec![("GOOGLE_SERVICE_ACCOUNT", "/nowhere/key.json")], false),
        ] {
            let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let options = given.into_iter().map(own).collect();
            let url = check_url(url).unwrap();
            let made = SharedStore::open(&SharedOptions { url, options, ca_files: Vec::new() });
            match made {
                Ok(store) => {
                    assert!(is_whole && store.prefix.as_ref() == "of/us", "{store:?}");
                    assert!(!format!("{store:?}").contains(key), "{store:?}");
                }
                Err(why) => assert!(!is_whole && why.contains("/nowhere/key.json"), "{why}"),
            }
        }
    }
}
