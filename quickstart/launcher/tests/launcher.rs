//! The launcher, with a cargo that only takes notes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file that was just written cannot be run while another thread starts a process, which has it
/// open for writing until it has become its program. So the tests here run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A target folder with the launcher in it, removed when dropped.
struct Target(PathBuf, #[expect(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

impl Target {
    fn new(name: &str) -> Self {
        let alone = alone();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("launcher-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("debug")).unwrap();
        let launcher = env!("CARGO_BIN_EXE_jq-quickstart-launcher");
        fs::copy(launcher, path.join("debug/launcher")).unwrap();
        Self(path, alone)
    }

    /// An executable script.
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn run(&self, cargo: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.0.join("debug/launcher"));
        command.args(arguments).env("CARGO", cargo).env("NOTES", self.0.join("notes"));
        command.output().unwrap()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn builds_once_and_becomes_what_it_has_built() {
    let target = Target::new("good");
    let cargo = target.script("cargo", r#"echo "$@" >> "$NOTES""#);
    target.script("quickstart/jq-quickstart", r#"echo "shown: $@"; exit 7"#);
    let output = target.run(&cargo, &["--once", "--more"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(7), "{said}");
    let (before, after) = said.split_once("Built in ").expect(&said);
    assert!(before.starts_with("Building jq-server and jq-worker"), "{said}");
    assert!(after.ends_with(" s.\n\nshown: --once --more\n"), "{said}");
    let notes = fs::read_to_string(target.0.join("notes")).unwrap();
    assert_eq!(
        notes,
        "build --profile quickstart --no-default-features -p jq-server -p jq-worker -p jq-quickstart\n"
    );
}

#[test]
fn starts_nothing_if_the_build_fails() {
    let target = Target::new("bad");
    let cargo = target.script("cargo", "exit 101");
    target.script("quickstart/jq-quickstart", "echo shown");
    let output = target.run(&cargo, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "quickstart: cargo build failed\n");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("shown"));
}

/// What the alias runs has no dependencies, or they would be built twice.
#[test]
fn the_alias_builds_nothing_else_beforehand() {
    let _alone = alone();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = fs::read_to_string(root.join(".cargo/config.toml")).unwrap();
    let alias = "quickstart = \"run --quiet -p jq-quickstart-launcher --\"";
    assert!(config.lines().any(|line| line == alias), "{config}");
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(&root).args(["tree", "--offline", "--edges", "normal,build"]);
    let output = tree.args(["-p", "jq-quickstart-launcher"]).output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert_eq!(tree.lines().count(), 1, "{tree}{}", String::from_utf8_lossy(&output.stderr));
}

/// The profile has to be there by its name.
#[test]
fn the_profile_is_the_workspaces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.lines().any(|line| line == "[profile.quickstart]"));
}
