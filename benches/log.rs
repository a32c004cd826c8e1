//! What the log costs besides the disk: a record's encoding, its place in the book, and the queue
//! that is made of the records again.

#[path = "support/log.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;

use beanstalk_protocol::JobId;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jq_engine::Record;
use jq_server::log::binlog::format;
use support::MemoryDisk;

/// Records that are written together.
const BATCH: u64 = 64;

/// Jobs in a log that is replayed.
const REPLAYED: u64 = 10_000;

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode records");
    group.throughput(Throughput::Elements(BATCH));
    let mut bytes = Vec::new();
    for (name, record) in [("puts", support::put(1)), ("deletes", Record::Delete(1))] {
        group.bench_function(format!("{BATCH} {name}"), |b| {
            b.iter(|| {
                bytes.clear();
                for _ in 0..BATCH {
                    format::encode(black_box(&record), &mut bytes);
                }
                black_box(bytes.len())
            });
        });
    }
    group.finish();
}

fn appending(c: &mut Criterion) {
    let mut group = c.benchmark_group("append and write");
    group.throughput(Throughput::Elements(BATCH));
    let (binlog, _) = support::open(MemoryDisk::forgetful());
    let mut next: JobId = 1;
    group.bench_function(format!("{BATCH} puts"), |b| {
        b.iter(|| {
            support::write(&binlog, next..next + BATCH);
            next += BATCH;
        });
    });
    group.finish();
}

fn replaying(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay");
    group.throughput(Throughput::Elements(REPLAYED));
    let written = || {
        let disk = MemoryDisk::new();
        let (binlog, _) = support::open(Arc::clone(&disk));
        support::write(&binlog, 1..=REPLAYED);
        binlog.close().expect("this disk does not fail");
        disk
    };
    group.bench_function(format!("{REPLAYED} puts"), |b| {
        b.iter_batched(written, support::open, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, encoding, appending, replaying);
criterion_main!(benches);
