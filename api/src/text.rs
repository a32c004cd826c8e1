//! Text from strangers, made fit for messages.
//!
//! Owns: what is shown of a text, and how. Must not know: whose text it is.

use std::fmt::Write as _;

/// Most that is shown of a line, in bytes.
pub const MAX_LINE: usize = 500;

/// A text with its control characters, and those that change the direction of writing, as escape
/// sequences: `\t`, `\u{1b}`. What would be longer than `max` bytes ends with ` ...`.
pub fn escaped(text: &str, max: usize) -> String {
    let mut out = String::new();
    for character in text.chars() {
        let before = out.len();
        match character {
            c if c.is_control() => out.extend(c.escape_default()),
            c @ ('\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                // Writing to a string does not fail.
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
        if out.len() > max {
            out.truncate(before);
            out.push_str(" ...");
            break;
        }
    }
    out
}

/// The last line of an output that says something, escaped, of at most [`MAX_LINE`] bytes: neither a
/// blank line nor one for which `is_noise`. A carriage return ends a line too, as it does on a
/// terminal. `tail` may begin within a line.
pub fn last_line(tail: &[u8], is_noise: impl Fn(&[u8]) -> bool) -> Option<String> {
    let mut lines = tail.rsplit(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty() && !is_noise(line))?;
    Some(escaped(&String::from_utf8_lossy(line), MAX_LINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(escaped("a\tb\u{1b}[31m \u{e9}\0", 100), "a\\tb\\u{1b}[31m \u{e9}\\u{0}");
        assert_eq!(escaped("\u{202e}x\u{85}", 100), "\\u{202e}x\\u{85}");
        assert_eq!(escaped("abcdef", 6), "abcdef");
        assert_eq!(escaped("abcdefg", 6), "abcdef ...");
        // Never within an escape sequence, or a character.
        assert_eq!(escaped("abc\u{1b}", 6), "abc ...");
        assert_eq!(escaped("abcde\u{e9}", 6), "abcde ...");
    }

    #[test]
    fn the_last_line_that_says_something() {
        let last = |tail: &str| last_line(tail.as_bytes(), |line| line == b"noise");
        assert_eq!(last("one\n two \n\n \r\n").as_deref(), Some("two"));
        assert_eq!(last("one\rtwo").as_deref(), Some("two"));
        assert_eq!(last("one\nnoise\n").as_deref(), Some("one"));
        assert_eq!(last("noise\n"), None);
        assert_eq!(last(" \n"), None);
        assert_eq!(last_line(b"bad \xff", |_| false).as_deref(), Some("bad \u{fffd}"));
        let long = last(&"x".repeat(10_000)).unwrap();
        assert_eq!(long.len(), MAX_LINE + 4);
    }
}
