//! What a job costs in the engine, and that this does not grow with what else is there: jobs,
//! tubes, reservations, watched tubes.

use std::hint::black_box;

use beanstalk_protocol::{Command, JobId, PutHeader, Reply, Request, TubeName};
use criterion::{Criterion, criterion_group, criterion_main};
use jq_engine::{Answer, ConnId, Engine, Flow, Nanos, Sink};

/// Bytes of a body.
const BODY: usize = 128;

/// An engine with one connection that does all the work.
struct Bench {
    engine: Engine,
    conn: ConnId,
    now: Nanos,
    sink: Last,
}

/// Keeps the number of the last job that was put or reserved.
#[derive(Default)]
struct Last(JobId);

impl Sink for Last {
    fn answer(&mut self, _: ConnId, answer: Answer<'_>) {
        if let Answer::Reply(Reply::Inserted(id) | Reply::Reserved(id, _)) = black_box(answer) {
            self.0 = id;
        }
    }
}

impl Bench {
    fn new() -> Self {
        let mut engine = Engine::new();
        let conn = engine.connect();
        Self { engine, conn, now: Nanos::from_secs(1), sink: Last::default() }
    }

    fn request(&mut self, request: Request) {
        self.now.0 += 1;
        let flow = self.engine.handle(self.now, self.conn, request, &mut self.sink);
        assert_eq!(flow, Flow::Continue);
    }

    fn command(&mut self, command: Command) {
        self.request(Request::Command(command));
    }

    fn put(&mut self, priority: u32) {
        // Long enough that no time runs out while measuring.
        let header = PutHeader { priority, delay: 0, ttr: 1_000_000, size: BODY as u32 };
        self.request(Request::Put(header));
        self.request(Request::Body([b'x'; BODY].into()));
    }

    /// A job's whole life. It is more urgent than all that are there.
    fn cycle(&mut self) {
        self.put(0);
        self.command(Command::Reserve);
        self.command(Command::Delete(self.sink.0));
    }
}

fn tube(number: usize) -> TubeName {
    TubeName::new(format!("tube-{number}").as_bytes()).expect("a good name")
}

fn depth(c: &mut Criterion) {
    let mut group = c.benchmark_group("put, reserve, delete");
    for depth in [0, 1_000, 1_000_000] {
        let mut bench = Bench::new();
        for job in 0..depth {
            bench.put(1 + job % 1000);
        }
        group.bench_function(format!("{depth} jobs there"), |b| b.iter(|| bench.cycle()));
    }
    group.finish();
}

fn tubes(c: &mut Criterion) {
    let mut group = c.benchmark_group("put, reserve, delete");
    for tubes in [1, 30_000] {
        let mut bench = Bench::new();
        for number in 0..tubes {
            bench.command(Command::Use(tube(number)));
            bench.put(1);
        }
        bench.command(Command::Use(TubeName::default_tube()));
        group.bench_function(format!("{tubes} more tubes"), |b| b.iter(|| bench.cycle()));
    }
    group.finish();
}

fn watching(c: &mut Criterion) {
    let mut group = c.benchmark_group("put, reserve, delete");
    for watched in [1, 10_000] {
        let mut bench = Bench::new();
        for number in 0..watched {
            bench.command(Command::Watch(tube(number)));
        }
        bench.command(Command::Use(tube(watched / 2)));
        group.bench_function(format!("{watched} more watched"), |b| b.iter(|| bench.cycle()));
    }
    group.finish();
}

fn touching(c: &mut Criterion) {
    let mut group = c.benchmark_group("touch");
    for reserved in [1, 20_000] {
        let mut bench = Bench::new();
        for _ in 0..reserved {
            bench.put(1);
            bench.command(Command::Reserve);
        }
        let mut id = 0;
        group.bench_function(format!("{reserved} jobs reserved"), |b| {
            b.iter(|| {
                id = id % reserved + 1;
                bench.command(Command::Touch(id));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, depth, tubes, watching, touching);
criterion_main!(benches);
