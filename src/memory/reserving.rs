//! The allocator of the whole process: two behind one, and a reserve for when the system has no more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::ALONE_FROM;
use super::small::{Small, give_back};

/// What is kept back for when there is no more: blocks of both allocators, since neither can use what the
/// other has had. They are never touched, so they take addresses and no memory.
static RESERVE: Reserve<3> = Reserve::of_blocks(ALONE_FROM - 1);
static RESERVE_ALONE: Reserve<1> = Reserve::of_blocks(16 << 20);
/// The second and last.
static LAST: Reserve<8> = Reserve::of_blocks(512 << 10);

/// Blocks that are kept back, unless they are spent.
struct Reserve<const BLOCKS: usize> {
    /// Null while they are spent.
    blocks: [AtomicPtr<u8>; BLOCKS],
    /// How many are spent.
    missing: AtomicUsize,
    layout: Layout,
}

/// A block that becomes this large or smaller is moved here: jemalloc would move it too, but takes longer to find
/// that out than to copy it.
const MOVED_UP_TO: usize = 1024;

/// The allocators with a reserve. Most of a program cannot go on when an allocation fails: a new
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
    (RESERVE.is_there() && RESERVE_ALONE.is_there()) || refill()
}

#[cold]
#[inline(never)]
fn refill() -> bool {
    LAST.refill() && RESERVE.refill() && RESERVE_ALONE.refill()
}

/// Whether there is memory for the little that another client needs: the last reserve is there, or can be
/// had again.
#[inline]
pub fn has_room_for_little() -> bool {
    LAST.is_there() || LAST.refill()
}

#[allow(unsafe_code)]
impl<const BLOCKS: usize> Reserve<BLOCKS> {
    const fn of_blocks(size: usize) -> Self {
        let layout = match Layout::from_size_align(size, 16) {
            Ok(layout) => layout,
            Err(_) => panic!("the size is a sensible one"),
        };
        let blocks = [const { AtomicPtr::new(null_mut()) }; BLOCKS];
        Self { blocks, missing: AtomicUsize::new(BLOCKS), layout }
    }

    #[inline]
    fn is_there(&self) -> bool {
        self.missing.load(Ordering::Relaxed) == 0
    }

    /// Has it again, if that is possible.
    #[cold]
    fn refill(&self) -> bool {
        self.is_there() || self.blocks.iter().all(|block| self.refill_one(block))
    }

    fn refill_one(&self, place: &AtomicPtr<u8>) -> bool {
        if !place.load(Ordering::Relaxed).is_null() {
            return true;
        }
        // SAFETY: the layout has a size.
        let block = unsafe { allocate(self.layout) };
        if block.is_null() {
            return false;
        }
        let kept =
            place.compare_exchange(null_mut(), block, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if kept {
            self.missing.fetch_sub(1, Ordering::Relaxed);
        } else {
            // Another thread was quicker.
            // SAFETY: it was allocated above with this layout, and nobody else has it.
            unsafe { free(block, self.layout) };
        }
        true
    }

    fn spend(&self) {
        for place in &self.blocks {
            let block = place.swap(null_mut(), Ordering::AcqRel);
            if !block.is_null() {
                self.missing.fetch_add(1, Ordering::Relaxed);
                // SAFETY: what is in there was allocated with this layout, and the swap has made it
                // ours alone.
                unsafe { free(block, self.layout) };
            }
        }
    }
}

/// What `again` gives for a block of `size` bytes, which needs `more`, when all that is freed was given back;
/// if need be, a reserve too.
#[cold]
fn with_reserve(size: usize, more: usize, again: impl Fn() -> *mut u8) -> *mut u8 {
    // One at a time: else a thread might find both reserves spent by others, and what was in them not yet to
    // be had. The lock needs no memory, and nobody allocates through us while holding it.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What was freed may be too small for this, or be for the other allocator to have.
    give_back();
    let mut block = again();
    let small: [fn(); 2] = [|| RESERVE.spend(), || LAST.spend()];
    let alone: [fn(); 1] = [|| RESERVE_ALONE.spend()];
    let reserves: &[fn()] = match is_alone(size) {
        false => &small,
        true if more <= RESERVE_ALONE.layout.size() / 2 => &alone,
        true => &[],
    };
    for spend in reserves {
        if block.is_null() {
            spend();
            give_back();
            // Also if another thread has just done so.
            block = again();
        }
    }
    block
}

/// Whether the kernel has a block of this size, rather than the allocator of small ones.
#[inline]
fn is_alone(size: usize) -> bool {
    size >= ALONE_FROM
}

/// # Safety
///
/// The caller keeps the promises of [`GlobalAlloc::alloc`].
#[allow(unsafe_code)]
#[inline]
unsafe fn allocate(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promises are passed on.
    unsafe { if is_alone(layout.size()) { System.alloc(layout) } else { Small.alloc(layout) } }
}

/// # Safety
///
/// The caller keeps the promises of [`GlobalAlloc::dealloc`], and has the block from here with this layout.
#[allow(unsafe_code)]
#[inline]
unsafe fn free(block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promises are passed on. The size says whose the block is, as when it was
    // allocated.
    unsafe {
        if is_alone(layout.size()) {
            System.dealloc(block, layout);
        } else {
            Small.dealloc(block, layout);
        }
    }
}

/// # Safety
///
/// The caller keeps the promises of [`GlobalAlloc::realloc`], and has the block from here with this layout.
#[allow(unsafe_code)]
#[inline]
unsafe fn reallocate(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller's promises are passed on. The size says whose the block is, as when it was
    // allocated.
    unsafe {
        match (is_alone(layout.size()), is_alone(size)) {
            (true, true) => System.realloc(block, layout, size),
            (false, false) if size > MOVED_UP_TO => Small.realloc(block, layout, size),
            (false, false) => move_to_another(block, layout, size),
            (true, false) | (false, true) => change_hands(block, layout, size),
        }
    }
}

/// # Safety
///
/// As for [`reallocate`].
#[allow(unsafe_code)]
#[cold]
unsafe fn change_hands(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller's promises are passed on.
    unsafe { move_to_another(block, layout, size) }
}

/// # Safety
///
/// As for [`reallocate`].
#[allow(unsafe_code)]
#[inline]
unsafe fn move_to_another(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller promises that the new size is valid with this alignment; that the block is
    // from here, and so has as many bytes as its layout says. The new one has `size` and does not
    // overlap it. When it fails, nothing has happened to the block.
    unsafe {
        let moved = allocate(Layout::from_size_align_unchecked(size, layout.align()));
        if !moved.is_null() {
            ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
            free(block, layout);
        }
        moved
    }
}

// SAFETY: every block is of one of two allocators, had and given back with the caller's own arguments. Its
// size says which, so a block goes back to the one that it is from; what holds for these allocators holds
// for this one. A call that failed has changed nothing, and is made again with the same arguments. Nothing
// here panics or allocates by itself.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Reserving {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { allocate(layout) };
        if block.is_null() {
            // SAFETY: as above.
            return with_reserve(layout.size(), layout.size(), || unsafe { allocate(layout) });
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let zeroed = || unsafe {
            if is_alone(layout.size()) {
                System.alloc_zeroed(layout)
            } else {
                Small.alloc_zeroed(layout)
            }
        };
        let block = zeroed();
        if block.is_null() {
            return with_reserve(layout.size(), layout.size(), zeroed);
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; the block is from here.
        unsafe { free(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on; the block is from here.
        let moved = unsafe { reallocate(block, layout, size) };
        if moved.is_null() {
            // What a block that is alone has is not needed twice: the kernel moves it.
            let held = if is_alone(layout.size()) { layout.size() } else { 0 };
            let more = size.saturating_sub(held);
            // SAFETY: as above; a call that fails leaves the block as it was.
            return with_reserve(size, more, || unsafe { reallocate(block, layout, size) });
        }
        moved
    }
}
