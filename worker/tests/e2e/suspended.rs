//! A worker or a queue that stands still for longer than the time to run, with many jobs in hand; and a worker
//! that is killed again and again while it writes and removes results.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig, Worker};
use crate::support::eventually;

each_queue!(
    a_queue_that_stood_still_costs_no_job_anything,
    a_worker_that_is_killed_again_and_again_loses_no_result,
);

/// Answers when there is a file `go`.
const HELD: &str = r#"while read -r line; do
    while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1; done"#;
const STAYS: &str = "mode = 'persistent'\npipeline = 16\ngrace = 1";

/// In seconds: as short as it goes.
const TTR: u32 = 1;

fn batch(rig: &Rig, queue: &Queue) -> (Vec<Job>, Vec<u64>) {
    let jobs: Vec<_> = (0..16).map(|_| rig.job("held")).collect();
    let ids = jobs.iter().map(|job| queue.put_with(TTR, job.body())).collect();
    (jobs, ids)
}

fn start(rig: &Rig, queue: &Queue) -> Worker {
    rig.handler("held", HELD, STAYS);
    rig.work(queue, &["--concurrency", "16"])
}

fn await_reserved(queue: &Queue) {
    eventually("it has all of them", || queue.count(TUBE, "current-jobs-reserved") == 16);
}

fn await_timeouts(queue: &Queue, ids: &[u64]) {
    let is_back = |id: &u64| queue.job(*id, "state").as_deref() != Some("reserved");
    eventually("the queue has them back", || ids.iter().any(is_back));
}

fn assert_each_is_successful_once(rig: &Rig, queue: &Queue, jobs: &[Job]) {
    queue.await_empty();
    assert_eq!(queue.count(TUBE, "current-jobs-buried"), 0, "none is blamed");
    for job in jobs {
        assert_eq!((&rig.result(job)["status"], rig.sent(job)), (&json!("successful"), 1));
    }
}

/// Stock beanstalkd does not always take such jobs back: see the manual.
#[test]
fn a_worker_that_stood_still_says_what_is_run_again() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    let mut worker = start(&rig, &queue);
    let (jobs, ids) = batch(&rig, &queue);
    await_reserved(&queue);
    worker.signal(Signal::SIGSTOP);
    await_timeouts(&queue, &ids);
    worker.signal(Signal::SIGCONT);
    worker.await_log("the job was lost");
    fs::write(rig.dir.join("go"), "").unwrap();
    assert_each_is_successful_once(&rig, &queue, &jobs);
    assert!(worker.metric("jq_worker_leases_lost_total") >= 1.0);
    worker.stop();
    rig.assert_no_process(&[]);
}

/// The processes of the one that stands still have answered by the time it goes on.
/// On jq-server alone, as above.
#[test]
fn what_another_worker_has_done_meanwhile_counts() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    let mut worker = start(&rig, &queue);
    let (jobs, ids) = batch(&rig, &queue);
    await_reserved(&queue);
    worker.signal(Signal::SIGSTOP);
    fs::write(rig.dir.join("go"), "").unwrap();
    eventually("the queue has all of them back", || {
        ids.iter().all(|id| queue.job(*id, "state").as_deref() == Some("ready"))
    });
    let mut other = rig.work(&queue, &["--concurrency", "16", "--results", "other"]);
    assert_each_is_successful_once(&rig, &queue, &jobs);
    worker.signal(Signal::SIGCONT);
    worker.await_log("lost");
    worker.await_metric("jq_worker_spool", 0.0);
    // Whatever it was told too late is not published, and it takes jobs again.
    let last = rig.job("held");
    other.stop();
    queue.put(last.body());
    assert_eq!(rig.result(&last)["attempt"], 1);
    for job in &jobs {
        assert_eq!(rig.sent(job), 1);
    }
    worker.stop();
    rig.assert_no_process(&[]);
}

fn a_queue_that_stood_still_costs_no_job_anything(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let mut worker = start(&rig, &queue);
    let (jobs, _) = batch(&rig, &queue);
    await_reserved(&queue);
    queue.signal(Signal::SIGSTOP);
    worker.await_log("the job was lost");
    queue.signal(Signal::SIGCONT);
    fs::write(rig.dir.join("go"), "").unwrap();
    assert_each_is_successful_once(&rig, &queue, &jobs);
    worker.stop();
    rig.assert_no_process(&[]);
}

fn a_worker_that_is_killed_again_and_again_loses_no_result(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    // Each crash counts for all that ran.
    rig.configure("max_crashes = 0");
    let script = "while read -r line; do echo 1; done";
    rig.handler("echo", script, STAYS);
    let jobs: Vec<_> = (0..1500).map(|_| rig.job("echo").without("result")).collect();
    let mut conn = queue.connect();
    let put = |job: &Job| crate::queue::put(&mut conn, crate::queue::TTR, job.body());
    let ids: Vec<_> = jobs.iter().map(put).collect();
    for round in 1..=4 {
        let mut worker = rig.work(&queue, &["--concurrency", "16"]);
        let wanted = f64::from(round * 100);
        eventually("some are done", || {
            worker.metric("jq_worker_jobs_total") >= wanted
                || queue.count(TUBE, "current-jobs-ready") == 0
        });
        worker.kill();
    }
    let worker = rig.work(&queue, &["--concurrency", "16"]);
    for id in ids {
        queue.await_deleted(id);
    }
    for job in &jobs {
        let result = worker.result(job);
        assert_eq!((&result["status"], &result["id"]), (&json!("successful"), &job.value["id"]));
    }
    assert!(!worker.output().contains("is damaged"), "a torn end is no damage");
    let mut worker = worker;
    worker.stop();
}
