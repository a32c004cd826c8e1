//! What a job costs in the engine, and that the cost does not grow with the number of jobs, tubes,
//! reservations and watched tubes.

mod support;

use beanstalk_protocol::{Command, Request, TubeName};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jq_engine::CloseReason;
use support::Session;

fn tube(number: usize) -> TubeName {
    TubeName::new(format!("tube-{number}").as_bytes()).expect("a good name")
}

/// A job's whole life. It is more urgent than all others.
fn cycle(session: &mut Session) {
    session.put(0, 0);
    session.take();
}

fn depth(c: &mut Criterion) {
    let mut group = c.benchmark_group("put, reserve, delete");
    for depth in [0, 1_000, 1_000_000] {
        let mut session = Session::with_jobs(depth, |job| 1 + job % 1000);
        group.bench_function(format!("{depth} jobs there"), |b| b.iter(|| cycle(&mut session)));
    }
    group.finish();
}

/// The reserved job is the oldest, so the queue is processed from its other end.
fn order(c: &mut Criterion) {
    let mut group = c.benchmark_group("take the oldest, put another");
    for depth in [1_000, 1_000_000] {
        let mut session = Session::with_jobs(depth, |_| 1);
        group.bench_function(format!("{depth} jobs there"), |b| {
            b.iter(|| {
                session.take();
                session.put(1, 0);
            });
        });
    }
    group.finish();
}

fn tubes(c: &mut Criterion) {
    let mut group = c.benchmark_group("put, reserve, delete");
    for tubes in [1, 30_000] {
        let mut session = Session::default();
        for number in 0..tubes {
            session.command(Command::Use(tube(number)));
            session.put(1, 0);
        }
        session.command(Command::Use(TubeName::default_tube()));
        group.bench_function(format!("{tubes} more tubes"), |b| b.iter(|| cycle(&mut session)));
    }
    group.finish();
}

fn watching(c: &mut Criterion) {
    let mut group = c.benchmark_group("put, reserve, delete");
    for watched in [1, 10_000] {
        let mut session = Session::default();
        for number in 0..watched {
            session.command(Command::Watch(tube(number)));
        }
        session.command(Command::Use(tube(watched / 2)));
        group.bench_function(format!("{watched} more watched"), |b| b.iter(|| cycle(&mut session)));
    }
    group.finish();
}

fn touching(c: &mut Criterion) {
    let mut group = c.benchmark_group("touch");
    for reserved in [1, 20_000] {
        let mut session = Session::default();
        for _ in 0..reserved {
            session.put(1, 0);
            session.command(Command::Reserve);
        }
        let mut id = 0;
        group.bench_function(format!("{reserved} jobs reserved"), |b| {
            b.iter(|| {
                id = id % reserved + 1;
                session.command(Command::Touch(id));
            });
        });
    }
    group.finish();
}

/// Number of jobs in each operation on many jobs.
const MANY: u32 = 10_000;

/// Operations on many jobs at once; the result is the cost of each job.
fn many(c: &mut Criterion) {
    let mut group = c.benchmark_group("many at once");
    group.throughput(Throughput::Elements(MANY.into()));
    let buried = || {
        let mut session = Session::with_jobs(MANY, |_| 1);
        for _ in 0..MANY {
            session.command(Command::Reserve);
            session.command(Command::Bury { id: session.sink.0, priority: 1 });
        }
        session
    };
    // In one go or in steps.
    let kick = |session: &mut Session| {
        session.request(session.conn, Request::Command(Command::Kick(MANY)));
        session.tick(session.now);
    };
    group.bench_function(format!("kick {MANY}"), |b| {
        b.iter_batched_ref(buried, kick, BatchSize::LargeInput);
    });
    let delayed = || {
        let mut session = Session::default();
        for _ in 0..MANY {
            session.put(1, 60);
        }
        session
    };
    group.bench_function(format!("{MANY} delayed fall due"), |b| {
        b.iter_batched_ref(delayed, |s| s.tick(s.now.after(61)), BatchSize::LargeInput);
    });
    let reserved = || {
        let mut session = Session::with_jobs(MANY, |_| 1);
        for _ in 0..MANY {
            session.command(Command::Reserve);
        }
        session
    };
    let leave = |session: &mut Session| {
        session.engine.disconnect(
            session.now,
            session.conn,
            CloseReason::Vanished,
            &mut session.sink,
        );
        session.tick(session.now);
    };
    group.bench_function(format!("{MANY} reserved come back"), |b| {
        b.iter_batched_ref(reserved, leave, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, depth, order, tubes, watching, touching, many);
criterion_main!(benches);
