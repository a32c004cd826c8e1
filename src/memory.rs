//! The memory of the process: how much there is, giving it back to the system, and going on when the
//! system has no more.
//!
//! An allocator keeps freed memory for later. A queue that has drained a backlog of gigabytes would keep
//! its size until it is restarted, on a machine that may need the memory elsewhere. The C library's
//! has others wait while it gives memory back. jemalloc does so beside them.

mod reserving;
#[cfg_attr(feature = "jemalloc", path = "memory/jemalloc.rs")]
#[cfg_attr(not(feature = "jemalloc"), path = "memory/without_jemalloc.rs")]
mod small;

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

pub use self::reserving::{Reserving, has_room, has_room_for_little};
pub use self::small::give_back;

/// Tells how much memory of the process is resident. Keeps a file of the kernel's open for it, so that
/// asking needs no descriptor and never fails for want of one.
#[derive(Debug)]
pub(crate) struct Resident {
    statm: Option<File>,
    page_size: u64,
}

impl Resident {
    pub(crate) fn new() -> Self {
        let page_size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Self {
            statm: File::open("/proc/self/statm").ok(),
            page_size: page_size.and_then(|size| size.try_into().ok()).unwrap_or(4096),
        }
    }

    /// Resident bytes, as of now; 0 if the system does not tell.
    pub(crate) fn bytes(&self) -> u64 {
        // Seven numbers, of which this is the second.
        let mut text = [0; 256];
        let Some(Ok(len)) = self.statm.as_ref().map(|file| file.read_at(&mut text, 0)) else {
            return 0;
        };
        let pages = std::str::from_utf8(&text[..len]).ok();
        let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        pages.unwrap_or(0) * self.page_size
    }
}

/// Blocks from this many bytes on come from the kernel, one by one: they grow without being copied, and go
/// back when they are freed. All others are of [`small`].
const ALONE_FROM: usize = 4 << 20;

/// Has the allocators keep to their limits, and keeps a reserve back for [`Reserving`]. To be called at
/// the start.
pub fn set_limits() {
    // By itself, the C library raises the size of blocks that are alone with what is freed. And it sets
    // addresses aside for the small ones of each thread, of which it has hardly any.
    // SAFETY: mallopt takes two numbers, and touches nothing but the allocator's own settings.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, ALONE_FROM as nix::libc::c_int);
        #[cfg(feature = "jemalloc")]
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
    small::set_up();
    has_room();
}

/// Held by each test that looks at the memory of the whole process: they would see each other's.
#[cfg(test)]
pub(crate) static MEASURING: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_grows_with_what_is_touched() {
        const MORE: usize = 64 << 20;
        /// Other tests may free as much meanwhile.
        const TIMES: usize = 100;
        let _alone = MEASURING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let resident = Resident::new();
        let grows = || {
            let before = resident.bytes();
            let touched = vec![1u8; MORE];
            let after = resident.bytes();
            drop(touched);
            before > 0 && after > before + MORE as u64 / 2
        };
        assert!((0..TIMES).any(|_| grows()), "{} and more at no time", resident.bytes());
    }
}
