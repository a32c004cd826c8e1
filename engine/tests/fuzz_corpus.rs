//! Runs the engine's fuzz target over its saved corpus.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../fuzz/src/engine_ops/mod.rs"]
pub mod engine_ops;

#[test]
fn the_fuzzers_corpus() {
    corpus::replay("engine_ops", engine_ops::run);
}
