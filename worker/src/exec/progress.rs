//! Progress lines: `{"progress":40}`.

use serde::Deserialize;

/// Maximum length of a progress line, which contains nothing else.
const LONGEST: usize = 64;

/// What the line says, in percent; `None` for every other line.
pub fn of_line(line: &[u8]) -> Option<f64> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Progress {
        progress: f64,
    }

    // The type would also accept an array with one number.
    if line.len() > LONGEST || !line.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let Progress { progress } = serde_json::from_slice(line).ok()?;
    (0.0..=100.0).contains(&progress).then_some(progress)
}

/// Finds progress lines in a stream that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The beginning of the current line, if it can still become a progress line.
    line: Vec<u8>,
    is_other: bool,
}

impl Scanner {
    /// The last progress in this piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Option<f64> {
        let mut found = None;
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            let (text, has_ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            self.is_other |= self.line.len() + text.len() > LONGEST;
            if !self.is_other {
                self.line.extend_from_slice(text);
            }
            if has_ended {
                found = Some(())
                    .filter(|()| !self.is_other)
                    .and_then(|()| of_line(&self.line))
                    .or(found);
                self.line.clear();
                self.is_other = false;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_with_nothing_else() {
        assert_eq!(of_line(br#"{"progress":40}"#), Some(40.0));
        assert_eq!(of_line(br#" { "progress" : 99.5 } "#), Some(99.5));
        for other in [
            r#"{"progress":101}"#,
            r#"{"progress":-1}"#,
            r#"{"progress":"40"}"#,
            r#"{"progress":40,"more":1}"#,
            "[40]",
            "40",
            "",
        ] {
            assert_eq!(of_line(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn in_pieces_among_other_lines() {
        let text = "hello\n{\"progress\":1}\n{\"progress\":2}\nno {\"progress\":3}\n";
        for size in 1..text.len() {
            let mut scanner = Scanner::default();
            let pieces = text.as_bytes().chunks(size);
            let said = pieces.filter_map(|piece| scanner.push(piece)).last();
            assert_eq!(said, Some(2.0), "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut scanner = Scanner::default();
        for _ in 0..1_000 {
            assert_eq!(scanner.push(&[b'x'; 1_000]), None);
        }
        assert!(scanner.line.capacity() < 1_000);
        assert_eq!(scanner.push(b"\n{\"progress\":5}\n"), Some(5.0));
    }
}
