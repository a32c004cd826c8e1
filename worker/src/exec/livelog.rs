//! The output of a running process, for live readers.
//!
//! Owns: the last [`RING`] bytes, and how far each reader has read. The writer never waits for a
//! reader: a slow one misses what was overwritten, and learns how much that was. Must not know: how
//! the output is shown, and what is kept of it afterwards.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// How much output of both streams together can still be read, in bytes.
pub(super) const RING: usize = 64 * 1024;

/// Maximum number of switches between the streams within the ring. For a process that writes single
/// bytes to each in turn, the ring becomes shorter instead of taking much more memory.
const MAX_PIECES: usize = 4096;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// Some output, as it was written: it may begin and end within a character.
    Output {
        /// The number of bytes of output, both streams together, up to the end of `text`. A reader
        /// that begins there ([`LiveLog::reader_from`]) continues after `text`.
        seq: u64,
        /// Where it was written.
        stream: Stream,
        /// The bytes; never empty.
        text: Vec<u8>,
        /// The number of bytes before `text` that this reader missed because they were overwritten.
        skipped: u64,
    },
    /// Progress of the job in percent: 0 to 100.
    Progress(f64),
}

/// The recent output of one job, and its progress. It has one writer and any number of readers.
#[derive(Debug, Default)]
pub struct LiveLog {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// The pieces of `bytes`, in order: their stream and length.
    pieces: VecDeque<(Stream, usize)>,
    /// The total number of bytes so far, which is where `bytes` ends.
    end: u64,
    progress: Option<f64>,
    /// The number of times that `progress` was set.
    progress_version: u64,
    is_finished: bool,
}

/// Follows a [`LiveLog`].
#[derive(Debug)]
pub struct LogReader {
    log: Arc<LiveLog>,
    at: u64,
    progress_version: u64,
}

impl LiveLog {
    /// An empty log. It takes memory as output arrives.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds some output.
    pub fn push(&self, stream: Stream, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.change(|state| state.push(stream, text));
    }

    /// Sets the progress of the job. Values are clamped to 0 to 100, and NaN is ignored. Readers
    /// get only the latest value.
    pub fn set_progress(&self, percent: f64) {
        if percent.is_nan() {
            return;
        }
        self.change(|state| {
            state.progress = Some(percent.clamp(0.0, 100.0));
            state.progress_version += 1;
        });
    }

    /// The progress of the job in percent, if it has reported any.
    pub fn progress(&self) -> Option<f64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).progress
    }

    /// Ends the log: readers get what they have not read yet, and then the end.
    pub fn finish(&self) {
        self.change(|state| state.is_finished = true);
    }

    /// A reader of everything that is still there, and then of everything that comes.
    pub fn reader(self: &Arc<Self>) -> LogReader {
        self.reader_from(0)
    }

    /// A reader that begins after an event that was read earlier, given by its `seq`. If that is
    /// beyond everything written so far, it begins at the current end.
    pub fn reader_from(self: &Arc<Self>, seq: u64) -> LogReader {
        LogReader { log: self.clone(), at: seq, progress_version: 0 }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }
}

impl State {
    fn push(&mut self, stream: Stream, text: &[u8]) {
        self.end += text.len() as u64;
        let text = &text[text.len().saturating_sub(RING)..];
        self.forget((self.bytes.len() + text.len()).saturating_sub(RING));
        self.bytes.extend(text);
        match self.pieces.back_mut() {
            Some((last, length)) if *last == stream => *length += text.len(),
            _ => self.pieces.push_back((stream, text.len())),
        }
        if self.pieces.len() > MAX_PIECES {
            self.forget(self.pieces[0].1);
        }
    }

    /// Drops this many bytes at the beginning.
    fn forget(&mut self, mut count: usize) {
        self.bytes.drain(..count);
        while let Some((_, length)) = self.pieces.front_mut()
            && count > 0
        {
            let dropped = count.min(*length);
            *length -= dropped;
            count -= dropped;
            if *length == 0 {
                self.pieces.pop_front();
            }
        }
    }

    /// The output after `at`, as far as it belongs to one stream.
    fn read(&self, at: u64) -> Option<LogEvent> {
        let begin = self.end - self.bytes.len() as u64;
        let mut from = at.clamp(begin, self.end) - begin;
        let mut piece_begin = 0;
        for &(stream, length) in &self.pieces {
            let length = length as u64;
            if from < piece_begin + length {
                let piece_end = piece_begin + length;
                from = from.max(piece_begin);
                let text: Vec<u8> =
                    self.bytes.range(from as usize..piece_end as usize).copied().collect();
                let skipped = (begin + from).saturating_sub(at);
                return Some(LogEvent::Output { seq: begin + piece_end, stream, text, skipped });
            }
            piece_begin += length;
        }
        None
    }
}

impl LogReader {
    /// Waits for the next event. `None` when the log has ended and everything is read. Cancel safe.
    pub async fn next(&mut self) -> Option<LogEvent> {
        let log = self.log.clone();
        loop {
            // Registered before checking, so that no change after the check is missed.
            let changed = log.changed.notified();
            {
                let state = log.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(progress) = state.progress
                    && self.progress_version < state.progress_version
                {
                    self.progress_version = state.progress_version;
                    return Some(LogEvent::Progress(progress));
                }
                if let Some(event) = state.read(self.at) {
                    if let LogEvent::Output { seq, .. } = event {
                        self.at = seq;
                    }
                    return Some(event);
                }
                self.at = self.at.min(state.end);
                if state.is_finished {
                    return None;
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(seq: u64, stream: Stream, text: &[u8], skipped: u64) -> Option<LogEvent> {
        Some(LogEvent::Output { seq, stream, text: text.into(), skipped })
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_order() {
        let log = Arc::new(LiveLog::new());
        log.push(Stream::Stdout, b"one ");
        log.push(Stream::Stdout, b"two");
        log.push(Stream::Stderr, b"!");
        log.push(Stream::Stdout, b"three");
        let mut reader = log.reader();
        assert_eq!(reader.next().await, output(7, Stream::Stdout, b"one two", 0));
        assert_eq!(reader.next().await, output(8, Stream::Stderr, b"!", 0));
        assert_eq!(reader.next().await, output(13, Stream::Stdout, b"three", 0));
        log.push(Stream::Stdout, b" four");
        log.finish();
        assert_eq!(reader.next().await, output(18, Stream::Stdout, b" four", 0));
        assert_eq!(reader.next().await, None);
        // A reader that comes back continues where it was, even in the middle of a piece.
        assert_eq!(log.reader_from(4).next().await, output(7, Stream::Stdout, b"two", 0));
        assert_eq!(log.reader_from(18).next().await, None);
        assert_eq!(log.reader_from(u64::MAX).next().await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let log = Arc::new(LiveLog::new());
        log.push(Stream::Stdout, b"first");
        let mut reader = log.reader();
        assert_eq!(reader.next().await, output(5, Stream::Stdout, b"first", 0));
        log.push(Stream::Stderr, &[b'x'; 1000]);
        log.push(Stream::Stdout, &[b'y'; RING + 7]);
        let all = vec![b'y'; RING];
        assert_eq!(reader.next().await, output(1012 + RING as u64, Stream::Stdout, &all, 1007));
    }

    #[tokio::test]
    async fn many_small_pieces_take_bounded_memory() {
        let log = Arc::new(LiveLog::new());
        for _ in 0..MAX_PIECES {
            log.push(Stream::Stdout, b"o");
            log.push(Stream::Stderr, b"e");
        }
        {
            let state = log.state.lock().unwrap();
            assert_eq!((state.pieces.len(), state.bytes.len()), (MAX_PIECES, MAX_PIECES));
        }
        let missed = MAX_PIECES as u64;
        assert_eq!(log.reader().next().await, output(missed + 1, Stream::Stdout, b"o", missed));
    }

    #[tokio::test]
    async fn progress_is_told_once_and_the_latest() {
        let log = Arc::new(LiveLog::new());
        let mut reader = log.reader();
        log.set_progress(10.0);
        log.set_progress(f64::NAN);
        log.set_progress(140.0);
        log.push(Stream::Stdout, b"text");
        assert_eq!(reader.next().await, Some(LogEvent::Progress(100.0)));
        assert_eq!(reader.next().await, output(4, Stream::Stdout, b"text", 0));
        assert_eq!(log.progress(), Some(100.0));
    }

    #[tokio::test]
    async fn waiting_readers_are_woken() {
        let log = Arc::new(LiveLog::new());
        let (one, two) = (log.reader(), log.reader());
        let writer = {
            let log = log.clone();
            async move {
                tokio::task::yield_now().await;
                log.push(Stream::Stdout, b"late");
                tokio::task::yield_now().await;
                log.finish();
            }
        };
        let follow = |mut reader: LogReader| async move {
            let mut text = Vec::new();
            while let Some(LogEvent::Output { text: more, .. }) = reader.next().await {
                text.extend(more);
            }
            text
        };
        let (_, one, two) = tokio::join!(writer, follow(one), follow(two));
        assert_eq!((one.as_slice(), two.as_slice()), (&b"late"[..], &b"late"[..]));
    }
}
