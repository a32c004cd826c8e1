//! Job documents: whatever is queued is a job or is refused with a reason, and nothing may panic.

use jq_worker::job::Job;
use jq_worker::json;
use jq_worker::result::MAX_MESSAGE;
use serde_json::Value;

/// Reads `data` as the body of a queued job, and checks what can be said of the outcome.
pub fn run(data: &[u8]) {
    match Job::parse(data) {
        Ok(job) => check_job(&job, data),
        Err(bad) => {
            assert!(!bad.reason.is_empty());
            // And what says that it was cut.
            assert!(bad.reason.len() <= MAX_MESSAGE + 4, "{} bytes", bad.reason.len());
            assert_eq!(bad.callback.success, None, "a refusal is no success");
            assert!(
                bad.custom.is_none_or(|it| json::depth(it.get().as_bytes()) <= json::MAX_DEPTH)
            );
        }
    }
}

/// What the process reads is one line, and is the job once more.
fn check_job(job: &Job, data: &[u8]) {
    assert!(json::depth(data) <= json::MAX_DEPTH);
    let document = job.document(1, None);
    assert!(!document.contains(&b'\n') && !document.contains(&b'\r'));
    let again = Job::parse(&document).expect("what a process reads is a job");
    assert_eq!((again.id, &again.kind), (job.id, &job.kind));
    assert_eq!(again.document(1, None), document);
    assert!(again.notes.is_empty(), "what was left out is not passed on");
    // A refusal would be told to the same.
    let mut broken = data.to_vec();
    while broken.last().is_some_and(|byte| byte.is_ascii_whitespace() || b"]}".contains(byte)) {
        broken.pop();
    }
    let refused = Job::parse(&broken).expect_err("its end is missing");
    if is_plain(data) {
        assert_eq!(refused.id, Some(job.id), "{}", refused.reason);
    }
}

/// Whether the id of a job is found without its end: its name is written without escape sequences, and
/// nothing that is cut off belongs to it.
fn is_plain(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return false };
    value.get("id").is_some_and(Value::is_string) && !data.contains(&b'\\')
}
