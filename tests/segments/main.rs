//! The format of the log: written as it is documented, read whatever the bytes are.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
mod golden;
mod newer;
#[path = "../../fuzz/src/replay.rs"]
pub mod replay;
mod round_trip;

/// The fuzz target's replays of damaged logs, with what the fuzzer found worth keeping.
#[test]
fn the_fuzzers_corpus() {
    corpus::replay("replay", replay::run);
}
