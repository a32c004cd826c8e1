//! The allocator of all but the largest blocks. It gives memory back when it is told to, and nobody waits
//! meanwhile.

use std::ffi::{CStr, c_char, c_uint, c_void};
use std::fs;
use std::ptr::null_mut;
use std::sync::OnceLock;

use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit};
use tikv_jemalloc_sys::{extent_hooks_t, mallctl};
pub(super) use tikv_jemallocator::Jemalloc as Small;

/// jemalloc asks the kernel for this many bytes at a time, or for less. Nor does it give back more at a
/// time, so the kernel never has the process wait for long.
const AT_A_TIME: usize = 8 << 20;

/// One arena, so that whatever is freed is there for all threads, which have caches of their own. What is
/// freed stays until [`give_back`]: no client waits for the kernel to take it.
const OPTIONS: &CStr = c"narenas:1,oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:0";

/// Where jemalloc looks for its options.
// SAFETY: jemalloc's manual names this symbol, and declares it as a pointer to a string that ends in NUL and
// is never written, which a reference to the first character of a `CStr` is. Nothing else has this name.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS_OF_JEMALLOC: &c_char = unsafe { &*OPTIONS.as_ptr() };

/// Where addresses are limited, freed memory that lies together goes back with its addresses from this many
/// bytes on. With smaller pieces, the kernel would have to keep account of too many.
const WITH_ADDRESSES: usize = 1 << 20;

/// Has jemalloc keep to these limits.
#[allow(unsafe_code)]
pub(super) fn set_up() {
    let mut most = AT_A_TIME;
    // SAFETY: jemalloc's manual has this control as one that is written as a `size_t`, which `most` is.
    unsafe {
        let limit = c"arena.0.retain_grow_limit".as_ptr();
        mallctl(limit, null_mut(), null_mut(), (&raw mut most).cast(), size_of_val(&most));
    }
    if addresses_are_limited() {
        also_give_back_addresses();
    }
}

/// Whether the system refuses addresses, used or not, to this process or to all together. Otherwise it is
/// better to keep them: while they go back, no thread can have new ones.
fn addresses_are_limited() -> bool {
    let own = getrlimit(Resource::RLIMIT_AS).is_ok_and(|(limit, _)| limit != RLIM_INFINITY);
    let all = fs::read_to_string("/proc/sys/vm/overcommit_memory");
    own || all.is_ok_and(|strict| strict.trim() == "2")
}

#[allow(unsafe_code)]
fn also_give_back_addresses() {
    static HOOKS: OnceLock<Hooks> = OnceLock::new();
    let control = c"arena.0.extent_hooks".as_ptr();
    let mut usual: *mut extent_hooks_t = null_mut();
    let mut len = size_of_val(&usual);
    // SAFETY: jemalloc's manual has this control as one that reads and writes a pointer to a table of
    // functions, as these variables are. The table that it tells is jemalloc's own, which stays. The new one
    // stays too, and has its functions but for one, which does what the manual asks of it.
    unsafe {
        let told = mallctl(control, (&raw mut usual).cast(), &raw mut len, null_mut(), 0);
        if told == 0 && !usual.is_null() {
            let dalloc = Some(give_back_addresses as _);
            let ours = HOOKS.get_or_init(|| Hooks(extent_hooks_t { dalloc, ..*usual }));
            let mut ours = &raw const ours.0;
            mallctl(control, null_mut(), null_mut(), (&raw mut ours).cast(), len);
        }
    }
}

/// What jemalloc calls to deal with the kernel.
struct Hooks(extent_hooks_t);

// SAFETY: it has pointers to functions only, and is never written.
#[allow(unsafe_code)]
unsafe impl Sync for Hooks {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Send for Hooks {}

/// Takes memory with its addresses away from jemalloc, and says whether that is refused: then jemalloc gives
/// the memory back and keeps the addresses.
#[allow(unsafe_code)]
unsafe extern "C" fn give_back_addresses(
    _: *mut extent_hooks_t,
    start: *mut c_void,
    len: usize,
    _: bool,
    _: c_uint,
) -> bool {
    // SAFETY: jemalloc has it from mmap, whole pages of it, and no longer uses them if this succeeds.
    len < WITH_ADDRESSES || unsafe { nix::libc::munmap(start, len) } != 0
}

/// Returns freed memory to the system, as far as whole pages of it are free. Takes time in proportion to the
/// memory in question. Meanwhile other threads can allocate and free.
pub fn give_back() {
    // SAFETY: jemalloc's manual has this control as one that is neither read nor written, and that may be
    // called from any thread at any time.
    #[allow(unsafe_code)]
    unsafe {
        mallctl(c"arena.0.purge".as_ptr(), null_mut(), null_mut(), null_mut(), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::*;
    use crate::memory::Resident;

    #[allow(unsafe_code)]
    fn told<T: Default>(control: &CStr) -> T {
        let mut value = T::default();
        let mut len = size_of::<T>();
        // SAFETY: jemalloc writes no more than `len` bytes, and the callers name its type.
        let error = unsafe {
            mallctl(control.as_ptr(), (&raw mut value).cast(), &raw mut len, null_mut(), 0)
        };
        assert_eq!((error, len), (0, size_of::<T>()), "{control:?}");
        value
    }

    #[test]
    fn jemalloc_has_found_its_options() {
        set_up();
        assert_eq!(told::<c_uint>(c"opt.narenas"), 1);
        assert_eq!(told::<isize>(c"arena.0.dirty_decay_ms"), -1);
        let most = told::<usize>(c"arena.0.retain_grow_limit");
        assert!(most <= AT_A_TIME && most > AT_A_TIME / 2, "{most}");
    }

    #[test]
    fn what_was_freed_goes_back_when_told() {
        let _alone =
            crate::memory::MEASURING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Other tests allocate and free meanwhile, but not each time.
        assert!((0..20).any(|_| goes_back()));
    }

    fn goes_back() -> bool {
        const BLOCKS: usize = 100;
        let layout = Layout::from_size_align(700_000, 16).unwrap();
        let resident = Resident::new();
        let before = resident.bytes() as usize;
        // SAFETY: the layout has a size, which is that of what is written, and each block is freed once
        // with it.
        #[allow(unsafe_code)]
        let filled = unsafe {
            let blocks: Vec<*mut u8> = (0..BLOCKS).map(|_| Small.alloc(layout)).collect();
            assert!(blocks.iter().all(|block| !block.is_null()));
            blocks.iter().for_each(|block| block.write_bytes(1, layout.size()));
            let filled = resident.bytes() as usize;
            blocks.into_iter().for_each(|block| Small.dealloc(block, layout));
            filled
        };
        give_back();
        filled > before + BLOCKS * layout.size() * 9 / 10
            && (resident.bytes() as usize) < before + BLOCKS * layout.size() / 2
    }
}
