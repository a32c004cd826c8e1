//! An action on many jobs goes once through all of them, whatever happens between its steps.

use std::collections::{BTreeMap, BTreeSet};

use beanstalk_protocol::{Command, JobId, JobState, PutHeader, Request, TubeName};
use jq_engine::{
    Action, Answer, Bulk, BulkCounts, BulkFlow, Change, ConnId, Engine, Filter, JobChange, Nanos,
    Record, SegmentRef, Sink, StepSize, Subject,
};
use proptest::prelude::*;

/// Counts the records of each job.
#[derive(Debug, Default)]
struct Recorded {
    jobs: BTreeMap<JobId, u32>,
    full: bool,
    /// Changes that were admitted while it is full.
    room: std::cell::Cell<u32>,
}

impl Sink for Recorded {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        if let (Subject::Job(id), None) = (record.subject(), record.whole_job()) {
            *self.jobs.entry(id).or_default() += 1;
        }
        SegmentRef::default()
    }

    fn admits(&self, _: Change) -> bool {
        if self.full && self.room.get() == 0 {
            return false;
        }
        self.room.set(self.room.get().saturating_sub(1));
        true
    }
}

struct Queue {
    engine: Engine,
    conn: ConnId,
    now: Nanos,
}

fn name(tube: &str) -> TubeName {
    TubeName::new(tube.as_bytes()).expect("a good name")
}

impl Queue {
    fn new() -> Self {
        let mut engine = Engine::new();
        let conn = engine.connect();
        Self { engine, conn, now: Nanos::from_secs(1) }
    }

    fn ask(&mut self, command: Command) {
        self.now.0 += 1;
        let request = Request::Command(command);
        self.engine.handle(self.now, self.conn, request, &mut Recorded::default());
    }

    fn put(&mut self, tube: &str, delay: u32, body: &str) -> JobId {
        self.ask(Command::Use(name(tube)));
        self.now.0 += 1;
        let header = PutHeader { priority: 5, delay, ttr: 1000, size: body.len() as u32 };
        let body = body.as_bytes().into();
        for request in [Request::Put(header), Request::Body(body)] {
            self.engine.handle(self.now, self.conn, request, &mut Recorded::default());
        }
        self.engine.next_id() - 1
    }

    fn bulk(&self, filter: Filter, action: Action, dry_run: bool) -> Bulk {
        Bulk::new(&self.engine, name("a"), filter, action, dry_run)
    }

    /// Runs it to its end.
    fn run(&mut self, bulk: &mut Bulk) -> BulkCounts {
        let size = StepSize { looks: 7, changes: 3 };
        let steps = self.engine.job_count() + 400;
        for _ in 0..steps {
            let sink = &mut Recorded::default();
            if bulk.step(&mut self.engine, self.now, size, sink) == BulkFlow::Done {
                assert!(bulk.is_done());
                return bulk.counts();
            }
        }
        panic!("{steps} steps were not enough: {:?}", bulk.counts());
    }

    fn jobs(&self, wanted: impl Fn(&str, JobState) -> bool) -> Vec<JobId> {
        let ids = 1..self.engine.next_id();
        let is_wanted = |id: &JobId| {
            let found = self.engine.job(*id);
            found.is_some_and(|(info, _)| wanted(info.tube.as_str(), info.state))
        };
        ids.filter(is_wanted).collect()
    }
}

fn changed(counts: BulkCounts) -> (u64, u64, u64) {
    (counts.matched, counts.changed, counts.refused)
}

#[test]
fn a_filter_selects_by_state_age_and_body() {
    let mut queue = Queue::new();
    let old = queue.put("a", 0, "old, with a needle");
    let later = Nanos(queue.now.0 + 1);
    let new = queue.put("a", 0, "new, with a needle");
    let delayed = queue.put("a", 100, "delayed, with a needle");
    let hay = queue.put("a", 0, "only hay");
    queue.put("b", 0, "elsewhere, with a needle");
    let deep = format!("{}needle", "-".repeat(65_530));
    queue.put("a", 0, &deep);
    let needle = || Some(b"needle".to_vec());
    let ready = Some(JobState::Ready);
    for (filter, expected) in [
        (Filter::default(), vec![old, new, delayed, hay, hay + 2]),
        (Filter { state: ready, ..Filter::default() }, vec![old, new, hay, hay + 2]),
        // The last one is behind what is searched.
        (Filter { body: needle(), ..Filter::default() }, vec![old, new, delayed]),
        (Filter { body: needle(), put_before: Some(later), ..Filter::default() }, vec![old]),
        (
            Filter { body: needle(), put_from: Some(later), state: ready, ..Filter::default() },
            vec![new],
        ),
        (Filter { body: Some(Vec::new()), ..Filter::default() }, vec![1, 2, 3, 4, 6]),
    ] {
        let count = expected.len() as u64;
        let mut dry = queue.bulk(filter.clone(), Action::Delete, true);
        assert_eq!(changed(queue.run(&mut dry)), (count, count, 0), "{filter:?}");
        let jobs = queue.engine.job_count();
        assert_eq!(jobs, 6, "a dry run changes nothing");
        let action = Action::Set(JobChange { priority: Some(77), delay: None });
        let mut bulk = queue.bulk(filter.clone(), action, false);
        assert_eq!(changed(queue.run(&mut bulk)), (count, count, 0), "{filter:?}");
        let is_set = |id: &JobId| queue.engine.job(*id).expect("it is there").0.priority == 77;
        assert_eq!((1..=6).filter(is_set).collect::<Vec<_>>(), expected, "{filter:?}");
        for id in expected {
            let back = Action::Set(JobChange { priority: Some(5), delay: None });
            queue.engine.act(queue.now, id, &back, &mut Recorded::default()).expect("it is there");
        }
    }
}

#[test]
fn each_action_in_bulk() {
    for (action, state, counts) in [
        (Action::Kick, JobState::Ready, (300, 100, 200)),
        (Action::Bury(None), JobState::Buried, (300, 300, 0)),
        (Action::Release, JobState::Ready, (300, 100, 200)),
        (
            Action::Set(JobChange { priority: None, delay: Some(9) }),
            JobState::Delayed,
            (300, 200, 100),
        ),
    ] {
        let mut queue = Queue::new();
        for _ in 0..100 {
            let reserved = queue.put("a", 0, "x");
            queue.ask(Command::ReserveJob(reserved));
            queue.put("a", 100, "x");
            queue.put("a", 0, "x");
        }
        let mut bulk = queue.bulk(Filter::default(), action.clone(), false);
        assert_eq!(changed(queue.run(&mut bulk)), counts, "{action:?}");
        let there = queue.jobs(|tube, found| tube == "a" && found == state).len() as u64;
        assert!(there >= counts.1, "{action:?}: {there}");
    }
    let mut queue = Queue::new();
    for _ in 0..100 {
        queue.put("a", 0, "x");
    }
    let mut bulk = queue.bulk(Filter::default(), Action::Move(name("b")), false);
    assert_eq!(changed(queue.run(&mut bulk)), (100, 100, 0));
    assert_eq!(queue.jobs(|tube, _| tube == "b").len(), 100);
    assert_eq!(changed(queue.run(&mut bulk)), (100, 100, 0), "it is done, and does nothing more");
}

#[test]
fn a_bulk_waits_for_a_log_that_is_full_and_goes_on_where_it_was() {
    let mut queue = Queue::new();
    for _ in 0..10 {
        queue.put("a", 0, "x");
    }
    let mut bulk = queue.bulk(Filter::default(), Action::Bury(None), false);
    let mut sink = Recorded { full: true, room: 4.into(), ..Recorded::default() };
    let size = StepSize::default();
    for _ in 0..3 {
        let flow = bulk.step(&mut queue.engine, queue.now, size, &mut sink);
        assert_eq!((flow, changed(bulk.counts())), (BulkFlow::NotRecorded, (4, 4, 0)));
    }
    sink.full = false;
    assert_eq!(bulk.step(&mut queue.engine, queue.now, size, &mut sink), BulkFlow::Done);
    assert_eq!(changed(bulk.counts()), (10, 10, 0));
    assert!(sink.jobs.values().all(|records| *records == 1), "{:?}", sink.jobs);
}

#[test]
fn a_bulk_can_be_stopped() {
    let mut queue = Queue::new();
    for _ in 0..10 {
        queue.put("a", 0, "x");
    }
    let mut bulk = queue.bulk(Filter::default(), Action::Delete, false);
    let size = StepSize { looks: 100, changes: 4 };
    let sink = &mut Recorded::default();
    assert_eq!(bulk.step(&mut queue.engine, queue.now, size, sink), BulkFlow::More);
    bulk.stop();
    assert_eq!(bulk.step(&mut queue.engine, queue.now, size, sink), BulkFlow::Done);
    assert_eq!((bulk.counts().changed, queue.engine.job_count()), (4, 6));
}

#[test]
fn a_tube_that_does_not_exist_has_no_jobs() {
    let mut queue = Queue::new();
    let mut bulk = queue.bulk(Filter::default(), Action::Delete, false);
    assert_eq!(changed(queue.run(&mut bulk)), (0, 0, 0));
}

/// What others do between two steps.
#[derive(Debug, Clone)]
enum Meanwhile {
    Put,
    Delete(u64),
    /// Into or out of the tube.
    Move(u64, bool),
    Step(usize, usize),
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        2 => Just(Meanwhile::Put),
        2 => (1..60u64).prop_map(Meanwhile::Delete),
        2 => (1..60u64, any::<bool>()).prop_map(|(id, into)| Meanwhile::Move(id, into)),
        4 => (1..20usize, 1..5usize).prop_map(|(looks, changes)| Meanwhile::Step(looks, changes)),
    ]
}

proptest! {
    /// Jobs that are there throughout are acted on once; those that come later never are. There are
    /// so many in other tubes, or not, that both ways to find the jobs of the tube are taken.
    #[test]
    fn each_job_is_acted_on_at_most_once(
        deleted in prop::collection::btree_set(1..40u64, 0..20),
        meanwhile in prop::collection::vec(meanwhile(), 0..80),
        many in any::<bool>(),
    ) {
        let mut queue = Queue::new();
        for _ in 0..40 {
            queue.put("a", 0, "x");
        }
        for id in &deleted {
            // Their places are free for others.
            queue.ask(Command::Delete(*id));
        }
        if many {
            for _ in 0..4200 {
                queue.put("a", 100, "x");
            }
        }
        let filter = match many {
            true => Filter { body: Some(b"x".to_vec()), ..Filter::default() },
            false => Filter { state: Some(JobState::Ready), ..Filter::default() },
        };
        let action = Action::Set(JobChange { priority: Some(7), delay: None });
        let first_new = queue.engine.next_id();
        let mut bulk = queue.bulk(filter, action, false);
        let mut throughout: BTreeSet<JobId> =
            queue.jobs(|tube, state| tube == "a" && (many || state == JobState::Ready)).into_iter().collect();
        let mut sink = Recorded::default();
        for event in meanwhile {
            match event {
                Meanwhile::Put => {
                    queue.put("a", 0, "x");
                }
                Meanwhile::Delete(id) => {
                    throughout.remove(&id);
                    queue.ask(Command::Delete(id));
                }
                Meanwhile::Move(id, into) => {
                    let to = if into { "a" } else { "b" };
                    if queue.engine.job(id).is_some_and(|(info, _)| info.tube.as_str() != to) {
                        throughout.remove(&id);
                    }
                    let _ = queue.engine.move_job(queue.now, id, &name(to), &mut Recorded::default());
                }
                Meanwhile::Step(looks, changes) => {
                    bulk.step(&mut queue.engine, queue.now, StepSize { looks, changes }, &mut sink);
                }
            }
        }
        while bulk.step(&mut queue.engine, queue.now, StepSize::default(), &mut sink) == BulkFlow::More {}
        prop_assert!(sink.jobs.values().all(|count| *count == 1), "{:?}", sink.jobs);
        prop_assert!(sink.jobs.keys().all(|id| *id < first_new), "{:?}", sink.jobs);
        prop_assert!(throughout.iter().all(|id| sink.jobs.contains_key(id)));
        prop_assert_eq!(sink.jobs.len() as u64, bulk.counts().changed);
    }
}
