//! The fuzz target of access control, played with its corpus and at random.

use crate::corpus;
use crate::fuzz;

/// Bytes of a session.
const LONG: usize = 1500;

#[test]
fn the_fuzzers_corpus() {
    corpus::replay("access", fuzz::run);
}

#[test]
fn whoever_has_few_rights_does_what_these_allow_and_nothing_else() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..cases.unwrap_or(64) {
        let session: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(LONG).collect();
        fuzz::run(&session);
    }
}
