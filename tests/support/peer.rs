//! Programs that the tests play against and that a machine may lack.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Finds an executable by name on PATH.
pub(crate) fn executable(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

/// The real beanstalkd, or `None` after saying what is skipped.
///
/// `what` completes the sentence "skipped: ...".
pub(crate) fn beanstalkd(what: &str) -> Option<PathBuf> {
    let found = executable("beanstalkd");
    if found.is_none() {
        skip(what, "beanstalkd is not installed (Debian: apt-get install beanstalkd)");
    }
    found
}

/// Says loudly, once, that a test did not run; with `JQ_REQUIRE_PEERS=1` that is a failure.
///
/// # Panics
///
/// If `JQ_REQUIRE_PEERS` is `1`.
pub(crate) fn skip(what: &str, why: &str) {
    assert!(env::var("JQ_REQUIRE_PEERS").as_deref() != Ok("1"), "{what}: {why}");
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_new = SAID.lock().expect("nobody panics with it").insert(what.to_owned());
    if !is_new {
        return;
    }
    // Not `eprintln!`: the test harness captures that, and hides it when the test passes.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}: {why}");
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
