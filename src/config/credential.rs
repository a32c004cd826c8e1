//! Files that the service manager provides: systemd.exec(5), `LoadCredential=`.

use std::env;
use std::path::PathBuf;

/// The directory in which systemd has put the credentials of this service.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A path, or `credential:NAME`, which is the file NAME in `$CREDENTIALS_DIRECTORY`.
pub(super) fn credential_or_path(text: &str) -> Result<PathBuf, String> {
    path_of(text, env::var_os(DIRECTORY).map(PathBuf::from))
}

fn path_of(text: &str, directory: Option<PathBuf>) -> Result<PathBuf, String> {
    let Some(name) = text.strip_prefix("credential:") else {
        return if text.is_empty() { Err("expected a path".to_owned()) } else { Ok(text.into()) };
    };
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err("expected the name of a credential after \"credential:\"".to_owned());
    }
    let directory = directory.filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.ok_or_else(|| {
        format!("there are no credentials: ${DIRECTORY} is not set. See LoadCredential= of systemd")
    })?;
    Ok(directory.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_files_of_a_directory() {
        let given = || Some(PathBuf::from("/run/credentials/q.service"));
        assert_eq!(path_of("/etc/q.pem", None), Ok("/etc/q.pem".into()));
        let found = path_of("credential:q.pem", given());
        assert_eq!(found, Ok("/run/credentials/q.service/q.pem".into()));
        for (text, directory, told) in [
            ("", given(), "a path"),
            ("credential:", given(), "the name of a credential"),
            ("credential:..", given(), "the name of a credential"),
            ("credential:a/b", given(), "the name of a credential"),
            ("credential:a", None, "LoadCredential="),
            ("credential:a", Some(PathBuf::new()), "$CREDENTIALS_DIRECTORY is not set"),
        ] {
            let error = path_of(text, directory).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
