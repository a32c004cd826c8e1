//! Short jobs are reserved many at once, and share connections.

use std::collections::HashSet;
use std::fs;

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::Rig;
use crate::support::eventually;

each_queue!(
    many_are_reserved_at_once,
    what_is_refused_goes_its_way_beside_the_others,
    a_killed_worker_leaves_all_to_the_next,
    a_stopped_worker_gives_all_back_uncounted,
);

const ECHO: &str = r#"while read -r line; do echo 1; done"#;
const STAYS: &str = "mode = 'persistent'\npipeline = 16\ngrace = 1";

fn many_are_reserved_at_once(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let held = format!(r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; {ECHO}"#);
    rig.handler("echo", &held, STAYS);
    let jobs: Vec<_> = (0..300).map(|_| rig.job("echo").without("result")).collect();
    let ids: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
    let mut worker = rig.work(&queue, &["--concurrency", "16"]);
    await_reserved(&queue);
    // One, two, four, eight, and the rest; and the one that asks.
    eventually("there are few connections", || {
        let stats = queue.connect().ask("stats");
        let connections = stats.value("current-connections").unwrap().parse::<u32>().unwrap();
        connections <= 7
    });
    fs::write(rig.dir.join("go"), "").unwrap();
    for id in ids {
        queue.await_deleted(id);
    }
    for job in &jobs {
        assert_eq!(worker.result(job)["attempt"], json!(1));
    }
    worker.stop();
    rig.assert_no_process(&[]);
}

fn await_reserved(queue: &Queue) {
    eventually("it has as many as it can", || queue.count(TUBE, "current-jobs-reserved") == 16);
}

fn what_is_refused_goes_its_way_beside_the_others(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"while read -r line; do
        case $line in *again*) echo '{"error":"no"}';; *) echo 1;; esac; done"#;
    rig.configure("retry_delay = 0").handler("echo", script, STAYS);
    let mut buried = HashSet::new();
    let mut deleted = HashSet::new();
    for number in 0..60 {
        let job = rig.job("echo");
        match number % 4 {
            0 => drop(buried.insert(queue.put("no job"))),
            1 => drop(buried.insert(queue.put(job.with("type", "unheard-of").body()))),
            2 => drop(buried.insert(queue.put(job.with("args", "again").with("retry", 2).body()))),
            _ => drop(deleted.insert(queue.put(job.body()))),
        }
    }
    let mut worker = rig.work(&queue, &["--concurrency", "16"]);
    for id in deleted {
        queue.await_deleted(id);
    }
    for id in buried {
        queue.await_state(id, "buried");
    }
    worker.stop();
    rig.assert_no_process(&[]);
}

fn a_killed_worker_leaves_all_to_the_next(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler(
        "echo",
        r#"[ -e "$HOME/go" ] || sleep 60; while read -r line; do echo 1; done"#,
        STAYS,
    );
    let jobs: Vec<_> = (0..40).map(|_| rig.job("echo")).collect();
    let ids: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
    let mut worker = rig.work(&queue, &["--concurrency", "16"]);
    await_reserved(&queue);
    worker.kill();
    fs::write(rig.dir.join("go"), "").unwrap();
    worker = rig.work(&queue, &["--concurrency", "16"]);
    for id in ids {
        queue.await_deleted(id);
    }
    for job in &jobs {
        assert_eq!((&rig.result(job)["status"], rig.sent(job)), (&json!("successful"), 1));
    }
    worker.stop();
    rig.assert_no_process(&[]);
}

fn a_stopped_worker_gives_all_back_uncounted(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("stop_timeout = 0").handler("echo", "sleep 60", STAYS);
    let ids: Vec<_> = (0..16).map(|_| queue.put(rig.job("echo").body())).collect();
    let mut worker = rig.work(&queue, &["--concurrency", "16"]);
    await_reserved(&queue);
    worker.stop();
    for id in ids {
        queue.await_state(id, "ready");
        for key in ["releases", "timeouts", "buries"] {
            assert_eq!(queue.job(id, key).as_deref(), Some("0"), "{key}");
        }
        if kind == Kind::Jq {
            assert_eq!(queue.job(id, "disconnects").as_deref(), Some("0"));
        }
    }
}
