//! Clients that misbehave, against the real program: slow ones, silent ones, ones that vanish, that
//! never read, that send garbage, and more of them than there are descriptors.
//!
//! Every scenario asserts the same three things besides its own: others are served meanwhile,
//! memory stays bounded, and afterwards the server holds nothing that it did not hold before.

/// Makes a test of each scenario with one thread, and one with several.
macro_rules! with_one_and_four_threads {
    ($($scenario:ident),+ $(,)?) => {
        mod one_thread {
            $(#[test] fn $scenario() { super::$scenario(1); })+
        }
        mod four_threads {
            $(#[test] fn $scenario() { super::$scenario(4); })+
        }
    };
}

#[path = "../support/mod.rs"]
mod support;

mod crowds;
mod descriptors;
mod garbage;
mod http;
mod idle;
mod memory;
mod no_memory;
mod pipelines;
mod readers;
mod resets;
mod sessions;
mod slow;
mod slow_disk;
mod subject;
