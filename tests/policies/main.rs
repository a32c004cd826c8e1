//! The real program with limits and policies: the file of `--tubes`, what a restart keeps, and what a
//! client is told at a limit.

#[path = "../support/mod.rs"]
mod support;

mod file;
mod kept;
mod limits;
