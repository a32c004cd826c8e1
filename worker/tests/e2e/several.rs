//! Several servers and several tubes: each gets its share, and one that is down holds nobody up.

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig};
use crate::support::eventually;

each_queue!(
    servers_take_turns,
    tubes_take_turns,
    one_is_down_and_one_dies,
    none_is_held_for_want_of_room,
);

const WAIT: &str = r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;

/// How many of these jobs are among the first that were run.
fn among_first(rig: &Rig, count: usize, jobs: &[Job]) -> usize {
    let text = crate::rig::read(&rig.dir.join("runs"));
    let first: Vec<_> = text.lines().take(count).collect();
    jobs.iter().filter(|job| first.iter().any(|line| line.starts_with(&job.id.to_string()))).count()
}

fn jobs(rig: &Rig, kind: &str, count: usize) -> Vec<Job> {
    (0..count).map(|_| rig.job(kind)).collect()
}

fn servers_take_turns(kind: Kind) {
    let rig = Rig::new();
    let queues = [Queue::start(kind), Queue::start(kind)];
    rig.handler("ok", "echo 1", "");
    let of_each = [jobs(&rig, "ok", 30), jobs(&rig, "ok", 30)];
    for (queue, jobs) in queues.iter().zip(&of_each) {
        for job in jobs {
            queue.put(job.body());
        }
    }
    let worker = rig.work_on(&[&queues[0], &queues[1]], &["--concurrency", "1"]);
    for queue in &queues {
        queue.await_empty();
    }
    for jobs in &of_each {
        // Half of them, give or take what chance may do.
        let count = among_first(&rig, 30, jobs);
        assert!(count >= 4, "only {count} of the first 30 are of one of two servers");
        for job in jobs {
            assert_eq!((rig.sent(job), rig.runs(job)), (1, vec![1]));
        }
    }
    rig.finish(worker);
}

fn tubes_take_turns(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let of_each = [jobs(&rig, "ok", 10), jobs(&rig, "ok", 10)];
    for (tube, jobs) in ["second", TUBE].iter().zip(&of_each) {
        let mut conn = queue.connect();
        conn.ask(format!("use {tube}"));
        for job in jobs {
            crate::queue::put(&mut conn, 10, job.body());
        }
    }
    let worker = rig.work(&queue, &["--concurrency", "1", "--tube", "second"]);
    eventually("both are drained", || {
        [TUBE, "second"].iter().map(|tube| queue.count(tube, "cmd-delete")).sum::<u64>() == 20
    });
    for job in of_each.iter().flatten() {
        assert_eq!((rig.sent(job), rig.runs(job)), (1, vec![1]));
    }
    assert_eq!(rig.result(&of_each[0][0])["queue"]["tube"], "second");
    rig.finish(worker);
}

fn one_is_down_and_one_dies(kind: Kind) {
    let rig = Rig::new();
    let [mut down, mut dying] = [Queue::durable(kind), Queue::durable(kind)];
    let steady = Queue::start(kind);
    rig.handler("ok", "sleep 0.1; echo 1", "");
    let late = rig.job("ok");
    down.put(late.body());
    down.kill();
    let of_each = [jobs(&rig, "ok", 8), jobs(&rig, "ok", 8)];
    for (queue, jobs) in [&dying, &steady].iter().zip(&of_each) {
        for job in jobs {
            queue.put(job.body());
        }
    }
    let worker = rig.work_on(&[&down, &dying, &steady], &["--concurrency", "2"]);
    eventually("some are done", || rig.site.count() >= 4);
    dying.kill();
    steady.await_empty();
    assert!(of_each[1].iter().all(|job| rig.sent(job) == 1), "nobody is held up");
    dying.revive();
    down.revive();
    dying.await_empty();
    down.await_empty();
    for job in of_each.iter().flatten().chain([&late]) {
        assert_eq!(rig.sent(job), 1, "each has one result");
    }
    eventually("nothing is owed", || worker.metric("jq_worker_spool") == 0.0);
    rig.finish(worker);
}

fn none_is_held_for_want_of_room(kind: Kind) {
    let rig = Rig::new();
    let queues = [Queue::start(kind), Queue::start(kind)];
    rig.handler("wait", WAIT, "");
    let of_each = [jobs(&rig, "wait", 4), jobs(&rig, "wait", 4)];
    for (queue, jobs) in queues.iter().zip(&of_each) {
        for job in jobs {
            queue.put_with(1, job.body());
        }
    }
    let worker = rig.work_on(&[&queues[0], &queues[1]], &["--concurrency", "2"]);
    let all = || of_each.iter().flatten();
    eventually("two run", || all().filter(|job| !rig.runs(job).is_empty()).count() == 2);
    let reserved = |queue: &Queue| queue.count(TUBE, "current-jobs-reserved");
    eventually("they are kept for a while", || {
        let reserved: u64 = queues.iter().map(reserved).sum();
        assert_eq!(reserved, 2, "none is held without being run");
        worker.metric("jq_worker_touches_total") >= 8.0
    });
    std::fs::write(rig.dir.join("go"), "").unwrap();
    for queue in &queues {
        queue.await_empty();
    }
    for job in all() {
        assert_eq!((rig.sent(job), rig.runs(job)), (1, vec![1]));
    }
    rig.finish(worker);
}
