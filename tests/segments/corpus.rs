//! The fuzz target's replays of damaged logs, with what the fuzzer found worth keeping.

#[path = "../../fuzz/src/corpus.rs"]
mod files;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn the_fuzzers_corpus() {
    files::replay("replay", replay::run);
}
