//! The store that workers share, and the workers that are asked.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::ConfigError;
use crate::shared::{SharedOptions, check_url};

/// The most workers that can be asked: all are asked at the same time.
const MAX_PEERS: usize = 64;

/// The table `[store]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreTable {
    url: Option<String>,
    options_file: Option<PathBuf>,
}

impl StoreTable {
    /// Reads the file of options.
    pub(super) fn read(
        &self,
        base: &Path,
        ca_files: &[PathBuf],
    ) -> Result<Option<SharedOptions>, ConfigError> {
        let Some(url) = &self.url else {
            return match &self.options_file {
                None => Ok(None),
                Some(_) => Err(ConfigError("store.options_file: there is no store.url".to_owned())),
            };
        };
        let url = check_url(url).map_err(|why| ConfigError(format!("store.url: {why}")))?;
        let file = self.options_file.as_ref().map(|path| base.join(path));
        let options = file.as_deref().map(read_options).transpose()?.unwrap_or_default();
        Ok(Some(SharedOptions { url, options, ca_files: ca_files.to_vec() }))
    }
}

/// Lines of `NAME=value`. No value is shown.
fn read_options(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let bad = |why: String| ConfigError(format!("store.options_file: {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let mut options = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let expected = || bad(format!("line {number}: expected NAME=value"));
        let (name, value) = line.split_once('=').ok_or_else(expected)?;
        let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(expected());
        }
        options.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(options)
}

/// The URLs of other workers, each with a slash at its end.
pub(super) fn peers(texts: &[String]) -> Result<Vec<Url>, ConfigError> {
    if texts.len() > MAX_PEERS {
        let why = format!("peers has {} entries: expected at most {MAX_PEERS}", texts.len());
        return Err(ConfigError(why));
    }
    let read = texts.iter().enumerate().map(|(number, text)| {
        let bad = || {
            // The text may have a password in it.
            let why = "expected http://HOST:PORT or https://HOST:PORT, perhaps with a path";
            ConfigError(format!("peers: entry {}: {why}", number + 1))
        };
        if text.contains(['@', '?', '#']) {
            return Err(bad());
        }
        let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).map_err(|_| bad())?;
        if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(bad()) }
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_base() {
        let read = |text: &str| peers(&[text.to_owned()]).map(|urls| urls[0].to_string());
        assert_eq!(read("http://w2:11380").unwrap(), "http://w2:11380/");
        assert_eq!(read("https://w2/results/").unwrap(), "https://w2/results/");
        for text in ["", "w2:11380", "ftp://w2/", "http://", "http://u:s3cret@w2/", "http://w2/?x"]
        {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.starts_with("peers: entry 1: expected http"), "{refused}");
            assert!(!refused.contains("s3cret"));
        }
        let many = vec!["http://w/".to_owned(); MAX_PEERS + 1];
        assert!(peers(&many).unwrap_err().to_string().contains("at most 64"));
    }

    #[test]
    fn the_url_of_a_store() {
        let table = |url: &str| StoreTable { url: Some(url.to_owned()), options_file: None };
        for url in ["s3://bucket", "gs://bucket/a/b", "az://container/", "file:///mnt/shared"] {
            let options = table(url).read(Path::new(""), &[]).unwrap().unwrap();
            assert_eq!(options.url.as_str().trim_end_matches('/'), url.trim_end_matches('/'));
        }
        for url in [
            "",
            "s3:",
            "s3://",
            "/mnt/x",
            "http://x/",
            "file://host/x",
            "s3://a:s3cret@b/",
            "s3://b?x=s3cret",
        ] {
            let refused = table(url).read(Path::new(""), &[]).unwrap_err().to_string();
            assert!(refused.starts_with("store.url: expected"), "{url}: {refused}");
            assert!(!refused.contains("s3cret"));
        }
    }
}
