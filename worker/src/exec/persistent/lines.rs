//! The output of a persistent process: its lines, and what they mean.

use crate::exec::progress;

/// Splits bytes into lines of limited length.
#[derive(Debug)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    begin: usize,
    /// Up to here there is no newline.
    searched: usize,
    limit: usize,
}

/// A line is longer than the limit.
#[derive(Debug, PartialEq)]
pub(super) struct TooLong;

/// The meaning of a line.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// The progress of the oldest job, in percent.
    Progress(f64),
    /// The result of the oldest job: any other JSON.
    Answer,
    /// Not JSON.
    Noise,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), begin: 0, searched: 0, limit }
    }

    /// Adds what was read. Take all lines before adding more, so that this never holds more than
    /// one line and one read.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        self.bytes.extend_from_slice(chunk);
    }

    /// The next complete line, without its newline.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let newline = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n');
        let end = newline.map_or(self.bytes.len(), |at| self.searched + at);
        if end - self.begin > self.limit {
            return Err(TooLong);
        }
        self.searched = end;
        if newline.is_none() {
            return Ok(None);
        }
        let line = &self.bytes[self.begin..end];
        self.begin = end + 1;
        self.searched = end + 1;
        Ok(Some(line))
    }
}

impl Said {
    pub(super) fn of(line: &[u8]) -> Self {
        if let Some(percent) = progress::of_line(line) {
            return Self::Progress(percent);
        }
        // Borrowed raw: the text must be UTF-8 and JSON, but is not parsed any further.
        match serde_json::from_slice::<&serde_json::value::RawValue>(line) {
            Ok(_) => Self::Answer,
            Err(_) => Self::Noise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: usize, chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut lines = Lines::new(limit);
        let mut all = Vec::new();
        for chunk in chunks {
            lines.push(chunk);
            while let Some(line) = lines.next()? {
                all.push(line.to_vec());
            }
        }
        Ok(all)
    }

    #[test]
    fn lines_come_however_they_are_cut() {
        let text = b"one\n\nthree\nrest";
        for size in 1..=text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            let expected = [&b"one"[..], b"", b"three"].map(<[u8]>::to_vec);
            assert_eq!(lines(5, &chunks).unwrap(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_beyond_the_limit_is_not_waited_for() {
        assert_eq!(lines(3, &[b"abc\n", b"ab", b"c"]).unwrap(), [b"abc"]);
        assert_eq!(lines(3, &[b"ab", b"cd"]), Err(TooLong));
        assert_eq!(lines(3, &[b"abcd\n"]), Err(TooLong));
    }

    #[test]
    fn progress_or_an_answer() {
        assert_eq!(Said::of(br#"{"progress":40}"#), Said::Progress(40.0));
        for answer in [r#"{"progress":40,"more":1}"#, "{}", "[40]", "null", "1"] {
            assert_eq!(Said::of(answer.as_bytes()), Said::Answer, "{answer}");
        }
    }

    #[test]
    fn what_is_not_json_is_noise() {
        for noise in [&b""[..], b"hello", b"{\"a\":1", b"1 2", b"\"\xff\"", b"{'a':1}"] {
            assert_eq!(Said::of(noise), Said::Noise, "{noise:?}");
        }
        // Deep nesting cannot crash the worker: it is refused, or skipped without recursion.
        let deep = [b"[".repeat(1_000_000), b"]".repeat(1_000_000)].concat();
        assert!(matches!(Said::of(&deep), Said::Noise | Said::Answer));
    }
}
