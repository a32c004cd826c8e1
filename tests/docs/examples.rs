//! Code in the pages that can be run on any machine is run, and what it reads or writes is what the
//! pages say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use jq_server::access::Directory;
use serde_json::Value;

use crate::certificates::{Authority, Valid};
use crate::markdown::{Block, page, pages, project};
use crate::support::folder::Folder;
use crate::{shell, support};

/// Blocks of the page on the worker in one language.
fn blocks(language: &str) -> Vec<Block> {
    let blocks = page("docs/worker.md").blocks();
    let found: Vec<Block> = blocks.into_iter().filter(|it| it.language == language).collect();
    assert!(!found.is_empty(), "docs/worker.md shows {language}");
    found
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} starts: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn json_is_json() {
    for block in pages().iter().flat_map(|page| page.blocks()) {
        if block.language == "json" {
            let parsed = serde_json::from_str::<Value>(&block.text());
            assert!(parsed.is_ok(), "{}: {parsed:?}", block.place());
        }
    }
}

/// The job that is explained is one, and the result has the members that a real one has.
#[test]
fn the_job_and_the_result_are_as_the_worker_has_them() {
    let documents: Vec<Value> = blocks("json")
        .iter()
        .map(|block| serde_json::from_str(&block.text()).expect("it is JSON"))
        .collect();
    let [job, shown] = &documents[..] else { panic!("a job and a result: {documents:?}") };
    let folder = Folder::new();
    // Nobody serves its input here, and a run sends no result.
    let mut job = job.clone();
    let members = job.as_object_mut().expect("a job is an object");
    for absent in ["input", "expires_at"] {
        members.remove(absent).expect("it is shown");
    }
    let file = folder.path().join("job.json");
    fs::write(&file, job.to_string()).expect("the folder is writable");
    let ran = output(
        Command::new(support::program("jq-worker"))
            .args(["run", "--allow-url", "https://site.example/"])
            .arg(&file)
            .args(["--", "echo", "{\"series\":[]}"])
            .current_dir(folder.path()),
    );
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let real: Value = serde_json::from_slice(&ran.stdout).expect("a result is JSON");
    assert_eq!(real["custom"], job["custom"]);
    // A job's, and only there when it has it.
    let names = |result: &Value| -> Vec<String> {
        let members = result.as_object().expect("a result is an object");
        members.keys().filter(|name| *name != "custom").cloned().collect()
    };
    assert_eq!(names(shown), names(&real));
    assert_eq!(shown["output"], real["output"]);
}

#[test]
fn files_of_principals_can_be_used() {
    let blocks: Vec<Block> = pages().iter().flat_map(|page| page.blocks()).collect();
    let is_file =
        |block: &&Block| block.language == "toml" && block.text().contains("[[principal]]");
    let folder = Folder::new();
    let path = folder.path().join("auth.toml");
    let mut count = 0;
    for block in blocks.iter().filter(is_file) {
        fs::write(&path, block.text()).expect("the folder is writable");
        let read = Directory::read(&path).unwrap_or_else(|why| panic!("{}: {why}", block.place()));
        assert_eq!(read.principals().count(), block.text().matches("[[principal]]").count());
        count += 1;
    }
    assert!(count > 0, "docs/security.md shows a file");
}

/// `check` says of a configuration that it cannot be used with exit status 5.
#[test]
fn the_configuration_can_be_used() {
    for block in blocks("toml").into_iter().filter(|it| !has_credentials(it)) {
        let folder = Folder::new();
        let configuration = block.text();
        // The programs beside it exist.
        for path in configuration.split('"').filter(|it| it.starts_with("./")) {
            let handler = folder.path().join(path);
            let above = handler.parent().expect("it is in the folder");
            fs::create_dir_all(above).expect("the folder is writable");
            fs::write(&handler, "#!/bin/sh\n").expect("it is writable");
            fs::set_permissions(&handler, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        let file = folder.path().join("jq-worker.toml");
        fs::write(&file, &configuration).expect("it is writable");
        let checked = output(
            Command::new(support::program("jq-worker"))
                .arg("check")
                .arg("--config")
                .arg(&file)
                // Those in the file do not exist.
                .args(["--server", "127.0.0.1:1", "--tube", "simulations"]),
        );
        assert_eq!(checked.status.code(), Some(1), "{}", text(&checked.stderr));
        let report = text(&checked.stdout);
        let tables = configuration.lines().filter_map(|line| line.strip_prefix("[handlers."));
        let kinds: Vec<_> = tables.filter_map(|line| line.strip_suffix(']')).collect();
        assert!(!kinds.is_empty(), "{configuration}");
        for kind in kinds {
            assert!(report.contains(&format!("{kind}: ")), "{report}");
        }
        assert_eq!(report.matches("PROBLEM").count(), 1, "only the server: {report}");
    }
}

fn has_credentials(block: &Block) -> bool {
    block.text().contains("[[credentials]]")
}

/// The same of credentials, with the files that they name.
#[test]
fn the_credentials_can_be_used() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("worker", "worker1", Valid::Now);
    let mut count = 0;
    for block in blocks("toml").into_iter().filter(has_credentials) {
        let folder = Folder::new();
        let configuration = block.text();
        fs::copy(&cert, folder.path().join("worker.pem")).expect("the folder is writable");
        fs::copy(&key, folder.path().join("worker.key")).expect("the folder is writable");
        for rest in configuration.split("{ file = \"").skip(1) {
            let name = rest.split('"').next().expect("there is a first part");
            fs::write(folder.path().join(name), "secret").expect("the folder is writable");
        }
        let file = folder.path().join("jq-worker.toml");
        fs::write(&file, &configuration).expect("it is writable");
        let mut command = Command::new(support::program("jq-worker"));
        command.arg("check").arg("--config").arg(&file).env("ARCHIVE_KEY", "secret");
        command.args(["--server", "127.0.0.1:1", "--tube", "simulations", "--", "true"]);
        let checked = output(&mut command);
        assert_eq!(checked.status.code(), Some(1), "{}", text(&checked.stderr));
        let report = text(&checked.stdout);
        for prefix in configuration.lines().filter_map(|line| line.strip_prefix("prefix = ")) {
            let line = format!("credentials  {}: ", prefix.trim_matches('"'));
            assert!(report.contains(&line), "{line}: {report}");
            count += 1;
        }
        assert_eq!(report.matches("PROBLEM").count(), 1, "only the server: {report}");
    }
    assert!(count > 0, "docs/worker.md shows credentials");
}

/// A handler that is shown writes JSON.
#[test]
fn the_script_is_a_handler() {
    let scripts = blocks("sh").into_iter().filter(|it| it.text().starts_with("#!"));
    let mut count = 0;
    for script in scripts {
        let input = project().join("README.md");
        let ran =
            output(Command::new("sh").arg("-c").arg(script.text()).env("JQ_INPUT_FILE", &input));
        let written: Value = serde_json::from_slice(&ran.stdout).expect("it writes JSON");
        assert_eq!(written["bytes"], fs::metadata(input).expect("it is there").len());
        count += 1;
    }
    assert_eq!(count, 1);
}

/// A handler is developed by `jq-worker run`: where all its files are in the project, it is run.
#[test]
fn sample_jobs_run() {
    if support::executable("python3").is_none() {
        return support::skip("the sample job of docs/worker.md", "there is no python3");
    }
    let commands = blocks("sh").into_iter().filter(|it| !it.text().starts_with("#!"));
    let mut count = 0;
    for command in commands.flat_map(|block| shell::commands(&block)) {
        let files = command.words.iter().filter(|word| word.contains('/'));
        let is_here = |word: &String| project().join(word).exists();
        let is_run = command.words[..2] == ["jq-worker", "run"];
        if !is_run || !files.clone().all(is_here) || files.count() == 0 {
            continue;
        }
        let ran = output(
            Command::new(support::program("jq-worker"))
                .args(command.arguments())
                .current_dir(project()),
        );
        assert!(ran.status.success(), "{}: {}", command.place, text(&ran.stderr));
        let result: Value = serde_json::from_slice(&ran.stdout).expect("a result is JSON");
        assert_eq!(result["status"], "successful", "{}", command.place);
        count += 1;
    }
    assert!(count > 0, "docs/worker.md runs a sample job");
}

/// The check of a signature, on the example that the specification has.
#[test]
fn signatures_are_checked_as_shown() {
    if support::executable("python3").is_none() {
        return support::skip("the check of a signature in docs/worker.md", "there is no python3");
    }
    let shown = blocks("python").remove(0).text();
    let code = format!(
        r#"{shown}
headers = {{
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,bm9wZQ== v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}}
secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{{"test": 2432232314}}'
assert not is_ours(secret, headers, body), "too old"
time.time = lambda: 1614265330
assert is_ours(secret, headers, body)
assert not is_ours(secret, headers, body + b" ")
assert not is_ours("whsec_AAAA", headers, body)
"#
    );
    let ran = output(Command::new("python3").arg("-c").arg(code));
    assert!(ran.status.success(), "{}", text(&ran.stderr));
}
