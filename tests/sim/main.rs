//! The deterministic simulation: the real hub, engine and binlog on a fake disk and a told clock.
//!
//! A seed decides everything: what clients ask for, which hand of the log's driver does what in between,
//! when the disk fails, is full, or stops; and how much of what was not synced is there afterwards.
//! The next server is asked for everything it has, and a model says whether that may be so: no
//! promise broken, nothing deleted back, one moment to which all of it goes back.
//!
//! More than the usual seeds: `JQ_SIM_FROM=1 JQ_SIM_SEEDS=1000000 cargo test --test sim seeds`. A
//! failure names its seed; with `JQ_SIM_FROM=<seed> JQ_SIM_SEEDS=1 JQ_SIM_TRACE=1` it tells everything
//! that happened. Optimized builds (`CARGO_PROFILE_DEV_OPT_LEVEL=1`) try ten times as many seeds in
//! the same time, and keep the assertions in the server.

#[path = "../support/mod.rs"]
mod support;

mod bulk;
mod client;
mod closing;
mod counts;
mod disk;
mod emptying;
mod facts;
mod flip;
mod hands;
mod history;
mod inode;
mod job;
mod lose;
mod model;
mod observe;
mod pipe;
mod restart;
mod rules;
mod served;
mod server;
mod settings;
mod sim;
mod small_disk;
mod trace;

use std::env;
use std::thread;

use fastrand::Rng;

use crate::sim::{Plan, Sim};

/// Seeds that are tried unless somebody asks for more.
const SEEDS: u64 = 2500;

/// Seeds between two signs of life, for long runs with `--nocapture`.
const TELL_EVERY: u64 = 10_000;

/// Of a disk that lies, so many seeds must be enough to see it.
const LIES_SEEN_WITHIN: u64 = 50;

/// Names the seed if the server itself panics.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was seed {0}: JQ_SIM_TRACE=1 JQ_SIM_SEEDS=1 JQ_SIM_FROM={0}", self.0);
        }
    }
}

/// Runs one seed. Returns a hash of all that happened.
fn run(seed: u64, plan: impl FnOnce(&mut Rng) -> Plan) -> Result<u64, String> {
    let _running = Running(seed);
    let mut sim = Sim::new(seed, plan, env::var_os("JQ_SIM_TRACE").is_some());
    sim.run()?;
    Ok(sim.trace.hash())
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

#[test]
fn seeds() {
    let (from, count) = (number("JQ_SIM_FROM", 1), number("JQ_SIM_SEEDS", SEEDS));
    for seed in from..from + count {
        if seed % TELL_EVERY == 0 {
            println!("seed {seed}");
        }
        if let Err(violation) = run(seed, Plan::of) {
            panic!("seed {seed}: {violation}");
        }
    }
}

/// A full disk refuses puts and recovers by itself; deleting always works.
#[test]
fn small_disks() {
    let (from, count) = (number("JQ_SIM_FROM", 1), number("JQ_SIM_SEEDS", SEEDS / 2));
    for seed in from..from + count {
        if let Err(violation) = run(seed, Plan::of_small_disk) {
            panic!("seed {seed} of a small disk: {violation}");
        }
    }
}

#[test]
fn a_seed_decides_everything() {
    let once: Vec<_> = (1..20).map(|seed| run(seed, Plan::of)).collect();
    let twice: Vec<_> = (1..20).map(|seed| run(seed, Plan::of)).collect();
    assert_eq!(once, twice);
    assert_ne!(once[0], once[1]);
}

/// If this fails, the simulation sees nothing.
#[test]
fn a_disk_that_lies_is_caught() {
    let lying = |rng: &mut Rng| Plan { lies: true, ..Plan::of(rng) };
    let caught = (1..=LIES_SEEN_WITHIN).find(|seed| run(*seed, lying).is_err());
    assert!(caught.is_some(), "no broken promise was seen");
}

#[test]
fn clients_over_sockets() {
    let (from, count) = (number("JQ_SIM_FROM", 1), number("JQ_SIM_SEEDS", SEEDS / 5));
    let shown = env::var_os("JQ_SIM_TRACE").is_some();
    for seed in from..from + count {
        let _running = Running(seed);
        if let Err(violation) = served::run(seed, shown, false) {
            panic!("seed {seed}: {violation}");
        }
    }
    let twice =
        [1, 2, 3].map(|seed| (served::run(seed, false, false), served::run(seed, false, false)));
    assert!(twice.iter().all(|(once, again)| once == again), "a seed decides everything");
    let caught = (1..=LIES_SEEN_WITHIN).find(|seed| served::run(*seed, false, true).is_err());
    assert!(caught.is_some(), "a disk that lies is caught");
}
