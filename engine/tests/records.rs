//! The law of records: a queue restored from everything that was recorded equals the recording one
//! after its last client has gone.

use std::collections::BTreeSet;

use beanstalk_protocol::{Command, PutHeader, Request, TubeName};
use jq_engine::{
    Action, Answer, CloseReason, ConnId, Engine, Flow, JobChange, Nanos, Policy, Record,
    SegmentRef, Sink,
};
use proptest::prelude::*;

/// Clients, tubes, and the highest job id that commands use.
const CLIENTS: usize = 2;
const TUBES: u8 = 2;
const JOBS: u64 = 6;

/// A second queue that follows the first through its records alone.
#[derive(Debug, Default)]
struct Follower {
    engine: Engine,
    now: Nanos,
    /// Connections whose wait has been answered.
    answered: Vec<ConnId>,
    records: u64,
}

impl Sink for Follower {
    fn answer(&mut self, conn: ConnId, _: Answer<'_>) {
        self.answered.push(conn);
    }

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        self.records += 1;
        let segment = SegmentRef::of(self.records);
        self.engine.restore(self.now, record, segment, &mut NoAnswers).expect("a valid name");
        segment
    }
}

struct NoAnswers;

impl Sink for NoAnswers {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}
}

#[derive(Debug, Clone)]
enum Op {
    Put { priority: u32, delay: u32, ttr: u32, body: Vec<u8> },
    Command(Command),
    Disconnect(CloseReason),
    HalfClose,
    Drain(bool),
    Again(u64),
    Act(u64, Action),
    Pause(TubeName, u32),
    Clear(TubeName),
    PutMany(u32),
    Policy(TubeName, Option<Policy<TubeName>>),
    Pass(u64),
}

fn tube() -> impl Strategy<Value = TubeName> {
    (0..TUBES).prop_map(name)
}

/// The default tube is one of them.
fn name(number: u8) -> TubeName {
    match number {
        0 => TubeName::default_tube(),
        _ => TubeName::new(&[b'a' + number]).expect("a letter is a name"),
    }
}

fn reason() -> impl Strategy<Value = CloseReason> {
    use CloseReason::{Quit, ServerStops, Vanished};
    prop::sample::select(vec![Quit, ServerStops, Vanished])
}

fn action() -> impl Strategy<Value = Action> {
    let set = (prop::option::of(0..5u32), prop::option::of(0..3u32));
    prop_oneof![
        1 => Just(Action::Kick),
        2 => prop::option::of(0..5u32).prop_map(Action::Bury),
        1 => Just(Action::Delete),
        1 => Just(Action::Release),
        4 => (0..=TUBES).prop_map(|number| Action::Move(name(number))),
        2 => set.prop_map(|(priority, delay)| Action::Set(JobChange { priority, delay })),
    ]
}

/// Without a time after which jobs expire: that begins anew for some jobs with a restart.
fn policy() -> impl Strategy<Value = Policy<TubeName>> {
    let limits = (prop::option::of(0..4u64), prop::option::of(0..4u64));
    let attempts =
        (prop::option::of(1..4u32), prop::option::of(1..3u32), prop::option::of(1..3u32));
    let rest = (
        prop::option::of((0..=TUBES).prop_map(name)),
        any::<bool>(),
        prop::option::of(0..4u32),
        prop::option::of(500..3000u32),
        any::<bool>(),
    );
    (limits, attempts, rest).prop_map(|(limits, attempts, rest)| Policy {
        max_jobs: limits.0,
        max_bytes: limits.1,
        max_reserves: attempts.0,
        max_timeouts: attempts.1,
        max_disconnects: attempts.2,
        dead_letter: rest.0,
        expires: None,
        unique: rest.1,
        default_ttr: rest.2,
        reserve_rate: rest.3,
        from_file: rest.4,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let id = 1..=JOBS;
    let command = prop_oneof![
        8 => Just(Command::ReserveWithTimeout(Some(0))),
        2 => Just(Command::Reserve),
        2 => id.clone().prop_map(Command::Delete),
        3 => (id.clone(), 0..5u32, 0..4u32)
            .prop_map(|(id, priority, delay)| Command::Release { id, priority, delay }),
        8 => (id.clone(), 0..5u32).prop_map(|(id, priority)| Command::Bury { id, priority }),
        1 => id.clone().prop_map(Command::Touch),
        2 => id.clone().prop_map(Command::ReserveJob),
        2 => id.clone().prop_map(Command::KickJob),
        2 => (0..4u32).prop_map(Command::Kick),
        1 => (tube(), 0..4u32).prop_map(|(tube, seconds)| Command::PauseTube(tube, seconds)),
        2 => tube().prop_map(Command::Use),
        2 => tube().prop_map(Command::Watch),
        1 => tube().prop_map(Command::Ignore),
    ];
    let body = prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        6 => (0..5u32, 0..3u32, 1..4u32, body)
            .prop_map(|(priority, delay, ttr, body)| Op::Put { priority, delay, ttr, body }),
        12 => command.prop_map(Op::Command),
        2 => reason().prop_map(Op::Disconnect),
        1 => Just(Op::HalfClose),
        1 => any::<bool>().prop_map(Op::Drain),
        1 => id.clone().prop_map(Op::Again),
        6 => (id, action()).prop_map(|(id, action)| Op::Act(id, action)),
        1 => (tube(), 0..4u32).prop_map(|(tube, seconds)| Op::Pause(tube, seconds)),
        2 => (tube(), prop::option::weighted(0.8, policy()))
            .prop_map(|(tube, policy)| Op::Policy(tube, policy)),
        3 => (1..3_000u64).prop_map(Op::Pass),
        2 => tube().prop_map(Op::Clear),
        1 => (0..3u32).prop_map(Op::PutMany),
    ]
}

/// The live queue, and its connections.
struct Live {
    engine: Engine,
    follower: Follower,
    clients: [ConnId; CLIENTS],
    blocked: BTreeSet<ConnId>,
}

impl Live {
    fn new() -> Self {
        let mut engine = Engine::new();
        let clients = std::array::from_fn(|_| engine.connect());
        let follower = Follower { now: Nanos::from_secs(1000), ..Follower::default() };
        Self { engine, follower, clients, blocked: BTreeSet::new() }
    }

    fn run(&mut self, client: usize, op: Op) {
        self.follower.now.0 += 1;
        let (conn, now) = (self.clients[client], self.follower.now);
        match op {
            Op::Pass(millis) => {
                self.follower.now.0 += millis * 1_000_000;
                let now = self.follower.now;
                while self.engine.tick(now, 3, &mut self.follower) {}
            }
            Op::Drain(draining) => self.engine.set_draining(draining, &mut self.follower),
            Op::Again(id) => {
                self.engine.record_again(id, &mut self.follower);
            }
            Op::Clear(tube) => {
                let _ = self.engine.clear_tube(now, tube.as_str(), &mut self.follower);
            }
            Op::PutMany(_) if self.blocked.contains(&conn) => {}
            Op::PutMany(delay) => {
                // Enough for a clearing to take steps.
                for _ in 0..20 {
                    self.put(conn, PutHeader { priority: 1, delay, ttr: 1, size: 1 }, vec![0]);
                }
            }
            Op::Act(id, action) => {
                let _ = self.engine.act(now, id, &action, &mut self.follower);
            }
            Op::Pause(tube, seconds) => {
                let _ = self.engine.pause(now, tube.as_str(), seconds, &mut self.follower);
            }
            Op::Policy(tube, policy) => {
                let set = self.engine.set_policy(now, &tube, policy, &mut self.follower);
                set.expect("the follower records everything");
            }
            Op::Disconnect(reason) => {
                self.engine.disconnect(now, conn, reason, &mut self.follower);
                self.blocked.remove(&conn);
                self.clients[client] = self.engine.connect();
            }
            Op::HalfClose => self.engine.half_close(conn, &mut self.follower),
            Op::Put { .. } | Op::Command(_) if self.blocked.contains(&conn) => {}
            Op::Put { priority, delay, ttr, body } => {
                let header = PutHeader { priority, delay, ttr, size: body.len() as u32 };
                self.put(conn, header, body);
            }
            Op::Command(command) => {
                let request = Request::Command(command);
                let flow = self.engine.handle(now, conn, request, &mut self.follower);
                if flow == Flow::Blocked {
                    self.blocked.insert(conn);
                    return;
                }
            }
        }
        for conn in self.follower.answered.drain(..) {
            self.blocked.remove(&conn);
        }
    }

    fn put(&mut self, conn: ConnId, header: PutHeader, body: Vec<u8>) {
        for request in [Request::Put(header), Request::Body(body.into())] {
            self.follower.now.0 += 1;
            self.engine.handle(self.follower.now, conn, request, &mut self.follower);
        }
    }

    /// The last client leaves, and what is due happens, in both.
    fn end(mut self) -> (Engine, Engine) {
        for conn in self.clients {
            let reason = CloseReason::Vanished;
            self.engine.disconnect(self.follower.now, conn, reason, &mut self.follower);
        }
        let now = self.follower.now;
        while self.engine.tick(now, 100, &mut self.follower) {}
        let mut again = self.follower.engine;
        again.end_restore(now);
        while again.tick(now, 100, &mut NoAnswers) {}
        (self.engine, again)
    }
}

/// Everything durable, sorted.
fn told(engine: &Engine) -> Vec<String> {
    let mut all = Vec::new();
    engine.tell_all(|record| all.push(format!("{record:?}")));
    all.sort_unstable();
    all
}

/// The order in which kicks bring back the buried jobs, tube by tube.
fn kicked(mut engine: Engine, now: Nanos) -> Vec<u64> {
    #[derive(Default)]
    struct Kicked(Vec<u64>);
    impl Sink for Kicked {
        fn answer(&mut self, _: ConnId, _: Answer<'_>) {}
        fn record(&mut self, record: Record<'_>) -> SegmentRef {
            if let Record::Kicked(id) = record {
                self.0.push(id);
            }
            SegmentRef::default()
        }
    }
    let mut sink = Kicked::default();
    let conn = engine.connect();
    for number in 0..=TUBES {
        engine.handle(now, conn, Request::Command(Command::Use(name(number))), &mut sink);
        engine.handle(now, conn, Request::Command(Command::Kick(u32::MAX)), &mut sink);
    }
    sink.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn what_was_recorded_makes_an_equal_queue(
        ops in prop::collection::vec((0..CLIENTS, op()), 1..80),
    ) {
        let mut live = Live::new();
        for (client, op) in ops {
            live.run(client, op);
        }
        let now = live.follower.now;
        let (live, again) = live.end();
        prop_assert_eq!(told(&live), told(&again));
        prop_assert_eq!(live.job_count(), again.job_count());
        // The ids of failed puts are not recorded, and need not be.
        prop_assert!(again.next_id() <= live.next_id());

        // The records of the whole state, in any order, restore an equal queue too.
        let mut third = Engine::new();
        live.tell_all(|record| {
            let restored = third.restore(now, record, SegmentRef::default(), &mut NoAnswers);
            restored.expect("a valid name");
        });
        third.end_restore(now);
        prop_assert_eq!(told(&live), told(&third));
        let (live, third) = (kicked(live, now), kicked(third, now));
        prop_assert_eq!(&live, &kicked(again, now));
        prop_assert_eq!(live, third);
    }
}

/// A delay does not get longer when the clock is set back while the server is down.
#[test]
fn a_clock_that_was_set_back_prolongs_nothing() {
    let mut engine = Engine::new();
    let conn = engine.connect();
    let mut follower = Follower { now: Nanos::from_secs(10_000), ..Follower::default() };
    let header = PutHeader { priority: 0, delay: 60, ttr: 1, size: 0 };
    engine.handle(follower.now, conn, Request::Put(header), &mut follower);
    engine.handle(follower.now, conn, Request::Body(Box::default()), &mut follower);
    let pause = Command::PauseTube(TubeName::default_tube(), 90);
    engine.handle(follower.now, conn, Request::Command(pause), &mut follower);
    let earlier = Nanos::from_secs(7_000);
    let mut again = Engine::new();
    engine.tell_all(|record| {
        again
            .restore(earlier, record, SegmentRef::default(), &mut NoAnswers)
            .expect("a valid name");
    });
    assert_eq!(again.next_deadline(), Some(earlier.after(60)));
    while again.tick(earlier.after(60), 10, &mut NoAnswers) {}
    assert_eq!(again.next_deadline(), Some(earlier.after(90)));
}
