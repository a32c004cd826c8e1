//! What the wire costs: reading commands and writing replies, in batches as a busy connection
//! delivers them.

use std::hint::black_box;

use beanstalk_protocol::{
    Command, DEFAULT_MAX_JOB_SIZE, Dialect, PutHeader, Reply, RequestDecoder,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

/// Commands in flight that one read brings.
const BATCH: u64 = 64;

/// Bytes of a body.
const BODY: usize = 128;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(BATCH));

    let header = PutHeader { priority: 1000, delay: 0, ttr: 60, size: BODY as u32 };
    let mut puts = Vec::new();
    for _ in 0..BATCH {
        header.encode(&mut puts);
        puts.resize(puts.len() + BODY, b'x');
        puts.extend_from_slice(b"\r\n");
    }
    // The line and the body are a request each.
    decode(&mut group, "64 puts of 128 bytes", &puts, 2 * BATCH);

    let mut lines = Vec::new();
    for id in 0..BATCH / 2 {
        Command::Reserve.encode(&mut lines);
        Command::Delete(1_000_000 + id).encode(&mut lines);
    }
    decode(&mut group, "64 reserves and deletes", &lines, BATCH);
    group.finish();
}

/// Measures decoding `stream`, which holds so many requests.
fn decode(group: &mut Group<'_>, name: &str, stream: &[u8], requests: u64) {
    let mut decoder = RequestDecoder::new(Dialect::default(), DEFAULT_MAX_JOB_SIZE);
    group.bench_function(name, |b| {
        b.iter(|| {
            let (mut at, mut count) = (0, 0);
            while let Some(request) = decoder.decode(black_box(stream), &mut at) {
                black_box(&request);
                count += 1;
            }
            assert_eq!(count, requests);
        });
    });
}

fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(BATCH));
    let body = [b'x'; BODY];
    let id = 1_000_000;
    for (name, reply) in [
        ("64 INSERTED", Reply::Inserted(id)),
        ("64 RESERVED of 128 bytes", Reply::Reserved(id, &body[..])),
        ("64 DELETED", Reply::Deleted),
    ] {
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                for _ in 0..BATCH {
                    black_box(&reply).encode(&mut out);
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, replies);
criterion_main!(benches);
