//! Many jobs, two workers, and a crash in the middle: every job has a result, and none is lost.
//!
//! `JQ_WORKER_JOBS` says how many, unless 2,000 will do.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::each_queue;
use crate::queue::{Kind, Queue, inserted};
use crate::rig::Rig;

each_queue!(every_job_has_its_result);

/// Jobs are put so many at a time, without waiting for the answer to each.
const AT_A_TIME: usize = 200;

/// A handler that answers what it was asked.
const ECHO: &str = r#"while read -r line; do printf '{"output":%s}\n' "$line"; done"#;

/// Waits for something that takes longer, the more jobs there are.
pub(crate) fn patiently(what: &str, jobs: usize, mut condition: impl FnMut() -> bool) {
    let deadline =
        Instant::now() + Duration::from_secs(60) + Duration::from_millis(10) * jobs as u32;
    while !condition() {
        assert!(Instant::now() < deadline, "in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn every_job_has_its_result(kind: Kind) {
    let count = env::var("JQ_WORKER_JOBS").map_or(2_000, |count| count.parse().expect("a number"));
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("echo", ECHO, "mode = 'persistent'\npipeline = 16\ngrace = 1");
    let jobs: Vec<_> = (0..count).map(|number| rig.job("echo").with("args", number)).collect();
    let mut conn = queue.connect();
    for some in jobs.chunks(AT_A_TIME) {
        let puts = some.iter().map(|job| {
            let body = job.body();
            format!("put 0 0 30 {}\r\n{body}\r\n", body.len())
        });
        conn.send(puts.collect::<String>());
        for _ in some {
            inserted(&mut conn);
        }
    }

    let begun = Instant::now();
    let work =
        |dir: &str| rig.work(&queue, &["--concurrency", "16", "--results", dir, "--id", dir]);
    let (mut first, second) = (work("first"), work("second"));
    patiently("half of them are done", count, || rig.site.count() >= count / 2);
    first.kill();
    let again = work("first");
    patiently("all are done", count, || {
        let current = conn.ask("stats");
        let zero = |state| current.value(&format!("current-jobs-{state}")) == Some("0");
        ["ready", "reserved", "delayed", "buried"].into_iter().all(zero)
    });
    let took = begun.elapsed();

    let mut bodies = rig.site.bodies();
    let mut sent_again = 0;
    let mut by_worker = [0, 0];
    for (number, job) in jobs.iter().enumerate() {
        let results = bodies.remove(&job.path()).unwrap_or_else(|| panic!("{} is lost", job.id));
        sent_again += results.len() - 1;
        // A later one takes the place of an earlier at its URL. Whichever is there is right.
        for result in results {
            let result: Value = serde_json::from_slice(&result).expect("a result is JSON");
            assert_eq!((&result["status"], &result["error"]), (&json!("successful"), &Value::Null));
            assert_eq!(result["output"]["id"], job.id.to_string(), "it is of this job");
            assert_eq!(result["output"]["args"], number);
            by_worker[usize::from(result["worker"]["id"] == "second")] += 1;
        }
    }
    assert!(bodies.is_empty(), "and no job has two names");
    // What was between its process and the delete when the worker was killed, and no more.
    assert!(sent_again <= 16 + 64, "{sent_again} were sent again");
    assert!(by_worker.iter().all(|count| *count > 0), "both have worked: {by_worker:?}");
    let mut workers = [again, second];
    for worker in &mut workers {
        worker.await_metric("jq_worker_spool", 0.0);
        worker.stop();
    }
    rig.assert_no_process(&[]);
    println!("{count} jobs in {took:?}; {sent_again} were sent again; by worker: {by_worker:?}");
}
