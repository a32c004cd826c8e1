//! Captures the beginning, the end and the size of an output.

/// How much of the end of an output is kept, in bytes.
pub const TAIL: usize = 8 * 1024;

/// One output of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// Its first bytes, as many as the limit allows. All of it, if `bytes` is not more.
    pub head: Vec<u8>,
    /// Its last bytes, at most [`TAIL`] unless more were asked for. Overlaps the head of a short
    /// output.
    pub tail: Vec<u8>,
    /// Total size of the output, in bytes.
    pub bytes: u64,
}

/// An output that may still grow. Holds the limit and twice its tail at most, however much comes.
#[derive(Debug)]
pub(super) struct Capture {
    limit: usize,
    tail_limit: usize,
    captured: Captured,
}

impl Capture {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, tail_limit: TAIL, captured: Captured::default() }
    }

    /// Keeps more of the end, if that is more than [`TAIL`].
    pub(super) fn with_tail(self, bytes: usize) -> Self {
        Self { tail_limit: bytes.max(TAIL), ..self }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        let Captured { head, tail, bytes } = &mut self.captured;
        *bytes += chunk.len() as u64;
        let room = self.limit - head.len();
        head.extend_from_slice(&chunk[..room.min(chunk.len())]);
        let limit = self.tail_limit;
        if chunk.len() >= limit {
            tail.clear();
        } else if tail.len() + chunk.len() > 2 * limit {
            // Seldom: once for each `limit` bytes, however small the pieces.
            tail.drain(..tail.len() - limit);
        }
        tail.extend_from_slice(&chunk[chunk.len().saturating_sub(limit)..]);
    }

    /// The number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.captured.bytes
    }

    /// The last of the bytes after the first `begin`, at most [`TAIL`].
    pub(super) fn tail_after(&self, begin: u64) -> &[u8] {
        let Captured { tail, bytes, .. } = &self.captured;
        let count = usize::try_from(bytes.saturating_sub(begin)).unwrap_or(usize::MAX);
        &tail[tail.len().saturating_sub(count.min(TAIL))..]
    }

    pub(super) fn finish(mut self) -> Captured {
        let tail = &mut self.captured.tail;
        tail.drain(..tail.len().saturating_sub(self.tail_limit));
        self.captured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(limit: usize, chunks: &[&[u8]]) -> Captured {
        let mut capture = Capture::new(limit);
        for chunk in chunks {
            capture.push(chunk);
        }
        capture.finish()
    }

    #[test]
    fn a_short_output_is_all_there() {
        let captured = capture(5, &[b"ab", b"cde"]);
        assert_eq!(captured, Captured { head: b"abcde".into(), tail: b"abcde".into(), bytes: 5 });
    }

    #[test]
    fn a_long_one_is_cut_in_the_middle() {
        for chunk in [1, 7, 1000, TAIL - 1, TAIL, TAIL + 1, 100_000] {
            let all: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
            let chunks: Vec<&[u8]> = all.chunks(chunk).collect();
            let captured = capture(1000, &chunks);
            assert_eq!(captured.head, all[..1000], "in pieces of {chunk}");
            assert_eq!(captured.tail, all[100_000 - TAIL..], "in pieces of {chunk}");
            assert_eq!(captured.bytes, 100_000);
        }
    }

    #[test]
    fn more_of_the_end_is_kept_if_asked_for() {
        let all: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for chunk in [7, 1000, 3 * TAIL, 100_000] {
            let mut capture = Capture::new(0).with_tail(3 * TAIL);
            all.chunks(chunk).for_each(|chunk| capture.push(chunk));
            assert_eq!(capture.finish().tail, all[100_000 - 3 * TAIL..], "in pieces of {chunk}");
        }
        assert_eq!(Capture::new(0).with_tail(1).tail_limit, TAIL);
    }

    #[test]
    fn a_tail_may_begin_late() {
        let mut capture = Capture::new(0);
        capture.push(b"one");
        let begin = capture.bytes();
        assert_eq!(capture.tail_after(begin), b"");
        capture.push(b"two");
        assert_eq!(
            (capture.tail_after(0), capture.tail_after(begin)),
            (&b"onetwo"[..], &b"two"[..])
        );
        capture.push(&[b'x'; 10 * TAIL]);
        assert_eq!(capture.tail_after(begin), [b'x'; TAIL]);
        capture.push(b"end");
        assert_eq!(capture.tail_after(begin).len(), TAIL);
        assert!(capture.tail_after(begin).ends_with(b"xend"));
    }

    #[test]
    fn nothing_grows_beyond_its_limit() {
        let mut capture = Capture::new(10);
        for _ in 0..10_000 {
            capture.push(&[b'x'; 100]);
            assert!(capture.captured.tail.len() <= 2 * TAIL && capture.captured.head.len() <= 10);
        }
    }
}
