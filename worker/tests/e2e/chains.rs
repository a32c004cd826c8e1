//! Jobs that follow others.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig};
use crate::site::Answer;
use crate::support::eventually;

each_queue!(
    a_chain_of_five_one_of_them_fails,
    those_that_follow_are_queued_before_the_job_is_gone,
    killed_before_those_that_follow_are_queued,
    the_queue_is_down_when_they_are_to_be_queued,
    what_is_not_there_is_noted,
    only_tubes_that_are_allowed,
    one_that_the_queue_does_not_take,
);

/// Adds one to `args`.
const STEP: &str = r#"[handlers.step]
command = ["python3", "-c", "import json, sys; print(json.load(sys.stdin)['args'] + 1)"]
"#;

fn next(rig: &Rig, kind: &str, args: impl Into<Value>) -> Job {
    rig.job(kind).with("args", args)
}

fn a_chain_of_five_one_of_them_fails(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure(STEP).handler("fails", "exit 65", "");
    let jobs: Vec<Job> = ["step", "step", "step", "fails", "step"]
        .map(|kind| next(&rig, kind, "{{output}}"))
        .to_vec();
    let mut chain = jobs[4].value.clone();
    for job in jobs[..4].iter().rev() {
        chain = job.clone().with("then", json!([chain])).value;
    }
    chain["args"] = json!(1);
    let worker = rig.work(&queue, &[]);
    queue.put(chain.to_string());
    for (job, output) in jobs[..3].iter().zip([2, 3, 4]) {
        let result = rig.result(job);
        assert_eq!((&result["status"], &result["output"]), (&json!("successful"), &json!(output)));
    }
    assert_eq!(rig.result(&jobs[3])["status"], "failed");
    // It is buried; nothing follows it.
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!(queue.count(TUBE, "total-jobs"), 4);
    assert_eq!(worker.get(&jobs[4].path()).status(), 404);
    rig.finish(worker);
}

fn those_that_follow_are_queued_before_the_job_is_gone(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("then_tubes = ['later']");
    rig.handler("first", r#"printf '{"list":[{"name":"x"}]}'"#, "");
    let args = json!({"name": "{{output.list.0.name}}", "of": "job {{id}}", "all": "{{output}}"});
    let then = json!({"type": "second", "tube": "later", "args": args, "custom": 5});
    let job = rig.job("first").with("then", then);
    let worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    // What has a tube of its own is there as soon as the job is not.
    assert_eq!(queue.count("later", "current-jobs-ready"), 1);
    let mut conn = queue.connect();
    conn.ask("use later");
    let found = conn.ask("peek-ready");
    let queued: Value = serde_json::from_slice(found.body().expect("there is one")).expect("JSON");
    assert_eq!(queued["type"], "second");
    assert_eq!(queued["custom"], 5);
    let expected =
        json!({"name": "x", "of": format!("job {}", job.id), "all": {"list": [{"name": "x"}]}});
    assert_eq!(queued["args"], expected);
    let uuid: Uuid = queued["id"].as_str().expect("a text").parse().expect("a UUID");
    assert_eq!(uuid.get_version_num(), 8);
    assert!(queued.get("tube").is_none(), "{queued}");
    assert_eq!(queued["created_at"], rig.result(&job)["finished"]);
    rig.finish(worker);
}

fn killed_before_those_that_follow_are_queued(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let second = next(&rig, "ok", "{{output}}");
    let job = rig.job("ok").with("then", json!([second.value]));
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    rig.site.await_request(&job.path());
    worker.kill();
    assert_eq!(queue.count(TUBE, "total-jobs"), 1, "it is not sent, so nothing follows yet");

    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    assert_eq!(rig.result(&second)["status"], "successful");
    queue.await_empty();
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!((rig.runs(&job), rig.runs(&second)), (vec![1], vec![1]));
    assert_eq!(queue.count(TUBE, "total-jobs"), 2);
    rig.finish(worker);
}

fn the_queue_is_down_when_they_are_to_be_queued(kind: Kind) {
    let (rig, mut queue) = (Rig::new(), Queue::durable(kind));
    rig.handler("ok", "echo 1", "");
    let second = next(&rig, "ok", 1);
    let job = rig.job("ok").with("then", second.value.clone());
    rig.site.script(&job.path(), [Answer::Hold]);
    let worker = rig.work(&queue, &[]);
    queue.put(job.body());
    rig.site.await_request(&job.path());
    queue.kill();
    rig.site.go_on();
    worker.await_log("cannot queue the jobs that follow");
    queue.revive();
    assert_eq!(rig.result(&second)["status"], "successful");
    queue.await_empty();
    assert_eq!(rig.runs(&job), [1], "it is not run again");
    rig.finish(worker);
}

fn what_is_not_there_is_noted(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", r#"echo '{"a":1}'"#, "");
    let lost = next(&rig, "ok", "{{output.b}}");
    let found = next(&rig, "ok", "{{output.a}}");
    let job = rig.job("ok").with("then", json!([lost.value, found.value]));
    let worker = rig.work(&queue, &[]);
    queue.put(job.body());
    assert_eq!(rig.result(&found)["status"], "successful");
    let result = rig.result(&job);
    assert_eq!(result["status"], "successful");
    assert_eq!(result["notes"], json!(["\"then[0]\" is not queued: the output has no b"]));
    queue.await_empty();
    assert_eq!(rig.sent(&lost), 0);
    // What cannot be meant is told before it is run.
    let wrong = rig.job("ok").with("then", json!([{"type": "ok", "args": "{{result}}"}]));
    let id = queue.put(wrong.body());
    let result = rig.result(&wrong);
    let message = result["error"]["message"].as_str().expect("a text");
    assert!(message.contains("\"then[0].args\": {{result}} refers to nothing"), "{message}");
    queue.await_state(id, "buried");
    assert_eq!(rig.runs(&wrong), [0; 0]);
    rig.finish(worker);
}

fn only_tubes_that_are_allowed(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    // The worker's own need no setting.
    let here = rig.job("ok").with("then", json!([next(&rig, "ok", 1).with("tube", TUBE).value]));
    queue.put(here.body());
    assert_eq!(rig.result(&here)["status"], "successful");
    let elsewhere = rig.job("ok").with("then", json!([{"type": "ok", "tube": "payroll"}]));
    let id = queue.put(elsewhere.body());
    let result = rig.result(&elsewhere);
    let why = "\"then[0].tube\": \"payroll\" is not in then_tubes of the configuration";
    assert_eq!(result["error"]["message"], why, "{result}");
    queue.await_state(id, "buried");
    assert_eq!(rig.runs(&elsewhere), [0; 0], "it is not run");
    rig.finish(worker);
}

fn one_that_the_queue_does_not_take(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    // More than a job may have by default.
    rig.handler("long", r#"printf '"'; head -c 70000 /dev/zero | tr '\0' x; printf '"'"#, "");
    rig.handler("ok", "echo 1", "");
    let (lost, found) = (next(&rig, "ok", "{{output}}"), next(&rig, "ok", 1));
    let job = rig.job("long").with("then", json!([lost.value, found.value]));
    let worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    assert_eq!(rig.result(&found)["status"], "successful");
    queue.await_deleted(id);
    worker.await_metric("jq_worker_followers_refused_total", 1.0);
    worker.await_log("the queue does not take a job that was to follow");
    eventually("nothing is owed", || worker.metric("jq_worker_spool") == 0.0);
    rig.finish(worker);
}
