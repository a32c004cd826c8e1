//! `--auth FILE`: read at the start, and again on SIGHUP.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::run::{run, start};
use crate::support::{Process, jq_server, scratch_path};

const EXIT_USAGE: i32 = 5;

/// A file of principals, without tokens.
struct Principals(PathBuf);

impl Principals {
    fn new(text: &str) -> Self {
        let path = scratch_path("toml");
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Principals {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const SITE: &str = "[[principal]]\nname = \"site\"\nput = [\"mail\"]\n";

fn with_auth(file: &str) -> Process {
    start(&["-l", "127.0.0.1", "-p", "0", "--auth", file])
}

#[test]
fn a_file_that_cannot_be_used_exits_with_5() {
    let mistake = Principals::new("[[principal]]\nname = \"site\"\nputs = [\"mail\"]\n");
    let folder = std::env::temp_dir();
    for (file, told) in [
        (mistake.path(), "line 3, column 1: unknown field `puts`"),
        ("/nonexistent/auth.toml", "No such file"),
        (folder.to_str().unwrap(), "it is not a regular file"),
        ("credential:auth", "CREDENTIALS_DIRECTORY"),
        ("credential:../auth", "expected the name of a credential"),
        ("", "expected a path"),
    ] {
        let (status, output) =
            run(&["-l", "127.0.0.1", "-p", "0", "--auth", file].map(str::to_owned));
        assert_eq!(status, EXIT_USAGE, "{file}: {output}");
        assert!(output.contains("--auth") && output.contains(told), "{file}: {output}");
    }
}

#[test]
fn a_credential_of_systemd_is_a_file() {
    let file = Principals::new(SITE);
    let mut command = Command::new(jq_server());
    let name = file.0.file_name().unwrap().to_str().unwrap();
    command.env("CREDENTIALS_DIRECTORY", file.0.parent().unwrap());
    command.args(["-l", "127.0.0.1", "-p", "0", "--auth", &format!("credential:{name}")]);
    Process::spawn(command).await_output("listening address=");
}

#[test]
fn the_file_is_read_again_on_sighup() {
    let file = Principals::new(SITE);
    let server = with_auth(file.path());
    server.await_output("listening address=");
    fs::write(&file.0, format!("{SITE}{}", SITE.replace("site", "other"))).unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.await_output("the file of --auth was read again");
    assert!(line.contains("principals=2"), "{line}");

    fs::write(&file.0, format!("{SITE}pull = 1\n")).unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.await_output("the principals of before stay");
    assert!(line.contains(file.path()) && line.contains("line 4, column 1"), "{line}");

    fs::remove_file(&file.0).unwrap();
    server.signal(Signal::SIGHUP);
    server.await_output("No such file or directory (os error 2): the principals of before stay");

    fs::write(&file.0, SITE).unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.await_output("principals=1");
    assert!(line.contains("was read again"), "{line}");
}
