//! Processes that stay up, and do not keep to the lines.

use crate::ending::{begin, end_of_those_that_stay, fails, failure, within_memory};
use crate::support::eventually;

/// What the worker may take more, in bytes.
const SOME: u64 = 32 << 20;

#[test]
fn answers_that_nobody_asked_for() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    let stays = "mode = 'persistent'\ngrace = 1";
    let each = |what: &str| format!("while read -r line; do {what}; done");
    // One answer too many, in the same breath, and one when nobody is there any more.
    rig.handler("twice", &each("printf '%s\\n\"stale\"\\n' \"$line\""), stays);
    let later =
        "(while [ ! -e $HOME/late ]; do sleep 0.01; done; echo '\"stale\"') & echo \"$line\"";
    rig.handler("later", &each(later), stays);
    let worker = rig.work(&queue, &[]);
    let does = |kind: &str| {
        let job = rig.job(kind);
        queue.put(job.body());
        assert_eq!(rig.result(&job)["output"]["id"], job.id.to_string(), "its own answer");
    };
    for _ in 0..10 {
        does("twice");
    }
    does("later");
    std::fs::write(rig.dir.join("late"), "").expect("the folder is writable");
    eventually("the process is replaced", || {
        let log = worker.output();
        log.lines().filter(|line| line.contains("while it had no job")).count() > 10
    });
    does("twice");
    end_of_those_that_stay(&rig, &queue, worker, 0);
}

#[test]
fn handlers_that_do_not_listen_or_speak() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    let stays = "mode = 'persistent'\ngrace = 0\ntimeout = 1";
    rig.handler("deaf", "exec sleep 1000", stays);
    rig.handler("mute", "exec >&-; while read -r line; do :; done", stays);
    rig.handler("closed", "exec <&- >&-; sleep 1000", stays);
    rig.handler("gone", "exit 0", stays);
    rig.handler("endless", "read -r line; exec tr '\\0' x < /dev/zero", stays);
    rig.handler("chatty", "while read -r line; do echo hello; done", stays);
    let worker = rig.work(&queue, &[]);
    let deaf = rig.job("deaf").with("args", "x".repeat(65_000));
    fails(&rig, &queue, &deaf, "timeout");
    let kinds = ["mute", "closed", "gone", "chatty"];
    for kind in kinds {
        fails(&rig, &queue, &rig.job(kind), "executor");
    }
    let message =
        within_memory(&worker, SOME, || fails(&rig, &queue, &rig.job("endless"), "executor"));
    assert!(message.contains("1048576"), "{message}");
    end_of_those_that_stay(&rig, &queue, worker, kinds.len() as u64 + 2);
}

#[test]
fn complaints_without_end() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    let much = "head -c 134217728 /dev/zero >&2";
    let stays = "mode = 'persistent'\ngrace = 0";
    rig.handler("loud", &format!("while read -r line; do {much}; echo 5; done"), stays);
    rig.handler(
        "louder",
        "yes >&2 & while read -r line; do :; done",
        &format!("{stays}\ntimeout = 4"),
    );
    let worker = rig.work(&queue, &[]);
    within_memory(&worker, SOME, || {
        let job = rig.job("loud");
        queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!((&result["output"], &result["stderr"]["truncated"]), (&5.into(), &true.into()));
        let job = rig.job("louder");
        queue.put(job.body());
        let result = rig.result(&job);
        failure(&result, "timeout");
        assert!(result["stderr"]["tail"].as_str().is_some_and(|it| it.contains("y\ny\n")));
    });
    end_of_those_that_stay(&rig, &queue, worker, 1);
}

#[test]
fn errors_as_long_as_an_output() {
    const COUNT: usize = 64;
    let (rig, queue) = begin();
    rig.configure("retry_delay = 3600");
    rig.handler("good", "echo 1", "");
    let error = "printf '{\"error\":\"'; head -c 1000000 /dev/zero | tr '\\0' x; echo '\"}'";
    let each = format!("while read -r line; do {error}; done");
    rig.handler("wails", &each, "mode = 'persistent'\ngrace = 0");
    let mut worker = rig.work(&queue, &[]);
    // They are remembered while they wait for their next attempt, so not at that length.
    within_memory(&worker, SOME, || {
        for _ in 0..COUNT {
            queue.put(rig.job("wails").with("retry", 1).body());
        }
        worker.await_metric("jq_worker_failures_total", COUNT as f64);
    });
    worker.stop();
    rig.assert_no_process(&[]);
}
