//! What tests need and a machine may lack: programs to play against, and rights. A test that lacks it
//! is skipped by [`skip`], and in no other way.

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

/// Says loudly, once, that a test did not run. `what` names what was not tested, in a few words.
///
/// # Panics
///
/// If `JQ_REQUIRE_PEERS` is `1`, and `what` is not among the names, separated by commas, in
/// `JQ_ALLOW_SKIP`.
pub(crate) fn skip(what: &str, why: &str) {
    let (required, allowed) = (env::var("JQ_REQUIRE_PEERS"), env::var("JQ_ALLOW_SKIP"));
    assert!(
        may_skip(what, required.as_deref().ok(), allowed.as_deref().ok()),
        "{what}: {why} (to have it skipped all the same, name it: JQ_ALLOW_SKIP={what:?})"
    );
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_new = SAID.lock().expect("nobody panics with it").insert(what.to_owned());
    if !is_new {
        return;
    }
    // Not `eprintln!`: the test harness captures that, and hides it when the test passes.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}: {why}");
}

fn may_skip(what: &str, required: Option<&str>, allowed: Option<&str>) -> bool {
    let mut allowed = allowed.unwrap_or_default().split(',').map(str::trim);
    required != Some("1") || allowed.any(|name| name == what)
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Only where the flag forbids it, and the name is not on the list.
#[test]
fn what_may_be_skipped() {
    assert!(may_skip("a disk", None, None));
    assert!(may_skip("a disk", Some("0"), None));
    assert!(!may_skip("a disk", Some("1"), None));
    assert!(!may_skip("a disk", Some("1"), Some("")));
    assert!(!may_skip("a disk", Some("1"), Some("disk, a disk or two")));
    assert!(may_skip("a disk", Some("1"), Some("groups, a disk")));
}
