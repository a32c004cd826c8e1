//! Jobs that are none, and jobs that nobody wants any more.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::{Job, Rig};

each_queue!(
    bodies_that_are_no_jobs,
    an_unknown_type_is_told,
    hostile_jobs,
    nobody_wants_it_any_more,
    every_refused_job_says_so_at_its_url,
    submit_ends_with_the_refusal,
    a_refusal_replaces_no_good_result,
    what_only_informs_refuses_no_job,
    the_urls_that_are_allowed_are_told_of_one_that_is_not,
);

fn bodies_that_are_no_jobs(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let bodies: [&[u8]; 8] =
        [b"", b"hello", b"\xff\xfe", b"[]", b"[1,2,3]", b"{}", b"{\"id\":\"x\"", b"null"];
    for (count, body) in (1..).zip(bodies) {
        let id = queue.put(body);
        queue.await_state(id, "buried");
        worker.await_metric("jq_worker_refused_total", f64::from(count));
    }
    assert_eq!(rig.site.count(), 0);
    let job = rig.job("ok");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful", "it goes on");
    queue.await_empty();
    rig.finish(worker);
}

fn an_unknown_type_is_told(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("unheard-of");
    let id = queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["error"]["kind"]), (&json!("failed"), &json!("input")));
    assert_eq!(result["timestamp"], result["finished"]);
    assert!(result["error"]["message"].as_str().is_some_and(|it| it.contains("unheard-of")));
    queue.await_state(id, "buried");
    worker.await_metric("jq_worker_refused_total", 1.0);
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}

fn hostile_jobs(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let nested =
        rig.job("ok").with("args", 0).body().replace("\"args\":0", &format!("\"args\":{deep}"));
    let refused = [
        rig.job("../../../bin/sh").body(),
        rig.job("ok/../ok").body(),
        rig.job("-rf").body(),
        rig.job("ok").with("id", "../../../../etc/passwd").body(),
        rig.job("ok").with("id", "/etc/passwd").body(),
        rig.job("ok").with("result", "file:///etc/passwd").body(),
        rig.job("ok").with("input", "file:///etc/passwd").body(),
        rig.job("ok").with("retry", 1_000_000).body(),
        rig.job("ok").with("timeout", 0).body(),
        nested,
        deep,
    ];
    for body in refused {
        let id = queue.put(&body);
        queue.await_state(id, "buried");
    }
    assert!(!rig.dir.join("runs").exists(), "nothing was run");
    rig.finish(worker);
}

fn nobody_wants_it_any_more(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let late = rig.job("ok").with("expires_at", "2020-01-01T00:00:00Z");
    let early = rig.job("ok").with("expires_at", "2999-01-01T00:00:00Z");
    let ids = [queue.put(late.body()), queue.put(early.body())];
    assert_eq!(rig.result(&late)["status"], "dismissed");
    assert_eq!(rig.result(&early)["status"], "successful");
    for id in ids {
        queue.await_deleted(id);
    }
    assert_eq!((rig.runs(&late).len(), rig.runs(&early).len()), (0, 1));
    rig.finish(worker);
}

/// A job that is served by its worker only, but whose failure is told to the website.
fn with_callback(rig: &Rig, kind: &str) -> Job {
    let job = rig.job(kind);
    let failed = rig.site.url(&format!("/failed/{}", job.id));
    job.without("result").with("callback", json!({"failedUri": failed})).with("custom", "mine")
}

/// What is queued for a job.
type Body<'a> = &'a dyn Fn(&Job) -> String;

fn every_refused_job_says_so_at_its_url(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let broken = |job: &Job, end: &str| {
        let body = job.body();
        format!("{}{end}", body.strip_suffix('}').expect("it is an object"))
    };
    let deep = "[".repeat(20_000);
    let cases: [(&str, Body<'_>, &str); 12] = [
        ("unheard-of", &Job::body, "no handler of the type unheard-of"),
        ("a/b", &Job::body, "is not a job type"),
        ("ok", &|job| job.clone().without("type").body(), "missing field `type`"),
        ("ok", &|job| job.clone().with("type", json!(7)).body(), "expected a string"),
        ("ok", &|job| job.clone().with("timeout", 0).body(), "\"timeout\" is 0"),
        ("ok", &|job| job.clone().with("retry", "x").body(), "expected a whole number"),
        ("ok", &|job| job.clone().with("input", "file:///x").body(), "expected http or https"),
        ("ok", &|job| job.clone().with("result", "nowhere").body(), "not an absolute URL"),
        ("ok", &|job| job.clone().with("expires_at", "soon").body(), "\"expires_at\" is \"soon\""),
        ("ok", &|job| broken(job, ",\"args\":{\"a\":NaN}}"), "NaN at line 1"),
        ("ok", &|job| broken(job, ""), "EOF while parsing"),
        ("ok", &|job| broken(job, &format!(",\"args\":{deep}")), "nested 20001 deep"),
    ];
    for (count, (handler, body, why)) in (1..).zip(cases) {
        let job = with_callback(&rig, handler);
        let id = queue.put(body(&job));
        let result = worker.result(&job);
        assert_eq!(result["status"], "failed", "{why}");
        assert_eq!(result["error"]["kind"], "input", "{why}");
        assert_eq!(result["custom"], "mine", "{why}");
        assert_eq!((&result["timestamp"], &result["attempts"]), (&result["finished"], &json!([])));
        let message = result["error"]["message"].as_str().expect("it is text");
        assert!(message.contains(why), "{why}: {message}");
        let told = rig.site.await_request(&format!("/failed/{}", job.id)).json();
        assert_eq!((&told["type"], &told["data"]), (&json!("job.failed"), &result), "{why}");
        queue.await_state(id, "buried");
        worker.await_metric("jq_worker_refused_total", f64::from(count));
        assert!(rig.runs(&job).is_empty());
    }
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}

fn submit_ends_with_the_refusal(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    std::fs::write(rig.dir.join("job.json"), r#"{"type":"unheard-of"}"#).expect("it is writable");
    let mut submit = rig.command();
    submit.args(["submit", "--wait", "--server", &queue.name(), "--tube", crate::queue::TUBE]);
    submit.args(["--results", &worker.url(), "job.json"]);
    let output = submit.stdin(Stdio::null()).output().expect("it can be started");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).expect("it prints the result");
    assert_eq!((&result["status"], &result["error"]["kind"]), (&json!("failed"), &json!("input")));
    rig.finish(worker);
}

fn a_refusal_replaces_no_good_result(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok").without("result");
    queue.put(job.body());
    assert_eq!(worker.result(&job)["status"], "successful");
    queue.await_empty();
    let id = queue.put(job.clone().with("timeout", 0).body());
    queue.await_state(id, "buried");
    worker.await_metric("jq_worker_refused_total", 1.0);
    assert_eq!(worker.result(&job)["status"], "successful");
    rig.finish(worker);
}

fn what_only_informs_refuses_no_job(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    rig.handler("slow", "exec sleep 60", "grace = 0");
    let worker = rig.work(&queue, &[]);
    let job = rig
        .job("ok")
        .with("created_at", "2026-11-22T12:00:00")
        .with("expires_at", "9999-12-31T23:59:59Z")
        .with("retry", json!(1.0));
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(result["status"], "successful");
    assert_eq!(result["created"], "2026-11-22T12:00:00.000Z");
    assert_eq!(result.get("notes"), None);
    let job = rig.job("ok").with("created_at", "yesterday");
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(result["status"], "successful");
    let note = result["notes"][0].as_str().expect("it is told");
    assert!(note.contains("\"created_at\" is \"yesterday\""), "{note}");
    let job = rig.job("slow").with("timeout", json!(1.0));
    queue.put(job.body());
    assert_eq!(rig.result(&job)["error"]["message"], "not done within 1 seconds");
    let job = rig.job("ok").with("expires_at", "2020-01-01T00:00:00");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "dismissed");
    rig.finish(worker);
}

fn the_urls_that_are_allowed_are_told_of_one_that_is_not(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = with_callback(&rig, "ok").with("result", "http://127.0.0.1:9/");
    let id = queue.put(job.body());
    let told = rig.site.await_request(&format!("/failed/{}", job.id)).json();
    assert_eq!(told["data"]["error"]["kind"], "publish");
    assert_eq!(told["data"], worker.result(&job));
    queue.await_state(id, "buried");
    let job = rig.job("ok").with("callback", json!({"successUri": "http://127.0.0.1:9/"}));
    let id = queue.put(job.body());
    assert_eq!(rig.result(&job)["error"]["kind"], "publish");
    queue.await_state(id, "buried");
    assert!(rig.runs(&job).is_empty());
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}
