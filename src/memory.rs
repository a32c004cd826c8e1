//! Giving memory back to the system.
//!
//! The C library keeps freed memory for later, nearly all of it for good once small blocks of all
//! ages are mixed. A queue that has drained a backlog of gigabytes would keep its size until it is
//! restarted, on a machine that may need the memory elsewhere.

/// Returns freed memory to the system, as far as whole pages of it are free. Takes time in
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
