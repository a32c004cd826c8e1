//! Holding, going on, halting and stopping, by signal and over HTTP.

use nix::sys::signal::Signal;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Rig, Worker};
use crate::site::{Answer, Site};
use crate::support::eventually;

each_queue!(
    held_and_taken_up_again,
    halted_over_http,
    stopped_while_a_job_runs,
    stopped_while_a_job_runs_too_long,
    told_twice_to_stop,
    stopped_while_a_result_cannot_be_sent,
    stopped_with_a_process_that_stays_up,
    stopped_while_the_queue_does_not_answer,
);

const WAIT: &str = r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;

fn go(rig: &Rig) {
    std::fs::write(rig.dir.join("go"), "").unwrap();
}

fn with_token(rig: &Rig) {
    std::fs::write(rig.dir.join("token"), "open sesame\n").unwrap();
    rig.configure("[control]\ntoken_file = 'token'");
}

fn post(worker: &Worker, path: &str) -> u16 {
    let headers = "authorization: Bearer open sesame\r\ncontent-length: 0\r\n";
    worker.ask("POST", path, headers).status()
}

fn held_and_taken_up_again(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    with_token(&rig);
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let is_waiting = |count| {
        eventually(&format!("{count} connections wait for jobs"), || {
            queue.count(TUBE, "current-waiting") == count
        });
    };
    let by_http = |path| assert!((200..300).contains(&post(&worker, path)));
    let hold: [&dyn Fn(); 2] = [&|| worker.signal(Signal::SIGTSTP), &|| by_http("/api/v1/hold")];
    let unhold: [&dyn Fn(); 2] =
        [&|| worker.signal(Signal::SIGCONT), &|| by_http("/api/v1/unhold")];
    for (hold, unhold) in hold.iter().zip(unhold) {
        is_waiting(1);
        hold();
        is_waiting(0);
        assert_eq!(worker.status()["state"], "holding");
        assert_eq!(worker.get("/readyz").status(), 503);
        let job = rig.job("ok");
        let id = queue.put(job.body());
        queue.await_state(id, "ready");
        assert!(rig.runs(&job).is_empty());
        unhold();
        queue.await_deleted(id);
    }
    for headers in ["", "authorization: Bearer guess\r\n"] {
        let headers = format!("{headers}content-length: 0\r\n");
        assert_eq!(worker.ask("POST", "/api/v1/hold", &headers).status(), 401);
    }
    assert_eq!(worker.status()["state"], "running");
    rig.finish(worker);
}

/// A worker of one job at a time, which runs, and a second job that is ready.
fn busy(kind: Kind, rig: &Rig) -> (Queue, Worker, [(crate::rig::Job, u64); 2]) {
    let queue = Queue::start(kind);
    rig.handler("wait", WAIT, "");
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    let jobs = [rig.job("wait"), rig.job("wait")].map(|job| {
        let id = queue.put_with(1, job.body());
        (job, id)
    });
    rig.await_runs(&jobs[0].0, 1);
    (queue, worker, jobs)
}

/// It finishes what runs, takes nothing more, and exits.
fn drains(rig: &Rig, queue: &Queue, mut worker: Worker, jobs: &[(crate::rig::Job, u64); 2]) {
    eventually("it drains", || worker.status()["state"] == "draining");
    let touches = worker.metric("jq_worker_touches_total");
    eventually("the job is still kept", || {
        worker.metric("jq_worker_touches_total") >= touches + 3.0
    });
    go(rig);
    worker.await_exit();
    assert_eq!(rig.sent(&jobs[0].0), 1);
    queue.await_deleted(jobs[0].1);
    queue.await_state(jobs[1].1, "ready");
    assert!(rig.runs(&jobs[1].0).is_empty());
    rig.assert_no_process(&[]);
}

fn halted_over_http(kind: Kind) {
    let rig = Rig::new();
    with_token(&rig);
    let (queue, worker, jobs) = busy(kind, &rig);
    assert!((200..300).contains(&post(&worker, "/api/v1/halt")));
    drains(&rig, &queue, worker, &jobs);
}

fn stopped_while_a_job_runs(kind: Kind) {
    let rig = Rig::new();
    let (queue, worker, jobs) = busy(kind, &rig);
    worker.signal(Signal::SIGTERM);
    drains(&rig, &queue, worker, &jobs);
}

fn stopped_while_a_job_runs_too_long(kind: Kind) {
    let rig = Rig::new();
    rig.configure("stop_timeout = 1");
    let (queue, mut worker, jobs) = busy(kind, &rig);
    worker.stop();
    rig.assert_no_process(&[]);
    for (job, id) in &jobs {
        queue.await_state(*id, "ready");
        assert_eq!(rig.sent(job), 0);
    }
    assert_eq!(rig.runs(&jobs[0].0), [1]);
}

fn told_twice_to_stop(kind: Kind) {
    let rig = Rig::new();
    let (queue, mut worker, jobs) = busy(kind, &rig);
    worker.signal(Signal::SIGTERM);
    eventually("it drains", || worker.status()["state"] == "draining");
    worker.stop();
    rig.assert_no_process(&[]);
    queue.await_state(jobs[0].1, "ready");
}

fn stopped_while_a_result_cannot_be_sent(kind: Kind) {
    let (mut rig, queue) = (Rig::with(Site::down()), Queue::start(kind));
    rig.configure("stop_timeout = 1");
    rig.handler("ok", "echo 1", "");
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    let id = queue.put(job.body());
    eventually("it is tried", || worker.metric("jq_worker_publish_failures_total") >= 1.0);
    worker.stop();
    queue.await_state(id, "ready");
    rig.site.go_up();
    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1], 1));
    rig.finish(worker);
}

fn stopped_with_a_process_that_stays_up(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = "sleep 60 & setsid sleep 60 & while read -r line; do sleep 0.1; echo 1; done";
    rig.handler("stays", script, "mode = 'persistent'\npipeline = 4\ngrace = 1");
    let mut worker = rig.work(&queue, &["--concurrency", "4"]);
    let jobs: Vec<_> = (0..20).map(|_| rig.job("stays")).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    rig.result(&jobs[0]);
    worker.stop();
    rig.assert_no_process(&[]);
    assert_eq!(queue.count(TUBE, "current-jobs-reserved"), 0);
    let done = jobs.iter().filter(|job| rig.sent(job) == 1).count();
    assert_eq!(done as u64, queue.count(TUBE, "cmd-delete"), "each is done or ready");
    assert_eq!(20 - done as u64, queue.count(TUBE, "current-jobs-ready"));
}

fn stopped_while_the_queue_does_not_answer(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("stop_timeout = 1");
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put_with(60, job.body());
    rig.site.await_request(&job.path());
    queue.signal(Signal::SIGSTOP);
    rig.site.go_on();
    worker.await_log("done: publish the result");
    worker.stop();
    let output = worker.output();
    assert!(!output.contains("not all jobs could be ended"), "it waits no longer than it has to");
    queue.signal(Signal::SIGCONT);
    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1], 1));
    rig.finish(worker);
}
