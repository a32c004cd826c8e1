//! Waking a thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// Wakes the one thread that waits for it. Rung before, it wakes at once; rung often, once. To ring
/// it costs a system call only if the thread sleeps.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    listener: OnceLock<Thread>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        // In one order with what the caller has done before and the listener does after, so that one
        // of them sees the other.
        if !self.rung.swap(true, Ordering::SeqCst)
            && let Some(listener) = self.listener.get()
        {
            listener.unpark();
        }
    }

    /// Whether it was rung since this was last asked or waited for.
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }

    /// Waits until it is rung, or so long. Always called by the same thread.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        self.listener.get_or_init(thread::current);
        // Checked behind that: who rang before found nobody to wake.
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
