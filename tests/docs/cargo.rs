//! Command lines of cargo: its own flags, and the packages and targets that they name.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::markdown::project;
use crate::programs;
use crate::support;

/// Subcommands that come with cargo, and whose flags it therefore checks.
const BUILT_IN: &[&str] = &["build", "run", "test", "bench", "check", "doc", "install"];

/// Further ones: components of the toolchain, and tools to be installed.
const EXTERNAL: &[&str] = &["fmt", "clippy", "deny", "fuzz", "audit", "auditable"];

/// The package of the workspace's root.
const ROOT: &str = "jq-server";

/// Whether cargo, and the program that it runs, would take these arguments; if not, why.
pub(crate) fn accepts(arguments: &[String]) -> Result<(), String> {
    let Some((subcommand, rest)) = arguments.split_first() else { return Ok(()) };
    if let Some(alias) = alias(subcommand) {
        let mut words: Vec<String> = alias.split(' ').map(str::to_owned).collect();
        words.extend_from_slice(rest);
        return accepts(&words);
    }
    let own: Vec<&String> = rest.iter().take_while(|word| *word != "--").collect();
    if EXTERNAL.contains(&&**subcommand) {
        // clippy hands its flags to `cargo check`.
        let flags: &[&String] = if subcommand == "clippy" { &own } else { &[] };
        return cargo_accepts("check", flags);
    }
    if !BUILT_IN.contains(&&**subcommand) {
        return Err(format!("cargo {subcommand} is not known here"));
    }
    cargo_accepts(subcommand, &own)?;
    let package = value(&own, &["-p", "--package"]);
    if let Some(package) = package.filter(|package| !names().contains(*package)) {
        return Err(format!("there is no package {package}"));
    }
    let packages = selected(&own);
    for kind in ["test", "bench", "bin", "example"] {
        for target in values(&own, &[&format!("--{kind}")]) {
            if !targets(kind, packages.as_deref()).contains(target) {
                return Err(format!("there is no {kind} {target} in the packages that are meant"));
            }
        }
    }
    if subcommand == "run" {
        let program = package.unwrap_or(ROOT);
        if programs::OURS.contains(&program) {
            let theirs: Vec<String> = rest.iter().skip(own.len() + 1).cloned().collect();
            return programs::accepts(program, &theirs);
        }
    }
    Ok(())
}

/// What stands for a subcommand in the project's settings.
fn alias(name: &str) -> Option<String> {
    let settings = fs::read_to_string(project().join(".cargo/config.toml")).ok()?;
    let start = format!("{name} = \"");
    let line = settings.lines().find_map(|line| line.strip_prefix(&start))?;
    Some(line.trim_end_matches('"').to_owned())
}

/// With `-h` behind them, the flags are read and nothing is done.
fn cargo_accepts(subcommand: &str, flags: &[&String]) -> Result<(), String> {
    let output = cargo().arg(subcommand).args(flags).arg("-h").output().expect("cargo starts");
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(project());
    cargo
}

fn value<'a>(words: &[&'a String], flags: &[&str]) -> Option<&'a str> {
    values(words, flags).next()
}

/// What follows any of these flags.
fn values<'a>(words: &[&'a String], flags: &[&str]) -> impl Iterator<Item = &'a str> {
    let pairs = words.windows(2).filter(|pair| flags.contains(&&**pair[0]));
    pairs.map(|pair| pair[1].as_str())
}

/// The packages that a command is about; `None` for all.
fn selected<'a>(words: &[&'a String]) -> Option<Vec<&'a str>> {
    if words.iter().any(|word| *word == "--workspace" || *word == "--all") {
        return None;
    }
    let named: Vec<&str> = values(words, &["-p", "--package"]).collect();
    Some(if named.is_empty() { vec![ROOT] } else { named })
}

/// The names of the workspace's packages.
fn names() -> BTreeSet<String> {
    packages().iter().map(name_of).collect()
}

/// The names of the targets of one kind, in these packages or in all.
fn targets(kind: &str, of: Option<&[&str]>) -> BTreeSet<String> {
    let packages = packages().iter().filter(|it| of.is_none_or(|of| of.contains(&&*name_of(it))));
    let targets = packages.flat_map(|it| it["targets"].as_array().expect("it has targets"));
    targets.filter(|it| it["kind"][0] == kind).map(name_of).collect()
}

fn name_of(it: &Value) -> String {
    it["name"].as_str().expect("it has a name").to_owned()
}

fn packages() -> &'static [Value] {
    static METADATA: OnceLock<Value> = OnceLock::new();
    let metadata = METADATA.get_or_init(|| {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
        let output = command.output().expect("cargo starts");
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
    });
    metadata["packages"].as_array().expect("there are packages")
}

#[test]
fn what_cargo_refuses_is_found() {
    let accepts = |text: &str| {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        accepts(&words)
    };
    for right in [
        "build --release",
        "quickstart",
        "test --release --test compat random",
        "clippy --workspace --all-targets",
        "run --release -p jq-compare -- --help",
        "run --release -- -p 11300",
    ] {
        assert_eq!(accepts(right), Ok(()), "{right}");
    }
    for wrong in [
        "biuld",
        "build --relase",
        "test -p no-such",
        "test --test no-such",
        "bench --bench no-such",
        "build --bin jq-worker",
        "build -p jq-worker --bin jq-worker --bin jq-server",
        "clippy --all-target",
        "run -p jq-compare -- --no-such",
        "run -- --no-such",
    ] {
        assert!(accepts(wrong).is_err(), "{wrong}");
    }
    // The fuzzer's own flags can be checked where it is installed.
    if support::executable("cargo-fuzz").is_some() {
        assert_eq!(accepts("fuzz build -s none"), Ok(()));
    }
}
