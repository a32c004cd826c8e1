//! JSON of third parties: kept as it was written, with limited depth.
//!
//! A raw value is passed on without being parsed, and whoever reads it next may do so recursively.
//! So its depth is checked here, once.

use serde_json::value::RawValue;

use crate::text::escaped;

/// Deepest nesting of arrays and objects that is passed on. Many readers stop at 128, and what is
/// passed on becomes part of something else.
pub const MAX_DEPTH: usize = 100;

/// How deep arrays and objects are nested, in a text that need not be valid JSON.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Bytes that are shown before and after the place where a text is not JSON.
const AROUND: usize = 30;

/// What programs write for numbers that JSON does not have.
const NOT_NUMBERS: [&str; 5] = ["NaN", "Infinity", "nan", "inf", "Inf"];

/// A text as one JSON value. A byte order mark before it is skipped.
///
/// # Errors
///
/// Where it is none and why, or that it is nested deeper than [`MAX_DEPTH`].
pub fn value(text: &[u8]) -> Result<Box<RawValue>, String> {
    let text = without_mark(text);
    let value: &RawValue = serde_json::from_slice(text).map_err(|error| why(text, &error))?;
    match depth(text) {
        0..=MAX_DEPTH => Ok(value.to_owned()),
        deep => Err(format!("nested {deep} deep: expected at most {MAX_DEPTH}")),
    }
}

/// Why a text is not JSON: where it breaks, what is there, and, for what is known to be written by
/// mistake, what to do.
pub fn why(text: &[u8], error: &serde_json::Error) -> String {
    let Some(at) = offset(text, error.line(), error.column()) else { return error.to_string() };
    if let Some(name) = not_a_number(text, at) {
        let (line, column) = (error.line(), error.column());
        return format!(
            "{name} at line {line} column {column}: JSON has no such number; write null in its \
             place (Python: json.dumps(..., allow_nan=False) tells where it comes from)"
        );
    }
    let shown = &text[at.saturating_sub(AROUND)..text.len().min(at + AROUND)];
    let shown = escaped(&String::from_utf8_lossy(shown), 4 * AROUND);
    format!("{error}, near `{}`", shown.trim())
}

/// Whether a text was meant to be JSON: an array, an object, a text in quotes, or one of the numbers
/// that JSON does not have. White space and a byte order mark before it do not count. A word or a
/// number, as text can begin, does not tell.
pub fn begins(text: &[u8]) -> bool {
    let text = without_mark(text).trim_ascii_start();
    let Some((first, rest)) = text.split_first() else { return false };
    let rest = rest.trim_ascii_start();
    match first {
        b'"' => true,
        // A quote that is a wrong one was meant as one.
        b'{' => matches!(rest.first(), None | Some(b'"' | b'\'' | b'}')),
        b'[' => match rest.first() {
            None => true,
            Some(b'[' | b'{' | b'"' | b'\'' | b']' | b'-' | b'0'..=b'9') => true,
            Some(_) => {
                ["true", "false", "null"].iter().any(|it| is_word(rest, it))
                    || NOT_NUMBERS.iter().any(|it| is_word(rest, it))
            }
        },
        _ => {
            let number = text.trim_ascii_end();
            let number = number.strip_prefix(b"-").unwrap_or(number);
            NOT_NUMBERS.iter().any(|it| it.as_bytes() == number)
        }
    }
}

/// A text without the mark that some programs put before it.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// The index of a place that is given by its line and column, both counted from 1.
fn offset(text: &[u8], line: usize, column: usize) -> Option<usize> {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.by_ref().take(line.checked_sub(1)?).map(<[u8]>::len).sum();
    Some((before + column.saturating_sub(1)).min(text.len()))
}

/// What stands here or right beside it in the place of a number.
fn not_a_number(text: &[u8], at: usize) -> Option<&'static str> {
    let begins = at.saturating_sub(1)..=at.saturating_add(1);
    begins
        .filter_map(|begin| text.get(begin..))
        .find_map(|rest| NOT_NUMBERS.into_iter().find(|name| is_word(rest, name)))
}

/// Whether a text begins with this word.
fn is_word(text: &[u8], word: &str) -> bool {
    let rest = text.strip_prefix(word.as_bytes());
    rest.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_of_brackets_outside_of_texts() {
        assert_eq!(depth(b"7"), 0);
        assert_eq!(depth(br#"{"a":[1,{"b":[]}],"c":[]}"#), 4);
        assert_eq!(depth(br#"["[[[", "\"[[", "\\", [1]]"#), 2);
    }

    #[test]
    fn values_are_kept_as_they_are() {
        assert_eq!(value(b" {\"a\" : 1.50}\n").unwrap().get(), "{\"a\" : 1.50}");
        assert!(value(b"{} {}").unwrap_err().contains("trailing"));
        assert!(value(b"\xff").unwrap_err().contains("expected value"));
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(value(deep(MAX_DEPTH).as_bytes()).is_ok());
        assert!(value(deep(MAX_DEPTH + 1).as_bytes()).unwrap_err().contains("101 deep"));
        assert!(value(deep(500_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_wrong_is_shown() {
        let why = |text: &str| value(text.as_bytes()).unwrap_err();
        for (text, name, column) in [
            ("{\"a\":NaN}", "NaN", 6),
            ("[1,\n NaN]", "NaN", 2),
            ("[-Infinity]", "Infinity", 3),
            ("[Infinity]", "Infinity", 2),
            ("NaN", "NaN", 1),
            ("[nan]", "nan", 3),
            ("[-inf]", "inf", 3),
        ] {
            let why = why(text);
            assert!(why.starts_with(&format!("{name} at line")), "{text}: {why}");
            assert!(why.contains(&format!("column {column}:")), "{text}: {why}");
            assert!(why.contains("null in its place"), "{text}: {why}");
        }
        let said = why("{\"a\":\u{1b}1}");
        assert!(said.contains("line 1 column 6"), "{said}");
        assert!(said.contains("near `{\"a\":\\u{1b}1}`"), "{said}");
        assert!(!why("[nano]").contains("no such number"));
        assert_eq!(value(b"\xef\xbb\xbf [1]").unwrap().get(), "[1]");
    }

    #[test]
    fn what_was_meant_to_be_json() {
        for text in [
            "{",
            "{}",
            " \n{ \"a",
            "\u{feff}[1",
            "[",
            "[[",
            "[NaN, 1]",
            "[ true",
            "{'a': 1}",
            "\"x",
            "NaN\n",
            "-Infinity",
        ] {
            assert!(begins(text.as_bytes()), "{text}");
        }
        for text in ["", " \n", "hello", "3 files", "[INFO] x", "{name} x", "-- x", "null and void"]
        {
            assert!(!begins(text.as_bytes()), "{text}");
        }
    }
}
