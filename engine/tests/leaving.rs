//! A connection that goes with many reserved jobs gives them back in steps, so that nobody has to
//! wait for all of them.

use beanstalk_protocol::{Command, PutHeader, Request};
use jq_engine::{Answer, ConnId, Engine, Flow, Nanos, Sink};

const JOBS: u64 = 3000;

/// Who was answered.
#[derive(Default)]
struct Answered(Vec<ConnId>);

impl Sink for Answered {
    fn answer(&mut self, conn: ConnId, _: Answer<'_>) {
        self.0.push(conn);
    }
}

struct Queue {
    engine: Engine,
    now: Nanos,
    said: Answered,
}

impl Queue {
    fn ask(&mut self, conn: ConnId, command: Command) -> Flow {
        self.now.0 += 1;
        self.engine.handle(self.now, conn, Request::Command(command), &mut self.said)
    }

    fn put(&mut self, conn: ConnId, delay: u32) {
        self.now.0 += 1;
        let header = PutHeader { priority: 0, delay, ttr: 100, size: 0 };
        self.engine.handle(self.now, conn, Request::Put(header), &mut self.said);
        self.engine.handle(self.now, conn, Request::Body(Box::default()), &mut self.said);
    }

    fn tick(&mut self, budget: usize) -> bool {
        self.now.0 += 1;
        self.engine.tick(self.now, budget, &mut self.said)
    }

    fn counts(&self) -> (u64, u64, u64) {
        let stats = self.engine.server_stats();
        (stats.ready, stats.reserved, stats.connections)
    }
}

/// A queue, a worker that holds all jobs, and somebody else.
fn held() -> (Queue, ConnId, ConnId) {
    let engine = Engine::new();
    let mut queue = Queue { engine, now: Nanos::from_secs(1), said: Answered::default() };
    let (worker, other) = (queue.engine.connect(), queue.engine.connect());
    for _ in 0..JOBS {
        queue.put(other, 0);
        queue.ask(worker, Command::Reserve);
    }
    assert_eq!(queue.counts(), (0, JOBS, 2));
    (queue, worker, other)
}

#[test]
fn jobs_come_back_in_steps() {
    let (mut queue, worker, _) = held();
    queue.now.0 += 1;
    queue.engine.disconnect(queue.now, worker, &mut queue.said);
    assert_eq!(queue.counts(), (0, JOBS, 2));
    assert!(queue.engine.next_deadline().is_some_and(|at| at <= queue.now), "there is more to do");
    assert!(queue.tick(100));
    assert_eq!(queue.counts(), (100, JOBS - 100, 2));
    let next = queue.engine.connect();
    assert_ne!(next, worker, "the number is in use until all are back");
    while queue.tick(100) {}
    assert_eq!(queue.counts(), (JOBS, 0, 2));
    assert_eq!(queue.engine.server_stats().workers, 0);
    assert_eq!(queue.engine.server_stats().timeouts, 0, "none of them has timed out");
    assert_eq!(queue.engine.connect(), worker, "it may be given away again");
}

#[test]
fn who_waits_is_served_with_the_first() {
    let (mut queue, worker, other) = held();
    assert_eq!(queue.ask(other, Command::Reserve), Flow::Blocked);
    queue.said.0.clear();
    queue.engine.disconnect(queue.now, worker, &mut queue.said);
    assert_eq!(queue.said.0, []);
    queue.tick(1);
    assert_eq!(queue.said.0, [other]);
    // What it sends meanwhile is carried out between the steps.
    assert_eq!(queue.ask(other, Command::Delete(1)), Flow::Continue);
    assert_eq!(queue.engine.job_count() as u64, JOBS - 1);
}

#[test]
fn deadlines_of_others_are_kept_meanwhile() {
    let (mut queue, worker, other) = held();
    queue.put(other, 5);
    queue.engine.disconnect(queue.now, worker, &mut queue.said);
    queue.now = queue.now.after(6);
    assert!(queue.tick(2), "the first step, and the delayed job");
    assert_eq!(queue.engine.server_stats().delayed, 0);
    assert_eq!(queue.counts(), (2, JOBS - 1, 2));
}
