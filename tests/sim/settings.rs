//! What is set for tubes, again and again.

use std::time::Duration;

use jq_server::log::binlog::{Options, SyncPolicy};

use crate::model::{Policy, TUBES};
use crate::observe::tube_name;
use crate::server::Hand;
use crate::sim::{Plan, Sim};

/// However often something was set: it is recorded once when a segment is reclaimed. Else a segment with
/// nothing but such records would be reclaimed by writing all of them once more, for ever.
#[test]
fn what_was_set_often_is_kept_once() {
    let plan = |rng: &mut fastrand::Rng| {
        let plan = Plan { per_mille: 0, fills: false, cannot_allocate: false, ..Plan::of(rng) };
        let policy = SyncPolicy::Every(Duration::from_millis(50));
        let store_from = usize::MAX;
        Plan { options: Options { policy, segment_size: 1000, store_from, ..plan.options }, ..plan }
    };
    let mut sim = Sim::new(1, plan, false);
    for round in 1..100 {
        for tube in 0..TUBES.len() {
            // So long that one step finds no two of a tube.
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
            // The log is synced every now and then, while nothing is reclaimed.
            if round % 7 == 0 {
                sim.time.pass(50_000_000);
                sim.turn(Hand::Syncer);
            }
        }
    }
    sim.settle().expect("all of it is reclaimed");
    let log = sim.server.log_use();
    assert!(log.bytes < 1000, "{log:?}");
    sim.restart().expect("what was set last is there");
}
