//! The fuzz target's operations on the engine, with what the fuzzer found worth keeping.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../fuzz/src/engine_ops/mod.rs"]
pub mod engine_ops;

#[test]
fn the_fuzzers_corpus() {
    corpus::replay("engine_ops", engine_ops::run);
}
