//! The allocator of all but the largest blocks in a build without jemalloc, which takes half a minute less: the
//! C library's, which keeps much of what is freed.

pub(super) use std::alloc::System as Small;

pub(super) fn set_up() {}

/// Returns freed memory to the system: not without jemalloc.
pub fn give_back() {}
