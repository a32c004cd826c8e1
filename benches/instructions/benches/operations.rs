//! Each operation alone, under callgrind. Counted are the instructions from the call of a function here
//! until it returns; setting up, and dropping the returned value, are not counted. The names are
//! those of `baseline.toml`.

use std::sync::Arc;

use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use jq_engine::Engine;
use jq_instructions::{Appending, Batches, Decoding, Encoding, Queue, Replaying};
use jq_instructions::{pipelined, single};
use jq_server::log::binlog::Binlog;

#[library_benchmark]
#[bench::ops(Decoding::puts())]
fn decode_puts(it: Decoding) -> Decoding {
    it.run()
}

#[library_benchmark]
#[bench::ops(Decoding::takes())]
fn decode_reserves_and_deletes(it: Decoding) -> Decoding {
    it.run()
}

#[library_benchmark]
#[bench::ops(Encoding::new())]
fn encode_replies(it: Encoding) -> Encoding {
    it.run()
}

#[library_benchmark]
#[bench::ops(Queue::deep())]
fn put_among_10k(it: Queue) -> Queue {
    it.put()
}

#[library_benchmark]
#[bench::ops(Queue::deep())]
fn reserve_and_delete_of_10k(it: Queue) -> Queue {
    it.take()
}

#[library_benchmark]
#[bench::ops(Queue::deep().observed())]
fn observed_put_among_10k(it: Queue) -> Queue {
    it.put()
}

#[library_benchmark]
#[bench::ops(Queue::deep().observed())]
fn observed_reserve_and_delete_of_10k(it: Queue) -> Queue {
    it.take()
}

#[library_benchmark]
#[bench::ops(Queue::empty().observed())]
fn observed_put_that_ends_a_wait(it: Queue) -> Queue {
    it.wake()
}

#[library_benchmark]
#[bench::ops(Queue::mixed())]
fn exchange_among_10k_mixed(it: Queue) -> Queue {
    it.exchange()
}

#[library_benchmark]
#[bench::ops(Queue::empty())]
fn put_that_ends_a_wait(it: Queue) -> Queue {
    it.wake()
}

#[library_benchmark]
#[bench::ops(Queue::reserved())]
fn touch_among_1k(it: Queue) -> Queue {
    it.touch()
}

#[library_benchmark]
#[bench::ops(Queue::delayed())]
fn delayed_falls_due(it: Queue) -> Queue {
    it.fall_due()
}

#[library_benchmark]
#[bench::ops(Queue::buried())]
fn kick_buried(it: Queue) -> Queue {
    it.kick()
}

#[library_benchmark]
#[bench::ops(Appending::new())]
fn record_puts(it: Appending) -> Appending {
    it.run()
}

#[library_benchmark]
#[bench::ops(Replaying::new())]
fn replay_puts(it: Replaying) -> (Arc<Binlog>, Engine) {
    it.run()
}

#[library_benchmark]
#[bench::ops(Batches::of(pipelined()))]
fn hub_batches_of_64(it: Batches) -> Batches {
    it.run()
}

#[library_benchmark]
#[bench::ops(Batches::of(single()))]
fn hub_batches_of_1(it: Batches) -> Batches {
    it.run()
}

#[library_benchmark]
#[bench::ops(Batches::guarded(pipelined()))]
fn hub_guarded_batches_of_64(it: Batches) -> Batches {
    it.run()
}

#[library_benchmark]
#[bench::ops(Batches::guarded(single()))]
fn hub_guarded_batches_of_1(it: Batches) -> Batches {
    it.run()
}

library_benchmark_group!(
    name = operations,
    benchmarks = [
        decode_puts,
        decode_reserves_and_deletes,
        encode_replies,
        put_among_10k,
        reserve_and_delete_of_10k,
        observed_put_among_10k,
        observed_reserve_and_delete_of_10k,
        observed_put_that_ends_a_wait,
        exchange_among_10k_mixed,
        put_that_ends_a_wait,
        touch_among_1k,
        delayed_falls_due,
        kick_buried,
        record_puts,
        replay_puts,
        hub_batches_of_64,
        hub_batches_of_1,
        hub_guarded_batches_of_64,
        hub_guarded_batches_of_1,
    ]
);

// Instructions only: what a simulated cache makes of them is not judged.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = operations
);
