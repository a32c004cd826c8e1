//! Whose job a body was to be that is none.
//!
//! Whoever queued it waits for a result. So as much is read as can be, whatever is wrong elsewhere: a
//! value that is not JSON, a comma too many, nesting without end, the end missing.
//!
//! Owns: finding members in a text that is nearly JSON. Must not know: what is wrong with it.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::wire::{WireTarget, job_id, target, url};
use super::{BadJob, JobType, Target};
use crate::json;

/// What can be read of a body that is not a job, for this reason.
pub(super) fn bad_job(reason: String, body: &[u8]) -> BadJob {
    let mut bad = BadJob { reason, ..BadJob::default() };
    for (name, value) in Members::of(body) {
        // Of a member that is given twice the first counts: somebody is told.
        match name.as_str() {
            "id" | "uuid" | "jid" => bad.id = bad.id.or_else(|| id(value)),
            "type" | "jobtype" => bad.kind = bad.kind.or_else(|| kind(value)),
            "result" => bad.result = bad.result.or_else(|| result(value)),
            "callback" => bad.callback.failed = bad.callback.failed.or_else(|| failed_uri(value)),
            "custom" => bad.custom = bad.custom.or_else(|| custom(value)),
            _ => {}
        }
    }
    bad
}

fn text(value: &[u8]) -> Option<String> {
    serde_json::from_slice(value).ok()
}

fn id(value: &[u8]) -> Option<Uuid> {
    job_id(&text(value)?).ok()
}

fn kind(value: &[u8]) -> Option<JobType> {
    text(value)?.parse().ok()
}

fn result(value: &[u8]) -> Option<Target> {
    let value: Value = serde_json::from_slice(value).ok()?;
    target(WireTarget::deserialize(value).ok()?).ok()
}

fn failed_uri(value: &[u8]) -> Option<url::Url> {
    let value: Value = serde_json::from_slice(value).ok()?;
    url("callback.failedUri", value.get("failedUri")?.as_str()?).ok()
}

fn custom(value: &[u8]) -> Option<Box<RawValue>> {
    json::value(value).ok()
}

/// The members of the object that a body is, or, in the older form, of its first element: their names,
/// and what stands where their values belong.
struct Members<'a> {
    /// What is still to be read. Begins within the object.
    rest: &'a [u8],
    /// Whether the object is over.
    is_over: bool,
}

impl<'a> Members<'a> {
    fn of(body: &'a [u8]) -> Self {
        let body = json::without_mark(body).trim_ascii_start();
        let body = body.strip_prefix(b"[").map_or(body, <[u8]>::trim_ascii_start);
        let object = body.strip_prefix(b"{");
        Self { rest: object.unwrap_or_default(), is_over: object.is_none() }
    }

    /// Takes this many bytes off the rest.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (String, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over && !self.rest.is_empty() {
            match self.rest[0] {
                b'"' => {
                    let name = self.take(end_of_text(self.rest));
                    self.rest = self.rest.trim_ascii_start();
                    if self.rest.first() != Some(&b':') {
                        continue;
                    }
                    self.rest = self.rest[1..].trim_ascii_start();
                    let value = self.take(end_of_value(self.rest));
                    if let Some(name) = text(name) {
                        return Some((name, value));
                    }
                }
                b'}' => self.is_over = true,
                b'{' | b'[' => {
                    self.take(end_of_value(self.rest));
                }
                _ => {
                    self.take(1);
                }
            }
        }
        None
    }
}

/// How long the text in quotes is with which this begins.
fn end_of_text(from: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = from.iter().skip(1).position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(from.len(), |end| end + 2)
}

/// How long the value is with which this begins, if it is one.
fn end_of_value(from: &[u8]) -> usize {
    match from.first() {
        Some(b'"') => end_of_text(from),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (0, 0_usize);
            while at < from.len() {
                match from[at] {
                    b'"' => {
                        at += end_of_text(&from[at..]);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth == 1 => return at + 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
            }
            from.len()
        }
        _ => {
            let end = from.iter().position(|byte| b",}]\"".contains(byte));
            end.unwrap_or(from.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "13775310-8f59-412e-aa2c-549a20077664";

    #[test]
    fn who_it_was_is_found_whatever_is_wrong() {
        let known = format!(
            r#""id":"{ID}","type":"sailor","result":{{"url":"https://x.example/r"}},"callback":{{"failedUri":"https://x.example/f"}},"custom":{{"a":[1]}}"#
        );
        let deep = "[".repeat(500_000);
        for body in [
            format!("{{{known}}}"),
            format!("{{\"args\":NaN,{known}}}"),
            format!("{{\"args\":[1,-Infinity,{{\"id\":\"x\"}}],{known}}}"),
            format!("{{{known},}}"),
            format!("{{{known},\"args\":[1,2"),
            format!("{{{known},\"args\":\"never ended"),
            format!("{{{known},\"args\":{deep}"),
            format!("{{\"a\":\"}}\\\"\\\\\",,{known}}} trailing"),
            format!("{{\"timeout\":0 {known}}}"),
            format!("{{stray, {{}} \"words\" {known}}}"),
            format!(" [ {{{known}}},{{\"id\":\"x\"}},3]"),
            format!("\u{feff}{{{known},\"id\":\"{}\"}}", Uuid::nil()),
        ] {
            let bad = bad_job(String::new(), body.as_bytes());
            let shown: String = body.chars().take(300).collect();
            assert_eq!(bad.id.map(|id| id.to_string()).as_deref(), Some(ID), "{shown}");
            assert_eq!(bad.kind.unwrap().as_str(), "sailor", "{shown}");
            assert_eq!(bad.result.unwrap().url.as_str(), "https://x.example/r", "{shown}");
            assert_eq!(bad.callback.failed.unwrap().as_str(), "https://x.example/f", "{shown}");
            assert_eq!(bad.custom.unwrap().get(), "{\"a\":[1]}", "{shown}");
        }
        let mut bytes = format!("{{\"args\":\"@\",{known}}}").into_bytes();
        bytes[9] = 0xff;
        assert!(bad_job(String::new(), &bytes).id.is_some());
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for body in [
            String::new(),
            "{".into(),
            "\"id\"".into(),
            format!("\"id\":\"{ID}\""),
            format!("[[{{\"id\":\"{ID}\"}}]]"),
            format!("[1,{{\"id\":\"{ID}\"}}]"),
            format!("{{\"args\":{{\"id\":\"{ID}\"}}}}"),
            format!("{{\"args\":{{\"id\":\"{ID}\""),
            format!("{{}},\"id\":\"{ID}\""),
            format!("{{\"id\":[\"{ID}\"]}}"),
            format!("{{\"x\":\"\\\"id\\\":\\\"{ID}\\\"\"}}"),
        ] {
            assert_eq!(bad_job(String::new(), body.as_bytes()).id, None, "{body}");
        }
    }
}
