//! Freeing large blocks of memory where nobody waits for it.
//!
//! To free a gigabyte takes the kernel up to a hundred milliseconds. Whoever serves clients hands such a block
//! to a thread that does nothing else. That thread first gives the pages back in small steps: while the kernel
//! takes a mapping apart, no other thread of the process can map memory. Where memory is short, it is freed at
//! once: somebody waits for it.

use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;

use jq_engine::Body;
use nix::sys::mman::{MmapAdvise, madvise};

use crate::memory;

/// Blocks of fewer bytes are freed at once, which takes a fraction of a millisecond.
const LARGE: usize = 4 << 20;

/// Bytes that are given back in one step. A multiple of every system's pages, and of the large pages that the
/// kernel may have made of them, which it would have to split otherwise.
const STEP: usize = 2 << 20;

/// The thread, once [`start`] has been called and could start it.
static THREAD: OnceLock<Mutex<mpsc::Sender<Vec<u8>>>> = OnceLock::new();

/// Starts the thread. To be called at the start: when memory has run out, there is none for a thread, and one
/// that cannot have what it needs to begin ends the process.
pub(crate) fn start() {
    let (to, blocks) = mpsc::channel();
    if THREAD.set(Mutex::new(to)).is_ok() {
        let run = move || blocks.into_iter().for_each(free_in_steps);
        // Without it, nobody receives.
        let _ = thread::Builder::new().name("jq-free".into()).spawn(run);
    }
}

/// Frees a block, on another thread if it is large and memory is not short.
pub(crate) fn free(block: Vec<u8>) {
    if block.capacity() < LARGE || !memory::has_room() {
        return;
    }
    // Without a thread, or when it is gone, whoever has the block frees it.
    if let Some(to) = THREAD.get()
        && let Ok(to) = to.lock()
    {
        let _ = to.send(block);
    }
}

/// Gives up a share of a body, and frees it if that was the last one.
pub(crate) fn give_up(body: Arc<Box<[u8]>>) {
    if let Some(body) = Arc::into_inner(body) {
        free(body.into_vec());
    }
}

/// The same for a body of the queue.
pub(crate) fn give_up_body(body: Body) {
    match body {
        Body::Small(_) => {}
        Body::Shared(body) => give_up(body),
    }
}

fn free_in_steps(mut block: Vec<u8>) {
    block.clear();
    let room = block.spare_capacity_mut();
    // What lies before is left: pages of which the block has but a part may have something else in them.
    let skipped = room.as_ptr().align_offset(STEP).min(room.len());
    for pages in room[skipped..].chunks_exact_mut(STEP) {
        let start = std::ptr::NonNull::from(&mut *pages).cast();
        // SAFETY: these are whole pages of a block that is ours alone, in which there is nothing any more: the
        // vector is empty. What the kernel makes of them, zeros that take no memory, is as good as anything in
        // the spare room of a vector. They are not locked, and private and anonymous as all of the allocator's
        // memory is.
        #[allow(unsafe_code)]
        let given_back = unsafe { madvise(start, pages.len(), MmapAdvise::MADV_DONTNEED) };
        if given_back.is_err() {
            return;
        }
        // Whoever has clients to serve comes first.
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Resident;

    #[test]
    fn all_pages_of_a_large_block_go_back() {
        const BYTES: usize = 256 << 20;
        let _alone =
            crate::memory::MEASURING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let resident = Resident::new();
        // Other tests allocate meanwhile, but not each time.
        let goes_back = || {
            let before = resident.bytes();
            let block = vec![1u8; BYTES];
            let filled = resident.bytes();
            free_in_steps(block);
            filled > before + BYTES as u64 / 2 && resident.bytes() < before + BYTES as u64 / 2
        };
        assert!((0..20).any(|_| goes_back()));
    }

    #[test]
    fn blocks_of_all_sizes_are_freed() {
        start();
        for bytes in [0, 1, 4096, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 4095] {
            free_in_steps(vec![7; bytes]);
            free(vec![7; bytes]);
        }
    }

    /// Whoever gives up the last share has it freed.
    #[test]
    fn a_share_that_is_left_is_good() {
        let body = Arc::new(vec![7; 2 * LARGE].into_boxed_slice());
        let left = Arc::clone(&body);
        give_up(body);
        assert!(left.iter().all(|byte| *byte == 7));
        give_up(left);
    }
}
