//! The writer while somebody has it.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use super::Writer;
use crate::log::binlog::Binlog;

/// The writer, held by somebody. When it is free again, whoever missed it meanwhile is called.
pub(crate) struct Held<'a> {
    /// `None` while it is dropped.
    guard: Option<MutexGuard<'a, Writer>>,
    binlog: &'a Binlog,
}

impl<'a> Held<'a> {
    pub(crate) fn new(guard: MutexGuard<'a, Writer>, binlog: &'a Binlog) -> Self {
        Self { guard: Some(guard), binlog }
    }
}

impl Deref for Held<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        self.guard.as_ref().expect("it is held until it is dropped")
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        self.guard.as_mut().expect("it is held until it is dropped")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.guard = None;
        self.binlog.call_who_missed_it();
    }
}
