//! What is set for tubes, again and again.

use std::time::Duration;

use fastrand::Rng;
use jq_server::log::binlog::{Options, SyncPolicy};

use crate::model::{Policy, TUBES};
use crate::observe::tube_name;
use crate::server::Hand;
use crate::sim::{Plan, Sim};

/// A good disk, and segments of this size.
fn sim(segment_size: u64) -> Sim {
    let plan = |rng: &mut Rng| {
        let plan = Plan { per_mille: 0, fills: false, cannot_allocate: false, ..Plan::of(rng) };
        let policy = SyncPolicy::Every(Duration::from_millis(50));
        let store_from = usize::MAX;
        Plan { options: Options { policy, segment_size, store_from, ..plan.options }, ..plan }
    };
    Sim::new(1, plan, false)
}

/// Sets so much for all tubes that one step of reclaiming finds no two of a tube.
fn set(sim: &mut Sim, round: u64) {
    for tube in 0..TUBES.len() {
        let policy = Policy {
            max_jobs: Some(round),
            max_bytes: Some(u64::MAX),
            max_reserves: Some(u32::MAX),
            max_timeouts: Some(u32::MAX),
            max_disconnects: Some(u32::MAX),
            dead_letter: Some(tube_name(2)),
            expires: Some(60),
            default_ttr: Some(60),
            ..Policy::default()
        };
        assert!(sim.rule(tube, policy), "a good disk takes it");
        sim.turn(Hand::Flusher);
    }
}

/// However often something was set: it is recorded once when a segment is reclaimed. Else a segment with
/// nothing but such records would be reclaimed by writing all of them once more, for ever.
#[test]
fn what_was_set_often_is_kept_once() {
    let mut sim = sim(1000);
    for round in 1..100 {
        set(&mut sim, round);
        // The log is synced every now and then, while nothing is reclaimed.
        if round % 7 == 0 {
            sim.time.pass(50_000_000);
            sim.turn(Hand::Syncer);
        }
    }
    sim.settle().expect("all of it is reclaimed");
    let log = sim.server.log_use();
    assert!(log.bytes < 2000, "{log:?}");
    sim.restart().expect("what was set last is there");
}
