//! What processes leave besides their output: listed, served, sent, kept as long as the result.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig};
use crate::site::{Answer, Site};
use crate::support::{Process, eventually};

each_queue!(
    files_are_listed_and_served,
    persistent_handlers_have_them_if_they_ask_for_it,
    they_go_with_their_result,
    the_last_attempt_counts,
    a_later_result_has_others,
    there_are_limits,
    the_oldest_make_room,
    those_that_are_to_be_sent_stay,
    without_a_server_they_have_no_url,
    they_are_sent_before_the_result,
    sending_them_goes_on_after_a_crash,
    what_cannot_be_sent,
    they_are_sent_with_credentials,
    a_killed_worker_leaves_nothing_that_belongs_to_nobody,
    wrong_members_are_named,
);

/// The names of the artifacts in a result.
fn names(result: &Value) -> Vec<&str> {
    let artifacts = result["artifacts"].as_array().map(Vec::as_slice).unwrap_or_default();
    artifacts.iter().map(|artifact| artifact["name"].as_str().expect("it has a name")).collect()
}

/// The folders of artifacts in the state directory: of results, and on their way.
fn folders(rig: &Rig) -> Vec<PathBuf> {
    let shelves = fs::read_dir(rig.dir.join("results/artifacts")).expect("it is there");
    let folders = shelves.flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap());
    folders.map(|folder| folder.unwrap().path()).collect()
}

fn files_are_listed_and_served(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler(
        "draws",
        r#"cd "$JQ_OUTPUT_DIR"; [ -z "$(ls -A)" ] && [ -z "$(ls -A "$TMPDIR")" ] || exit 65
        mkdir -p plots/empty; printf 'Gr\303\266\303\237e,1\n' > table.csv
        printf '<svg>0123456789</svg>' > 'plots/a b.svg'; : > nothing; echo '{"a":1}'"#,
        "",
    );
    rig.handler("off", r#"[ -z "$JQ_OUTPUT_DIR" ] && echo 1"#, "artifacts = false");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("draws");
    let id = queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(result["status"], "successful", "{result}");
    assert_eq!(names(&result), ["nothing", "plots/a b.svg", "table.csv"]);
    assert!(result.get("notes").is_none(), "{result}");
    let svg = &result["artifacts"][1];
    assert_eq!((&svg["type"], &svg["bytes"]), (&json!("image/svg+xml"), &json!(21)));
    let url = format!("{}/{}/plots/a%20b.svg", worker.url(), job.id);
    assert_eq!(svg["url"], json!(url));
    assert_eq!(result["artifacts"][2]["type"], "text/csv; charset=utf-8");

    let path = format!("{}/plots/a%20b.svg", job.path());
    let answer = worker.get(&path);
    assert_eq!((answer.status(), &*answer.body), (200, &b"<svg>0123456789</svg>"[..]));
    assert_eq!(answer.header("repr-digest"), svg["digest"].as_str());
    assert_eq!(answer.header("content-disposition"), Some("inline; filename=\"a b.svg\""));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("content-security-policy").unwrap().ends_with("; sandbox"));
    let tag = answer.header("etag").unwrap().to_owned();
    let answer = worker.ask("GET", &path, &format!("Range: bytes=5-9\r\nIf-Range: {tag}\r\n"));
    assert_eq!((answer.status(), &*answer.body), (206, &b"01234"[..]));
    assert_eq!(worker.ask("GET", &path, &format!("If-None-Match: {tag}\r\n")).status(), 304);
    assert_eq!(worker.get(&format!("{}/nothing", job.path())).status(), 200);
    assert_eq!(worker.get(&format!("{}/plots", job.path())).status(), 404);
    queue.await_deleted(id);
    let job = rig.job("off");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], 1);
    // Nothing is left of the directories.
    eventually("all directories are empty", || {
        let folders = fs::read_dir(rig.dir.join("results/work")).unwrap();
        folders.flat_map(|it| fs::read_dir(it.unwrap().path()).unwrap()).count() == 0
    });
    rig.finish(worker);
}

fn persistent_handlers_have_them_if_they_ask_for_it(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"while read -r line; do
        dir=$(printf '%s' "$line" | sed -n 's/.*"output_dir":"\([^"]*\)".*/\1/p')
        in=$(printf '%s' "$line" | sed -n 's/.*"inputs_dir":"\([^"]*\)".*/\1/p')
        [ -z "$dir" ] || cp "$in/a" "$dir/copy"; echo "\"$dir\""; done"#;
    rig.handler("stays", script, "mode = 'persistent'\nartifacts = true");
    rig.handler("plain", script, "mode = 'persistent'");
    let mut worker = rig.work(&queue, &[]);
    for text in ["one", "two"] {
        rig.site.script("/a", [Answer::Body(200, text.into())]);
        let job = rig.job("stays").with("inputs", json!({"a": rig.site.url("/a")}));
        queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(names(&result), ["copy"], "{result}");
        assert_eq!(worker.get(&format!("{}/copy", job.path())).body, text.as_bytes());
    }
    let job = rig.job("plain");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], "");
    worker.stop();
    rig.assert_no_process(&[]);
}

fn they_go_with_their_result(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retention = 1");
    rig.handler("draws", "echo x > $JQ_OUTPUT_DIR/plot", "");
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("draws");
    let id = queue.put(job.body());
    assert_eq!(names(&rig.result(&job)), ["plot"]);
    queue.await_deleted(id);
    let plot = format!("{}/plot", job.path());
    eventually("the artifact is gone", || matches!(worker.get(&plot).status(), 404 | 410));
    // It is looked for what has expired about once a minute, and at the start.
    worker.stop();
    let worker = rig.work(&queue, &[]);
    eventually("nothing is left of it", || folders(&rig).is_empty());
    worker.await_metric("jq_worker_artifact_bytes", 0.0);
    rig.finish(worker);
}

fn the_last_attempt_counts(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 0");
    rig.handler("tries", "echo x > $JQ_OUTPUT_DIR/$JQ_ATTEMPT; exit $((76 - JQ_ATTEMPT))", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("tries").with("retry", 1);
    queue.put(job.body());
    let result = rig.result(&job);
    // Why it failed may be seen in what it left.
    assert_eq!((&result["status"], names(&result)), (&json!("failed"), vec!["2"]));
    assert_eq!(worker.get(&format!("{}/2", job.path())).body, b"x\n");
    assert_eq!(folders(&rig).len(), 1);
    rig.finish(worker);
}

fn a_later_result_has_others(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"if [ -e "$HOME/again" ]; then echo new > $JQ_OUTPUT_DIR/b
        else echo old > $JQ_OUTPUT_DIR/a; fi"#;
    rig.handler("draws", script, "rerun = 'always'");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("draws").without("result");
    queue.put(job.body());
    assert_eq!(names(&worker.result(&job)), ["a"]);
    fs::write(rig.dir.join("again"), "").unwrap();
    queue.put(job.body());
    eventually("there is a later result", || {
        let answer = worker.get(&job.path());
        answer.status() == 200 && names(&answer.json()) == ["b"]
    });
    assert_eq!(worker.get(&format!("{}/a", job.path())).status(), 404);
    assert_eq!(worker.get(&format!("{}/b", job.path())).body, b"new\n");
    eventually("the earlier ones are removed", || folders(&rig).len() == 1);
    rig.finish(worker);
}

fn there_are_limits(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("[artifacts]\nmax_files = 3\nmax_bytes = 1000");
    rig.handler("many", "cd $JQ_OUTPUT_DIR; touch 1 2 3 4 5", "");
    rig.handler("large", "cd $JQ_OUTPUT_DIR; head -c 1001 /dev/zero > large; echo x > small", "");
    let worker = rig.work(&queue, &[]);
    for (handler, taken, left) in [
        ("many", vec!["1", "2", "3"], "artifact \"4\" is left out: there may be at most 3"),
        ("large", vec!["small"], "artifact \"large\" is left out: it has 1001 bytes"),
    ] {
        let job = rig.job(handler);
        queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!((&result["status"], names(&result)), (&json!("successful"), taken));
        assert!(result["notes"][0].as_str().unwrap().starts_with(left), "{result}");
    }
    rig.finish(worker);
}

fn the_oldest_make_room(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    // Each takes a block for its folder, and one for its file.
    rig.configure("[artifacts]\nmax_bytes = 4096\nmax_total = 20000");
    rig.handler("draws", "echo $JQ_JOB_ID > $JQ_OUTPUT_DIR/id", "");
    let worker = rig.work(&queue, &[]);
    let draw = |job: Job| {
        queue.put(job.body());
        rig.result(&job);
        // Nothing is owed for it any more.
        worker.await_metric("jq_worker_spool", 0.0);
        job
    };
    let jobs: Vec<_> = (0..4).map(|_| draw(rig.job("draws"))).collect();
    let status = |job: &Job| worker.get(&format!("{}/id", job.path())).status();
    assert_eq!(jobs.iter().map(status).collect::<Vec<_>>(), [410, 410, 200, 200]);
    assert_eq!(worker.get(&jobs[0].path()).status(), 200, "its result stays");
    worker.await_metric("jq_worker_artifact_bytes", 16384.0);
    assert_eq!(folders(&rig).len(), 2);
    rig.finish(worker);
}

fn those_that_are_to_be_sent_stay(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("[artifacts]\nmax_bytes = 4096\nmax_total = 10000");
    rig.handler("draws", "echo $JQ_JOB_ID > $JQ_OUTPUT_DIR/id", "");
    let worker = rig.work(&queue, &[]);
    let held = rig.job("draws").with("artifacts", json!({"id": rig.site.url("/held")}));
    rig.site.script("/held", [Answer::Hold]);
    queue.put(held.body());
    rig.site.await_request("/held");
    let other = rig.job("draws");
    queue.put(other.body());
    let result = rig.result(&other);
    assert_eq!((&result["status"], names(&result)), (&json!("successful"), vec![]));
    let note = result["notes"][0].as_str().unwrap();
    assert!(note.starts_with("artifact \"id\" is left out: there is no room"), "{note}");
    rig.site.go_on();
    rig.result(&held);
    assert_eq!(worker.get(&format!("{}/id", held.path())).status(), 200);
    rig.finish(worker);
}

fn without_a_server_they_have_no_url(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("draws", "echo png > $JQ_OUTPUT_DIR/plot", "");
    let mut command = rig.command();
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "none", "-V"]);
    command.args(["--allow-url", &rig.site.url("/")]);
    let mut process = Process::spawn(command);
    let job = rig.job("draws");
    let id = queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((names(&result), &result["artifacts"][0]["url"]), (vec!["plot"], &Value::Null));
    queue.await_deleted(id);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit_code(), 0);
}

fn they_are_sent_before_the_result(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler(
        "draws",
        "cd $JQ_OUTPUT_DIR; mkdir d; echo png > d/plot.png; echo x > other; head -c 300000 /dev/zero > big",
        "",
    );
    let worker = rig.work(&queue, &[]);
    let job = rig.job("draws").with(
        "artifacts",
        json!({"d/plot.png": rig.site.url("/plot?sign=secret"),
            "big": {"url": rig.site.url("/big"), "method": "POST"},
            "missing": rig.site.url("/missing")}),
    );
    rig.site.script("/plot?sign=secret", [Answer::Body(503, Vec::new()), Answer::Hold]);
    let id = queue.put(job.body());
    eventually("it is tried twice", || rig.site.requests("/plot?sign=secret").len() == 2);
    assert_eq!(rig.sent(&job), 0, "the result waits for its artifacts");
    rig.site.go_on();
    let result = rig.result(&job);
    queue.await_deleted(id);
    let plot = rig.site.requests("/plot?sign=secret").remove(1);
    assert_eq!((plot.method(), &*plot.body), ("PUT", &b"png\n"[..]));
    assert_eq!(plot.header("content-type"), Some("image/png"));
    assert_eq!(plot.header("repr-digest"), result["artifacts"][1]["digest"].as_str());
    let big = rig.site.requests("/big").remove(0);
    assert_eq!((big.method(), big.body.len()), ("POST", 300_000));
    assert_eq!(names(&result), ["big", "d/plot.png", "other"]);
    let note = result["notes"][0].as_str().unwrap();
    assert!(note.starts_with("artifact \"missing\" is not there"), "{note}");
    assert!(rig.site.requests("/missing").is_empty());
    assert!(!result.to_string().contains("secret"));
    let log = rig.finish(worker);
    assert!(!log.contains("secret"), "{log}");
}

fn sending_them_goes_on_after_a_crash(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("draws", "echo png > $JQ_OUTPUT_DIR/plot", "");
    let job = rig.job("draws").with("artifacts", json!({"plot": rig.site.url("/plot")}));
    rig.site.script("/plot", [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    rig.site.await_request("/plot");
    worker.kill();
    assert_eq!(rig.sent(&job), 0);
    let worker = rig.work(&queue, &[]);
    assert_eq!(names(&rig.result(&job)), ["plot"]);
    queue.await_deleted(id);
    assert_eq!(rig.site.requests("/plot")[1].body, b"png\n");
    assert_eq!(rig.runs(&job), [1]);
    assert_eq!(worker.get(&format!("{}/plot", job.path())).body, b"png\n");
    rig.site.go_on();
    rig.finish(worker);
}

fn they_are_sent_with_credentials(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    fs::write(rig.dir.join("key"), "topsecret").unwrap();
    fs::set_permissions(rig.dir.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    rig.configure(&format!(
        "[[credentials]]\nprefix = '{}'\nheaders = {{ X-Key = {{ file = 'key' }} }}",
        rig.site.url("/kept/")
    ));
    rig.handler("draws", "echo png > $JQ_OUTPUT_DIR/plot; echo x > $JQ_OUTPUT_DIR/other", "");
    let worker = rig.work(&queue, &[]);
    let places = json!({"plot": rig.site.url("/kept/plot"), "other": rig.site.url("/other")});
    let job = rig.job("draws").with("artifacts", places);
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(rig.site.await_request("/kept/plot").header("x-key"), Some("topsecret"));
    assert_eq!(rig.site.await_request("/other").header("x-key"), None);
    assert!(!result.to_string().contains("topsecret"));
    let log = rig.finish(worker);
    assert!(!log.contains("topsecret"), "{log}");
}

fn what_cannot_be_sent(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let elsewhere = Site::start();
    rig.configure("publish_timeout = 1");
    rig.handler("draws", "echo png > $JQ_OUTPUT_DIR/plot; echo 1", "");
    let worker = rig.work(&queue, &[]);
    // A place that is not allowed is known before the job is run.
    let job = rig.job("draws").with("artifacts", json!({"plot": elsewhere.url("/plot")}));
    let id = queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(
        (&result["status"], &result["error"]["kind"]),
        (&json!("failed"), &json!("publish"))
    );
    assert!(result["error"]["message"].as_str().unwrap().starts_with("\"artifacts.plot\": not"));
    queue.await_state(id, "buried");
    assert!(rig.runs(&job).is_empty() && elsewhere.count() == 0);
    // One that takes none: the result stays here, and the job is buried.
    let job = rig.job("draws").with("artifacts", json!({"plot": rig.site.url("/plot")}));
    rig.site.script("/plot", (0..9).map(|_| Answer::Body(404, Vec::new())));
    let id = queue.put(job.body());
    queue.await_state(id, "buried");
    assert_eq!(rig.sent(&job), 0);
    assert_eq!(names(&worker.result(&job)), ["plot"]);
    assert!(
        worker.output().contains("cannot send the artifact \\\"plot\\\""),
        "{}",
        worker.output()
    );
    // A kick sends them.
    rig.site.clear("/plot");
    queue.connect().ask(format!("kick-job {id}"));
    rig.result(&job);
    queue.await_deleted(id);
    assert_eq!(rig.runs(&job), [1]);
    rig.finish(worker);
}

fn a_killed_worker_leaves_nothing_that_belongs_to_nobody(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("draws", "head -c 100000 /dev/zero > $JQ_OUTPUT_DIR/plot", "");
    // What a worker had begun to take in when it was killed.
    let orphan = rig.dir.join("results/artifacts/new/0123456789abcdef0123456789abcdef");
    fs::create_dir_all(&orphan).unwrap();
    fs::write(orphan.join("0"), "x").unwrap();
    for round in 1..=5 {
        let mut worker = rig.work(&queue, &["--concurrency", "4"]);
        assert!(!orphan.exists());
        let jobs: Vec<_> = (0..8).map(|_| rig.job("draws")).collect();
        for job in &jobs {
            queue.put(job.body());
        }
        // Somewhere in the middle of it.
        rig.result(&jobs[round]);
        worker.kill();
        let mut worker = rig.work(&queue, &["--concurrency", "4"]);
        queue.await_empty();
        for job in &jobs {
            assert_eq!(names(&worker.result(job)), ["plot"]);
            assert_eq!(worker.get(&format!("{}/plot", job.path())).body.len(), 100_000);
        }
        worker.stop();
        assert_eq!(folders(&rig).len(), 8 * round);
    }
    rig.assert_no_process(&[]);
}

fn wrong_members_are_named(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let url = rig.site.url("/x");
    for (member, value, why) in [
        ("artifacts", json!({"../x": url}), "\"artifacts.../x\": expected a relative path"),
        ("artifacts", json!({"a\nb": url}), "expected neither control characters"),
        ("artifacts", json!({"log": url}), "have a meaning of their own"),
        ("artifacts", json!({"a": "x"}), "\"artifacts.a\" is \"x\""),
        ("inputs", json!({"a/b": url}), "\"inputs.a/b\": expected the name of a file"),
    ] {
        let job = rig.job("ok").with(member, value);
        let id = queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(
            (&result["status"], &result["error"]["kind"]),
            (&json!("failed"), &json!("input"))
        );
        assert!(result["error"]["message"].as_str().unwrap().contains(why), "{result}");
        queue.await_state(id, "buried");
    }
    rig.finish(worker);
}
