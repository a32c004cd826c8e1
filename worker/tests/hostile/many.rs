//! Thousands of bad jobs.

use crate::ending::{begin, end, within_memory};
use crate::queue::{TUBE, inserted};
use crate::support::eventually;

const COUNT: u64 = 4000;

/// What may be remembered of all of them, in bytes.
const SOME: u64 = 16 << 20;

#[test]
fn thousands_of_bad_jobs() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let bodies = [
        "no JSON at all".to_owned(),
        rig.job("good").with("id", "x".repeat(2000)).body(),
        // Its message is long, and it is told of nowhere.
        rig.job("good").without("result").with("timeout", "x".repeat(2000)).body(),
        rig.job("unheard-of").without("result").body(),
    ];
    within_memory(&worker, SOME, || {
        let mut conn = queue.connect();
        let puts = bodies.iter().map(|body| format!("put 0 0 60 {}\r\n{body}\r\n", body.len()));
        let puts: String = puts.collect();
        for _ in 0..COUNT / bodies.len() as u64 {
            conn.send(&puts);
            for _ in &bodies {
                inserted(&mut conn);
            }
        }
        eventually("all are buried", || queue.count(TUBE, "current-jobs-buried") == COUNT);
        worker.await_metric("jq_worker_refused_total", COUNT as f64);
    });
    let failures = worker.status()["failures"].as_array().map_or(0, Vec::len);
    assert!((1..=20).contains(&failures), "{failures} are remembered");
    worker.await_metric("jq_worker_spool", 0.0);
    let log = end(&rig, &queue, worker, COUNT);
    let lines = log.lines().filter(|line| line.contains("refused; the job is buried"));
    assert_eq!(lines.count() as u64, COUNT, "one line for each");
}
