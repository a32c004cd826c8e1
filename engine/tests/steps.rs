//! Operations on many jobs are done in steps, so that nobody has to wait for all of them: giving
//! back the jobs of a connection that is gone, and a large kick.

use beanstalk_protocol::{Command, PutHeader, Reply, Request, TubeName};
use jq_engine::{
    Answer, Change, CloseReason, ConnId, Engine, Flow, Nanos, Record, SegmentRef, Sink,
};

const JOBS: u64 = 3000;

/// The connection that was answered, and how many jobs were kicked if that was the answer.
#[derive(Default)]
struct Answered {
    conns: Vec<ConnId>,
    kicked: Option<u64>,
    /// The disconnects in the last answer to `stats-job`.
    disconnects: Option<u32>,
    /// The number of records of jobs whose connection vanished.
    disconnected: u32,
    /// Whether the log is full.
    full: bool,
    /// Whether there is no memory for tubes.
    out_of_memory: bool,
    /// The names in the last list.
    tubes: Vec<String>,
    /// How often there was no memory.
    refused: u32,
}

impl Sink for Answered {
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>) {
        self.conns.push(conn);
        if let Answer::Reply(Reply::Kicked(jobs)) = &answer {
            self.kicked = Some(*jobs);
        }
        self.refused += u32::from(matches!(&answer, Answer::Reply(Reply::OutOfMemory)));
        match answer {
            Answer::JobStats(stats) => self.disconnects = Some(stats.disconnects),
            Answer::Tubes(names) => {
                self.tubes.clear();
                names.for_each(|name| self.tubes.push(name.to_owned()));
            }
            _ => {}
        }
    }

    fn has_room(&self) -> bool {
        !self.out_of_memory
    }

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        self.disconnected += u32::from(matches!(record, Record::Disconnected(_)));
        SegmentRef::default()
    }

    fn admits(&self, _: Change) -> bool {
        !self.full
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

    fn disconnect(&mut self, conn: ConnId, reason: CloseReason) {
        self.engine.disconnect(self.now, conn, reason, &mut self.said);
    }

    fn tick(&mut self, budget: usize) -> bool {
        self.now.0 += 1;
        self.engine.tick(self.now, budget, &mut self.said)
    }

    fn tubes(&mut self, conn: ConnId, list: Command) -> Vec<String> {
        self.ask(conn, list);
        std::mem::take(&mut self.said.tubes)
    }

    fn disconnects(&mut self, conn: ConnId, id: u64) -> Option<u32> {
        self.said.disconnects = None;
        self.ask(conn, Command::StatsJob(id));
        self.said.disconnects
    }

    fn counts(&self) -> (u64, u64, u64) {
        let stats = self.engine.server_stats();
        (stats.ready, stats.reserved, stats.connections)
    }
}

fn tube(number: usize) -> TubeName {
    TubeName::new(format!("tube-{number}").as_bytes()).expect("it is a name")
}

/// A queue, a worker that has reserved all jobs, and another connection.
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
    queue.disconnect(worker, CloseReason::Vanished);
    assert_eq!(queue.counts(), (0, JOBS, 2));
    assert!(queue.engine.next_deadline().is_some_and(|at| at <= queue.now), "there is more to do");
    assert!(queue.tick(100));
    assert_eq!(queue.counts(), (100, JOBS - 100, 2));
    let next = queue.engine.connect();
    assert_ne!(next, worker, "the id is in use until all jobs are back");
    while queue.tick(100) {}
    assert_eq!(queue.counts(), (JOBS, 0, 2));
    assert_eq!(queue.engine.server_stats().workers, 0);
    assert_eq!(queue.engine.server_stats().timeouts, 0, "no job has timed out");
    assert_eq!(queue.engine.connect(), worker, "the id can be reused");
}

#[test]
fn who_waits_is_served_with_the_first() {
    let (mut queue, worker, other) = held();
    assert_eq!(queue.ask(other, Command::Reserve), Flow::Blocked);
    queue.said.conns.clear();
    queue.disconnect(worker, CloseReason::Vanished);
    assert_eq!(queue.said.conns, []);
    queue.tick(1);
    assert_eq!(queue.said.conns, [other]);
    // Its requests are handled between the steps.
    assert_eq!(queue.ask(other, Command::Delete(1)), Flow::Continue);
    assert_eq!(queue.engine.job_count() as u64, JOBS - 1);
}

#[test]
fn deadlines_of_others_are_kept_meanwhile() {
    let (mut queue, worker, other) = held();
    queue.put(other, 5);
    queue.disconnect(worker, CloseReason::Vanished);
    queue.now = queue.now.after(6);
    assert!(queue.tick(2), "the first step, and the delayed job");
    assert_eq!(queue.engine.server_stats().delayed, 0);
    assert_eq!(queue.counts(), (2, JOBS - 1, 2));
}

/// A queue with buried jobs, and two connections.
fn buried() -> (Queue, ConnId, ConnId) {
    let (mut queue, worker, other) = held();
    for id in 1..=JOBS {
        queue.ask(worker, Command::Bury { id, priority: 0 });
    }
    assert_eq!(queue.engine.server_stats().buried, JOBS);
    queue.said = Answered::default();
    (queue, worker, other)
}

#[test]
fn a_large_kick_takes_steps_and_is_answered_at_their_end() {
    let (mut queue, kicker, other) = buried();
    assert_eq!(queue.ask(kicker, Command::Kick(u32::MAX)), Flow::Blocked);
    assert_eq!(queue.counts(), (0, 0, 2));
    assert!(queue.tick(100));
    assert_eq!(queue.counts(), (100, 0, 2));
    // Requests of others are handled between the steps: one of the jobs is deleted.
    assert_eq!(queue.ask(other, Command::Delete(JOBS)), Flow::Continue);
    assert_eq!(queue.said.kicked, None);
    while queue.tick(100) {}
    assert_eq!(queue.counts(), (JOBS - 1, 0, 2));
    assert_eq!(queue.said.kicked, Some(JOBS - 1));
    assert_eq!(queue.said.conns, [other, kicker]);
    assert_eq!(queue.engine.next_deadline(), None);
    // The connection can go on.
    assert_eq!(queue.ask(kicker, Command::Reserve), Flow::Continue);
}

#[test]
fn a_large_kick_takes_no_more_than_it_was_asked_to() {
    let (mut queue, kicker, _) = buried();
    assert_eq!(queue.ask(kicker, Command::Kick(1001)), Flow::Blocked);
    while queue.tick(10) {}
    assert_eq!(queue.said.kicked, Some(1001));
    assert_eq!(queue.counts(), (1001, 0, 2));
    // Few jobs are kicked at once.
    assert_eq!(queue.ask(kicker, Command::Kick(1000)), Flow::Continue);
    assert_eq!(queue.counts(), (2001, 0, 2));
}

#[test]
fn a_large_kick_of_delayed_jobs() {
    let (mut queue, worker, other) = held();
    for id in 1..=JOBS {
        queue.ask(worker, Command::Release { id, priority: 0, delay: 1000 });
    }
    assert_eq!(queue.ask(other, Command::Kick(2000)), Flow::Blocked);
    while queue.tick(100) {}
    assert_eq!(queue.said.kicked, Some(2000));
    assert_eq!(queue.engine.server_stats().delayed, JOBS - 2000);
}

#[test]
fn a_large_kick_goes_on_when_its_client_goes() {
    let (mut queue, kicker, other) = buried();
    queue.put(other, 0);
    queue.ask(kicker, Command::Reserve);
    queue.ask(kicker, Command::Kick(JOBS as u32));
    queue.tick(100);
    queue.said = Answered::default();
    queue.disconnect(kicker, CloseReason::Vanished);
    assert_ne!(queue.engine.connect(), kicker, "the id is in use until all is done");
    while queue.tick(100) {}
    // Including the one that it had reserved.
    assert_eq!(queue.counts(), (JOBS + 1, 0, 2));
    assert_eq!(queue.said.conns, [], "nobody is there to be told");
    assert_eq!(queue.engine.connect(), kicker, "the id can be reused");
}

#[test]
fn a_large_kick_ends_when_the_log_is_full() {
    let (mut queue, kicker, _) = buried();
    queue.ask(kicker, Command::Kick(JOBS as u32));
    queue.tick(100);
    queue.said.full = true;
    while queue.tick(100) {}
    assert_eq!(queue.said.kicked, Some(100));
    assert_eq!(queue.counts(), (100, 0, 2));
}

#[test]
fn jobs_of_a_kicking_client_time_out_meanwhile() {
    let (mut queue, kicker, other) = buried();
    queue.put(other, 0);
    queue.ask(kicker, Command::Reserve);
    queue.ask(kicker, Command::Kick(JOBS as u32));
    queue.now = queue.now.after(101);
    queue.tick(2);
    assert_eq!(queue.engine.server_stats().timeouts, 1);
    while queue.tick(100) {}
    assert_eq!(queue.said.kicked, Some(JOBS));
    assert_eq!(queue.counts(), (JOBS + 1, 0, 2));
}

/// Each disconnect is counted, however many jobs there are, and also in a queue restored from the
/// records; and nobody has to wait for that.
#[test]
fn jobs_of_a_vanished_connection_are_counted_step_by_step() {
    for (reason, expected) in
        [(CloseReason::Vanished, 1), (CloseReason::Quit, 0), (CloseReason::ServerStops, 0)]
    {
        let (mut queue, worker, other) = held();
        queue.disconnect(worker, reason);
        assert!(queue.tick(100));
        assert_eq!(queue.counts(), (100, JOBS - 100, 2));
        assert_eq!(queue.disconnects(other, JOBS), Some(0), "it has not come back yet");
        while queue.tick(100) {}
        for id in [1, 100, 101, JOBS] {
            assert_eq!(queue.disconnects(other, id), Some(expected), "{reason:?} {id}");
        }
        assert_eq!(queue.said.disconnected, expected * JOBS as u32);
    }
}

/// Nobody has to wait until a hundred thousand tubes are gone; and they go in the same order as few do.
#[test]
fn watched_tubes_are_left_in_steps() {
    const TUBES: usize = 3000;
    let mut queue =
        Queue { engine: Engine::new(), now: Nanos::from_secs(1), said: Answered::default() };
    let (worker, other) = (queue.engine.connect(), queue.engine.connect());
    for number in 0..TUBES {
        queue.ask(worker, Command::Watch(tube(number)));
    }
    // Some stay, because another watches them too.
    let stay = |number: usize| number.is_multiple_of(7);
    for number in (0..TUBES).filter(|number| stay(*number)) {
        queue.ask(other, Command::Watch(tube(number)));
    }
    let mut expected = queue.tubes(other, Command::ListTubes);
    let watched = queue.tubes(worker, Command::ListTubesWatched);
    // The first, which is the default tube, and then from the last on.
    for name in watched[1..].iter().rev() {
        let number = name.strip_prefix("tube-").and_then(|number| number.parse().ok());
        if !number.is_some_and(stay) {
            let at = expected.iter().position(|other| other == name).expect("it is there");
            expected.swap_remove(at);
        }
    }
    queue.disconnect(worker, CloseReason::Vanished);
    assert_eq!(queue.tubes(other, Command::ListTubes).len(), TUBES + 1);
    assert!(queue.tick(100), "there is more to do");
    // The default tube and the last 99 others, but for those that stay.
    let gone = (TUBES - 99..TUBES).filter(|number| !stay(*number)).count();
    assert_eq!(queue.tubes(other, Command::ListTubes).len(), TUBES + 1 - gone);
    // Meanwhile jobs come and go.
    queue.put(other, 0);
    assert_eq!(queue.ask(other, Command::Reserve), Flow::Continue);
    while queue.tick(100) {}
    assert_eq!(queue.tubes(other, Command::ListTubes), expected);
    assert_eq!(queue.counts(), (0, 1, 1));
    assert_eq!(queue.engine.connect(), worker, "its id is free");
}

#[test]
fn without_memory_there_are_no_more_tubes() {
    let mut queue =
        Queue { engine: Engine::new(), now: Nanos::from_secs(1), said: Answered::default() };
    let (conn, other) = (queue.engine.connect(), queue.engine.connect());
    queue.ask(conn, Command::Use(tube(1)));
    queue.said.out_of_memory = true;
    for command in [Command::Use(tube(2)), Command::Watch(tube(2)), Command::Watch(tube(1))] {
        queue.ask(conn, command);
    }
    assert_eq!(queue.said.refused, 3);
    assert_eq!(queue.tubes(conn, Command::ListTubes), ["default", "tube-1"]);
    assert_eq!(queue.tubes(conn, Command::ListTubesWatched), ["default"]);
    // What is there can be used, and what is watched be watched once more.
    queue.ask(other, Command::Use(tube(1)));
    queue.ask(other, Command::Watch(TubeName::default_tube()));
    assert_eq!(queue.said.refused, 3);
}
