//! The memory of the process: how much there is, giving it back to the system, and going on when the
//! system has no more.
//!
//! The C library keeps freed memory for later, nearly all of it for good once small blocks of all
//! ages are mixed. A queue that has drained a backlog of gigabytes would keep its size until it is
//! restarted, on a machine that may need the memory elsewhere.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

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
/// MiB, and the latter for each thread. Keeps a reserve back for [`Reserving`]. To be called at the start.
pub fn set_limits() {
    // SAFETY: mallopt takes two numbers, and touches nothing but the allocator's own settings.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, ALONE_FROM);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEPT_AT_END);
    }
    has_room();
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

/// What is kept back for when there is no more, in two steps. It is never touched, so it takes addresses
/// and no memory; and each is large enough for the C library to hand it back to the system when freed.
static RESERVE: Reserve = Reserve::new(16 << 20);
static LAST: Reserve = Reserve::new(4 << 20);

/// A block that is kept back, unless it is spent.
struct Reserve {
    /// Null while it is spent.
    block: AtomicPtr<u8>,
    layout: Layout,
}

/// The system's allocator with a reserve. Most of a program cannot go on when an allocation fails: a new
/// entry of a table, a line of the log. So when there is no more memory, a reserve is freed for such, and
/// whoever has the choice, as a server that is sent another job, asks [`has_room`] first.
///
/// It does not help where the system kills a process instead of refusing it memory.
#[derive(Debug)]
pub struct Reserving;

/// Whether there is memory for more than what goes on already: the reserves are there, or can be had
/// again.
#[inline]
pub fn has_room() -> bool {
    RESERVE.is_there() || (LAST.refill() && RESERVE.refill())
}

/// Whether there is memory for the little that another client needs: the last reserve is there, or can be
/// had again.
pub fn has_room_for_little() -> bool {
    LAST.refill()
}

#[allow(unsafe_code)]
impl Reserve {
    const fn new(size: usize) -> Self {
        let layout = match Layout::from_size_align(size, 16) {
            Ok(layout) => layout,
            Err(_) => panic!("the size is a sensible one"),
        };
        Self { block: AtomicPtr::new(ptr::null_mut()), layout }
    }

    #[inline]
    fn is_there(&self) -> bool {
        !self.block.load(Ordering::Relaxed).is_null()
    }

    /// Has it again, if that is possible.
    #[cold]
    fn refill(&self) -> bool {
        if self.is_there() {
            return true;
        }
        // SAFETY: the layout has a size.
        let block = unsafe { System.alloc(self.layout) };
        if block.is_null() {
            return false;
        }
        let null = ptr::null_mut();
        let kept = self.block.compare_exchange(null, block, Ordering::AcqRel, Ordering::Relaxed);
        if kept.is_err() {
            // Another thread was quicker.
            // SAFETY: it was allocated above with this layout, and nobody else has it.
            unsafe { System.dealloc(block, self.layout) };
        }
        true
    }

    fn spend(&self) {
        let block = self.block.swap(ptr::null_mut(), Ordering::AcqRel);
        if !block.is_null() {
            // SAFETY: what is in there was allocated with this layout, and the swap has made it ours alone.
            unsafe { System.dealloc(block, self.layout) };
        }
    }
}

/// What `again` gives when a reserve is freed of which half is enough.
#[cold]
fn with_reserve(size: usize, again: impl Fn() -> *mut u8) -> *mut u8 {
    for reserve in [&RESERVE, &LAST] {
        if size <= reserve.layout.size() / 2 {
            reserve.spend();
            // Also if another thread has just done so.
            let block = again();
            if !block.is_null() {
                return block;
            }
        }
    }
    ptr::null_mut()
}

// SAFETY: every block is the system allocator's, had and given back with the caller's own arguments, so
// what holds for that allocator holds for this one. A call that failed has changed nothing, and is made
// again with the same arguments. Nothing here panics or allocates by itself.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Reserving {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() {
            // SAFETY: as above.
            return with_reserve(layout.size(), || unsafe { System.alloc(layout) });
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        if block.is_null() {
            // SAFETY: as above.
            return with_reserve(layout.size(), || unsafe { System.alloc_zeroed(layout) });
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; the block is the system allocator's.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on; the block is the system allocator's.
        let moved = unsafe { System.realloc(block, layout, size) };
        if moved.is_null() {
            // What a large block has is not needed twice: the kernel moves it.
            let more = size.saturating_sub(layout.size());
            // SAFETY: as above; a call that fails leaves the block as it was.
            return with_reserve(more, || unsafe { System.realloc(block, layout, size) });
        }
        moved
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
