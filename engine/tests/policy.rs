//! Policies where they meet what else there is: bodies that a log keeps apart, and cleared tubes.

mod common;

use beanstalk_protocol::TubeName;
use common::Wire;
use jq_engine::{
    Answer, Change, ConnId, DurableState, Engine, JobCounters, JobRecord, JobUpdate, Nanos, NewJob,
    Policy, Record, SegmentRef, Sink,
};

const NOW: Nanos = Nanos::from_secs(1000);
const NEW: NewJob = NewJob { priority: 0, delay: 0, ttr: 1 };

fn tube() -> TubeName {
    TubeName::default_tube()
}

fn put(engine: &mut Engine, body: &[u8]) -> Option<u64> {
    engine.put(NOW, &tube(), NEW, body.into(), &mut Wire::default()).ok().map(|job| job.id)
}

fn set(engine: &mut Engine, policy: Policy<TubeName>) {
    engine.set_policy(NOW, &tube(), Some(policy), &mut Wire::default()).expect("it is recorded");
    while engine.tick(NOW, 100, &mut Wire::default()) {}
}

/// A log that keeps some bodies apart restores their jobs without one first.
#[test]
fn a_body_that_is_restored_later_counts() {
    let policy = Policy { unique: true, max_bytes: Some(8), ..Policy::default() };
    let mut engine = Engine::new();
    set(&mut engine, policy.clone());
    assert_eq!(put(&mut engine, b""), Some(1));
    let mut restored = Engine::new();
    engine.tell_all(|record| {
        let segment = SegmentRef::default();
        restored.restore(NOW, record, segment, &mut Wire::default()).expect("a valid name");
    });
    restored.restore_body(1, Box::from(*b"hello"));
    restored.end_restore(NOW);
    assert_eq!(put(&mut restored, b"hello"), Some(1));
    assert_eq!(put(&mut restored, b""), Some(2));
    assert_eq!(put(&mut restored, b"12345"), None);
    assert_eq!(put(&mut restored, b"123"), Some(3));
    // It is found by this body when it goes, too.
    restored.take_back(1, &mut Wire::default());
    assert_eq!(put(&mut restored, b"hello"), Some(4));
}

/// Jobs that are known without their bodies have the same one. Whichever gets its own, or goes, the others
/// are found.
#[test]
fn bodies_may_be_restored_while_jobs_go() {
    let mut engine = Engine::new();
    set(&mut engine, Policy { unique: true, ..Policy::default() });
    let record = |id| JobRecord {
        tube: "default",
        created: NOW,
        ttr: 1,
        now: JobUpdate {
            id,
            priority: 0,
            delay: 0,
            state: DurableState::Ready,
            counters: JobCounters::default(),
        },
        body: b"",
        shared: None,
    };
    let restore = |engine: &mut Engine, record| {
        let segment = SegmentRef::default();
        engine.restore(NOW, record, segment, &mut Wire::default()).expect("a valid name");
    };
    (1..=4).for_each(|id| restore(&mut engine, Record::Put(record(id))));
    engine.restore_body(1, Box::from(*b"one"));
    restore(&mut engine, Record::Delete(1));
    restore(&mut engine, Record::Update(record(2).now));
    restore(&mut engine, Record::Put(record(5)));
    restore(&mut engine, Record::Delete(2));
    engine.restore_body(3, Box::from(*b"three"));
    restore(&mut engine, Record::Delete(4));
    engine.restore_body(5, Box::from(*b"three"));
    engine.end_restore(NOW);
    assert_eq!(put(&mut engine, b"one"), Some(6));
    assert_eq!(put(&mut engine, b""), Some(7));
    let known = put(&mut engine, b"three").expect("there is no limit");
    assert!([3, 5].contains(&known), "{known}");
    let other = 8 - known;
    engine.take_back(known, &mut Wire::default());
    assert_eq!(put(&mut engine, b"three"), Some(other));
    engine.take_back(other, &mut Wire::default());
    assert_eq!(put(&mut engine, b"three"), Some(8));
}

/// The number that a refused put would have had is another job's.
#[test]
fn a_put_that_is_refused_leaves_nothing_behind() {
    let mut engine = Engine::new();
    set(&mut engine, Policy { unique: true, max_jobs: Some(0), ..Policy::default() });
    assert_eq!(put(&mut engine, b"refused"), None);
    let elsewhere = TubeName::new(b"elsewhere").expect("a valid name");
    let other = engine.put(NOW, &elsewhere, NEW, Box::from(*b"other"), &mut Wire::default());
    assert_eq!(other.map(|job| job.id), Ok(1));
    assert_eq!(engine.move_job(NOW, 1, &tube(), &mut Wire::default()), Ok(()));
    set(&mut engine, Policy { unique: true, ..Policy::default() });
    assert_eq!(put(&mut engine, b"other"), Some(1));
    assert_eq!(put(&mut engine, b"refused"), Some(2));
}

/// Whoever handles many requests at a time asks for it before each batch.
#[test]
fn it_looks_ahead_while_any_tube_is_unique() {
    let mut engine = Engine::new();
    let names = [b"a", b"b"].map(|name| TubeName::new(name).expect("a valid name"));
    let set = |engine: &mut Engine, tube: &TubeName, unique, max_jobs| {
        let policy = Policy { unique, max_jobs, ..Policy::default() };
        engine.set_policy(NOW, tube, Some(policy), &mut Wire::default()).expect("it is recorded");
        engine.looks_ahead()
    };
    assert!(!set(&mut engine, &names[0], false, Some(1)));
    assert!(set(&mut engine, &names[0], true, Some(1)));
    assert!(set(&mut engine, &names[0], true, None));
    assert!(set(&mut engine, &names[1], true, None));
    assert!(set(&mut engine, &names[1], false, Some(1)));
    assert!(!set(&mut engine, &names[0], false, None));
    assert!(!set(&mut engine, &names[0], false, None));
    assert!(!Engine::new().looks_ahead());
}

/// Its jobs are forgotten at once, though they are freed in steps.
#[test]
fn a_cleared_tube_has_room_for_the_same_jobs_again() {
    let all = |engine: &mut Engine| -> Vec<Option<u64>> {
        (0..100u8).map(|number| put(engine, &[number])).collect()
    };
    let mut engine = Engine::new();
    let policy =
        Policy { unique: true, max_bytes: Some(100), expires: Some(9), ..Policy::default() };
    set(&mut engine, policy.clone());
    assert_eq!(all(&mut engine), (1..=100).map(Some).collect::<Vec<_>>());
    assert_eq!(all(&mut engine), (1..=100).map(Some).collect::<Vec<_>>());
    assert_eq!(put(&mut engine, b"more"), None);
    assert_eq!(engine.clear_tube(NOW, "default", &mut Wire::default()), Ok(100));
    assert!(engine.unfreed_jobs() > 0);
    // Those that are not freed yet are not adopted either.
    set(&mut engine, Policy { max_jobs: Some(100), ..Policy::default() });
    assert_eq!(engine.clear_tube(NOW, "default", &mut Wire::default()), Ok(0));
    let mut engine = Engine::new();
    assert_eq!(all(&mut engine), (1..=100).map(Some).collect::<Vec<_>>());
    assert_eq!(engine.clear_tube(NOW, "default", &mut Wire::default()), Ok(100));
    engine.set_policy(NOW, &tube(), Some(policy), &mut Wire::default()).expect("it is recorded");
    // One step: the adoption. The dead jobs are freed after that.
    engine.tick(NOW, 1, &mut Wire::default());
    assert!(engine.unfreed_jobs() > 0);
    assert_eq!(all(&mut engine), (101..=200).map(Some).collect::<Vec<_>>());
    while engine.tick(NOW.after(9), 100, &mut Wire::default()) {}
    assert_eq!((engine.job_count(), engine.unfreed_jobs()), (0, 0));
}

/// However many there are: a restart gives no job more time than it had.
#[test]
fn restored_jobs_expire_when_they_would_have() {
    let put = |engine: &mut Engine, now: Nanos, body: &[u8]| {
        let job = engine.put(now, &tube(), NEW, body.into(), &mut Wire::default());
        job.expect("there is room").id
    };
    let mut engine = Engine::new();
    set(&mut engine, Policy { expires: Some(60), ..Policy::default() });
    for (id, after) in [(1, 0), (2, 10), (3, 20)] {
        assert_eq!(put(&mut engine, NOW.after(after), b"x"), id);
    }
    let mut restored = Engine::new();
    let start = NOW.after(50);
    engine.tell_all(|record| {
        let segment = SegmentRef::default();
        restored.restore(start, record, segment, &mut Wire::default()).expect("a valid name");
    });
    restored.end_restore(start);
    assert_eq!(put(&mut restored, start, b"new"), 4);
    for (after, left) in [(60, 3), (70, 2), (80, 1), (110, 0)] {
        let moment = NOW.after(after);
        while restored.tick(Nanos(moment.0 - 1), 100, &mut Wire::default()) {}
        assert_eq!(restored.job_count(), left + 1, "just before {after}");
        while restored.tick(moment, 100, &mut Wire::default()) {}
        assert_eq!(restored.job_count(), left, "after {after}");
    }
}

/// A log that is full takes deletes, but no moves: a tube whose jobs are moved to itself has its jobs
/// deleted, and so needs no more room than that.
#[test]
fn jobs_that_expire_into_their_own_tube_are_deleted_by_a_full_log() {
    struct Full;
    impl Sink for Full {
        fn answer(&mut self, _: ConnId, _: Answer<'_>) {}
        fn admits(&self, change: Change) -> bool {
            change == Change::Delete
        }
    }
    let mut engine = Engine::new();
    let policy = Policy { expires: Some(1), dead_letter: Some(tube()), ..Policy::default() };
    set(&mut engine, policy);
    assert_eq!(put(&mut engine, b"x"), Some(1));
    while engine.tick(NOW.after(1), 100, &mut Full) {}
    assert_eq!(engine.job_count(), 0);
}
