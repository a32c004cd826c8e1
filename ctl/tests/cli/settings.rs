//! Flags, environment, the configuration file, and what is wrong with them.

use std::fs;

use crate::rig::{Ctl, run};
use crate::support::{Server, scratch_path};

fn nowhere() -> Ctl {
    // Nobody listens there: the port is the lowest, and privileged.
    Ctl::to("127.0.0.1:1")
}

#[test]
fn a_server_that_is_not_there_is_said() {
    let said = nowhere().run(&["stats"]);
    assert_eq!(said.status, 6, "{said:?}");
    assert!(said.err.contains("127.0.0.1:1"), "{said:?}");
}

#[test]
fn what_needs_http_says_so() {
    for args in [
        &["drain", "--yes"][..],
        &["move", "--to", "t", "--from", "u"],
        &["undrain"],
        &["connections"],
        &["tail"],
        &["policy", "t"],
    ] {
        let said = nowhere().run(args);
        assert_eq!(said.status, 5, "{args:?}: {said:?}");
        assert!(said.err.contains("--http"), "{args:?}: {said:?}");
    }
    let said = nowhere().run(&["undrain", "--http", "ftp://host/"]);
    assert_eq!(said.status, 5, "{said:?}");
    let said = nowhere().run(&["undrain", "--http", "http://127.0.0.1:1/"]);
    assert_eq!(said.status, 6, "{said:?}");
}

#[test]
fn a_file_has_named_servers() {
    let server = Server::jq(&[] as &[&str]);
    let path = scratch_path("toml");
    let text = format!(
        "default = \"here\"\n[servers.here]\nserver = \"127.0.0.1:{}\"\n\
         [servers.nowhere]\nserver = \"127.0.0.1:1\"\n",
        server.port()
    );
    fs::write(&path, &text).unwrap();
    let config = path.to_str().unwrap().to_owned();
    let ctl = |args: &[&str]| run(Ctl::unled().command(args), b"");
    assert_eq!(ctl(&["stats", "--config", &config]).status, 0);
    assert_eq!(ctl(&["stats", "--config", &config, "-p", "nowhere"]).status, 6);
    let said = ctl(&["stats", "--config", &config, "-p", "elsewhere"]);
    assert_eq!(said.status, 5);
    assert!(said.err.contains("here, nowhere"), "{said:?}");
    let mut command = Ctl::unled().command(&["stats"]);
    command.env("JQ_CTL_CONFIG", &config).env("JQ_PROFILE", "nowhere");
    assert_eq!(run(command, b"").status, 6);
    fs::write(&path, text + "sever = 1\n").unwrap();
    let said = ctl(&["stats", "--config", &config]);
    assert_eq!(said.status, 5);
    assert!(said.err.contains("sever") && said.err.contains("line 6"), "{said:?}");
    fs::remove_file(&path).unwrap();
    assert_eq!(ctl(&["stats", "--config", &config]).status, 5);
    // One that nobody has asked for may be missing.
    let mut command = Ctl::unled().command(&["stats"]);
    command.env("JQ_SERVER", format!("127.0.0.1:{}", server.port()));
    assert_eq!(run(command, b"").status, 0);
}

#[test]
fn a_token_file_must_have_a_token() {
    let path = scratch_path("token");
    let flag = path.to_str().unwrap().to_owned();
    for text in [None, Some(""), Some("\nlate\n"), Some("two words\n")] {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let said = nowhere().run(&["stats", "--token-file", &flag]);
        assert_eq!(said.status, 5, "{text:?}: {said:?}");
        assert!(said.err.contains(&flag), "{text:?}: {said:?}");
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let out = nowhere().ok(&["completions", shell]);
        assert!(out.contains("jq-ctl") && out.contains("reserve"), "{shell}");
    }
    let said = nowhere().run(&["completions", "basic"]);
    assert_eq!(said.status, 5);
}

/// Not a colour, and no bar, unless a terminal is there to show it; or somebody asks for it.
#[test]
fn colours_only_when_wanted() {
    let server = Server::jq(&[] as &[&str]);
    let ctl = Ctl::of(&server);
    ctl.ok(&["put", "t", "1"]);
    assert!(!ctl.ok(&["tubes"]).contains('\u{1b}'));
    assert!(ctl.ok(&["tubes", "--color", "always"]).contains('\u{1b}'));
    assert!(!ctl.ok(&["tubes", "--color", "never"]).contains('\u{1b}'));
}

/// As with `jq-ctl tubes | head -1`.
#[test]
fn nobody_reads_on() {
    use std::process::Stdio;

    let server = Server::jq(&[] as &[&str]);
    let ctl = Ctl::of(&server);
    let mut child = ctl.command(&["stats"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn output_that_cannot_be_written_is_no_success() {
    for args in [&["--help"][..], &["--version"], &["completions", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = nowhere().command(args);
        let output = command.stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{args:?}: {said}");
        assert!(said.contains("No space left"), "{args:?}: {said}");
    }
    // Whoever reads no further has what it wanted.
    let mut child =
        nowhere().command(&["--help"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
