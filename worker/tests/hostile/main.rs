//! Jobs, websites and processes that mean harm, with the real programs.
//!
//! Every scenario ends alike: the worker still works, nothing is left of what was run, and the queue
//! is empty but for what was to be buried. What goes wrong by accident is the end-to-end tests' part.

#[path = "../../../tests/support/mod.rs"]
mod support;

// Shared with the end-to-end tests; each uses its own part of them.
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/http.rs"]
mod http;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/queue.rs"]
mod queue;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/rig.rs"]
mod rig;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/site.rs"]
mod site;

mod artifacts;
mod bodies;
mod ending;
mod files;
mod many;
mod nesting;
mod outputs;
mod persistent;
mod places;
mod processes;
mod servers;
mod trap;
