//! What an engine observes: in sessions that say what they expect, on virtual time.

mod common;

use beanstalk_protocol::{Command, PutHeader, Rejection, Request, TubeName};
use common::Wire;
use jq_engine::{
    Activity, Answer, Cause, Change, CloseReason, ConnId, Cursor, Engine, Histogram, Limits, Nanos,
    NewJob, Oldest, Policy, PutRefusal, Sink, Times,
};

struct Session {
    engine: Engine,
    conn: ConnId,
    now: Nanos,
}

/// A tube, as [`Engine::view_tubes`] shows it.
#[derive(Debug, Clone)]
struct Seen {
    number: u64,
    activity: Activity,
    oldest: Option<Oldest>,
    times: Option<Times>,
}

const START: Nanos = Nanos::from_secs(1000);

impl Session {
    fn new() -> Self {
        let mut engine = Engine::new();
        let conn = engine.connect();
        Self { engine, conn, now: START }
    }

    fn observed(max_tubes: usize) -> Self {
        let mut session = Self::new();
        session.engine.observe(START, max_tubes);
        session
    }

    fn pass(&mut self, seconds: u32) {
        self.now = self.now.after(seconds);
        while self.engine.tick(self.now, 100, &mut Wire::default()) {}
    }

    fn command(&mut self, command: Command) {
        self.request(Request::Command(command));
    }

    fn request(&mut self, request: Request) {
        self.now.0 += 1;
        self.engine.handle(self.now, self.conn, request, &mut Wire::default());
    }

    fn put(&mut self, priority: u32, delay: u32) {
        self.request(Request::Put(PutHeader { priority, delay, ttr: 60, size: 0 }));
        self.request(Request::Body(Box::default()));
    }

    fn use_(&mut self, tube: &str) {
        self.command(Command::Use(TubeName::new(tube.as_bytes()).unwrap()));
    }

    fn tube(&self, name: &str) -> Seen {
        let mut found = None;
        let end = self.engine.view_tubes(self.now, Cursor::default(), usize::MAX, |view| {
            if view.stats.name.as_str() == name {
                found = Some(Seen {
                    number: view.number,
                    activity: view.activity,
                    oldest: view.oldest_ready(None),
                    times: view.times.copied(),
                });
            }
        });
        assert_eq!(end, None);
        found.unwrap_or_else(|| panic!("there is no tube {name}"))
    }

    /// Whole seconds for which the oldest job of the default tube has been ready.
    fn oldest(&self) -> Option<u64> {
        self.tube("default").oldest.map(|oldest| self.now.seconds_since(oldest.since))
    }
}

/// The upper bounds of the buckets that have something, in milliseconds, with how many.
fn buckets(histogram: &Histogram) -> Vec<(u128, u64)> {
    let bound = |bucket| Histogram::bound(bucket).map_or(u128::MAX, |bound| bound.as_millis());
    let all = histogram.counts().iter().enumerate();
    all.filter(|(_, count)| **count > 0).map(|(at, count)| (bound(at), *count)).collect()
}

#[test]
fn waits_and_service_times_are_counted_by_tube() {
    let mut session = Session::observed(10);
    session.use_("a");
    session.put(1, 0);
    session.pass(4);
    session.command(Command::ReserveJob(1));
    session.pass(50);
    session.command(Command::Delete(1));
    let times = session.tube("a").times.expect("there is room for it");
    assert_eq!(buckets(&times.wait), [(5_000, 1)]);
    assert_eq!(buckets(&times.service), [(60_000, 1)]);
    assert_eq!(session.engine.overall().all, times);
    assert_eq!(session.engine.overall().shared, Times::default());
    let once = Activity { puts: 1, reserves: 1, deletes: 1, buries: 0, timeouts: 0 };
    assert_eq!(session.tube("a").activity, once);
    assert_eq!(session.engine.activity(), once);
    assert_eq!(session.tube("default").times, None, "no job was in it");
}

#[test]
fn a_job_waits_from_when_it_is_ready() {
    let mut session = Session::observed(10);
    session.put(1, 100);
    session.pass(50);
    assert_eq!(session.oldest(), None, "it is delayed");
    session.pass(60);
    assert_eq!(session.oldest(), Some(10));
    session.pass(10);
    session.command(Command::Reserve);
    let overall = session.engine.overall().all;
    assert_eq!(buckets(&overall.wait), [(30_000, 1)], "20 seconds");
    // Nobody waited for a job that was taken while it was delayed or buried.
    session.command(Command::Bury { id: 1, priority: 1 });
    session.pass(20);
    session.command(Command::ReserveJob(1));
    session.pass(3);
    session.command(Command::Release { id: 1, priority: 1, delay: 9 });
    session.command(Command::ReserveJob(1));
    session.pass(3);
    session.command(Command::Delete(1));
    let overall = session.engine.overall().all;
    assert_eq!(overall.wait.count(), 1);
    assert_eq!(buckets(&overall.service), [(5_000, 1)], "the last reserve counts");
    let activity = session.engine.activity();
    assert_eq!((activity.reserves, activity.buries), (3, 1));
}

#[test]
fn the_oldest_ready_job_is_known_whatever_its_priority_and_fate() {
    let mut session = Session::observed(10);
    session.put(1000, 0);
    for _ in 0..10 {
        session.pass(1);
        session.put(10, 0);
        session.put(2000, 0);
    }
    assert_eq!(session.oldest(), Some(10));
    // A job that comes back is young, although it is the first to be reserved.
    session.command(Command::Reserve);
    session.command(Command::Release { id: 2, priority: 0, delay: 0 });
    assert_eq!(session.oldest(), Some(10));
    session.command(Command::Delete(1));
    assert_eq!(session.oldest(), Some(9));
    for id in 2..=21 {
        session.command(Command::Delete(id));
    }
    assert_eq!(session.oldest(), None);
    session.put(1, 0);
    assert_eq!(session.oldest(), Some(0));
}

#[test]
fn timeouts_and_the_end_of_connections_begin_another_wait() {
    let mut session = Session::observed(10);
    session.put(1, 0);
    session.command(Command::Reserve);
    session.pass(61);
    assert_eq!(session.engine.activity().timeouts, 1);
    assert_eq!(session.tube("default").activity.timeouts, 1);
    assert_eq!(session.oldest(), Some(0));
    session.pass(7);
    session.command(Command::Reserve);
    let (now, conn) = (session.now, session.conn);
    session.engine.disconnect(now, conn, CloseReason::Vanished, &mut Wire::default());
    session.conn = session.engine.connect();
    session.pass(2);
    assert_eq!(session.oldest(), Some(2));
    session.command(Command::Reserve);
    let waits = session.engine.overall().all.wait;
    assert_eq!(buckets(&waits), [(0, 1), (2_500, 1), (10_000, 1)]);
}

#[test]
fn tubes_beyond_the_limit_share_their_histograms() {
    let mut session = Session::observed(2);
    for tube in ["a", "b", "c", "d"] {
        session.use_(tube);
        session.put(1, 0);
    }
    for id in 1..=4 {
        session.command(Command::ReserveJob(id));
    }
    assert!(session.tube("a").times.is_some() && session.tube("b").times.is_some());
    assert!(session.tube("c").times.is_none() && session.tube("d").times.is_none());
    assert_eq!(session.engine.overall().shared.wait.count(), 2);
    assert_eq!(session.engine.overall().all.wait.count(), 4);
    // A tube that is gone makes room, and what happened in one without is not lost.
    session.use_("default");
    let gone = session.tube("a").number;
    session.command(Command::Delete(1));
    session.command(Command::Delete(3));
    let once = Activity { puts: 1, reserves: 1, deletes: 1, buries: 0, timeouts: 0 };
    assert_eq!(session.engine.overall().gone, once);
    session.use_("a");
    session.put(1, 0);
    session.command(Command::ReserveJob(5));
    let again = session.tube("a");
    assert!(again.number > gone, "it is another tube");
    assert_eq!(again.times.expect("there is room").wait.count(), 1);
}

#[test]
fn what_was_before_is_known_but_for_jobs_that_came_back() {
    let mut session = Session::new();
    session.put(1, 0);
    session.put(1, 2);
    session.put(1, 0);
    session.command(Command::Reserve);
    session.command(Command::Release { id: 1, priority: 1, delay: 0 });
    session.command(Command::ReserveJob(3));
    session.pass(20);
    assert_eq!(session.oldest(), None, "nobody observes");
    assert_eq!(session.engine.overall().all, Times::default());
    session.engine.observe(session.now, 10);
    assert_eq!(session.oldest(), Some(18), "the second job, after its delay");
    session.pass(3);
    session.command(Command::ReserveJob(2));
    session.command(Command::ReserveJob(1));
    session.command(Command::Delete(3));
    let times = session.engine.overall().all;
    assert_eq!(buckets(&times.wait), [(30_000, 1)], "21 seconds; the other one came back");
    assert_eq!(buckets(&times.service), [(30_000, 1)], "23 seconds");
    session.engine.observe(session.now, 10);
    assert_eq!(session.engine.overall().all, times, "observing begins once");
}

#[test]
fn a_look_at_tubes_is_bounded() {
    let mut session = Session::observed(10);
    for tube in 0..100 {
        session.use_(&format!("t{tube}"));
        session.put(1, 0);
    }
    let mut from = Some(Cursor::default());
    let (mut looks, mut numbers) = (0, Vec::new());
    while let Some(cursor) = from {
        let before = numbers.len();
        from = session.engine.view_tubes(session.now, cursor, 7, |view| numbers.push(view.number));
        assert!(numbers.len() - before <= 7);
        looks += 1;
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..=100).collect::<Vec<_>>());
    assert!(looks >= 101 / 7);
    // Waiting connections that watch many tubes are looked at too.
    (1..=100).for_each(|id| session.command(Command::Delete(id)));
    for _ in 0..20 {
        session.conn = session.engine.connect();
        for tube in 0..50 {
            session.command(Command::Watch(TubeName::new(format!("t{tube}").as_bytes()).unwrap()));
        }
        session.command(Command::Reserve);
    }
    let mut tubes = 0;
    session.engine.view_tubes(session.now, Cursor::default(), 100, |_| tubes += 1);
    assert!(tubes < 20, "{tubes} tubes for 100 looks");
}

/// Refuses what this says.
struct Refusing(Change);

impl Sink for Refusing {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}

    fn admits(&self, change: Change) -> bool {
        change != self.0
    }
}

#[test]
fn refusals_are_counted_by_their_cause() {
    let mut session = Session::new();
    session.put(1, 0);
    session.command(Command::Reserve);
    session.engine.set_draining(true, &mut Wire::default());
    session.put(1, 0);
    session.engine.set_draining(false, &mut Wire::default());
    let line = || Request::Put(PutHeader { priority: 1, delay: 0, ttr: 1, size: 1 });
    for body in [Request::BrokenBody, Request::UnheldBody] {
        session.request(line());
        session.request(body);
    }
    for rejection in [
        Rejection::UnknownCommand,
        Rejection::BadFormat,
        Rejection::BadPut,
        Rejection::BadPauseTube,
        Rejection::JobTooBig,
    ] {
        session.request(Request::Rejected(rejection));
    }
    let (now, conn) = (session.now, session.conn);
    let mut refuse = |change: Change, request: Request| {
        session.engine.handle(now, conn, request, &mut Refusing(change));
    };
    refuse(Change::Put, line());
    refuse(Change::Put, Request::Body(Box::default()));
    for command in
        [Command::Bury { id: 1, priority: 1 }, Command::Release { id: 1, priority: 1, delay: 0 }]
    {
        refuse(Change::Existing(1), Request::Command(command));
    }
    refuse(Change::Delete, Request::Command(Command::Delete(1)));
    refuse(Change::Settings, Request::Command(Command::PauseTube(TubeName::default_tube(), 1)));
    // No refusals: what concerns a single job, and what is carried out.
    refuse(Change::Delete, Request::Command(Command::Delete(99)));
    refuse(Change::Put, Request::Command(Command::Delete(1)));
    let refusals = session.engine.refusals();
    let counted = Cause::ALL.map(|cause| (cause.as_str(), refusals.of(cause)));
    assert_eq!(
        counted,
        [
            ("draining", 1),
            ("out_of_memory", 2),
            ("max_jobs", 0),
            ("max_memory", 0),
            ("tube_max_jobs", 0),
            ("tube_max_bytes", 0),
            ("principal_max_bytes", 0),
            ("address_max_bytes", 0),
            ("internal_error", 4),
            ("job_too_big", 1),
            ("expected_crlf", 1),
            ("bad_format", 3),
            ("unknown_command", 1),
        ]
    );
}

#[test]
fn each_limit_is_a_cause_of_its_own() {
    let mut session = Session::new();
    session.put(1, 0);
    let now = session.now;
    let engine = &mut session.engine;
    let name = TubeName::default_tube();
    let put = |engine: &mut Engine| {
        let new = NewJob { priority: 1, delay: 0, ttr: 1 };
        engine.put(now, &name, new, Box::from(*b"body"), &mut Wire::default()).map(|_| ())
    };
    for (limits, cause) in [
        (Limits { jobs: 1, ..Limits::NONE }, Cause::MaxJobs),
        (Limits { memory: 100, ..Limits::NONE }, Cause::MaxMemory),
    ] {
        engine.set_limits(limits);
        assert_eq!(put(engine), Err(PutRefusal::LimitReached(cause)));
    }
    engine.set_limits(Limits::NONE);
    for (policy, cause) in [
        (Policy { max_jobs: Some(1), ..Policy::default() }, Cause::TubeMaxJobs),
        (Policy { max_bytes: Some(3), ..Policy::default() }, Cause::TubeMaxBytes),
    ] {
        engine
            .set_policy(now, &TubeName::default_tube(), Some(policy), &mut Wire::default())
            .unwrap();
        assert_eq!(put(engine), Err(PutRefusal::LimitReached(cause)));
    }
    assert!(put(engine).is_err());
    let refusals = engine.refusals();
    let counted = [Cause::MaxJobs, Cause::MaxMemory, Cause::TubeMaxJobs, Cause::TubeMaxBytes]
        .map(|cause| refusals.of(cause));
    assert_eq!(counted, [1, 1, 1, 2]);
    assert_eq!(engine.job_count(), 1);
}
