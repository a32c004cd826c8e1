//! What `docs/operations.md` says: each incident of its runbook is made on the real binaries, its commands
//! are run, and what they print is what the page shows. Also the manifest for Kubernetes, and the units.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod incidents;
mod kubernetes;
mod output;
mod page;
mod scene;
mod seccomp;
mod sizing;
#[path = "../binlog/small_disk.rs"]
mod small_disk;
mod systemd;
