//! Processes that multiply, or want to stay.

use crate::ending::{begin, end};

/// Each generation starts the next and goes. The last one ends by itself, should nobody end it.
const CHAIN: &str = "chain() { [ $1 -lt 3000 ] || exit 0; chain $(($1 + 1)) & exit 0; }";

#[test]
fn one_that_forks_again_and_again() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    rig.handler("chain", &format!("{CHAIN}; chain 0 & chain 0 & exit 0"), "");
    rig.handler("late", &format!("{CHAIN}; chain 0 & sleep 1000"), "timeout = 1\ngrace = 1");
    let daemon = "setsid sh -c \"trap '' TERM HUP; echo x > $HOME/daemon; exec sleep 1000\"";
    let waits = "while [ ! -e $HOME/daemon ]; do sleep 0.01; done";
    rig.handler("daemon", &format!("({daemon} > /dev/null 2>&1 &); {waits}; echo 2"), "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("chain");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful");
    rig.await_no_process(&[&worker]);
    let job = rig.job("late");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["error"]["kind"], "timeout");
    rig.await_no_process(&[&worker]);
    let job = rig.job("daemon");
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["output"]), (&"successful".into(), &2.into()));
    rig.assert_no_process(&[&worker]);
    assert!(worker.metric("jq_worker_left_behind_total") >= 1.0);
    end(&rig, &queue, worker, 1);
}

#[test]
fn one_that_kills_what_it_can_reach() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    // Its group, and itself; what keeps it is not among them.
    rig.handler("group", "trap '' TERM; kill -TERM 0; kill -KILL 0", "");
    rig.handler("stopped", "kill -STOP $$", "timeout = 1\ngrace = 1");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("group");
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["signal"], &result["error"]["kind"]), (&9.into(), &"executor".into()));
    let job = rig.job("stopped");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["error"]["kind"], "timeout");
    end(&rig, &queue, worker, 2);
}
