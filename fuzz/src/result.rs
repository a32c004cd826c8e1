//! Results and outputs: what was read is written and read again as the same, and nothing may panic.

use jq_worker::json;
use jq_worker::result::{JobResult, entity_tag};
use jq_worker::text::{MAX_LINE, escaped, last_line};

/// Reads `data` as a result, as an output, and as what a process wrote to standard error.
pub fn run(data: &[u8]) {
    if let Ok(result) = serde_json::from_slice::<JobResult>(data) {
        let text = result.to_json();
        let again: JobResult = serde_json::from_slice(&text).expect("what we write can be read");
        assert_eq!(again.to_json(), text);
        assert_eq!(entity_tag(&text).len(), 32);
    }
    check_output(data);
    check_words(data);
}

/// An output is kept as it was written, or there is a reason that can be shown.
fn check_output(data: &[u8]) {
    let begins = json::begins(data);
    match json::value(data) {
        Ok(value) => {
            let again = json::value(value.get().as_bytes()).expect("it is the same JSON");
            assert_eq!(again.get(), value.get());
            let is_structure = value.get().starts_with(['{', '[', '"']);
            assert!(begins || !is_structure, "it begins like what it is: {}", value.get());
        }
        Err(why) => {
            assert!(!why.is_empty() && why.len() < 1000 && !why.contains('\u{1b}'), "{why}")
        }
    }
}

/// A line for a message is bounded and has no control characters.
fn check_words(data: &[u8]) {
    let is_fit = |text: &str| text.len() <= MAX_LINE + 4 && !text.chars().any(char::is_control);
    assert!(is_fit(&escaped(&String::from_utf8_lossy(data), MAX_LINE)));
    if let Some(line) = last_line(data, |_| false) {
        assert!(!line.is_empty() && is_fit(&line), "{line:?}");
    }
}
