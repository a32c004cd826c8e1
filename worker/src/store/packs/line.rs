//! A pack: one result a line, each with its checksum.
//!
//! ```text
//! CRC32C MILLISECONDS UUID {"id":...}
//! CRC32C MILLISECONDS UUID
//! ```
//!
//! The checksum is of all behind it, without the line feed, in eight hexadecimal digits, as in the journal.
//! The time is that at which the job was over, since 1970. Without a document, the result is in a file of
//! its own. What is not such a line is damaged; the next line is read all the same.

use std::io::Write;
use std::ops::Range;

use memchr::memchr_iter;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Length of what is before the time.
const SUM: usize = 9;

/// A line that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) id: Uuid,
    /// When the job was over, in milliseconds since 1970.
    pub(super) finished: i64,
    /// The document with its line feed. `None`: it is in a file of its own.
    pub(super) body: Option<&'a [u8]>,
}

/// How long the line of a document of so many bytes is.
pub(super) fn length(finished: i64, body: usize) -> usize {
    SUM + finished.to_string().len() + 1 + Hyphenated::LENGTH + 1 + body
}

impl<'a> Line<'a> {
    /// Appends it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"00000000 ");
        // To memory, which does not fail.
        let _ = write!(out, "{} {}", self.finished, self.id);
        match self.body {
            None => out.push(b'\n'),
            Some(body) => {
                out.push(b' ');
                out.extend_from_slice(body);
            }
        }
        let sum = format!("{:08x}", crc32c::crc32c(&out[start + SUM..out.len() - 1]));
        out[start..start + SUM - 1].copy_from_slice(sum.as_bytes());
    }

    /// Reads a line with its line feed. `None`: it is damaged.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let (sum, text) = line.split_at_checked(SUM)?;
        let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
        let sum = u32::from_str_radix(sum, 16).ok()?;
        if crc32c::crc32c(text.strip_suffix(b"\n")?) != sum {
            return None;
        }
        let mut fields = text.splitn(3, |byte| *byte == b' ');
        let finished = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let id = fields.next()?;
        let id = Uuid::try_parse_ascii(id.strip_suffix(b"\n").unwrap_or(id)).ok()?;
        Some(Self { id, finished, body: fields.next() })
    }
}

/// Whose result a damaged line is, if that can be read.
pub(super) fn damaged_id(line: &[u8]) -> Option<Uuid> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Uuid::try_parse_ascii(line.splitn(4, |byte| *byte == b' ').nth(2)?).ok()
}

/// Where the lines of a pack are, without one at its end that has no line feed.
pub(super) fn lines(pack: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    memchr_iter(b'\n', pack).map(move |end| {
        let line = start..end + 1;
        start = end + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_changed_is_not() {
        let id = Uuid::from_u128(7);
        for body in [Some(&b"{\"a b\":1}\n"[..]), None] {
            let line = Line { id, finished: 1_763_812_990_120, body };
            let mut text = Vec::new();
            line.write(&mut text);
            assert_eq!(Line::read(&text), Some(line));
            if let Some(body) = body {
                assert_eq!(length(1_763_812_990_120, body.len()), text.len());
            }
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut changed = text.clone();
                    changed[at] ^= 1 << bit;
                    // The sum may be in capitals.
                    let same_sum = changed[..8].eq_ignore_ascii_case(&text[..8]) && at < 8;
                    assert!(same_sum || Line::read(&changed).is_none(), "byte {at}, bit {bit}");
                    let is_in_id = at >= text.len() - body.map_or(1, |it| it.len() + 1) - 36;
                    let is_named = damaged_id(&changed) == Some(id);
                    assert!(
                        is_named || is_in_id || b" \n".contains(&text[at]) || changed[at] == b' '
                    );
                }
                assert_eq!(Line::read(&text[..at]), None);
            }
        }
    }

    #[test]
    fn lines_end_with_a_line_feed() {
        let found: Vec<_> = lines(b"one\n\ntwo\nthr").collect();
        assert_eq!(found, [0..4, 4..5, 5..9]);
    }
}
