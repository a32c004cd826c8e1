//! Jobs that are queued at certain times.

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::{Rig, Worker};
use crate::support::eventually;

each_queue!(
    three_workers_of_which_two_are_killed,
    several_batons_become_one,
    missed_moments,
    one_is_suspended_while_it_has_the_baton,
    the_queue_takes_no_jobs,
    a_baton_that_is_deleted,
    without_the_queue,
);

const EVERY_SECOND: &str = "[[schedule]]\nname = 'tick'\ncron = '* * * * * *'\ntube = 'ticks'\n\
                            job = { type = 'tick', args = { a = 1 } }";

/// A worker with this schedule, and the folder that it is in.
fn worker(queue: &Queue, schedule: &str) -> (Rig, Worker) {
    let rig = Rig::new();
    rig.handler("ok", "echo 1", "").configure(schedule);
    let worker = rig.work(queue, &[]);
    (rig, worker)
}

/// The moments of the next jobs of a tube.
fn moments(queue: &Queue, tube: &str, count: usize) -> Vec<Timestamp> {
    let mut conn = queue.connect();
    conn.ask(format!("watch {tube}"));
    let next = || {
        let reply = conn.ask("reserve-with-timeout 30");
        let body = reply.body().unwrap_or_else(|| panic!("a job of {tube}"));
        let job: Value = serde_json::from_slice(body).expect("JSON");
        let id = String::from_utf8_lossy(reply.line()).split(' ').nth(1).map(str::to_owned);
        conn.ask(format!("delete {}", id.expect("a number")));
        job["created_at"].as_str().expect("a text").parse().expect("a time")
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn assert_each_once(moments: &[Timestamp]) {
    for two in moments.windows(2) {
        assert_eq!(two[1].duration_since(two[0]), SignedDuration::from_secs(1), "{moments:?}");
    }
}

/// Puts a baton, by which all up to `last` has been dealt with.
fn put_baton(queue: &Queue, name: &str, last: Timestamp, delay: u32) {
    let mut conn = queue.connect();
    conn.ask(format!("use schedule.{name}"));
    let reply = conn.ask(format!("put {} {delay} 30 2\r\n{{}}", last.as_second()));
    assert!(reply.line().starts_with(b"INSERTED"), "{reply:?}");
}

fn three_workers_of_which_two_are_killed(kind: Kind) {
    let queue = Queue::start(kind);
    let mut workers = [(); 3].map(|()| worker(&queue, EVERY_SECOND));
    let mut seen = Vec::new();
    for (_, worker) in &mut workers[..2] {
        seen.extend(moments(&queue, "ticks", 3));
        worker.kill();
    }
    seen.extend(moments(&queue, "ticks", 3));
    assert_each_once(&seen);
    let [_, _, (rig, worker)] = workers;
    rig.finish(worker);
}

fn several_batons_become_one(kind: Kind) {
    let queue = Queue::start(kind);
    let now = Timestamp::now();
    let last = |ago| now - SignedDuration::from_secs(ago);
    put_baton(&queue, "tick", last(30), 0);
    put_baton(&queue, "tick", last(5), 0);
    put_baton(&queue, "tick", last(20), 3600);
    let workers = [(); 2].map(|()| worker(&queue, EVERY_SECOND));
    let seen = moments(&queue, "ticks", 8);
    assert_eq!(seen[0].as_second(), last(4).as_second(), "the newest of them counts");
    assert_each_once(&seen);
    let count = |state| queue.count("schedule.tick", &format!("current-jobs-{state}"));
    eventually("one is left", || count("ready") + count("reserved") + count("delayed") == 1);
    for (rig, worker) in workers {
        rig.finish(worker);
    }
}

fn missed_moments(kind: Kind) {
    let queue = Queue::start(kind);
    let now = Timestamp::now();
    for name in ["skipped", "once"] {
        put_baton(&queue, name, now - SignedDuration::from_hours(24 * 800), 0);
    }
    let schedule = |name, missed| {
        format!(
            "[[schedule]]\nname = '{name}'\ncron = '0 0 1 1 *'\nmissed = '{missed}'\ntube = '{name}'\n\
             job = {{ type = 'x' }}\n"
        )
    };
    let both = schedule("skipped", "skip") + &schedule("once", "run-once");
    let (rig, worker) = worker(&queue, &both);
    eventually("one is queued", || queue.count("once", "current-jobs-ready") == 1);
    let mut conn = queue.connect();
    conn.ask("use once");
    let found = conn.ask("peek-ready");
    let job: Value = serde_json::from_slice(found.body().expect("there is one")).expect("JSON");
    let moment = job["created_at"].as_str().expect("a text").parse::<Timestamp>().expect("a time");
    assert_eq!(moment.strftime("%m-%d %H:%M").to_string(), "01-01 00:00");
    assert!(now.duration_since(moment) < SignedDuration::from_hours(24 * 366), "the last of two");
    worker.await_log("moments were missed");
    for name in ["skipped", "once"] {
        let tube = format!("schedule.{name}");
        eventually("it waits for the next", || queue.count(&tube, "current-jobs-delayed") == 1);
    }
    assert_eq!((queue.count("skipped", "total-jobs"), queue.count("once", "total-jobs")), (0, 1));
    rig.finish(worker);
}

fn one_is_suspended_while_it_has_the_baton(kind: Kind) {
    let queue = Queue::start(kind);
    let (rig, suspended) = worker(&queue, EVERY_SECOND);
    let mut seen = moments(&queue, "ticks", 2);
    // Nobody else waits for the baton, so it is handed to this one.
    eventually("it is suspended with the baton", || {
        suspended.signal(Signal::SIGSTOP);
        let tube = |state| queue.count("schedule.tick", state);
        eventually("the baton moves", || tube("current-jobs-delayed") == 0);
        let has_it = tube("current-jobs-reserved") == 1;
        if !has_it {
            // It did not wait for it just then.
            suspended.signal(Signal::SIGCONT);
        }
        has_it
    });
    let (other_rig, other) = worker(&queue, EVERY_SECOND);
    seen.extend(moments(&queue, "ticks", 4));
    suspended.signal(Signal::SIGCONT);
    seen.extend(moments(&queue, "ticks", 12));
    assert_each_once(&seen);
    rig.finish(suspended);
    other_rig.finish(other);
}

fn the_queue_takes_no_jobs(kind: Kind) {
    let queue = Queue::start(kind);
    let last = Timestamp::now() - SignedDuration::from_secs(5);
    put_baton(&queue, "tick", last, 0);
    queue.signal(Signal::SIGUSR1);
    let (rig, worker) = worker(&queue, EVERY_SECOND);
    worker.await_log("the queue does not take its job: Draining");
    eventually("the moment is still to come", || {
        let mut conn = queue.connect();
        conn.ask("stats-job 1").value("pri") == Some(&last.as_second().to_string())
    });
    rig.finish(worker);
}

fn without_the_queue(kind: Kind) {
    let mut queue = Queue::durable(kind);
    let (rig, worker) = worker(&queue, EVERY_SECOND);
    let mut seen = moments(&queue, "ticks", 2);
    let baton = || queue.count("schedule.tick", "current-jobs-delayed");
    eventually("the moment is done with", || baton() == 1);
    queue.kill();
    worker.await_log("cannot see to the schedule");
    queue.revive();
    seen.extend(moments(&queue, "ticks", 4));
    assert_each_once(&seen);
    rig.finish(worker);
}

fn a_baton_that_is_deleted(kind: Kind) {
    let queue = Queue::start(kind);
    // It waits for a moment that is a minute away and more.
    put_baton(&queue, "tick", Timestamp::now() + SignedDuration::from_secs(600), 0);
    let (rig, worker) = worker(&queue, EVERY_SECOND);
    let delayed = || queue.count("schedule.tick", "current-jobs-delayed") == 1;
    eventually("it waits", delayed);
    queue.connect().ask("delete 1");
    drop(worker);
    // The next to look for one finds none.
    let again = rig.work(&queue, &[]);
    moments(&queue, "ticks", 2);
    rig.finish(again);
}
