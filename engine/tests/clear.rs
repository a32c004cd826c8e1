//! A tube that is cleared is empty at once, for everybody, and its jobs are freed in steps.

use std::collections::BTreeMap;

use beanstalk_protocol::{Command, JobId, JobState, PutHeader, Reply, Request, TubeName};
use jq_engine::{
    Action, Answer, Change, CloseReason, ConnId, Cursor, Engine, Flow, Nanos, PageSize, Record,
    Refusal, SegmentRef, Sink,
};

const MANY: u64 = 3000;

/// What a log would count, and the last answer.
#[derive(Debug, Default)]
struct Told {
    /// Bytes that are recorded and not forgotten, by segment.
    live: BTreeMap<u64, usize>,
    segment: u64,
    cleared: Vec<(String, Vec<JobId>)>,
    answers: Vec<(ConnId, String)>,
    full: bool,
    asked: std::cell::Cell<Option<Change>>,
}

impl Sink for Told {
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>) {
        let text = match answer {
            Answer::Reply(Reply::Reserved(id, _)) => format!("reserved {id}"),
            Answer::Reply(Reply::Found(id, _)) => format!("found {id}"),
            Answer::Reply(Reply::Inserted(id)) => format!("inserted {id}"),
            Answer::Reply(reply) => {
                let mut out = Vec::new();
                reply.encode(&mut out);
                String::from_utf8_lossy(&out).trim_end().to_owned()
            }
            Answer::JobStats(stats) => format!("stats {}", stats.id),
            _ => String::new(),
        };
        self.answers.push((conn, text));
    }

    fn admits(&self, change: Change) -> bool {
        self.asked.set(Some(change));
        !self.full
    }

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        if let Some(job) = record.whole_job() {
            self.segment += 1;
            self.live.insert(self.segment, job.tube.len() + job.body.len());
        }
        if let Record::Cleared { tube, kept } = record {
            self.cleared.push((tube.to_owned(), kept.iter().collect()));
        }
        SegmentRef::of(self.segment)
    }

    fn forget(&mut self, segment: SegmentRef, _: JobId, bytes: usize) {
        assert_eq!(self.live.remove(&segment.number(0)), Some(bytes), "it was counted so");
    }

    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        let was = self.live.insert(segment.number(0), after);
        assert_eq!(was, Some(before), "it was counted so");
    }
}

struct Queue {
    engine: Engine,
    conn: ConnId,
    now: Nanos,
    told: Told,
}

fn name(tube: &str) -> TubeName {
    TubeName::new(tube.as_bytes()).expect("a good name")
}

impl Queue {
    /// A connection that uses and watches the tube "a".
    fn new() -> Self {
        let mut engine = Engine::new();
        let conn = engine.connect();
        let mut queue = Self { engine, conn, now: Nanos::from_secs(1), told: Told::default() };
        queue.ask(Command::Use(name("a")));
        queue.ask(Command::Watch(name("a")));
        queue
    }

    fn request(&mut self, conn: ConnId, request: Request) -> Flow {
        self.now.0 += 1;
        self.engine.handle(self.now, conn, request, &mut self.told)
    }

    /// What the connection is answered; nothing if it waits.
    fn ask(&mut self, command: Command) -> String {
        self.told.answers.clear();
        self.request(self.conn, Request::Command(command));
        self.told.answers.pop().map(|(_, text)| text).unwrap_or_default()
    }

    fn put(&mut self, priority: u32, delay: u32) -> JobId {
        let header = PutHeader { priority, delay, ttr: 1000, size: 3 };
        self.request(self.conn, Request::Put(header));
        self.request(self.conn, Request::Body(Box::from(&b"abc"[..])));
        self.engine.next_id() - 1
    }

    fn clear(&mut self) -> Result<u64, Refusal> {
        self.now.0 += 1;
        self.engine.clear_tube(self.now, "a", &mut self.told)
    }

    fn free_all(&mut self) {
        while self.engine.tick(self.now, 100, &mut self.told) {}
    }

    /// Everything that shows the job says that it is not there.
    fn assert_gone(&mut self, id: JobId) {
        for command in [
            Command::Peek(id),
            Command::StatsJob(id),
            Command::Delete(id),
            Command::KickJob(id),
            Command::ReserveJob(id),
            Command::Touch(id),
        ] {
            assert_eq!(self.ask(command.clone()), "NOT_FOUND", "{command:?}");
        }
        assert!(self.engine.job(id).is_none());
        assert!(self.engine.segment_of(id).is_none());
        assert!(!self.engine.record_again(id, &mut self.told));
        for action in [Action::Delete, Action::Bury(None), Action::Move(name("b"))] {
            let acted = self.engine.act(self.now, id, &action, &mut self.told);
            assert_eq!(acted, Err(Refusal::NoJob), "{action:?}");
        }
    }

    fn listed(&self) -> Vec<JobId> {
        let size = PageSize { items: 10_000, looks: 100_000 };
        let page = self.engine.jobs_page("a", None, Cursor::default(), size);
        page.map(|page| page.items.iter().map(|job| job.id).collect()).unwrap_or_default()
    }
}

#[test]
fn all_jobs_are_gone_before_any_is_freed() {
    let mut queue = Queue::new();
    let mut ids = Vec::new();
    for n in 0..MANY {
        // Many priorities, so that some of the ready jobs are in a heap.
        let id = queue.put((n * 7 % 1500) as u32, if n % 3 == 0 { 5 } else { 0 });
        ids.push(id);
        if n % 3 == 1 {
            queue.ask(Command::ReserveJob(id));
            queue.ask(Command::Bury { id, priority: 1 });
        }
    }
    assert_eq!(queue.clear(), Ok(MANY));
    assert_eq!(queue.engine.unfreed_jobs() as u64, MANY);
    let stats = queue.engine.tube_stats(queue.now, "a").expect("it is watched");
    assert_eq!([stats.urgent, stats.ready, stats.delayed, stats.buried, stats.reserved], [0; 5]);
    let stats = queue.engine.server_stats();
    assert_eq!([stats.urgent, stats.ready, stats.delayed, stats.buried], [0; 4]);
    assert_eq!((queue.engine.job_count(), queue.listed()), (0, Vec::new()));
    for id in [ids[0], ids[1], ids[2], ids[MANY as usize - 1]] {
        queue.assert_gone(id);
    }
    for command in [Command::PeekReady, Command::PeekDelayed, Command::PeekBuried] {
        assert_eq!(queue.ask(command), "NOT_FOUND");
    }
    assert_eq!(queue.ask(Command::Kick(10)), "KICKED 0");
    assert_eq!(queue.ask(Command::ReserveWithTimeout(Some(0))), "TIMED_OUT");
    let mut recorded = 0;
    queue.engine.tell_all(|record| recorded += u32::from(record.whole_job().is_some()));
    assert_eq!(recorded, 0);
    let all = PageSize { items: usize::MAX, looks: usize::MAX };
    let recorded = queue.engine.jobs_in(SegmentRef::of(1), Cursor::default(), all);
    assert_eq!((recorded.items, recorded.next), (Vec::new(), None));
    assert_eq!(queue.told.cleared, [("a".to_owned(), Vec::new())]);
    assert_eq!(queue.told.live.len() as u64, MANY, "nothing is freed yet");

    // Delays that end do not bring anything back.
    queue.now = queue.now.after(10);
    queue.engine.tick(queue.now, 10, &mut queue.told);
    assert_eq!(queue.engine.server_stats().ready, 0);
    queue.free_all();
    assert_eq!((queue.engine.unfreed_jobs(), queue.engine.held_bytes()), (0, 0));
    assert!(queue.told.live.is_empty(), "{:?}", queue.told.live);
    // Deadlines of jobs that were reserved are found to be out of date.
    queue.now = queue.now.after(2000);
    queue.free_all();
    assert_eq!(queue.engine.next_deadline(), None);
}

#[test]
fn each_step_frees_a_few_jobs_and_others_have_their_turn() {
    let mut queue = Queue::new();
    for _ in 0..MANY {
        queue.put(1, 0);
    }
    queue.clear().expect("it is there");
    let before = queue.engine.unfreed_jobs();
    assert!(queue.engine.tick(queue.now, 10, &mut queue.told), "there is more to do");
    let freed = before - queue.engine.unfreed_jobs();
    assert!((10..=100).contains(&freed), "{freed} jobs in 10 steps");
    let id = queue.put(1, 0);
    assert_eq!(queue.ask(Command::Reserve), format!("reserved {id}"));
    assert_eq!(queue.ask(Command::Delete(id)), "DELETED");
    queue.free_all();
    assert!(queue.told.live.is_empty());
}

#[test]
fn a_few_jobs_are_freed_at_once() {
    let mut queue = Queue::new();
    for _ in 0..10 {
        queue.put(1, 0);
    }
    assert_eq!(queue.clear(), Ok(10));
    assert_eq!((queue.engine.unfreed_jobs(), queue.engine.next_deadline()), (0, None));
}

/// What was not in the tube's collections is not dead, whenever it comes into them, while jobs with
/// larger ids are.
#[test]
fn reserved_arriving_and_moved_jobs_survive() {
    let mut queue = Queue::new();
    let released = queue.put(1, 0);
    let vanished = queue.put(1, 0);
    let other = queue.engine.connect();
    queue.ask(Command::ReserveJob(released));
    queue.request(other, Request::Command(Command::ReserveJob(vanished)));
    queue.ask(Command::Use(name("b")));
    let moved = queue.put(1, 50);
    queue.ask(Command::Use(name("a")));
    let header = PutHeader { priority: 1, delay: 0, ttr: 1, size: 1 };
    let third = queue.engine.connect();
    queue.request(third, Request::Command(Command::Use(name("a"))));
    queue.request(third, Request::Put(header));
    let arriving = queue.engine.next_id() - 1;
    for _ in 0..MANY {
        queue.put(1, 0);
    }
    assert_eq!(queue.clear(), Ok(MANY));
    assert_eq!(queue.told.cleared, [("a".to_owned(), vec![released, vanished])]);
    let asked = queue.told.asked.get();
    assert_eq!(asked, Some(Change::Clear { jobs: MANY, kept: 2 }));
    assert_eq!(queue.engine.job_count(), 3);

    queue.ask(Command::Release { id: released, priority: 9, delay: 0 });
    queue.engine.disconnect(queue.now, other, CloseReason::Vanished, &mut queue.told);
    queue.request(third, Request::Body(Box::from(&b"x"[..])));
    queue.engine.move_job(queue.now, moved, &name("a"), &mut queue.told).expect("it is there");
    assert!(queue.engine.unfreed_jobs() > 0, "the others are still there to be confused with");
    let mut there = queue.listed();
    there.sort_unstable();
    assert_eq!(there, [released, vanished, moved, arriving]);
    for id in there {
        assert_eq!(queue.ask(Command::Peek(id)), format!("found {id}"));
    }
    let last = arriving + MANY;
    queue.assert_gone(last);

    // A second clearing, before the first is done, takes them.
    assert_eq!(queue.clear(), Ok(4));
    for id in [released, vanished, moved, arriving, last] {
        queue.assert_gone(id);
    }
    assert_eq!(queue.listed(), [] as [JobId; 0]);
    queue.free_all();
    assert!(queue.told.live.is_empty(), "{:?}", queue.told.live);
    assert_eq!(queue.engine.job_count(), 0);
}

/// The tube may go, and another one come to its place, before its jobs are freed.
#[test]
fn another_tube_at_the_same_place() {
    let mut queue = Queue::new();
    let header = PutHeader { priority: 1, delay: 0, ttr: 1, size: 1 };
    let early = queue.engine.connect();
    for _ in 0..MANY {
        queue.put(1, 0);
    }
    // The line of a put, whose tube will be at that place.
    queue.ask(Command::Use(name("default")));
    queue.ask(Command::Ignore(name("a")));
    queue.clear().expect("it is there");
    assert!(queue.engine.tube_stats(queue.now, "a").is_none());
    queue.request(early, Request::Command(Command::Use(name("next"))));
    queue.request(early, Request::Put(header));
    queue.request(early, Request::Body(Box::from(&b"x"[..])));
    let id = queue.engine.next_id() - 1;
    let (job, _) = queue.engine.job(id).expect("it was put");
    assert_eq!((job.tube.as_str(), job.state), ("next", JobState::Ready));
    // A job with a smaller id than the dead ones, too.
    queue.ask(Command::Watch(name("next")));
    let (first, _) = (1, queue.free_all());
    queue.assert_gone(first);
    assert_eq!(queue.ask(Command::Peek(id)), format!("found {id}"));
    assert_eq!(queue.told.live.len(), 1);
}

#[test]
fn what_the_log_cannot_record_is_not_done() {
    let mut queue = Queue::new();
    queue.put(1, 0);
    queue.told.full = true;
    assert_eq!(queue.clear(), Err(Refusal::NotRecorded));
    assert_eq!(queue.engine.job_count(), 1);
    queue.told.full = false;
    assert_eq!(queue.clear(), Ok(1));
    assert_eq!(queue.clear(), Ok(0));
    assert_eq!(queue.told.cleared.len(), 1, "there was nothing to record the second time");
    let cleared = queue.engine.clear_tube(queue.now, "none", &mut queue.told);
    assert_eq!(cleared, Err(Refusal::NoTube));
}

/// A waiting connection is not confused by what was there.
#[test]
fn who_waits_gets_the_next_job() {
    let mut queue = Queue::new();
    for _ in 0..MANY {
        queue.put(1, 50);
    }
    assert_eq!(queue.ask(Command::Reserve), "");
    queue.clear().expect("it is there");
    queue.now = queue.now.after(100);
    queue.told.answers.clear();
    queue.free_all();
    assert_eq!(queue.told.answers, []);
    let producer = queue.engine.connect();
    queue.request(producer, Request::Command(Command::Use(name("a"))));
    let header = PutHeader { priority: 1, delay: 0, ttr: 1, size: 1 };
    queue.request(producer, Request::Put(header));
    queue.request(producer, Request::Body(Box::from(&b"x"[..])));
    let expected = (queue.conn, format!("reserved {}", MANY + 1));
    assert!(queue.told.answers.contains(&expected), "{:?}", queue.told.answers);
}
