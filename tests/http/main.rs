//! The real program with `--http`: its API, who may use it, and what hostile clients can do.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/certificates.rs"]
mod certificates;

#[path = "../binlog/small_disk.rs"]
mod small_disk;

mod access;
mod api;
mod bad_input;
mod bulk;
mod client;
mod description;
mod durable;
mod flags;
mod hanging;
mod hostile;
mod no_memory;
mod observed;
mod policy;
mod put;
