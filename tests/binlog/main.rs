//! The real program with `-b`: what is acknowledged is there after `kill -9`, on a full disk, with a
//! torn, damaged or missing file; whose the directory is; and what `stats` says.

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod copied;
mod damage;
mod descriptors;
mod directory;
mod disconnects;
mod disk_use;
mod full;
mod kept;
mod kill;
mod large;
mod memory;
mod missing;
mod numbered;
mod promised;
mod small_disk;
mod stats;
mod torn;
