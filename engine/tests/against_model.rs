//! The engine against a naive model, in random sessions of several connections.
//!
//! `PROPTEST_CASES` sets the number of sessions. A failure prints the shortest session that
//! reproduces it.

mod common;
mod model;
mod play;

use play::{Duel, Kind, Op, sessions};
use proptest::prelude::*;
use proptest::test_runner::Config;

/// This many sessions, unless the environment overrides it.
fn config(cases: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES")
        .map_or(cases, |cases| cases.parse().expect("PROPTEST_CASES is a number of cases"));
    // A session that fails is kept as a transcript, not as a seed.
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Checks everything after every `audit_every` steps.
fn play_session(ops: &[Op], audit_every: usize) -> Result<(), TestCaseError> {
    let mut duel = Duel::new();
    for (step, op) in ops.iter().enumerate() {
        duel.play(op)?;
        if (step + 1) % audit_every == 0 {
            duel.audit()?;
        }
    }
    duel.end()
}

proptest! {
    #![proptest_config(config(200))]

    /// Few tubes, so that everything interacts.
    #[test]
    fn few_tubes(ops in sessions(Kind::Small)) {
        play_session(&ops, 1)?;
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// Connections that watch dozens of tubes, and soon only a few again.
    #[test]
    fn many_tubes(ops in sessions(Kind::Wide)) {
        play_session(&ops, 10)?;
    }
}
