//! Finding the end of a line in bytes that come in pieces.

/// Collects one line across reads. A line ends with CRLF only; a bare LF or CR is part of it.
///
/// No byte is looked at twice: what was searched without finding an end is kept here, and the
/// search continues with the next piece.
#[derive(Debug)]
pub(crate) struct LineReader {
    /// The beginning of a line whose end has not arrived; empty for a line that arrived in one
    /// piece.
    partial: Vec<u8>,
    /// The line is over the limit, and is being discarded up to its CRLF.
    overlong: bool,
    /// The last byte seen of an overlong line was CR.
    after_cr: bool,
    /// Longest line, its CRLF included.
    limit: usize,
}

/// What [`LineReader::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// No end yet; all input is used up.
    Incomplete,
    /// A line, without its CRLF, in the input from this offset to that.
    Within(usize, usize),
    /// A line that began in an earlier piece: take it with [`LineReader::partial`].
    Joined,
    /// The end of a line over the limit.
    Overlong,
}

impl LineReader {
    pub(crate) fn new(limit: usize) -> Self {
        Self { partial: Vec::new(), overlong: false, after_cr: false, limit }
    }

    /// Whether the beginning of a line is being held.
    pub(crate) fn is_midway(&self) -> bool {
        self.overlong || !self.partial.is_empty()
    }

    /// Bytes allocated for the beginning of a line.
    pub(crate) fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// The line that [`LineEnd::Joined`] announced, without its CRLF. Valid until the next call.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Forgets the joined line, so that the next one can begin.
    pub(crate) fn clear(&mut self) {
        // The allocation goes too: an idle connection holds no buffer.
        self.partial = Vec::new();
    }

    /// Looks for the end of the line in `input` from `*at` on, and moves `*at` past it.
    pub(crate) fn next(&mut self, input: &[u8], at: &mut usize) -> LineEnd {
        if self.overlong {
            return self.skip(input, at);
        }
        let start = *at;
        let mut from = start;
        while let Some(found) = memchr::memchr(b'\n', &input[from..]) {
            let newline = from + found;
            from = newline + 1;
            let after_cr = match newline.checked_sub(1).filter(|before| *before >= start) {
                Some(before) => input[before] == b'\r',
                None => self.partial.last() == Some(&b'\r'),
            };
            if !after_cr {
                continue;
            }
            *at = from;
            if self.partial.len() + (from - start) > self.limit {
                self.clear();
                return LineEnd::Overlong;
            }
            if self.partial.is_empty() {
                return LineEnd::Within(start, newline - 1);
            }
            self.partial.extend_from_slice(&input[start..from]);
            self.partial.truncate(self.partial.len() - 2);
            return LineEnd::Joined;
        }
        *at = input.len();
        let rest = &input[start..];
        // A full line without its LF can still be within the limit; one byte more cannot.
        if self.partial.len() + rest.len() >= self.limit {
            self.after_cr = rest.last().or(self.partial.last()) == Some(&b'\r');
            self.overlong = true;
            self.clear();
        } else {
            self.partial.extend_from_slice(rest);
        }
        LineEnd::Incomplete
    }

    fn skip(&mut self, input: &[u8], at: &mut usize) -> LineEnd {
        let start = *at;
        let mut from = start;
        while let Some(found) = memchr::memchr(b'\n', &input[from..]) {
            let newline = from + found;
            from = newline + 1;
            let after_cr =
                if newline == start { self.after_cr } else { input[newline - 1] == b'\r' };
            if after_cr {
                *at = from;
                self.overlong = false;
                return LineEnd::Overlong;
            }
        }
        if let Some(last) = input[start..].last() {
            self.after_cr = *last == b'\r';
        }
        *at = input.len();
        LineEnd::Incomplete
    }
}
