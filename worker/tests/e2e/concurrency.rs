//! How many jobs run at a time, in all and of a type, and that none is held without being run.

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::Rig;
use crate::support::eventually;

each_queue!(
    no_more_than_there_is_room_for,
    a_type_at_its_limit_holds_nobody_up,
    a_type_at_its_limit_is_as_busy_as_that_allows,
);

const WAIT: &str = r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;

fn go(rig: &Rig) {
    std::fs::write(rig.dir.join("go"), "").unwrap();
}

fn no_more_than_there_is_room_for(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("wait", WAIT, "");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let jobs: Vec<_> = (0..6).map(|_| rig.job("wait")).collect();
    for job in &jobs {
        queue.put_with(1, job.body());
    }
    let running = || jobs.iter().filter(|job| !rig.runs(job).is_empty()).count();
    eventually("two run", || running() == 2);
    eventually("they are kept for a while", || {
        assert_eq!(queue.count(TUBE, "current-jobs-reserved"), 2, "none is held without being run");
        worker.metric("jq_worker_touches_total") >= 8.0
    });
    assert_eq!(running(), 2);
    assert_eq!(worker.status()["running"].as_array().map(Vec::len), Some(2));
    go(&rig);
    queue.await_empty();
    assert_eq!(running(), 6);
    rig.finish(worker);
}

fn a_type_at_its_limit_holds_nobody_up(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("narrow", WAIT, "concurrency = 1");
    rig.handler("wide", "echo 2", "");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let narrow: Vec<_> = (0..3).map(|_| rig.job("narrow")).collect();
    let wide: Vec<_> = (0..3).map(|_| rig.job("wide")).collect();
    for job in narrow.iter().chain(&wide) {
        queue.put(job.body());
    }
    for job in &wide {
        assert_eq!(rig.result(job)["output"], 2);
    }
    let started = narrow.iter().filter(|job| !rig.runs(job).is_empty()).count();
    assert_eq!(started, 1, "its limit holds");
    go(&rig);
    for job in &narrow {
        let result = rig.result(job);
        assert_eq!((&result["status"], &result["attempt"]), (&json!("successful"), &json!(1)));
        assert_eq!(rig.runs(job), [1], "being given back was no attempt");
    }
    queue.await_empty();
    rig.finish(worker);
}

/// Jobs that were given back for want of room do not wait until their delays are over, which would
/// take far longer than anybody waits here.
fn a_type_at_its_limit_is_as_busy_as_that_allows(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("narrow", "sleep 0.05; echo 1", "concurrency = 1");
    rig.handler("wide", "echo 2", "");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let jobs: Vec<_> = (0..20).map(|_| rig.job("narrow")).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    eventually("all are done", || rig.site.count() == jobs.len());
    for job in &jobs {
        assert_eq!((rig.sent(job), rig.runs(job)), (1, vec![1]));
    }
    queue.await_empty();
    rig.finish(worker);
}
