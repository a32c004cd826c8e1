//! JSON of third parties: kept as it was written, with limited depth.
//!
//! A raw value is passed on without being parsed, and whoever reads it next may do so recursively.
//! So its depth is checked here, once.

use serde_json::value::RawValue;

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

/// A text as one JSON value.
///
/// # Errors
///
/// Why it is none, or that it is nested deeper than [`MAX_DEPTH`].
pub fn value(text: &[u8]) -> Result<Box<RawValue>, String> {
    let value: &RawValue = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match depth(text) {
        0..=MAX_DEPTH => Ok(value.to_owned()),
        deep => Err(format!("nested {deep} deep: expected at most {MAX_DEPTH}")),
    }
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
}
