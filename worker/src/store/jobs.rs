//! The jobs of results, to queue them anew: what left the queue is nowhere else.
//!
//! ```text
//! PRIORITY TTR = BODY
//! PRIORITY TTR " "BODY AS A STRING"
//! ```
//!
//! They are in [packs](super::packs) of their own, `DIR/jobs`, and expire with their results. So a job takes up the
//! length of its body and about 70 bytes. Nothing of that is in the document that is served: a job can have signed
//! URLs. The second form is for a body with a line feed in it.

use std::io::Write;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bodies of more bytes are not kept. It is the limit of a queue by default.
pub const MAX_KEPT_JOB: usize = 64 << 10;

/// A job as it was queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedJob {
    /// Its body.
    pub body: String,
    /// Its priority.
    pub priority: u32,
    /// Its time to run, in seconds.
    pub ttr: u32,
}

impl QueuedJob {
    /// `None`: the body is too large to be kept, or is no text, and so no job.
    pub fn new(body: &[u8], priority: u32, ttr: u32) -> Option<Self> {
        let body = std::str::from_utf8(body).ok().filter(|body| body.len() <= MAX_KEPT_JOB)?;
        Some(Self { body: body.to_owned(), priority, ttr })
    }

    /// As a pack has it: one line.
    pub(super) fn write(&self) -> Bytes {
        let Self { body, priority, ttr } = self;
        let mut line = Vec::with_capacity(body.len() + 24);
        // To memory, which does not fail.
        let _ = if body.contains('\n') {
            write!(line, "{priority} {ttr} \" {}", serde_json::Value::from(body.as_str()))
        } else {
            write!(line, "{priority} {ttr} = {body}")
        };
        line.push(b'\n');
        line.into()
    }

    /// Reads such a line.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let mut fields = line.splitn(4, ' ');
        let (priority, ttr) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let body = match (fields.next()?, fields.next()?) {
            ("=", body) => body.to_owned(),
            ("\"", text) => serde_json::from_str(text).ok()?,
            _ => return None,
        };
        Some(Self { body, priority, ttr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_job_as_it_was() {
        for body in ["", "x", r#"{"id": "a b"}"#, "{\n \"a\":\"\\n\\u00e9\u{e9}\"\r\n}", " = \" "] {
            let job = QueuedJob::new(body.as_bytes(), u32::MAX, 0).unwrap();
            let line = job.write();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(QueuedJob::read(&line), Some(job));
        }
        for line in ["", "\n", "1 2 = x", "1 2 ? x\n", "1 2 \" x\n", "1 x = x\n", "1 2 =\n"] {
            assert_eq!(QueuedJob::read(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(QueuedJob::new(b"\xff", 1, 1), None);
        assert_eq!(QueuedJob::new(&vec![b'x'; MAX_KEPT_JOB + 1], 1, 1), None);
    }
}
