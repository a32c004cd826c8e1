//! Everything that happened in a run, as one number; and as text, when somebody wants to read it.

use std::fmt::{self, Write};

/// A hash (FNV-1a) of all that was noted.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    shown: bool,
}

impl Trace {
    /// A trace that also prints what is noted, if `shown`.
    pub(crate) fn new(shown: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, shown }
    }

    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        if self.shown {
            eprintln!("{what}");
        }
        // Writing to a hash cannot fail.
        let _ = self.write_fmt(what);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
