//! A wall clock that is set an hour ahead, and back.

use std::fs;

use serde_json::json;

use crate::each_queue;
use crate::injected::library;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Rig, Worker};
use crate::site::Site;
use crate::support::eventually;

each_queue!(a_clock_that_is_set, expired_results_while_the_worker_is_killed);

const HOUR: i32 = 3600;

fn set(rig: &Rig, seconds: i32) {
    // At once: the clock is read all the time.
    fs::write(rig.dir.join("clock.new"), seconds.to_string()).unwrap();
    fs::rename(rig.dir.join("clock.new"), rig.dir.join("clock")).unwrap();
}

fn start(rig: &Rig, queue: &Queue, flags: &[&str]) -> Option<Worker> {
    let mut command = rig.command();
    command.env("LD_PRELOAD", library(rig)?).env("CLOCK", rig.dir.join("clock"));
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0", "-V"]);
    command.args(["--allow-url", &rig.site.url("/")]).args(flags);
    Some(Worker::start(command))
}

/// Whatever it says, jobs are run, tried again, ended and sent as if nothing had happened.
fn a_clock_that_is_set(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retention = 3000\nretry_delay = 1\npublish_timeout = 1800");
    rig.handler("ok", "echo 1", "");
    rig.handler("moody", r#"[ "$JQ_ATTEMPT" = 3 ] && echo 1"#, "");
    rig.handler(
        "wait",
        r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#,
        "timeout = 60",
    );
    set(&rig, 0);
    // Its host is in trouble all the while.
    let mut dead = Site::down();
    let down = rig.job("ok").with("result", dead.url("/x"));
    let allowed = dead.url("/");
    let flags = ["--concurrency", "8", "--allow-url", &allowed];
    let Some(worker) = start(&rig, &queue, &flags) else { return };
    let first = rig.job("ok").without("result");
    queue.await_deleted(queue.put(first.body()));
    let long = rig.job("wait");
    queue.put(long.body());
    rig.await_runs(&long, 1);
    queue.put(down.body());
    eventually("it is tried", || worker.metric("jq_worker_publish_failures_total") >= 1.0);
    for (round, ahead) in [HOUR, 0, -HOUR, 0].into_iter().enumerate() {
        set(&rig, ahead);
        let wanted = if ahead > 0 { 410 } else { 200 };
        let is_as_wanted = || worker.get(&first.path()).status() == wanted;
        eventually(&format!("it is {wanted}, {ahead} s ahead"), is_as_wanted);
        assert_eq!(worker.get("/readyz").status(), 200, "{ahead} s ahead");
        assert_eq!(worker.get("/").status(), 200);
        let (ok, moody) = (rig.job("ok"), rig.job("moody").with("retry", 2));
        let ids = [queue.put(ok.body()), queue.put(moody.body())];
        ids.iter().for_each(|id| queue.await_deleted(*id));
        for (job, attempt) in [(&ok, 1), (&moody, 3)] {
            let result = rig.result(job);
            let said = (&result["status"], &result["attempt"]);
            assert_eq!(said, (&json!("successful"), &json!(attempt)), "{ahead} s ahead");
            assert!(result["usage"]["wall_ms"].as_u64().unwrap() < 600_000, "{result}");
            assert_eq!(worker.get(&job.path()).status(), 200);
        }
        let failures = worker.metric("jq_worker_publish_failures_total");
        if round == 0 {
            eventually("it is tried again", || {
                worker.metric("jq_worker_publish_failures_total") > failures
            });
        }
    }
    assert_eq!(rig.runs(&long), [1], "its time limit is no matter of the clock");
    dead.go_up();
    eventually("it is sent in the end", || dead.count() == 1);
    fs::write(rig.dir.join("go"), "").unwrap();
    assert_eq!(rig.result(&long)["status"], "successful");
    queue.await_empty();
    let output = rig.finish(worker);
    assert!(!output.contains("panicked") && !output.contains("gave up"), "{output}");
}

fn expired_results_while_the_worker_is_killed(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retention = 3600").handler("ok", "echo 1", "");
    // Large enough for files of their own, too.
    rig.handler("large", r#"printf '"%40000s"' x"#, "");
    set(&rig, -HOUR - HOUR / 2);
    let Some(mut worker) = start(&rig, &queue, &[]) else { return };
    let job = |number| rig.job(if number % 10 == 0 { "large" } else { "ok" }).without("result");
    let jobs: Vec<_> = (0..60).map(job).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    queue.await_empty();
    for job in &jobs {
        assert_eq!(worker.result(job)["status"], "successful");
    }
    set(&rig, 0);
    // Each start begins with a sweep.
    for _ in 0..6 {
        worker.kill();
        worker = start(&rig, &queue, &[]).expect("it was started before");
        for job in jobs.iter().filter(|job| job.value["type"] == "ok") {
            // What was owed when it was killed is served until that is settled.
            eventually("it has expired", || worker.get(&job.path()).status() == 410);
        }
    }
    let packs = || {
        let names = fs::read_dir(rig.dir.join("results/packs")).unwrap();
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    eventually("the pack is removed, and its index tells of it", || {
        packs().iter().all(|name| !name.ends_with(".pack")) && !packs().is_empty()
    });
    let last = rig.job("ok").without("result");
    queue.await_deleted(queue.put(last.body()));
    assert_eq!(worker.get(&last.path()).status(), 200);
    let output = rig.finish(worker);
    assert!(!output.contains("damaged"), "{output}");
}
