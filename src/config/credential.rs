//! Files that systemd hands to a service: `credential:NAME` is `$CREDENTIALS_DIRECTORY/NAME`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The value of a flag that names a file.
///
/// # Errors
///
/// What was expected, if it names a credential and there is none, or if the name is not that of a file.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    resolve(text, std::env::var_os("CREDENTIALS_DIRECTORY"))
}

fn resolve(text: &str, directory: Option<OsString>) -> Result<PathBuf, String> {
    let Some(name) = text.strip_prefix("credential:") else {
        return if text.is_empty() { Err("expected a path".to_owned()) } else { Ok(text.into()) };
    };
    if name.is_empty() || name.contains('/') || [".", ".."].contains(&name) {
        return Err("expected the name of a credential after \"credential:\"".to_owned());
    }
    match directory {
        Some(directory) if !directory.is_empty() => Ok(Path::new(&directory).join(name)),
        _ => Err(
            "there are no credentials: expected systemd to set CREDENTIALS_DIRECTORY, as it does \
                  for LoadCredential="
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_file_in_the_directory_of_systemd() {
        let resolve = |text: &str| resolve(text, Some("/run/credentials/q".into()));
        assert_eq!(resolve("/etc/auth.toml"), Ok("/etc/auth.toml".into()));
        assert_eq!(resolve("credential:auth"), Ok("/run/credentials/q/auth".into()));
        for bad in ["credential:", "credential:a/b", "credential:..", "credential:."] {
            assert!(resolve(bad).unwrap_err().contains("the name of a credential"), "{bad}");
        }
        assert!(resolve("").is_err());
    }

    #[test]
    fn without_systemd_there_are_none() {
        for none in [None, Some("".into())] {
            let told = resolve("credential:auth", none).unwrap_err();
            assert!(told.contains("CREDENTIALS_DIRECTORY"), "{told}");
        }
        assert_eq!(resolve("file", None), Ok("file".into()));
    }
}
