//! What the commands do beside serving, and what is logged.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::Rig;
use crate::support::{Process, eventually};

each_queue!(submit_queues_a_job_as_it_is_told, submit_shows_the_progress);

/// The queue is the program's own.
#[test]
fn selftest_shows_that_this_machine_handles_all_of_it() {
    let rig = Rig::new();
    let mut selftest = rig.command();
    // A group of its own: it lives longer than a test that is ended.
    selftest.args(["selftest", "--results", "state"]).process_group(0);
    let output = selftest.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("this machine handles all of them\n"), "{said}");
    for case in ["succeed", "fail", "hang", "SIGTERM", "flood", "queue", "processes"] {
        let is_case = |line: &str| line.trim_start().starts_with("ok  ") && line.contains(case);
        assert!(said.lines().any(is_case), "{case}: {said}");
    }
    let left: Vec<_> = std::fs::read_dir(rig.dir.join("state")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    rig.assert_no_process(&[]);
}

#[test]
fn help_that_cannot_be_written_is_no_success() {
    let rig = Rig::new();
    for arg in ["--help", "--version"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = rig.command().arg(arg).stdout(full).output().expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arg}: {said}");
        assert!(said.contains("standard output: No space left"), "{arg}: {said}");
    }
}

#[test]
fn run_shows_what_a_process_writes_as_it_is_written() {
    let rig = Rig::new();
    let script = r#"echo one; echo two >&2; echo '{"progress":40}' >&2
        while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1 > "$JQ_RESULT_FILE""#;
    std::fs::write(rig.dir.join("job.json"), r#"{"type":"any"}"#).unwrap();
    let mut run = rig.command();
    run.args(["run", "job.json", "--", "sh", "-c", script]);
    run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().expect("it can be started");
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let mut seen = String::new();
    while !["one", "two", "progress 40 %"].iter().all(|it| seen.contains(it)) {
        seen += &lines.next().expect("it is shown before the process ends").unwrap();
    }
    std::fs::write(rig.dir.join("go"), "").unwrap();
    let mut printed = String::new();
    run.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    let result: Value = serde_json::from_str(&printed).expect("it prints the result");
    assert_eq!((&result["output"], &result["status"]), (&1.into(), &"successful".into()));
    assert!(run.wait().unwrap().success());
    rig.assert_no_process(&[]);
}

fn submit_queues_a_job_as_it_is_told(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    std::fs::write(rig.dir.join("job.json"), r#"{"type":"any"}"#).unwrap();
    std::fs::write(rig.dir.join("bad.json"), r#"{"type":"any","timeout":0}"#).unwrap();
    let submit = |file: &str| {
        let mut submit = rig.command();
        submit.args(["submit", "--server", &queue.name(), "--tube", TUBE]);
        submit.args(["--priority", "7", "--delay", "1000", "--ttr", "33", file]);
        submit.stdin(Stdio::null()).output().expect("it can be started")
    };
    let refused = submit("bad.json");
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"timeout\" is 0"), "{refused:?}");
    let output = submit("job.json");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (uuid, rest) = said.split_once(" queued as job ").expect(&said);
    let number: u64 = rest.split(' ').next().unwrap().parse().expect(&said);
    let value = |key| queue.job(number, key).unwrap();
    assert_eq!(["pri", "delay", "ttr"].map(value), ["7", "1000", "33"]);
    assert_eq!(queue.count(TUBE, "total-jobs"), 1);
    let body = queue.connect().ask(format!("peek {number}"));
    let job: Value = serde_json::from_slice(body.body().unwrap()).unwrap();
    assert_eq!((&job["id"], &job["type"]), (&uuid.into(), &"any".into()));
}

fn submit_shows_the_progress(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script =
        r#"echo '{"progress":40}' >&2; until [ -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;
    rig.handler("slow", script, "");
    let worker = rig.work(&queue, &[]);
    std::fs::write(rig.dir.join("job.json"), r#"{"type":"slow"}"#).unwrap();
    let mut submit = rig.command();
    submit.args(["submit", "--wait", "--server", &queue.name(), "--tube", TUBE]);
    submit.args(["--results", &worker.url(), "job.json"]);
    submit.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut submit = submit.spawn().expect("it can be started");
    let mut lines = BufReader::new(submit.stderr.take().unwrap()).lines();
    while lines.next().expect("it shows the progress").unwrap() != "running, 40 %" {}
    // So do the document at its URL, the status and the page.
    let running = &worker.status()["running"][0];
    assert_eq!(running["progress"], 40.0, "{running}");
    let id = running["id"].as_str().unwrap();
    let document = worker.get(&format!("/{id}"));
    assert_eq!((document.status(), &document.json()["progress"]), (202, &40.0.into()));
    assert!(String::from_utf8_lossy(&worker.get("/").body).contains("40 %"));
    std::fs::write(rig.dir.join("go"), "").unwrap();
    let output = submit.wait_with_output().unwrap();
    assert!(output.status.success());
    let result: Value = serde_json::from_slice(&output.stdout).expect("it prints the result");
    assert_eq!(result["output"], 1);
    rig.finish(worker);
}

#[test]
fn a_line_about_a_job_says_which() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    rig.configure("retry_delay = 0").handler("fails", "exit 3", "").handler("ok", "echo 1", "");
    let mut command = rig.command();
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0", "-V"]);
    command.args(["--allow-url", &rig.site.url("/"), "--log-format", "json"]);
    let mut worker = Process::spawn(command);
    let (fails, ok) = (rig.job("fails").with("retry", 1), rig.job("ok"));
    let numbers = [queue.put(fails.body()), queue.put(ok.body())];
    rig.result(&fails);
    rig.result(&ok);
    queue.await_deleted(numbers[1]);
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.exit_code(), 0);
    let lines: Vec<Value> = worker
        .output()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    for (job, number, attempt, message) in [
        (&fails, numbers[0], 1, "failed; it will be tried again"),
        (&fails, numbers[0], 2, "over"),
        (&ok, numbers[1], 1, "successful"),
    ] {
        let is_it = |line: &&Value| line["message"] == message;
        let text = lines.iter().find(is_it).unwrap_or_else(|| panic!("{message}: {lines:?}"));
        let span = &text["span"];
        assert_eq!(span["id"], job.id.to_string(), "{text}");
        assert_eq!(span["type"], job.value["type"], "{text}");
        assert_eq!((&span["attempt"], &span["queued_as"]), (&attempt.into(), &number.into()));
    }
}

#[test]
fn more_is_logged_if_asked_for() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    rig.handler("ok", "echo 1", "");
    let log = |flags: &[&str]| {
        let mut command = rig.command();
        command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0"]);
        command.args(["--allow-url", &rig.site.url("/")]).args(flags);
        let worker = rig.work_with(command);
        let job = rig.job("ok");
        queue.put(job.body());
        rig.result(&job);
        queue.await_empty();
        eventually("it is over", || worker.metric("jq_worker_spool") == 0.0);
        let id = job.id.to_string();
        let log = rig.finish(worker);
        let lines = log.lines().filter(|line| line.contains(&id)).count();
        (lines, log.contains("successful"))
    };
    let (none, some, all) = (log(&[]), log(&["-V"]), log(&["-VV"]));
    assert_eq!(none, (0, false));
    assert!(some.1 && all.1 && some.0 < all.0, "{some:?} {all:?}");
}
