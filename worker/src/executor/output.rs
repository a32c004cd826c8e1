//! What a process gave: its result file, its standard output, its line.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Attempt;
use crate::exec::{Captured, TAIL};
use crate::json;
use crate::result::{FailureKind, Written};

/// What a process gave.
pub(super) enum Given {
    Json(Box<RawValue>),
    /// Nothing that is JSON, which need not be.
    Nothing,
    /// It meant to give something.
    Unusable(String),
}

/// The result file if there is one, or else standard output if it is JSON.
pub(super) fn given(result_file: &Path, limit: usize, stdout: &Captured) -> Given {
    // The process could have made anything of that name: a link to somewhere else, or a pipe that
    // nobody writes to.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags as i32).open(result_file);
    let unusable = |why: String| Given::Unusable(format!("the result file: {why}"));
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => from_stdout(limit, stdout),
        Err(error) => unusable(error.to_string()),
        Ok(file) => {
            if !file.metadata().is_ok_and(|meta| meta.is_file()) {
                return unusable("not a regular file".to_owned());
            }
            let mut text = Vec::new();
            match file.take(limit as u64 + 1).read_to_end(&mut text) {
                Err(error) => unusable(error.to_string()),
                Ok(_) if text.len() > limit => {
                    unusable(format!("longer than {limit} bytes, the maximum"))
                }
                Ok(_) => match json::value(&text) {
                    Ok(value) => Given::Json(value),
                    Err(why) => unusable(format!("not JSON: {why}")),
                },
            }
        }
    }
}

fn from_stdout(limit: usize, stdout: &Captured) -> Given {
    if stdout.bytes > limit as u64 {
        return Given::Nothing;
    }
    json::value(&stdout.head).map_or(Given::Nothing, Given::Json)
}

/// What a result tells of an output.
pub(super) fn written(captured: &Captured) -> Written {
    Written {
        tail: String::from_utf8_lossy(&captured.tail).into_owned(),
        bytes: captured.bytes,
        truncated: captured.bytes > captured.tail.len() as u64,
    }
}

/// The end of what a process complained of while it was at a job; how much more there was is not
/// counted.
pub(super) fn last_words(tail: &[u8]) -> Written {
    let bytes = tail.len() as u64;
    Written {
        tail: String::from_utf8_lossy(tail).into_owned(),
        bytes,
        truncated: bytes == TAIL as u64,
    }
}

/// A line of a persistent process: `{"output":...}`, `{"error":...}`, or the output itself.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    error: Option<LineError>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LineError {
    Text(String),
    Whole {
        #[serde(default)]
        message: String,
        #[serde(default = "yes")]
        retry: bool,
    },
}

fn yes() -> bool {
    true
}

pub(super) fn read_answer(line: &[u8], attempt: &mut Attempt) {
    let value = match json::value(line) {
        Ok(value) => value,
        Err(why) => return attempt.fail(FailureKind::Executor, format!("its line: {why}"), true),
    };
    match serde_json::from_str::<Line<'_>>(value.get()) {
        Ok(Line { error: Some(error), output }) => {
            attempt.output = output.map(RawValue::to_owned);
            let (message, again) = match error {
                LineError::Text(message) => (message, true),
                LineError::Whole { message, retry } => (message, retry),
            };
            attempt.fail(FailureKind::Executor, message, again);
        }
        Ok(Line { error: None, output: Some(output) }) => {
            attempt.output = Some(output.to_owned());
        }
        // Not of that form: it is the output.
        Ok(Line { error: None, output: None }) | Err(_) => attempt.output = Some(value),
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Attempt {
        let mut attempt = Attempt::default();
        read_answer(line.as_bytes(), &mut attempt);
        attempt
    }

    #[test]
    fn lines_of_persistent_processes() {
        let output = |line: &str| answer(line).output.unwrap().get().to_owned();
        assert_eq!(output(r#"{"output":{"a":1}}"#), r#"{"a":1}"#);
        assert_eq!(output(r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(output("[1]"), "[1]");
        assert_eq!(output("null"), "null");
        assert_eq!(output(r#"{"output":7,"error":null}"#), "7");
        let failed = answer(r#"{"error":"no wind"}"#);
        assert_eq!(failed.failure.unwrap().message, "no wind");
        assert!(failed.again && failed.output.is_none());
        let failed = answer(r#"{"error":{"message":"no sea","retry":false},"output":1}"#);
        assert_eq!(failed.failure.unwrap().message, "no sea");
        assert!(!failed.again && failed.output.is_some());
    }

    #[test]
    fn result_files_and_what_is_none() {
        let path = std::env::temp_dir().join(format!("jq-output-{}", uuid::Uuid::new_v4()));
        let stdout = |text: &[u8]| Captured {
            head: text.to_owned(),
            bytes: text.len() as u64,
            ..Default::default()
        };
        let given = |limit, out: &[u8]| match given(&path, limit, &stdout(out)) {
            Given::Json(value) => value.get().to_owned(),
            Given::Nothing => "nothing".to_owned(),
            Given::Unusable(why) => why,
        };
        assert_eq!(given(100, b" {\"a\":1}\n"), "{\"a\":1}");
        assert_eq!(given(100, b"hello"), "nothing");
        assert_eq!(given(100, b""), "nothing");
        assert_eq!(given(3, b"\"long\""), "nothing");
        std::fs::write(&path, "[2]").unwrap();
        assert_eq!(given(100, b"[1]"), "[2]");
        std::fs::write(&path, "[2").unwrap();
        assert!(given(100, b"[1]").contains("not JSON"));
        std::fs::write(&path, "[2,3,4]").unwrap();
        assert!(given(3, b"[1]").contains("longer than 3 bytes"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(given(100, b"[1]").contains("the result file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(given(100, b"[1]").contains("not a regular file"));
        std::fs::remove_dir(&path).unwrap();
    }
}
