//! Several servers take turns, and one that is down holds nobody up. Of several tubes, the queue
//! decides which job is next.

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig};
use crate::support::eventually;

each_queue!(
    servers_take_turns,
    the_most_urgent_job_of_all_tubes_is_next,
    one_is_down_and_one_dies,
    none_is_held_for_want_of_room,
    what_there_is_no_room_for_goes_back_on_purpose,
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
        // Half of them, give or take what a connection that is slow to come may do.
        let count = among_first(&rig, 30, jobs);
        assert!(count >= 12, "only {count} of the first 30 are of one of two servers");
        for job in jobs {
            assert_eq!((rig.sent(job), rig.runs(job)), (1, vec![1]));
        }
    }
    rig.finish(worker);
}

/// Tubes take no turns: the next job is the one of the smallest priority, and of these the oldest.
fn the_most_urgent_job_of_all_tubes_is_next(kind: Kind) {
    const PRIORITIES: [u32; 8] = [20, 10, 20, 30, 10, 20, 10, 30];
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let mut conn = queue.connect();
    // Twice as many in one tube as in the other.
    let put = |(at, priority): (usize, u32)| {
        let tube = if at % 3 == 0 { "second" } else { TUBE };
        let job = rig.job("ok");
        conn.ask(format!("use {tube}"));
        let body = job.body();
        conn.send(format!("put {priority} 0 10 {}\r\n{body}\r\n", body.len()));
        crate::queue::inserted(&mut conn);
        (priority, tube, job)
    };
    let mut jobs: Vec<_> = PRIORITIES.into_iter().enumerate().map(put).collect();
    let worker = rig.work(&queue, &["--concurrency", "1", "--tube", "second"]);
    eventually("both are drained", || {
        let deleted = [TUBE, "second"].iter().map(|tube| queue.count(tube, "cmd-delete"));
        deleted.sum::<u64>() == PRIORITIES.len() as u64
    });
    // Those of one priority stay in the order in which they were put.
    jobs.sort_by_key(|(priority, ..)| *priority);
    let wanted: Vec<_> = jobs.iter().map(|(.., job)| format!("{} 1", job.id)).collect();
    let text = crate::rig::read(&rig.dir.join("runs"));
    assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    for (_, tube, job) in &jobs {
        assert_eq!(rig.sent(job), 1);
        assert_eq!(rig.result(job)["queue"]["tube"], *tube);
    }
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

/// Both servers are waited for, and each gives a job to who has room for one: the other job goes
/// back, and does not look as if its worker had vanished.
fn what_there_is_no_room_for_goes_back_on_purpose(kind: Kind) {
    let rig = Rig::new();
    let queues = [Queue::start(kind), Queue::start(kind)];
    rig.handler("wait", WAIT, "");
    let worker = rig.work_on(&[&queues[0], &queues[1]], &["--concurrency", "1"]);
    eventually("both are waited for", || {
        queues.iter().all(|queue| queue.count(TUBE, "current-waiting") == 1)
    });
    let jobs = [rig.job("wait"), rig.job("wait")];
    let ids: Vec<u64> =
        queues.iter().zip(&jobs).map(|(queue, job)| queue.put(job.body())).collect();
    worker.await_metric("jq_worker_given_back_total", 1.0);
    let states = || -> Vec<_> {
        let told = queues.iter().zip(&ids).map(|(queue, id)| queue.job(*id, "state"));
        told.map(|state| state.expect("the job is there")).collect()
    };
    eventually("one has gone back", || states().iter().any(|state| state == "ready"));
    for (queue, id) in queues.iter().zip(&ids) {
        let expected = matches!(kind, Kind::Jq).then(|| "0".to_owned());
        assert_eq!(queue.job(*id, "disconnects"), expected);
    }
    std::fs::write(rig.dir.join("go"), "").unwrap();
    for queue in &queues {
        queue.await_empty();
    }
    for job in &jobs {
        assert_eq!((rig.sent(job), rig.runs(job)), (1, vec![1]));
    }
    rig.finish(worker);
}
