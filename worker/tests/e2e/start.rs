//! The three ways to start a worker, what a job may look like, and what its result says.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::each_queue;
use crate::http::Message;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Rig, Worker};
use crate::site::Answer;
use crate::support::eventually;

each_queue!(
    a_folder_of_handlers,
    a_configuration_file,
    one_command_for_every_job,
    a_result_says_everything_and_is_the_same_everywhere,
    a_result_is_posted_if_asked,
    a_job_without_a_result_url_is_served_only,
    aliases_and_the_form_of_two_elements,
    the_process_reads_its_job,
    a_process_sees_nothing_of_the_worker_but_what_it_is_given,
    results_are_removed_in_the_end,
    the_state_directory_is_where_systemd_says,
);

fn a_folder_of_handlers(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.script("mine/sailor.sh", "echo '{\"drunk\":true}'");
    rig.script("mine/other", "echo 1");
    let worker = rig.work(&queue, &["--handlers", "mine"]);
    let (sailor, other) = (rig.job("sailor"), rig.job("other"));
    let ids = [queue.put(sailor.body()), queue.put(other.body())];
    assert_eq!(rig.result(&sailor)["output"], json!({"drunk": true}));
    assert_eq!(rig.result(&other)["output"], 1);
    for id in ids {
        queue.await_deleted(id);
    }
    rig.finish(worker);
}

fn a_configuration_file(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("sailor", "echo $GREETING", "env = { GREETING = '\"ahoy\"' }");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("sailor");
    let id = queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], "ahoy");
    queue.await_deleted(id);
    rig.finish(worker);
}

fn one_command_for_every_job(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"echo "\"$JQ_TYPE $0 $1\"""#;
    let worker = rig.work(&queue, &["--", "sh", "-c", script, "--fast", "x y"]);
    for kind in ["one", "two"] {
        let job = rig.job(kind);
        let id = queue.put(job.body());
        assert_eq!(rig.result(&job)["output"], format!("{kind} --fast x y"));
        queue.await_deleted(id);
    }
    rig.finish(worker);
}

/// The document at the worker, with everything that HTTP says of it.
fn served(worker: &Worker, path: &str) -> Message {
    let answer = worker.get(path);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer
}

fn a_result_says_everything_and_is_the_same_everywhere(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("sailor", "cat $JQ_INPUT_FILE; echo careful >&2", "");
    rig.site.script("/in", [Answer::Body(200, b"{\"series\":[1,2]}".to_vec())]);
    let worker = rig.work(&queue, &["--id", "worker1.example"]);
    let job = rig
        .job("sailor")
        .with("input", rig.site.url("/in"))
        .with("created_at", "2026-11-22T12:00:00Z")
        .with("custom", json!({"trace": "a-7"}));
    let id = queue.put(job.body());
    queue.await_deleted(id);

    let sent = rig.site.await_request(&job.path());
    assert_eq!(sent.method(), "PUT");
    assert_eq!(sent.header("content-type"), Some("application/json"));
    let result = sent.json();
    let object = result.as_object().expect("a result is an object");
    let mut members: Vec<&str> = object.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(
        members,
        [
            "attempt",
            "attempts",
            "created",
            "custom",
            "error",
            "exit_code",
            "finished",
            "id",
            "input",
            "job_digest",
            "output",
            "queue",
            "signal",
            "started",
            "status",
            "stderr",
            "stdout",
            "timestamp",
            "type",
            "usage",
            "worker",
        ]
    );
    assert_eq!(result["id"], job.id.to_string());
    assert_eq!(result["type"], "sailor");
    assert_eq!(result["status"], "successful");
    assert_eq!(result["created"], "2026-11-22T12:00:00.000Z");
    assert_eq!(result["attempt"], 1);
    assert_eq!((&result["exit_code"], &result["signal"]), (&json!(0), &Value::Null));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(result["worker"], json!({"id": "worker1.example", "version": version}));
    assert_eq!(result["queue"], json!({"job": id, "tube": TUBE, "server": queue.name()}));
    assert_eq!(result["input"]["url"], rig.site.url("/in"));
    let digest = result["input"]["digest"].as_str().expect("it was fetched");
    assert!(digest.starts_with("sha-256=:") && digest.ends_with(':'), "{digest}");
    assert_eq!(result["output"], json!({"series": [1, 2]}));
    assert_eq!(
        result["stdout"],
        json!({"tail": "{\"series\":[1,2]}", "bytes": 16, "truncated": false})
    );
    assert_eq!(result["stderr"], json!({"tail": "careful\n", "bytes": 8, "truncated": false}));
    assert!(result["usage"]["wall_ms"].is_u64() && result["usage"]["cpu_ms"].is_u64());
    assert!(result["usage"]["max_rss_bytes"].as_u64() > Some(0));
    assert_eq!(result["custom"], json!({"trace": "a-7"}));
    assert_eq!(result["error"], Value::Null);

    assert_eq!(result["timestamp"], result["finished"]);
    let time = |name: &str| {
        let text = result[name].as_str().expect("a time is text");
        assert!(text.ends_with('Z') && text.len() == "2026-11-22T12:03:10.120Z".len(), "{text}");
        text.parse::<jiff::Timestamp>().expect("a time is of RFC 3339")
    };
    assert!(time("started") <= time("finished"));

    let served = served(&worker, &job.path());
    assert_eq!(served.body, sent.body, "the same bytes at both places");
    let modified = served.header("last-modified").expect("it says of when it is");
    let seconds = jiff::fmt::rfc2822::parse(modified).expect("a date").timestamp().as_second();
    assert_eq!(seconds, time("timestamp").as_second());
    let tag = served.header("etag").expect("it has a tag");
    assert_eq!(sent.header("etag"), Some(tag));
    assert_eq!(sent.header("last-modified"), Some(modified));
    for condition in
        [format!("if-none-match: {tag}\r\n"), format!("if-modified-since: {modified}\r\n")]
    {
        assert_eq!(worker.ask("GET", &job.path(), &condition).status(), 304, "{condition}");
    }
    assert_eq!(worker.ask("HEAD", &job.path(), "").status(), 200);
    assert_eq!(worker.get(&format!("/{}", Uuid::new_v4())).status(), 404);
    rig.finish(worker);
}

fn a_result_is_posted_if_asked(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    let target = json!({"url": rig.site.url(&job.path()), "method": "POST"});
    let job = job.with("result", target);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    assert_eq!(rig.site.await_request(&job.path()).method(), "POST");
    rig.finish(worker);
}

fn a_job_without_a_result_url_is_served_only(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("wait", r#"while [ ! -e "$HOME/go" ]; do sleep 0.02; done"#, "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("wait").without("result");
    let id = queue.put(job.body());
    rig.await_runs(&job, 1);
    let pending = worker.get(&job.path());
    assert_eq!(pending.status(), 202);
    assert!(pending.header("retry-after").is_some());
    assert_eq!(pending.json()["status"], "running");
    std::fs::write(rig.dir.join("go"), "").unwrap();
    queue.await_deleted(id);
    assert_eq!(worker.result(&job)["status"], "successful");
    assert_eq!(rig.site.count(), 0);
    rig.finish(worker);
}

fn aliases_and_the_form_of_two_elements(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "cat", "");
    let worker = rig.work(&queue, &[]);
    for (id, kind) in [("uuid", "type"), ("jid", "jobtype"), ("uuid", "jobtype")] {
        let job = rig.job("ok").without("type").with(kind, "ok");
        let job = job.clone().without("id").with(id, job.id.to_string());
        let number = queue.put(job.body());
        assert_eq!(rig.result(&job)["output"]["id"], job.id.to_string());
        queue.await_deleted(number);
    }
    let job = rig.job("ok").without("id");
    let job = job.clone().with("uuid", job.id.to_string());
    let number = queue.put(json!([job.value, {"steps": 100}]).to_string());
    assert_eq!(rig.result(&job)["output"]["args"], json!({"steps": 100}));
    queue.await_deleted(number);
    rig.finish(worker);
}

fn the_process_reads_its_job(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"
        echo "noise"
        test -n "$JQ_DEADLINE" || exit 3
        test "$(ls -A)" = input || exit 4
        printf '{"job":%s,"env":"%s %s %s","file":"%s","in":"%s"}' \
            "$(cat)" "$JQ_JOB_ID" "$JQ_TYPE" "$JQ_ATTEMPT" "$(cat "$JQ_INPUT_FILE")" "$(pwd)" \
            > "$JQ_RESULT_FILE""#;
    rig.handler("file", script, "");
    rig.handler("merge", "cat", "input = 'merge'");
    let input = || Answer::Body(200, b"42".to_vec());
    rig.site.script("/in", [input(), input()]);
    let worker = rig.work(&queue, &[]);

    let with = |kind| rig.job(kind).with("input", rig.site.url("/in")).with("args", json!([7]));
    let job = with("file");
    queue.put(job.body());
    let output = &rig.result(&job)["output"];
    assert_eq!(output["env"], format!("{} file 1", job.id));
    assert_eq!(output["job"]["args"], json!([7]));
    assert_eq!(output["file"], "42");
    let folder = output["in"].as_str().expect("it is a path");
    assert!(!std::path::Path::new(folder).exists(), "{folder} is removed");

    let job = with("merge");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"]["input"]["data"], 42);
    queue.await_empty();
    rig.finish(worker);
}

/// Nor does the worker itself heed what is in its environment: proxies.
fn a_process_sees_nothing_of_the_worker_but_what_it_is_given(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"env | cut -d= -f1 | sort | tr '\n' ' ' | sed 's/.*/"&"/'"#;
    rig.handler("env", script, "env = { GIVEN = '1' }\npass_env = ['PASSED', 'MISSING']");
    let elsewhere = "env = { TMPDIR = '/elsewhere' }";
    rig.handler("elsewhere", r#"echo "\"$TMPDIR\"""#, elsewhere);
    let trap = crate::site::Site::start();
    let mut command = rig.command();
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0"]);
    command.args(["--allow-url", &rig.site.url("/")]);
    command.env("PASSED", "1").env("SECRET", "1").env("LANG", "C").env("LD_LIBRARY_PATH", "/none");
    for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
        command.env(proxy, trap.url("/"));
    }
    let worker = rig.work_with(command);
    let job = rig.job("env").with("input", rig.site.url("/in"));
    rig.site.script("/in", [Answer::Body(200, b"1".to_vec())]);
    queue.put(job.body());
    let output = rig.result(&job)["output"].clone();
    let seen: Vec<_> = output.as_str().expect("it is text").split_whitespace().collect();
    // The shell adds some of its own.
    let shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    let seen: Vec<_> = seen.into_iter().filter(|name| !shell.contains(name)).collect();
    let of_worker = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ"];
    let ours = [
        "JQ_JOB_ID",
        "JQ_TYPE",
        "JQ_ATTEMPT",
        "JQ_RESULT_FILE",
        "JQ_DEADLINE",
        "JQ_INPUT_FILE",
        "JQ_OUTPUT_DIR",
        "TMPDIR",
        "GIVEN",
        "PASSED",
    ];
    for name in ours.iter().chain(&["PATH", "HOME", "LANG"]) {
        assert!(seen.contains(name), "{name} is not in {seen:?}");
    }
    for name in &seen {
        assert!(ours.contains(name) || of_worker.contains(name), "{name} is in {seen:?}");
    }
    assert_eq!(trap.count(), 0, "no proxy is used");
    let job = rig.job("elsewhere");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], "/elsewhere");
    rig.finish(worker);
}

fn results_are_removed_in_the_end(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    // It is 410 for as long again, in which a busy machine has to start a worker.
    rig.configure("retention = 4").handler("ok", "echo 1", "");
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    queue.await_deleted(queue.put(job.body()));
    worker.await_metric("jq_worker_spool", 0.0);
    // Looked for once a minute, and at the start.
    for status in [410, 404] {
        eventually(&format!("it is {status}"), || {
            worker.stop();
            worker = rig.work(&queue, &[]);
            eventually("it has its directory", || worker.get(&job.path()).status() != 503);
            worker.get(&job.path()).status() == status
        });
    }
    rig.finish(worker);
}

fn the_state_directory_is_where_systemd_says(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let mut command = rig.command();
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0"]);
    command.args(["--allow-url", &rig.site.url("/")]).env("STATE_DIRECTORY", rig.dir.join("state"));
    let worker = rig.work_with(command);
    let job = rig.job("ok");
    queue.await_deleted(queue.put(job.body()));
    assert!(rig.dir.join("state/lock").exists() && !rig.dir.join("results").exists());
    rig.finish(worker);
}
