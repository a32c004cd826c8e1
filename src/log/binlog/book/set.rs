//! How much is set: bytes that are as live as those of jobs.

use std::collections::HashMap;

use jq_engine::{Engine, Record};

use super::Book;
use crate::log::codec;

/// The records of what is set for tubes and the server, each as long as it was last. Some may be of tubes
/// for which nothing is set any more, as a pause ends without a record: until the segment is reclaimed that
/// has the last one.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// By the name of the tube; that of the server is empty.
    lens: HashMap<Box<str>, u64>,
    /// All of them together.
    bytes: u64,
}

impl Set {
    /// Bytes that it takes to record all of it once.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is set for this tube, or the server, counts when it is recorded once more.
    fn forget(&mut self, name: &str) {
        self.bytes -= self.lens.remove(name).unwrap_or(0);
    }

    /// A record of so many bytes was appended, or found at the start.
    pub(super) fn note(&mut self, record: &Record<'_>, len: u64) {
        let (name, is_default) = match record {
            Record::Tube { tube, settings } => (*tube, settings.is_default()),
            Record::Server(settings) => ("", settings.is_default()),
            _ => return,
        };
        let before = match self.lens.get_mut(name) {
            Some(before) if !is_default => std::mem::replace(before, len),
            Some(_) => self.lens.remove(name).unwrap_or(0),
            None if is_default => 0,
            None => self.lens.insert(name.into(), len).unwrap_or(0),
        };
        self.bytes = self.bytes - before + if is_default { 0 } else { len };
    }
}

impl Book {
    /// What is set in this queue, which was restored, is in the segments.
    pub(crate) fn note_set(&mut self, engine: &Engine) {
        let mut buffer = Vec::new();
        engine.tell_settings(|record| {
            buffer.clear();
            self.set.note(&record, codec::encode(&record, &mut buffer) as u64);
        });
    }

    /// What is set for this tube, or without a name for the server, is about to be recorded once more, if
    /// it still is.
    pub(crate) fn forget_set(&mut self, tube: Option<&str>) {
        self.set.forget(tube.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use jq_engine::{Nanos, Pause, ServerSettings, TubeSettings};

    use super::*;

    #[test]
    fn counts_what_was_set_last() {
        let pause = Pause { seconds: 1, until: Nanos::from_secs(1) };
        let set = TubeSettings { pause: Some(pause), ..TubeSettings::default() };
        let tube = |tube, settings| Record::Tube { tube, settings };
        let mut all = Set::default();
        let mut bytes = |record, len| {
            all.note(&record, len);
            all.bytes()
        };
        assert_eq!(bytes(tube("a", set), 10), 10);
        assert_eq!(bytes(tube("b", set), 5), 15);
        assert_eq!(bytes(tube("a", set), 7), 12);
        assert_eq!(bytes(Record::Server(ServerSettings { draining: true }), 3), 15);
        assert_eq!(bytes(tube("c", TubeSettings::default()), 9), 15);
        assert_eq!(bytes(tube("a", TubeSettings::default()), 9), 8);
        assert_eq!(bytes(Record::Server(ServerSettings::default()), 3), 5);
        assert_eq!(bytes(Record::Kicked(1), 3), 5);
        all.forget("b");
        assert_eq!(all.bytes(), 0);
        all.note(&tube("b", set), 4);
        all.note(&tube("b", TubeSettings::default()), 9);
        assert_eq!(all.bytes(), 0);
    }
}
