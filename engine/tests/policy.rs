//! Policies where they meet what else there is: bodies that a log keeps apart, and cleared tubes.

mod common;

use beanstalk_protocol::TubeName;
use common::Wire;
use jq_engine::{Answer, Change, ConnId, Engine, Nanos, NewJob, Policy, SegmentRef, Sink};

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
