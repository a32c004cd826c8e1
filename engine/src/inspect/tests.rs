use std::collections::BTreeMap;

use beanstalk_protocol::{Command, PutHeader, Request};
use proptest::prelude::*;

use super::*;
use crate::engine::Flow;
use crate::record::SegmentRef;
use crate::sink::{Answer, Sink};

struct Nobody;

impl Sink for Nobody {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}

    fn record(&mut self, _: crate::record::Record<'_>) -> SegmentRef {
        SegmentRef::default()
    }
}

struct Queue {
    engine: Engine,
    conn: ConnId,
    now: Nanos,
    jobs: JobId,
}

impl Queue {
    fn new() -> Self {
        let mut engine = Engine::new();
        let conn = engine.connect();
        Self { engine, conn, now: Nanos::from_secs(1), jobs: 0 }
    }

    fn ask(&mut self, command: Command) -> Flow {
        self.now.0 += 1;
        self.engine.handle(self.now, self.conn, Request::Command(command), &mut Nobody)
    }

    fn put(&mut self, tube: &str, delay: u32) -> JobId {
        self.ask(Command::Use(TubeName::new(tube.as_bytes()).expect("a good name")));
        let header = PutHeader { priority: 5, delay, ttr: 1000, size: 3 };
        for request in [Request::Put(header), Request::Body(Box::from(&b"abc"[..]))] {
            self.now.0 += 1;
            self.engine.handle(self.now, self.conn, request, &mut Nobody);
        }
        self.jobs += 1;
        self.jobs
    }

    /// All pages, calling `between` between every two.
    fn all_pages(
        &mut self,
        tube: &str,
        state: Option<JobState>,
        size: PageSize,
        mut between: impl FnMut(&mut Self),
    ) -> Vec<JobId> {
        let mut from = Cursor::default();
        let mut all = Vec::new();
        loop {
            let page = self.engine.jobs_page(tube, state, from, size).expect("it is there");
            assert!(page.items.len() <= size.items.max(1));
            all.extend(page.items.iter().map(|job| job.id));
            match page.next {
                Some(next) => from = next,
                None => return all,
            }
            between(self);
        }
    }
}

#[test]
fn a_job_a_tube_and_a_connection_are_told_of() {
    let mut queue = Queue::new();
    let (ready, delayed) = (queue.put("t", 0), queue.put("t", 100));
    queue.ask(Command::ReserveJob(ready));
    let (job, body) = queue.engine.job(ready).expect("it is there");
    assert_eq!((job.id, job.tube.as_str(), job.size), (ready, "t", 3));
    assert_eq!((job.state, job.holder), (JobState::Reserved, Some(queue.conn)));
    assert_eq!((job.counters.reserves, body.as_ref()), (1, &b"abc"[..]));
    assert_eq!(job.due, Some(queue.now.after(1000)));
    let (job, _) = queue.engine.job(delayed).expect("it is there");
    assert_eq!((job.state, job.holder, job.delay), (JobState::Delayed, None, 100));
    assert!(job.due.is_some());
    assert!(queue.engine.job(99).is_none());
    let tube = queue.engine.tube_stats(queue.now, "t").expect("it is there");
    assert_eq!((tube.name.as_str(), tube.reserved, tube.delayed), ("t", 1, 1));
    assert!(queue.engine.tube_stats(queue.now, "other").is_none());
    let conn = queue.engine.connection(queue.conn).expect("it is there");
    assert_eq!((conn.used.as_str(), conn.watching, conn.reserved), ("t", 1, 1));
    assert_eq!((conn.is_producer, conn.is_worker, conn.waits), (true, true, false));
    assert_eq!(conn.due, Some(queue.now.after(1000)));
    let size = PageSize { items: 10, looks: 1000 };
    let page = queue.engine.connections_page(Cursor::default(), size);
    assert_eq!((page.items, page.next), (vec![conn], None));
    let page = queue.engine.tubes_page(queue.now, Cursor::default(), size);
    let names: Vec<&str> = page.items.iter().map(|tube| tube.name.as_str()).collect();
    assert_eq!((names, page.next), (vec!["default", "t"], None));
}

#[test]
fn a_page_looks_at_no_more_than_it_may() {
    let mut queue = Queue::new();
    for _ in 0..FEW + 10 {
        queue.put("many", 0);
    }
    let size = PageSize { items: 100, looks: 50 };
    let page = queue.engine.jobs_page("many", None, Cursor::default(), size);
    assert_eq!(page.expect("it is there").items.len(), 50);
    // With few jobs in the state, no others are looked at.
    let rare = queue.put("rare", 0);
    let page = queue.engine.jobs_page("rare", Some(JobState::Ready), Cursor::default(), size);
    let page = page.expect("it is there");
    let ids: Vec<JobId> = page.items.iter().map(|job| job.id).collect();
    assert_eq!((ids, page.next), (vec![rare], None));
    assert!(queue.engine.jobs_page("none", None, Cursor::default(), size).is_none());
}

/// A change between two pages.
#[derive(Debug, Clone)]
enum Step {
    Put(bool, u32),
    Delete(usize),
    Bury(usize),
    Kick(usize),
    ReserveJob(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<bool>(), prop_oneof![Just(0u32), Just(50)])
            .prop_map(|(mine, delay)| Step::Put(mine, delay)),
        (0..400usize).prop_map(Step::Delete),
        (0..400usize).prop_map(Step::Bury),
        (0..400usize).prop_map(Step::Kick),
        (0..400usize).prop_map(Step::ReserveJob),
    ]
}

proptest! {
    /// The guarantees of the module, whatever happens between the pages.
    #[test]
    fn what_stays_is_told_of_once(
        before in proptest::collection::vec(step(), 0..300),
        between in proptest::collection::vec(step(), 0..300),
        (items, looks, per_page) in (1..20usize, 1..60usize, 0..10usize),
        state in proptest::option::of(prop_oneof![
            Just(JobState::Ready), Just(JobState::Delayed),
            Just(JobState::Buried), Just(JobState::Reserved),
        ]),
    ) {
        let mut queue = Queue::new();
        let taken = |queue: &mut Queue, step: &Step| {
            let id = |at: &usize| (*at as JobId) % (queue.jobs + 1);
            match step {
                Step::Put(mine, delay) => {
                    queue.put(if *mine { "mine" } else { "other" }, *delay);
                }
                Step::Delete(at) => {
                    let id = id(at);
                    queue.ask(Command::Delete(id));
                }
                Step::Bury(at) => {
                    let id = id(at);
                    queue.ask(Command::ReserveJob(id));
                    queue.ask(Command::Bury { id, priority: 1 });
                }
                Step::Kick(at) => {
                    let id = id(at);
                    queue.ask(Command::KickJob(id));
                }
                Step::ReserveJob(at) => {
                    let id = id(at);
                    queue.ask(Command::ReserveJob(id));
                }
            }
        };
        queue.put("mine", 0);
        before.iter().for_each(|step| taken(&mut queue, step));
        // The tube must exist until the last page.
        queue.ask(Command::Watch(TubeName::new(b"mine").expect("a good name")));
        let matching = |queue: &Queue| -> BTreeMap<JobId, ()> {
            let all = (1..=queue.jobs).filter_map(|id| queue.engine.job(id));
            let mine = all.filter(|(job, _)| job.tube.as_str() == "mine");
            let right = mine.filter(|(job, _)| state.is_none_or(|state| job.state == state));
            right.map(|(job, _)| (job.id, ())).collect()
        };
        let mut always = matching(&queue);
        let mut ever = always.clone();
        let mut steps = between.iter();
        let size = PageSize { items, looks };
        let told = queue.all_pages("mine", state, size, |queue| {
            for step in steps.by_ref().take(per_page) {
                taken(queue, step);
                let now = matching(queue);
                always.retain(|id, ()| now.contains_key(id));
                ever.extend(now);
            }
        });
        let mut once = told.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), told.len(), "nothing is told of twice");
        for id in always.keys() {
            prop_assert!(told.contains(id), "{} was there all the time", id);
        }
        for id in &told {
            prop_assert!(ever.contains_key(id), "{} was never there", id);
        }
    }
}
