//! What the tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jq_quickstart::programs::{Programs, project};

use crate::peer;

/// How long anything may take. Only what is broken lets this pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something.
pub(crate) const EVERY: Duration = Duration::from_millis(20);

/// The programs: those beside our own, which `cargo test --workspace` has built. If they are not
/// there, they are built. With `-p jq-quickstart` they are as they were built last.
pub(crate) fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_jq-quickstart")).parent().unwrap();
        let programs = Programs::within(folder);
        if !programs.are_there() {
            build(folder);
            assert!(programs.are_there(), "cargo did not build them in {}", folder.display());
        }
        programs
    })
}

/// Builds the programs into the folder that our own profile has in the target folder.
fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(project()).args(["build", "-p", "jq-server", "-p", "jq-worker"]);
    cargo.args(["--profile", profile, "--target-dir"]).arg(folder.parent().unwrap());
    assert!(cargo.status().unwrap().success(), "cargo build failed");
}

/// Whether a program does what the arguments say, its version most often. If not, it is said that
/// `what` is skipped.
pub(crate) fn is_there(what: &str, program: impl AsRef<Path>, arguments: &[&str]) -> bool {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let is_there = command.status().is_ok_and(|status| status.success());
    if !is_there {
        peer::skip(what, &format!("this fails: {} {}", program.display(), arguments.join(" ")));
    }
    is_there
}

/// Where client libraries were installed for the tests.
pub(crate) fn clients() -> PathBuf {
    let usual = || project().join("target/clients");
    std::env::var_os("JQ_CLIENTS_DIR").map_or_else(usual, PathBuf::from)
}

/// The processes that have this in their environment.
pub(crate) fn processes_with(variable: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // Of a process that has just ended there is none.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|it| it == variable.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "it never came to this: {what}");
        std::thread::sleep(EVERY);
    }
}
