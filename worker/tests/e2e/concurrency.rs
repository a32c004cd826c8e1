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
    what_there_is_no_room_for_is_ready_for_others,
    jobs_with_the_shortest_time_to_run_are_looked_through,
    others_are_found_soon_and_bodies_that_are_no_jobs_too,
    a_pipeline_is_never_overfilled,
    what_is_behind_more_than_a_look_sees_is_found,
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

/// One worker has no room for them. The queue counts nothing, so another one has all attempts.
fn what_there_is_no_room_for_is_ready_for_others(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("narrow", WAIT, "concurrency = 1").handler("wide", "echo 2", "");
    let worker = rig.work(&queue, &["--concurrency", "4"]);
    let first = rig.job("narrow");
    queue.put(first.body());
    rig.await_runs(&first, 1);
    let jobs: Vec<_> = (0..30).map(|_| rig.job("narrow").with("retry", 0)).collect();
    let ids: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
    eventually("it cannot take them", || worker.metric("jq_worker_given_back_total") >= 1.0);
    let wide = rig.job("wide");
    queue.put(wide.body());
    assert_eq!(rig.result(&wide)["output"], 2);
    for key in ["releases", "timeouts", "buries", "kicks"] {
        assert!(ids.iter().all(|id| queue.job(*id, key).as_deref() == Some("0")), "{key}");
    }
    if kind == Kind::Jq {
        let is_accused = |id: &u64| queue.job(*id, "disconnects").as_deref() != Some("0");
        assert!(!ids.iter().any(is_accused), "no worker has vanished");
    }
    // Another worker can have them at once, and counts no attempt either.
    let other = Rig::new();
    other.handler("narrow", "echo 3", "");
    let allowed = rig.site.url("/");
    let mut helper = other.work(&queue, &["--concurrency", "4", "--allow-url", &allowed]);
    eventually("all are done", || jobs.iter().all(|job| rig.sent(job) == 1));
    for job in &jobs {
        let result = rig.result(job);
        assert_eq!((&result["output"], &result["attempt"]), (&json!(3), &json!(1)));
    }
    assert_eq!(rig.sent(&first), 0);
    go(&rig);
    assert_eq!(rig.result(&first)["attempt"], 1);
    queue.await_empty();
    helper.stop();
    rig.finish(worker);
}

/// While a look has them, they are about to time out all the time.
fn jobs_with_the_shortest_time_to_run_are_looked_through(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("narrow", WAIT, "concurrency = 1").handler("wide", "echo 2", "");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let narrow: Vec<_> = (0..3).map(|_| rig.job("narrow").with("retry", 0)).collect();
    queue.put(narrow[0].body());
    rig.await_runs(&narrow[0], 1);
    for job in &narrow[1..] {
        queue.put_with(1, job.body());
    }
    let wide = rig.job("wide");
    queue.put_with(1, wide.body());
    assert_eq!(rig.result(&wide)["output"], 2);
    go(&rig);
    for job in &narrow {
        let result = rig.result(job);
        assert_eq!((&result["status"], &result["attempt"]), (&json!("successful"), &json!(1)));
    }
    queue.await_empty();
    rig.finish(worker);
}

/// While jobs wait that cannot be run, the worker does not wait in a reserve.
fn others_are_found_soon_and_bodies_that_are_no_jobs_too(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("narrow", WAIT, "concurrency = 1").handler("wide", "echo 2", "");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let narrow: Vec<_> = (0..3).map(|_| rig.job("narrow")).collect();
    for job in &narrow {
        queue.put(job.body());
    }
    eventually("it cannot take them", || worker.metric("jq_worker_given_back_total") >= 1.0);
    for number in [1, 3, 5] {
        let wide = rig.job("wide");
        queue.put(wide.body());
        assert_eq!(rig.result(&wide)["output"], 2);
        let id = queue.put("no job");
        queue.await_state(id, "buried");
        worker.await_metric("jq_worker_refused_total", f64::from(number));
        // One that becomes ready without being put is found as well.
        queue.connect().ask(format!("kick-job {id}"));
        eventually("it is buried again", || queue.job(id, "buries").as_deref() == Some("2"));
        queue.connect().ask(format!("delete {id}"));
        worker.await_metric("jq_worker_refused_total", f64::from(number + 1));
    }
    go(&rig);
    queue.await_empty();
    rig.finish(worker);
}

fn a_pipeline_is_never_overfilled(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"while read -r line; do
        while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo $$
    done"#;
    let settings = "mode = 'persistent'\nprocesses = 2\npipeline = 2\ngrace = 1";
    rig.handler("stays", script, settings).handler("wide", "echo 2", "");
    let mut worker = rig.work(&queue, &["--concurrency", "8"]);
    let jobs: Vec<_> = (0..8).map(|_| rig.job("stays")).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    let running = || worker.status()["running"].as_array().map(Vec::len);
    eventually("as many as there may be", || running() == Some(4));
    for _ in 0..3 {
        let wide = rig.job("wide");
        queue.put(wide.body());
        assert_eq!(rig.result(&wide)["output"], 2);
        assert_eq!(running(), Some(4), "others run beside them");
    }
    go(&rig);
    let mut processes: Vec<_> =
        jobs.iter().map(|job| rig.result(job)["output"].to_string()).collect();
    processes.sort();
    processes.dedup();
    assert_eq!(processes.len(), 2, "{processes:?}");
    worker.stop();
    rig.assert_no_process(&[]);
}

fn what_is_behind_more_than_a_look_sees_is_found(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("narrow", WAIT, "concurrency = 1").handler("wide", "echo 2", "");
    let first = rig.job("narrow");
    queue.put(first.body());
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    // Before the others are there: of two jobs that are reserved at about the same time, either may be the one
    // for which there is room.
    rig.await_runs(&first, 1);
    // They are not run.
    let body = rig.job("narrow").without("result").body();
    let put = format!("put 100 0 100 {}\r\n{body}\r\n", body.len());
    const MANY: usize = 20_500;
    let mut conn = queue.connect();
    for _ in 0..MANY / 100 {
        conn.send(put.repeat(100));
        (0..100).for_each(|_| assert!(crate::queue::inserted(&mut conn) > 0));
    }
    let wide = rig.job("wide");
    queue.put(wide.body());
    // On a busy machine a look sees few jobs in its second, so it takes several.
    let is_done = || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        rig.sent(&wide) == 1
    };
    let _ = (0..900).any(|_| is_done());
    assert_eq!(rig.result(&wide)["attempt"], 1);
    // beanstalkd does not show them in another way than by having those in front step aside.
    let is_counted = queue.job(2, "releases").as_deref() != Some("0");
    assert_eq!(is_counted, kind == Kind::Beanstalkd);
    if kind == Kind::Jq {
        assert_eq!(queue.count(TUBE, "current-jobs-delayed"), 0);
    }
    go(&rig);
    assert_eq!(rig.result(&first)["status"], "successful");
    let mut worker = worker;
    worker.kill();
}
