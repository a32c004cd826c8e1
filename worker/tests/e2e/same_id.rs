//! Two jobs of the same id: the second is answered by the first, and other content is refused.

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;
use crate::support::eventually;

each_queue!(
    a_second_one_is_answered_by_the_first,
    a_second_one_is_run_again_if_that_is_wanted,
    a_failure_answers_too_until_it_is_kicked,
    other_content_is_refused,
    a_second_one_waits_for_the_retry_of_the_first,
    a_second_worker_runs_it_again,
    a_batch_with_both_and_what_is_no_job,
);

const WAIT: &str = r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;

/// Nobody takes it that this job was tried, or that a worker died of it.
fn assert_uncounted(kind: Kind, queue: &Queue, id: u64) {
    let disconnects = (kind == Kind::Jq).then_some("disconnects");
    for key in ["releases", "timeouts", "buries", "kicks"].into_iter().chain(disconnects) {
        assert_eq!(queue.job(id, key).as_deref(), Some("0"), "{key} of {id}");
    }
}

fn a_second_one_is_answered_by_the_first(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("wait", WAIT, "").handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let job = rig.job("wait");
    let ids = [queue.put(job.body()), queue.put(job.body())];
    rig.await_runs(&job, 1);
    worker.await_log("a job of the same id is here");
    // It waits where others can have it, and nobody counts that. More often than once it would not do so.
    let mut second = None;
    eventually("one of them is ready", || {
        second = ids.into_iter().find(|id| queue.job(*id, "state").as_deref() == Some("ready"));
        second.is_some()
    });
    let second = second.expect("it was found");
    assert_uncounted(kind, &queue, second);
    // Others are found beside it.
    let other = rig.job("ok");
    queue.put(other.body());
    assert_eq!(rig.result(&other)["attempt"], 1);
    assert_uncounted(kind, &queue, second);
    std::fs::write(rig.dir.join("go"), "").unwrap();
    let result = rig.result(&job);
    for id in ids {
        queue.await_deleted(id);
    }
    // Also when all is over; another time of its making is no other content.
    let later = job.clone().with("created_at", "2026-11-22T12:00:00Z");
    queue.await_deleted(queue.put(later.body()));
    let answer = worker.get(&job.path());
    assert_eq!((answer.status(), answer.json()), (200, result));
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1], 1));
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}

fn a_second_one_is_run_again_if_that_is_wanted(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "rerun = 'always'");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    for times in 1..=2 {
        queue.await_deleted(queue.put(job.body()));
        assert_eq!((rig.runs(&job).len(), rig.sent(&job)), (times, times));
    }
    // Whatever it says.
    queue.await_deleted(queue.put(job.clone().with("args", 1).body()));
    assert_eq!(rig.runs(&job).len(), 3);
    rig.finish(worker);
}

fn a_failure_answers_too_until_it_is_kicked(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("moody", r#"[ -e "$HOME/go" ] && echo 1"#, "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("moody");
    let first = queue.put(job.body());
    queue.await_state(first, "buried");
    std::fs::write(rig.dir.join("go"), "").unwrap();
    queue.await_deleted(queue.put(job.body()));
    assert_eq!(worker.result(&job)["status"], "failed");
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1], 1));
    queue.connect().ask(format!("kick-job {first}"));
    queue.await_deleted(first);
    assert_eq!(worker.result(&job)["status"], "successful");
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1, 1], 2));
    rig.finish(worker);
}

fn other_content_is_refused(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    queue.await_deleted(queue.put(job.body()));
    let result = worker.get(&job.path()).body;
    let others = [
        job.clone().with("args", json!({"x": 1})),
        job.clone().with("result", rig.site.url("/elsewhere")),
        job.clone().with("timeout", 7),
        job.clone().with("timeout", -1),
    ];
    for (count, other) in (1..).zip(others) {
        let id = queue.put(other.body());
        queue.await_state(id, "buried");
        worker.await_metric("jq_worker_refused_total", f64::from(count));
    }
    worker.await_log("a job of the same id and other content was done here before");
    assert_eq!(worker.get(&job.path()).body, result, "the document is the first one's");
    assert_eq!((rig.runs(&job), rig.sent(&job), rig.site.count()), (vec![1], 1, 1));
    rig.finish(worker);
}

fn a_second_one_waits_for_the_retry_of_the_first(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 3600");
    rig.handler("moody", r#"[ -e "$HOME/go" ] && echo 1"#, "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("moody").with("retry", 3);
    let first = queue.put(job.body());
    queue.await_state(first, "delayed");
    let second = queue.put(job.body());
    worker.await_log("a job of the same id is here");
    assert_eq!((rig.runs(&job), worker.get(&job.path()).status()), (vec![1], 202));
    queue.await_state(second, "ready");
    assert_uncounted(kind, &queue, second);
    // When the first is gone, the second is the first.
    std::fs::write(rig.dir.join("go"), "").unwrap();
    queue.connect().ask(format!("delete {first}"));
    queue.await_deleted(second);
    eventually("it is done", || rig.sent(&job) == 1);
    assert_eq!(rig.runs(&job).len(), 2);
    rig.finish(worker);
}

/// It does not have the result.
fn a_second_worker_runs_it_again(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    for (times, results) in (1..).zip(["one", "two"]) {
        let worker = rig.work(&queue, &["--results", results]);
        queue.await_deleted(queue.put(job.body()));
        assert_eq!((rig.runs(&job).len(), rig.sent(&job)), (times, times));
        rig.finish(worker);
    }
}

/// Jobs that share a connection, of the same id; and one that is refused.
fn a_batch_with_both_and_what_is_no_job(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"while read -r line; do
        while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1
    done"#;
    rig.handler("stays", script, "mode = 'persistent'\npipeline = 4\ngrace = 1");
    let job = rig.job("stays");
    let bad = job.clone().with("timeout", -1);
    let ids = [&job, &job, &job, &bad].map(|job| queue.put(job.body()));
    let mut worker = rig.work(&queue, &["--concurrency", "8"]);
    worker.await_log("a job of the same id is here");
    for id in ids {
        if queue.job(id, "state").as_deref() == Some("ready") {
            assert_uncounted(kind, &queue, id);
        }
    }
    std::fs::write(rig.dir.join("go"), "").unwrap();
    ids[..3].iter().for_each(|id| queue.await_deleted(*id));
    queue.await_state(ids[3], "buried");
    assert_eq!((rig.sent(&job), worker.result(&job)["attempt"].clone()), (1, json!(1)));
    worker.stop();
}
