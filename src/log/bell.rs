//! Waking a thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// Wakes the one thread that waits for it. If it was rung before, the wait ends at once; rings in
/// between count as one. Ringing costs a system call only if the thread sleeps.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    listener: OnceLock<Thread>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        // Sequentially consistent with what the caller did before and the listener does afterwards,
        // so that at least one of them sees the other.
        if !self.rung.swap(true, Ordering::SeqCst)
            && let Some(listener) = self.listener.get()
        {
            listener.unpark();
        }
    }

    /// Whether it was rung since the last call of this function or of [`Self::wait`].
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }

    /// Waits until it is rung, or until `timeout` has passed. Must always be called by the same
    /// thread.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        self.listener.get_or_init(thread::current);
        // Check after that: a ring before it found nobody to wake.
        if self.is_rung() {
            return;
        }
        match timeout {
            Some(timeout) => thread::park_timeout(timeout),
            None => thread::park(),
        }
        self.rung.swap(false, Ordering::SeqCst);
    }
}
