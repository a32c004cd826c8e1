//! Conditional requests: whether the client already has the document (RFC 9110, section 13).

use axum::http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use axum::http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// The validators that identify a version of a document.
#[derive(Debug, Clone)]
pub struct Validators {
    /// Including its quotes.
    etag: Option<HeaderValue>,
    modified: Timestamp,
}

impl Validators {
    /// `etag` is given without quotes: visible ASCII characters except `"`. If it is empty or has
    /// any other character, it is not sent. HTTP only transmits the whole seconds of `modified`.
    pub fn new(etag: &str, modified: Timestamp) -> Self {
        let sendable =
            !etag.is_empty() && etag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        let etag = sendable.then(|| HeaderValue::try_from(format!("\"{etag}\"")).ok()).flatten();
        Self { etag, modified }
    }

    /// The entity tag, with its quotes.
    pub(crate) fn tag(&self) -> Option<&HeaderValue> {
        self.etag.as_ref()
    }

    /// Adds the validators to the headers of an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(etag) = &self.etag {
            headers.insert(ETAG, etag.clone());
        }
        // Years after 9999 cannot be written; in that case the header is omitted.
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&self.modified).ok();
        if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
            headers.insert(LAST_MODIFIED, date);
        }
    }

    /// Whether the client already has this version, so that the answer is 304. `If-None-Match`
    /// takes precedence over `If-Modified-Since`.
    pub fn are_known(&self, request: &HeaderMap) -> bool {
        if request.contains_key(IF_NONE_MATCH) {
            return request.get_all(IF_NONE_MATCH).iter().any(|list| self.are_in(list));
        }
        request
            .get(IF_MODIFIED_SINCE)
            .and_then(|date| DateTimeParser::new().parse_timestamp(date.as_bytes()).ok())
            .is_some_and(|since| self.modified.as_second() <= since.as_second())
    }

    /// Whether a list such as `"a", W/"b"` contains our tag, or is `*`. Weak tags match too, since
    /// this is about whether to fetch the document again.
    fn are_in(&self, list: &HeaderValue) -> bool {
        let mut rest = list.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        let Some(ours) = &self.etag else {
            return false;
        };
        // Tags may contain commas, so look for the closing quotes.
        loop {
            let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
            let Some(closing) = tag
                .strip_prefix(b"\"")
                .and_then(|inside| inside.iter().position(|&byte| byte == b'"'))
            else {
                return false;
            };
            let (tag, after) = tag.split_at(closing + 2);
            if tag == ours.as_bytes() {
                return true;
            }
            rest = match after.trim_ascii_start().strip_prefix(b",") {
                Some(next) => next.trim_ascii_start(),
                None => return false,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: &str = "Sun, 22 Nov 2026 12:03:10 GMT";

    fn validators() -> Validators {
        Validators::new("a,b-1", "2026-11-22T12:03:10.12Z".parse().unwrap())
    }

    fn known(headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        // As in a request: a name may occur twice.
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name;
            map.append(name, value);
        }
        validators().are_known(&map)
    }

    #[test]
    fn they_are_written_as_http_has_them() {
        let mut headers = HeaderMap::new();
        validators().write(&mut headers);
        assert_eq!(headers[ETAG], "\"a,b-1\"");
        assert_eq!(headers[LAST_MODIFIED], MODIFIED);
        for bad in ["", "with space", "with\"quote", "with\nline", "\u{e9}"] {
            let mut headers = HeaderMap::new();
            Validators::new(bad, Timestamp::UNIX_EPOCH).write(&mut headers);
            assert!(!headers.contains_key(ETAG), "{bad:?}");
            assert_eq!(headers[LAST_MODIFIED], "Thu, 01 Jan 1970 00:00:00 GMT");
        }
    }

    #[test]
    fn if_none_match_takes_lists_stars_and_weak_tags() {
        for (list, is) in [
            ("\"a,b-1\"", true),
            ("W/\"a,b-1\"", true),
            ("*", true),
            (" * ", true),
            ("\"x\", \"a,b-1\"", true),
            ("\"x\",W/\"y,z\" ,\"a,b-1\", \"w\"", true),
            ("\"x\"", false),
            ("\"a\"", false),
            ("\"b-1\"", false),
            ("a,b-1", false),
            ("", false),
            ("\"a,b-1", false),
            ("w/\"a,b-1\"", false),
            ("\"x\" \"a,b-1\"", false),
            ("\"A,B-1\"", false),
        ] {
            assert_eq!(known(&[("if-none-match", list)]), is, "{list}");
        }
        assert!(known(&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b-1\"")]));
    }

    #[test]
    fn if_modified_since_counts_whole_seconds() {
        for (date, is) in [
            (MODIFIED, true),
            ("Sun, 22 Nov 2026 12:03:11 GMT", true),
            ("Sun, 22 Nov 2026 12:03:09 GMT", false),
            ("yesterday", false),
            ("", false),
        ] {
            assert_eq!(known(&[("if-modified-since", date)]), is, "{date}");
        }
    }

    #[test]
    fn if_none_match_is_all_that_counts_beside_a_date() {
        assert!(!known(&[("if-none-match", "\"x\""), ("if-modified-since", MODIFIED)]));
        let old = "Sun, 22 Nov 2020 12:00:00 GMT";
        assert!(known(&[("if-none-match", "\"a,b-1\""), ("if-modified-since", old)]));
        assert!(!known(&[]));
    }
}
