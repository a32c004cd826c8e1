//! A result URL that does not take the result: it is sent again, the process is not run again.

use std::time::Duration;

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::{Rig, Worker};
use crate::site::{Answer, Site};
use crate::support::eventually;

each_queue!(
    down_and_then_up,
    slow,
    redirects_are_not_followed,
    an_error_and_then_not,
    given_up_and_kicked,
    results_that_wait_hold_up_new_jobs_at_last,
);

/// Plays a job whose first results are answered so, with a time to run that is shorter than the
/// delays between them. Returns how many were sent.
fn play(kind: Kind, answers: &[Answer]) -> usize {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    rig.site.script(&job.path(), answers.to_vec());
    let id = queue.put_with(1, job.body());
    queue.await_deleted(id);
    assert_eq!(rig.runs(&job), [1], "the process is not run again");
    // Each time the same bytes.
    let mut sent = rig.site.requests(&job.path());
    let count = sent.len();
    sent.dedup_by(|one, other| one.body == other.body);
    assert_eq!(sent.len(), 1);
    assert_eq!(rig.site.count(), count, "nothing else was asked for");
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!(worker.metric("jq_worker_leases_lost_total"), 0.0);
    rig.finish(worker);
    count
}

fn is_reserved(queue: &Queue, id: u64) -> bool {
    let state = queue.job(id, "state");
    state.as_deref() == Some("reserved") && queue.job(id, "timeouts").as_deref() == Some("0")
}

fn await_touches(worker: &Worker, count: f64) {
    eventually("the job is touched", || worker.metric("jq_worker_touches_total") >= count);
}

fn down_and_then_up(kind: Kind) {
    let (mut rig, queue) = (Rig::with(Site::down()), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    let id = queue.put_with(1, job.body());
    eventually("it is tried", || worker.metric("jq_worker_publish_failures_total") >= 1.0);
    // For longer than the time to run.
    await_touches(&worker, 4.0);
    assert!(is_reserved(&queue, id));
    assert_eq!(worker.result(&job)["status"], "successful");
    rig.site.go_up();
    queue.await_deleted(id);
    assert_eq!((rig.sent(&job), rig.runs(&job)), (1, vec![1]));
    assert_eq!(worker.metric("jq_worker_leases_lost_total"), 0.0);
    rig.finish(worker);
}

fn slow(kind: Kind) {
    assert_eq!(play(kind, &[Answer::Slow(Duration::from_millis(2500))]), 1);
}

fn redirects_are_not_followed(kind: Kind) {
    let elsewhere = Site::start();
    let answers = [Answer::Redirect(elsewhere.url("/trap")), Answer::Redirect("/trap".into())];
    assert_eq!(play(kind, &answers), 3);
    assert_eq!(elsewhere.count(), 0);
}

fn an_error_and_then_not(kind: Kind) {
    assert_eq!(play(kind, &[Answer::Body(500, b"oops".to_vec())]), 2);
}

fn given_up_and_kicked(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("publish_timeout = 0");
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Body(503, Vec::new())]);
    let id = queue.put(job.body());
    queue.await_state(id, "buried");
    assert_eq!(worker.result(&job)["status"], "successful");
    let failures = worker.status()["failures"].clone();
    assert_eq!(failures[0]["kind"], "publish", "{failures}");
    queue.connect().ask(format!("kick-job {id}"));
    queue.await_deleted(id);
    assert_eq!((rig.sent(&job), rig.runs(&job)), (2, vec![1]));
    rig.finish(worker);
}

fn results_that_wait_hold_up_new_jobs_at_last(kind: Kind) {
    let (mut rig, queue) = (Rig::with(Site::down()), Queue::start(kind));
    rig.configure("max_unpublished = 3");
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    let jobs: Vec<_> = (0..12).map(|_| rig.job("ok")).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    await_touches(&worker, 3.0);
    let spool = worker.metric("jq_worker_spool");
    // One may be on its way from its process to those that wait.
    assert!((3.0..=4.0).contains(&spool), "{spool}");
    let status = worker.status();
    assert_eq!(status["unpublished"], json!(spool as u64));
    rig.site.go_up();
    queue.await_empty();
    for job in &jobs {
        assert_eq!((rig.sent(job), rig.runs(job)), (1, vec![1]));
    }
    rig.finish(worker);
}
