//! Programs of the workspace that belong to other packages than the one that is tested.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The program of a package of the workspace that is named like it. Cargo tells where it is to the
/// tests of that package only. Those of another find it where Cargo puts programs, and build it if
/// nobody has.
pub(crate) fn program(name: &str) -> PathBuf {
    static ONE_BUILDS: Mutex<()> = Mutex::new(());
    // A test is in `target/debug/deps`, say.
    let own = env::current_exe().expect("a test knows where it is");
    let folder = own.ancestors().nth(2).expect("it is in a folder of a folder");
    let path = folder.join(name);
    let _building = ONE_BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    if !path.exists() {
        build(folder, name);
    }
    path
}

/// Builds a program into a folder of Cargo's, `target/debug` say.
fn build(folder: &Path, name: &str) {
    let profile = folder.file_name().expect("it has a name");
    let profile = if profile == "debug" { OsStr::new("dev") } else { profile };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", name, "--bin", name, "--profile"]);
    cargo.arg(profile).arg("--target-dir").arg(folder.parent().expect("it is in Cargo's"));
    assert!(cargo.status().is_ok_and(|status| status.success()), "{name} can be built");
}
