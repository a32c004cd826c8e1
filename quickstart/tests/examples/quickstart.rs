//! `cargo quickstart` itself.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{self, Child, ChildStdout, Command, Stdio};

use jq_quickstart::folder::Folder;
use jq_quickstart::http;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{is_there, processes_with, programs, until};

/// The quickstart, which has its temporary folder in ours.
fn quickstart(folder: &Folder) -> Command {
    // It looks for them where they are now.
    programs();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jq-quickstart"));
    command
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Processes and files that it has left.
fn assert_nothing_left(folder: &Folder) {
    // Servers, keepers and jobs all know their folder for temporary files.
    let mark = format!("TMPDIR={}", folder.path().display());
    // A keeper ends when it sees that its worker has.
    until("no process is left", || processes_with(&mark).is_empty());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn once_it_prints_the_results_and_leaves_nothing() {
    if !is_there("the quickstart", "python3", &["--version"]) {
        return;
    }
    let folder = Folder::new().unwrap();
    let output = quickstart(&folder).arg("--once").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}\n{complained}");
    for text in [
        "drunken_sailor  step 400 of 400",
        "word_count      50 %",
        "\"status\": \"successful\"",
        "\"distance\": 65.0",
        "{\"words\": 28, \"most_common\": [[\"the\", 4]",
    ] {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
    assert_nothing_left(&folder);
}

#[tokio::test]
async fn what_it_shows_stays_until_it_is_interrupted() {
    if !is_there("the quickstart", "python3", &["--version"]) {
        return;
    }
    let folder = Folder::new().unwrap();
    let mut running = Running::start(&folder);
    let said = running.until_it_stays();
    let url = said.split("The result of the walk, at http://").nth(1).expect(&said);
    let (address, path) = url.split_once('/').unwrap();
    let worker: SocketAddr = address.parse().unwrap();
    let path = format!("/{}", path.split_once(':').unwrap().0);
    let (status, body) = http::get(worker, &path).await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"status\":\"successful\""), "{body}");
    let picture = said.split("A picture of it, at http://").nth(1).expect(&said);
    let (_, picture) = picture.lines().next().unwrap().split_once('/').unwrap();
    assert_eq!(format!("/{picture}"), format!("{path}/walk.png"), "{said}");
    assert!(body.contains("\"type\":\"image/png\""), "{body}");
    let (status, picture) = http::get_bytes(worker, &format!("/{picture}")).await.unwrap();
    assert!(status == 200 && picture.starts_with(b"\x89PNG\r\n"), "{status}");
    for (path, text) in [
        ("/", "quickstart"),
        ("/metrics", "jq_worker_jobs_total{type=\"word_count\",outcome=\"successful\"} 1"),
        ("/api/v1/status", "\"connected\":true"),
    ] {
        let (status, body) = http::get(worker, path).await.unwrap();
        assert!(status == 200 && body.contains(text), "{path}: {status} {body}");
    }
    running.signal(Signal::INT);
    let status = running.child.wait().unwrap();
    let mut complained = String::new();
    running.child.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    assert!(status.success(), "{status}: {complained}");
    assert_nothing_left(&folder);
}

/// A quickstart that stays. When this is dropped, it cleans up and ends.
struct Running {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Folder) -> Self {
        let mut child = quickstart(folder).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// What it says up to the advice for those who stay.
    fn until_it_stays(&mut self) -> String {
        let mut said = String::new();
        while self.said.read_line(&mut said).unwrap() > 0 {
            if said.ends_with("tells how to write a handler.\n") {
                return said;
            }
        }
        panic!("it ended with {:?} after this:\n{said}", self.child.wait());
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

#[test]
fn without_the_programs_it_says_so() {
    let folder = Folder::new().unwrap();
    // A second name and no copy: what was just written cannot be run while another test starts a
    // process.
    let alone = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alone-{}", process::id()));
    fs::hard_link(env!("CARGO_BIN_EXE_jq-quickstart"), &alone).unwrap();
    let output = Command::new(&alone).arg("--once").env("TMPDIR", folder.path()).output();
    fs::remove_file(alone).unwrap();
    let output = output.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`cargo quickstart` builds them"), "{said}");
    assert_nothing_left(&folder);
}

#[test]
fn without_python_it_says_so() {
    let folder = Folder::new().unwrap();
    let output = quickstart(&folder).env("PATH", folder.path()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("need python3, which is not on PATH"), "{said}");
    assert_nothing_left(&folder);
}
