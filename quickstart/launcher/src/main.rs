//! What `cargo quickstart` runs: builds everything with one cargo command, and starts it.
//!
//! `cargo run` builds one package, with just the features that this package wants of its
//! dependencies. If it built `jq-quickstart`, and that built the server and the worker, tokio and
//! all that stands on it would be built twice. So this program comes first. It has no
//! dependencies, and is there in a second.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The profile that is built, in the workspace's `Cargo.toml`; also its folder in the target folder.
const PROFILE: &str = "quickstart";

/// What is built. The last is started.
const PACKAGES: [&str; 3] = ["jq-server", "jq-worker", "jq-quickstart"];

fn main() -> ExitCode {
    let Err(failed) = run();
    let _ = writeln!(io::stderr(), "quickstart: {failed}");
    ExitCode::FAILURE
}

/// Returns only if it fails: `jq-quickstart` takes the place of this process, so that Ctrl-C and
/// exit status are its own.
fn run() -> Result<std::convert::Infallible, String> {
    let program = built().map_err(|error| format!("cannot tell where we are: {error}"))?;
    build()?;
    let mut command = Command::new(&program);
    command.args(env::args_os().skip(1));
    Err(format!("cannot start {}: {}", program.display(), command.exec()))
}

/// Where cargo puts the last of [`PACKAGES`]. Our own executable is in the folder of another
/// profile, beside [`PROFILE`]'s; this holds for every way to move the target folder.
fn built() -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    let target = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(target.join(PROFILE).join(PACKAGES[PACKAGES.len() - 1]))
}

fn build() -> Result<(), String> {
    say("Building jq-server and jq-worker, which takes about a minute the first time ...");
    let began = Instant::now();
    // Set by `cargo run`: with several toolchains, the build is done by the same one.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--profile", PROFILE]);
    // Without jemalloc, which takes half a minute and `make`, and shows only after gigabytes of jobs.
    command.arg("--no-default-features");
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err("cargo build failed".to_owned());
    }
    say(&format!("Built in {} s.\n", began.elapsed().as_secs()));
    Ok(())
}

/// Whoever pipes our output to something that has ended gets the same build.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
