//! Jobs that somebody cancels, wherever they are, or has run again.

use std::fs;

use serde_json::{Value, json};

use crate::each_queue;
use crate::http::{self, Message};
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig, Worker};
use crate::site::Answer;
use crate::support::eventually;

each_queue!(
    while_it_runs,
    while_its_input_is_fetched,
    while_it_waits_for_a_retry,
    while_it_waits_in_the_queue,
    while_its_result_is_sent,
    before_it_comes,
    what_is_over_stays,
    killed_while_it_is_cancelled,
    by_the_command,
    a_success_is_run_again,
    a_failure_is_run_again,
    killed_while_it_is_run_again,
    another_worker_runs_it_again,
    cancelled_before_it_is_run_again,
    what_was_not_kept_is_not_run_again,
);

const TOKEN: &str = "Authorization: Bearer a-token\r\n";

fn rig() -> Rig {
    let rig = Rig::new();
    fs::write(rig.dir.join("token"), "a-token\n").unwrap();
    rig
}

/// Tables go last.
fn with_token(rig: &Rig) -> &Rig {
    rig.configure("[control]\ntoken_file = 'token'")
}

fn cancel(worker: &Worker, job: &Job) -> Message {
    when_it_can(|| worker.ask("DELETE", &job.path(), TOKEN))
}

fn rerun(worker: &Worker, job: &Job) -> Message {
    when_it_can(|| worker.ask("POST", &format!("{}/rerun", job.path()), TOKEN))
}

/// A worker that has just been started may not have its state directory yet.
fn when_it_can(ask: impl Fn() -> Message) -> Message {
    let mut answer = None;
    eventually("the worker can do it", || {
        let got = ask();
        let can = got.status() != 503;
        answer = Some(got);
        can
    });
    answer.expect("it was just asked")
}

/// It is over, everywhere, once; and its queued job is gone.
fn is_cancelled(rig: &Rig, queue: &Queue, worker: &Worker, job: &Job, id: u64) -> Value {
    let result = rig.result(job);
    assert_eq!(result["status"], "cancelled", "{result}");
    assert_eq!(result["error"]["kind"], "cancelled", "{result}");
    assert_eq!(worker.result(job), result);
    queue.await_deleted(id);
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!(rig.sent(job), 1);
    rig.await_no_process(&[worker]);
    result
}

fn while_it_runs(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("slow", "setsid sleep 60 & trap '' TERM; sleep 60 & wait", "grace = 0");
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("slow").with("callback", json!({"failedUri": rig.site.url("/failed")}));
    let id = queue.put(job.body());
    rig.await_runs(&job, 1);
    // Nobody may do that without the token.
    assert_eq!(worker.ask("DELETE", &job.path(), "").status(), 401);
    let answer = cancel(&worker, &job);
    assert_eq!(answer.status(), 200, "{:?}", answer.json());
    assert_eq!(answer.json()["status"], "cancelled");
    let result = is_cancelled(&rig, &queue, &worker, &job, id);
    assert_eq!(result["attempts"].as_array().map(Vec::len), Some(1), "{result}");
    let told = rig.site.await_request("/failed").json();
    assert_eq!(told["data"]["status"], "cancelled");
    rig.finish(worker);
}

fn while_its_input_is_fetched(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    rig.site.script("/input", [Answer::Hold]);
    let job = rig.job("ok").with("input", rig.site.url("/input"));
    let id = queue.put(job.body());
    rig.site.await_request("/input");
    assert_eq!(cancel(&worker, &job).status(), 200);
    is_cancelled(&rig, &queue, &worker, &job, id);
    assert_eq!(rig.runs(&job), [0; 0]);
    rig.finish(worker);
}

fn while_it_waits_for_a_retry(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.configure("retry_delay = 3600").handler("fails", "exit 75", "");
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("fails").with("retry", 5);
    let id = queue.put(job.body());
    rig.await_runs(&job, 1);
    queue.await_state(id, "delayed");
    let answer = cancel(&worker, &job);
    assert_eq!(answer.status(), 200, "{:?}", answer.json());
    let result = is_cancelled(&rig, &queue, &worker, &job, id);
    assert_eq!(result["attempts"].as_array().map(Vec::len), Some(1), "what was before: {result}");
    rig.finish(worker);
}

fn while_it_waits_in_the_queue(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("slow", "sleep 60", "grace = 0");
    with_token(&rig);
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    let first = rig.job("slow");
    let first_id = queue.put(first.body());
    rig.await_runs(&first, 1);
    // It is the first one that is ready, so beanstalkd shows it, too.
    let second = rig.job("slow");
    let second_id = queue.put(second.body());
    let answer = cancel(&worker, &second);
    assert_eq!(answer.status(), 200, "{:?}", answer.json());
    assert_eq!(rig.result(&second)["status"], "cancelled");
    queue.await_deleted(second_id);
    assert_eq!((rig.runs(&second), rig.sent(&second)), (vec![], 1));
    assert_eq!(worker.get(&first.path()).status(), 202, "the other one goes on");
    assert_eq!(cancel(&worker, &first).status(), 200);
    is_cancelled(&rig, &queue, &worker, &first, first_id);
    rig.finish(worker);
}

fn while_its_result_is_sent(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    with_token(&rig);
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Hold]);
    let worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    rig.site.await_request(&job.path());
    // Its result is on the disk: that is what it is.
    let answer = cancel(&worker, &job);
    assert_eq!(answer.status(), 409);
    assert!(answer.json()["error"].as_str().is_some_and(|why| why.contains("successful")));
    rig.site.go_on();
    queue.await_deleted(id);
    assert_eq!(worker.result(&job)["status"], "successful");
    rig.finish(worker);
}

fn before_it_comes(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    with_token(&rig);
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    let answer = cancel(&worker, &job);
    assert_eq!((answer.status(), &answer.json()["job"]), (202, &json!("not found")));
    // It is remembered.
    worker.kill();
    let worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    is_cancelled(&rig, &queue, &worker, &job, id);
    assert_eq!(rig.runs(&job), [0; 0]);
    rig.finish(worker);
}

fn what_is_over_stays(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    let id = queue.put(job.body());
    queue.await_deleted(id);
    let answer = cancel(&worker, &job);
    assert_eq!(answer.status(), 409, "{:?}", answer.json());
    assert_eq!(worker.result(&job)["status"], "successful");
    let other = rig.job("ok");
    let other_id = queue.put(other.body());
    queue.await_deleted(other_id);
    assert_eq!(rig.result(&other)["status"], "successful", "nothing is remembered of it");
    rig.finish(worker);
}

fn killed_while_it_is_cancelled(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("slow", "sleep 60", "grace = 0");
    with_token(&rig);
    let job = rig.job("slow");
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    rig.await_runs(&job, 1);
    assert_eq!(cancel(&worker, &job).status(), 200);
    let first = rig.site.await_request(&job.path());
    worker.kill();
    rig.await_no_process(&[]);
    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    eventually("it is sent again", || rig.sent(&job) == 2);
    assert_eq!(rig.site.requests(&job.path())[1].body, first.body, "the same result");
    assert_eq!(rig.runs(&job), [1], "it is not run again");
    rig.finish(worker);
}

/// beanstalkd lets nobody delete a job that somebody has reserved.
#[test]
fn an_operator_deletes_a_job_that_runs() {
    let (rig, (queue, api)) = (rig(), Queue::with_api());
    rig.handler("slow", "sleep 60", "grace = 0");
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("slow");
    let id = queue.put_with(3, job.body());
    rig.await_runs(&job, 1);
    let token = "Authorization: Bearer a-token-of-a-test\r\n";
    let deleted = http::ask(api, "DELETE", &format!("/api/v1/jobs/{id}"), token);
    assert_eq!(deleted.status(), 200);
    let result = worker.result(&job);
    assert_eq!(result["status"], "cancelled", "{result}");
    let why = result["error"]["message"].as_str().expect("a text");
    assert!(why.contains("deleted from the queue"), "{why}");
    assert_eq!(worker.metric("jq_worker_leases_lost_total"), 0.0, "it is not lost");
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!(rig.sent(&job), 0, "another worker may have sent one");
    rig.finish(worker);
}

fn by_the_command(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("slow", "sleep 60", "grace = 0");
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("slow");
    let id = queue.put(job.body());
    rig.await_runs(&job, 1);
    let run = |command: &str, token: &str| {
        let mut program = rig.command();
        program.args([command, &job.id.to_string(), "--results", &worker.url()]);
        program.args(["--token-file", token]).output().unwrap()
    };
    fs::write(rig.dir.join("wrong"), "another\n").unwrap();
    let refused = run("cancel", "wrong");
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(why.contains("the token in wrong is not the worker's"), "{why}");
    assert_eq!(run("cancel", "missing").status.code(), Some(5));
    let done = run("cancel", "token");
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(document["status"], "cancelled");
    is_cancelled(&rig, &queue, &worker, &job, id);
    // And again.
    let again = run("rerun", "token");
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    rig.await_runs(&job, 2);
    assert_eq!(run("cancel", "token").status.code(), Some(0));
    rig.finish(worker);
}

/// A handler whose output says which run it was.
fn counting(rig: &Rig) -> &Rig {
    rig.handler("count", r#"echo x >> "$HOME/count"; wc -l < "$HOME/count""#, "")
}

fn a_success_is_run_again(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    with_token(counting(&rig));
    let worker = rig.work(&queue, &[]);
    let job = rig.job("count");
    let id = queue.put(job.body());
    queue.await_deleted(id);
    assert_eq!(worker.result(&job)["output"], 1);
    assert_eq!(worker.ask("POST", &format!("{}/rerun", job.path()), "").status(), 401);
    // The second run waits for its result to be wanted.
    rig.site.script(&job.path(), [Answer::Hold]);
    let answer = rerun(&worker, &job);
    assert_eq!(answer.status(), 202, "{:?}", answer.json());
    let document = answer.json();
    assert_eq!(document["status"], "accepted");
    assert_eq!(document["previous"]["status"], "successful", "{document}");
    assert!(document.get("args").is_none() && document.get("job").is_none(), "{document}");
    eventually("there is another result", || {
        let got = worker.get(&job.path());
        got.status() == 200 && got.json()["output"] == 2
    });
    rig.site.go_on();
    queue.await_empty();
    assert_eq!(rig.runs(&job), [1, 1]);
    assert_eq!(worker.get(&format!("{}?previous", job.path())).status(), 404);
    rig.finish(worker);
}

fn a_failure_is_run_again(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    rig.handler("once", r#"[ -e "$HOME/go" ] || exit 65; sleep 1; echo 7"#, "");
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("once");
    let id = queue.put(job.body());
    queue.await_state(id, "buried");
    worker.await_metric("jq_worker_spool", 0.0);
    fs::write(rig.dir.join("go"), "").unwrap();
    assert_eq!(rerun(&worker, &job).status(), 202);
    // Until there is another, the first one can be had.
    let previous = worker.get(&format!("{}?previous", job.path()));
    assert_eq!((previous.status(), &previous.json()["status"]), (200, &json!("failed")));
    queue.await_deleted(id);
    assert_eq!(worker.result(&job)["output"], 7);
    assert_eq!(queue.count(TUBE, "total-jobs"), 1, "it was kicked");
    rig.finish(worker);
}

fn killed_while_it_is_run_again(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    let script = r#"[ -e "$HOME/slow" ] && sleep 60; echo 1"#;
    rig.handler("ok", script, "grace = 0");
    with_token(&rig);
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    let id = queue.put(job.body());
    queue.await_deleted(id);
    worker.await_metric("jq_worker_spool", 0.0);
    fs::write(rig.dir.join("slow"), "").unwrap();
    assert_eq!(rerun(&worker, &job).status(), 202);
    rig.await_runs(&job, 2);
    worker.kill();
    rig.await_no_process(&[]);
    fs::remove_file(rig.dir.join("slow")).unwrap();
    // Neither is it answered by its earlier result, nor is that gone before there is another.
    let worker = rig.work(&queue, &[]);
    eventually("it is run once more", || rig.runs(&job).len() == 3);
    queue.await_empty();
    assert_eq!(worker.result(&job)["status"], "successful");
    rig.finish(worker);
}

fn another_worker_runs_it_again(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    with_token(counting(&rig));
    let mut first = rig.work(&queue, &["--results", "first"]);
    let job = rig.job("count");
    let id = queue.put(job.body());
    queue.await_deleted(id);
    first.await_metric("jq_worker_spool", 0.0);
    let hold = first.ask("POST", "/api/v1/hold", TOKEN);
    assert_eq!(hold.status(), 202);
    assert_eq!(rerun(&first, &job).status(), 202);
    let second = rig.work(&queue, &["--results", "second"]);
    queue.await_empty();
    assert_eq!(second.result(&job)["output"], 2);
    first.stop();
    rig.finish(second);
}

fn what_was_not_kept_is_not_run_again(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    counting(&rig);
    // Without a token, nobody could have it run again.
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("count");
    let id = queue.put(job.body());
    queue.await_deleted(id);
    worker.await_metric("jq_worker_spool", 0.0);
    worker.stop();
    with_token(&rig);
    let worker = rig.work(&queue, &[]);
    let answer = rerun(&worker, &job);
    assert_eq!(answer.status(), 409, "{:?}", answer.json());
    assert!(answer.json()["error"].as_str().is_some_and(|why| why.contains("was not kept")));
    assert_eq!(worker.result(&job)["output"], 1);
    rig.finish(worker);
}

/// A worker was told to cancel a job that another one had. That is not meant for the next run.
fn cancelled_before_it_is_run_again(kind: Kind) {
    let (rig, queue) = (rig(), Queue::start(kind));
    with_token(counting(&rig));
    let mut first = rig.work(&queue, &["--results", "first"]);
    let mut second = rig.work(&queue, &["--results", "second"]);
    for worker in [&first, &second] {
        assert_eq!(worker.ask("POST", "/api/v1/hold", TOKEN).status(), 202);
    }
    let job = rig.job("count");
    assert_eq!(cancel(&second, &job).status(), 202);
    second.stop();
    assert_eq!(first.ask("POST", "/api/v1/unhold", TOKEN).status(), 202);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    first.await_metric("jq_worker_spool", 0.0);
    assert_eq!(first.ask("POST", "/api/v1/hold", TOKEN).status(), 202);
    assert_eq!(rerun(&first, &job).status(), 202);
    let second = rig.work(&queue, &["--results", "second"]);
    queue.await_empty();
    let result = second.result(&job);
    assert_eq!(
        (&result["status"], &result["output"]),
        (&json!("successful"), &json!(2)),
        "{result}"
    );
    first.stop();
    rig.finish(second);
}
