//! Ranges: which part of a document a request asks for (RFC 9110, section 14).

use std::ops::Range;

use axum::http::header::{IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderValue};

use crate::Validators;

/// What of a document a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it. Several ranges count as that, and so does what is no range.
    Whole,
    /// These bytes, at least one; the answer is 206.
    Part(Range<u64>),
    /// Bytes behind its end; the answer is 416.
    Nothing,
}

impl Validators {
    /// Which part of this version of a document, of so many bytes, is asked for. With `If-Range`, a part is only
    /// of use to those who have the rest of this very version. A date cannot tell that.
    pub fn wanted(&self, request: &HeaderMap, length: u64) -> Wanted {
        let is_this_version =
            request.get(IF_RANGE).is_none_or(|version| self.tag() == Some(version));
        let mut ranges = request.get_all(RANGE).iter();
        match (ranges.next(), ranges.next()) {
            (Some(range), None) if is_this_version => wanted(range, length),
            _ => Wanted::Whole,
        }
    }
}

fn wanted(range: &HeaderValue, length: u64) -> Wanted {
    read(range, length).unwrap_or(Wanted::Whole)
}

/// `bytes=0-99`, `bytes=100-` or `bytes=-100`. `None`: it is not of this form.
fn read(range: &HeaderValue, length: u64) -> Option<Wanted> {
    let (unit, range) = range.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let part = if first.is_empty() {
        let bytes = number(last)?;
        length.saturating_sub(bytes)..length
    } else {
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return None;
        }
        first..last.saturating_add(1).min(length)
    };
    Some(if part.is_empty() { Wanted::Nothing } else { Wanted::Part(part) })
}

/// As large as there is room for.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn ask(headers: &[(&'static str, &'static str)], length: u64) -> Wanted {
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            request.append(*name, HeaderValue::from_static(value));
        }
        Validators::new("tag", Timestamp::UNIX_EPOCH).wanted(&request, length)
    }

    #[test]
    fn one_range() {
        let whole = || Wanted::Whole;
        for (range, expected) in [
            ("bytes=0-99", Wanted::Part(0..100)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("Bytes = 100-", Wanted::Part(100..1000)),
            ("bytes=900-2000", Wanted::Part(900..1000)),
            ("bytes=-100", Wanted::Part(900..1000)),
            ("bytes=-5000", Wanted::Part(0..1000)),
            ("bytes=999-", Wanted::Part(999..1000)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..1000)),
            ("bytes=1000-", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=9-1", whole()),
            ("bytes=-", whole()),
            ("bytes=", whole()),
            ("bytes", whole()),
            ("bytes=a-b", whole()),
            ("bytes=+1-2", whole()),
            ("bytes=0-1,5-6", whole()),
            ("lines=1-2", whole()),
            ("", whole()),
        ] {
            assert_eq!(ask(&[("range", range)], 1000), expected, "{range}");
        }
        assert_eq!(ask(&[], 1000), whole());
        assert_eq!(ask(&[("range", "bytes=0-1"), ("range", "bytes=5-6")], 1000), whole());
        assert_eq!(ask(&[("range", "bytes=0-")], 0), Wanted::Nothing);
    }

    #[test]
    fn a_part_is_of_one_version() {
        let range = ("range", "bytes=1-2");
        assert_eq!(ask(&[range, ("if-range", "\"tag\"")], 9), Wanted::Part(1..3));
        for other in ["\"other\"", "W/\"tag\"", "tag", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            assert_eq!(ask(&[range, ("if-range", other)], 9), Wanted::Whole, "{other}");
        }
    }
}
