//! A reserve that watches many tubes, of which many have changed, is carried out in steps: nobody else has
//! to wait until all of them were looked at.

use beanstalk_protocol::{Command, PutHeader, Reply, Request, TubeName};
use jq_engine::{
    Answer, Change, CloseReason, ConnId, Engine, Flow, Nanos, Record, SegmentRef, Sink,
};

const TUBES: u64 = 5000;

/// Steps of one tick. Each looks at a few tubes.
const BUDGET: usize = 100;

/// Who was answered, and the jobs in the answer.
#[derive(Default)]
struct Told(Vec<(ConnId, Vec<u64>)>);

impl Sink for Told {
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>) {
        let mut jobs = Vec::new();
        match answer {
            Answer::Reply(Reply::Inserted(_)) => return,
            Answer::Reply(Reply::Reserved(id, _)) => jobs.push(id),
            Answer::Batch(batch) => batch.for_each(|reply| {
                if let Reply::Reserved(id, _) = reply {
                    jobs.push(id);
                }
            }),
            _ => {}
        }
        self.0.push((conn, jobs));
    }

    fn record(&mut self, _: Record<'_>) -> SegmentRef {
        SegmentRef::default()
    }

    fn admits(&self, _: Change) -> bool {
        true
    }
}

struct Queue {
    engine: Engine,
    now: Nanos,
    told: Told,
}

impl Queue {
    fn ask(&mut self, conn: ConnId, command: Command) -> Flow {
        self.now.0 += 1;
        self.engine.handle(self.now, conn, Request::Command(command), &mut self.told)
    }

    /// Puts a job; its number is one more than that of the last.
    fn put(&mut self, conn: ConnId, number: u64, priority: u32) {
        self.ask(conn, Command::Use(tube(number)));
        let header = PutHeader { priority, delay: 0, ttr: 100, size: 0 };
        self.engine.handle(self.now, conn, Request::Put(header), &mut self.told);
        self.engine.handle(self.now, conn, Request::Body(Box::default()), &mut self.told);
        self.told.0.retain(|(told, _)| *told != conn);
    }

    /// What a connection is told by a command that ends at once.
    fn told_at_once(&mut self, conn: ConnId, command: Command) -> Vec<u64> {
        assert_eq!(self.ask(conn, command), Flow::Continue);
        self.told.0.pop().filter(|(told, _)| *told == conn).expect("it was answered").1
    }

    /// What a connection is told by a command that takes steps, `meanwhile` being done after the first, and
    /// how many ticks it takes.
    fn told_later(
        &mut self,
        conn: ConnId,
        command: Command,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> (Option<Vec<u64>>, u64) {
        assert_eq!(self.ask(conn, command), Flow::Blocked);
        let mut ticks = 0;
        loop {
            self.now.0 += 1;
            let more = self.engine.tick(self.now, BUDGET, &mut self.told);
            ticks += 1;
            if ticks == 1 {
                meanwhile(self);
            }
            let found = self.told.0.iter().position(|(told, _)| *told == conn);
            if let Some(found) = found {
                return (Some(self.told.0.remove(found).1), ticks);
            }
            if !more {
                return (None, ticks);
            }
        }
    }
}

fn tube(number: u64) -> TubeName {
    TubeName::new(format!("tube-{number}").as_bytes()).expect("it is a name")
}

/// A worker that watches many tubes in which nothing is, and others.
fn watching() -> (Queue, ConnId, ConnId, ConnId) {
    let mut queue =
        Queue { engine: Engine::new(), now: Nanos::from_secs(1), told: Told::default() };
    let conns = [(); 3].map(|()| queue.engine.connect());
    for number in 0..TUBES {
        queue.told_at_once(conns[0], Command::Watch(tube(number)));
    }
    assert_eq!(queue.told_at_once(conns[0], RESERVE_NOW), []);
    let [worker, producer, other] = conns;
    (queue, worker, producer, other)
}

const RESERVE_NOW: Command = Command::ReserveWithTimeout(Some(0));

/// A job in each tube, the most urgent somewhere in the middle.
fn fill(queue: &mut Queue, producer: ConnId) -> u64 {
    for number in 0..TUBES {
        let priority = (number * 7919 + 4000) % TUBES;
        queue.put(producer, number, priority as u32 + 10);
    }
    (1..=TUBES).min_by_key(|id| ((id - 1) * 7919 + 4000) % TUBES).expect("there are some")
}

#[test]
fn a_reserve_looks_at_many_tubes_in_steps() {
    let (mut queue, worker, producer, other) = watching();
    let best = fill(&mut queue, producer);
    let (got, ticks) = queue.told_later(worker, Command::Reserve, |queue| {
        // Others are served.
        assert_eq!(queue.told_at_once(other, Command::ReserveWithTimeout(Some(0))), []);
    });
    assert_eq!(got, Some(vec![best]));
    assert!(ticks > 5, "{ticks}");
    // Now all are known.
    assert_eq!(queue.told_at_once(worker, Command::Reserve).len(), 1);
}

#[test]
fn a_better_job_that_comes_meanwhile_is_taken() {
    let (mut queue, worker, producer, _) = watching();
    fill(&mut queue, producer);
    // Both in a tube that was looked at, and in one that was not.
    for number in [0, TUBES - 1] {
        let (got, _) =
            queue.told_later(worker, Command::Reserve, |queue| queue.put(producer, number, 0));
        let put = queue.engine.next_id() - 1;
        assert_eq!(got, Some(vec![put]));
        (0..TUBES).for_each(|number| queue.put(producer, number, 5));
    }
}

#[test]
fn what_others_have_taken_is_passed_over_in_steps() {
    let (mut queue, worker, producer, other) = watching();
    fill(&mut queue, producer);
    let (first, _) = queue.told_later(worker, Command::Reserve, |_| ());
    let first = first.expect("there is one")[0];
    let left = if first == 3000 { 3001 } else { 3000 };
    for id in (1..=TUBES).filter(|id| ![first, left].contains(id)) {
        queue.ask(other, Command::Delete(id));
    }
    queue.told.0.clear();
    let (got, ticks) = queue.told_later(worker, RESERVE_NOW, |_| ());
    assert!(got == Some(vec![left]) && ticks > 5, "{got:?}, {ticks}");
}

#[test]
fn a_wait_begins_in_steps() {
    let (mut queue, worker, producer, other) = watching();
    fill(&mut queue, producer);
    for id in 1..=TUBES {
        queue.ask(other, Command::Delete(id));
    }
    queue.told.0.clear();
    // It looks at all of them, and joins the queues of all.
    let (got, ticks) = queue.told_later(worker, Command::Reserve, |_| ());
    assert!(got.is_none() && ticks > 10, "{got:?}, {ticks}");
    queue.put(producer, 17, 0);
    assert_eq!(queue.told.0, [(worker, vec![TUBES + 1])]);
}

#[test]
fn a_timeout_is_answered_when_all_were_looked_at() {
    let (mut queue, worker, producer, other) = watching();
    fill(&mut queue, producer);
    for id in 1..=TUBES {
        queue.ask(other, Command::Delete(id));
    }
    queue.told.0.clear();
    let (got, ticks) = queue.told_later(worker, RESERVE_NOW, |_| ());
    assert!(got == Some(Vec::new()) && ticks > 10, "{got:?}, {ticks}");
}

#[test]
fn a_batch_is_sought_in_steps() {
    let (mut queue, worker, producer, other) = watching();
    let best = fill(&mut queue, producer);
    let batch = || Command::BatchReserve { max: 100, timeout: 10 };
    let (got, ticks) = queue.told_later(worker, batch(), |_| ());
    let got = got.expect("there are some");
    assert!((got[0], got.len()) == (best, 100) && ticks > 5, "{got:?}, {ticks}");
    // It ends where too much is to be looked at.
    let mut ids: Vec<u64> = (1..=TUBES).collect();
    ids.sort_by_key(|id| ((id - 1) * 7919 + 4000) % TUBES);
    assert_eq!(got, ids[..100]);
    for id in &ids[101..3000] {
        queue.ask(other, Command::Delete(*id));
    }
    queue.told.0.clear();
    assert_eq!(queue.told_at_once(worker, batch()), [ids[100]]);
}

#[test]
fn who_leaves_meanwhile_gets_nothing() {
    let (mut queue, worker, producer, other) = watching();
    fill(&mut queue, producer);
    assert_eq!(queue.ask(worker, Command::Reserve), Flow::Blocked);
    queue.engine.tick(queue.now, BUDGET, &mut queue.told);
    queue.engine.half_close(worker, &mut queue.told);
    queue.engine.disconnect(queue.now, worker, CloseReason::Vanished, &mut queue.told);
    while queue.engine.tick(queue.now, BUDGET, &mut queue.told) {}
    assert_eq!(queue.told.0, []);
    let stats = queue.engine.server_stats();
    assert_eq!((stats.ready, stats.connections, stats.waiting), (TUBES, 2, 0));
    queue.told_at_once(other, Command::Watch(tube(9)));
    assert_eq!(queue.told_at_once(other, Command::Reserve), [10]);
}
