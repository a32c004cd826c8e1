//! The real program with limits and policies: the file of `--tubes`, what a restart keeps, and what a
//! client is told at a limit.

#[path = "../support/mod.rs"]
mod support;

#[path = "../binlog/small_disk.rs"]
mod small_disk;

mod file;
mod full;
mod kept;
mod limits;
