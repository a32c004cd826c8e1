//! The memory of the process: how much there is, and giving it back to the system.
//!
//! The C library keeps freed memory for later, nearly all of it for good once small blocks of all
//! ages are mixed. A queue that has drained a backlog of gigabytes would keep its size until it is
//! restarted, on a machine that may need the memory elsewhere.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

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

/// Bytes from which on the C library has a block from the kernel alone and gives it back when it is
/// freed. Smaller ones are used again, which saves the kernel the clearing of pages.
#[cfg(target_env = "gnu")]
const ALONE_FROM: nix::libc::c_int = 4 << 20;

/// Free bytes at the end of a thread's memory from which on they go back when something is freed there.
#[cfg(target_env = "gnu")]
const KEPT_AT_END: nix::libc::c_int = 8 << 20;

/// Has the C library keep to these limits. By itself it raises both with what is freed, up to 32 and 64
/// MiB, and the latter for each thread. To be called at the start.
pub fn set_limits() {
    // SAFETY: mallopt takes two numbers, and touches nothing but the allocator's own settings.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, ALONE_FROM);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEPT_AT_END);
    }
}

/// Returns freed memory to the system, as far as whole pages of it are free. What lies at the end of the
/// memory of a thread that is not the main one may remain, up to 64 MiB. Takes time in
/// proportion to the memory in question, in which allocations on other threads may wait.
pub fn give_back() {
    // SAFETY: malloc_trim takes a number, touches nothing but the allocator's own free lists, and is
    // safe to call from any thread at any time (malloc_trim(3): "MT-Safe").
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_grows_with_what_is_touched() {
        const MORE: usize = 64 << 20;
        let resident = Resident::new();
        let before = resident.bytes();
        let touched = vec![1u8; MORE];
        let after = resident.bytes();
        assert!(before > 0 && after > before + MORE as u64 / 2, "{before}, then {after}");
        drop(touched);
    }
}
