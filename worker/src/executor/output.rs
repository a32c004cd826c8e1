//! What a process gave: its result file, its standard output, its line.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Attempt;
use crate::config::OutputFrom;
use crate::exec::{Captured, TAIL};
use crate::json;
use crate::result::{FailureKind, Written};
use crate::text::escaped;

/// Lines that are looked at for the place where JSON begins behind other text.
const MAX_BEGINNINGS: usize = 16;

/// What a process gave.
#[derive(Debug)]
pub(super) enum Given {
    Json(Box<RawValue>),
    /// Nothing that is JSON, which need not be. With a note, if there is something to say about it.
    Nothing(Option<String>),
    /// It meant to give something, and would do so in the same way again.
    Unusable(String),
    /// It may have given something, but this machine could not read it.
    Unreadable(String),
}

/// What is left of an output that is a text.
const NOTE: &str = "standard output is not JSON, so there is no output; its end is in stdout.tail";

/// The output, from where the handler has it.
pub(super) fn given(
    from: OutputFrom,
    result_file: &Path,
    limit: usize,
    stdout: &Captured,
) -> Given {
    match from {
        OutputFrom::Auto => {
            from_file(result_file, limit).unwrap_or_else(|| perhaps_stdout(limit, stdout))
        }
        OutputFrom::File => from_file(result_file, limit).unwrap_or_else(|| {
            Given::Unusable("the result file: the process did not write it".to_owned())
        }),
        OutputFrom::Stdout => from_stdout(limit, stdout).unwrap_or_else(Given::Unusable),
        OutputFrom::LastLine => from_last_line(limit, stdout).unwrap_or_else(Given::Unusable),
        OutputFrom::None => Given::Nothing(None),
    }
}

/// `None`: there is no such file.
fn from_file(path: &Path, limit: usize) -> Option<Given> {
    // The process could have made anything of that name: a link to somewhere else, or a pipe that
    // nobody writes to.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags as i32).open(path);
    let unusable = |why: String| Given::Unusable(format!("the result file: {why}"));
    let failed = |error: io::Error| {
        let message = format!("the result file: {error}");
        if is_of_the_machine(&error) {
            Given::Unreadable(message)
        } else {
            Given::Unusable(message)
        }
    };
    Some(match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => failed(error),
        Ok(file) => {
            if !file.metadata().is_ok_and(|meta| meta.is_file()) {
                return Some(unusable("not a regular file".to_owned()));
            }
            if !is_of_the_job(&file, path) {
                return Some(unusable("it belongs to somebody else".to_owned()));
            }
            let mut text = Vec::new();
            match file.take(limit as u64 + 1).read_to_end(&mut text) {
                Err(error) => failed(error),
                Ok(_) if text.len() > limit => {
                    unusable(format!("longer than {limit} bytes, the maximum"))
                }
                Ok(_) => match json::value(&text) {
                    Ok(value) => Given::Json(value),
                    Err(why) => unusable(format!("not JSON: {why}")),
                },
            }
        }
    })
}

/// Whether an error is for want of something here, and not due to what the process made.
fn is_of_the_machine(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EIO | libc::EINTR)
    )
}

/// Standard output, which may be a text for people.
fn perhaps_stdout(limit: usize, stdout: &Captured) -> Given {
    let why = match from_stdout(limit, stdout) {
        Ok(given) => return given,
        Err(why) => why,
    };
    let head = &stdout.head;
    if head.trim_ascii().is_empty() && stdout.bytes <= limit as u64 {
        return Given::Nothing(None);
    }
    if json::begins(head) {
        return Given::Unusable(why);
    }
    if stdout.bytes > limit as u64 {
        return Given::Unusable(format!(
            "{why}; if it is not meant to be the output, set output_from"
        ));
    }
    match json_behind(head) {
        Some(line) => Given::Unusable(format!(
            "{why}; JSON begins at line {line}: write nothing else to standard output, or set \
             output_from (\"last-line\" takes its last line)"
        )),
        None => Given::Nothing(Some(NOTE.to_owned())),
    }
}

/// Whether the file is its user's, to whom the directory belongs. It could be a second link to a file that only
/// the worker can read.
fn is_of_the_job(file: &File, path: &Path) -> bool {
    let directory = path.parent().map(std::fs::metadata);
    let (Some(Ok(directory)), Ok(file)) = (directory, file.metadata()) else { return false };
    directory.uid() == rustix::process::geteuid().as_raw() || directory.uid() == file.uid()
}

/// The whole of standard output.
fn from_stdout(limit: usize, stdout: &Captured) -> Result<Given, String> {
    let Captured { head, bytes, .. } = stdout;
    if *bytes > limit as u64 {
        return Err(format!("standard output has {bytes} bytes: {limit} is the maximum (output)"));
    }
    if head.trim_ascii().is_empty() {
        return Err("standard output: there is nothing on it".to_owned());
    }
    json::value(head).map(Given::Json).map_err(|why| format!("standard output is not JSON: {why}"))
}

/// The last line of standard output that is not blank.
fn from_last_line(limit: usize, stdout: &Captured) -> Result<Given, String> {
    let text = stdout.tail.trim_ascii_end();
    let begin = text.iter().rposition(|&byte| byte == b'\n').map(|newline| newline + 1);
    let line = &text[begin.unwrap_or(0)..];
    if line.is_empty() {
        return Err("standard output: there is no line on it".to_owned());
    }
    // Without a newline it may have begun before what was kept.
    let is_cut = begin.is_none() && stdout.bytes > stdout.tail.len() as u64;
    if is_cut || line.len() > limit {
        return Err(format!(
            "the last line of standard output has more than {limit} bytes, the maximum (output)"
        ));
    }
    let not_json = |why| format!("the last line of standard output is not JSON: {why}");
    json::value(line).map(Given::Json).map_err(not_json)
}

/// The line at which an array or an object begins that reaches to the end of the text, counted from 1;
/// there is something else before it.
fn json_behind(text: &[u8]) -> Option<usize> {
    let mut begin = 0;
    let mut beginnings = Vec::new();
    for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        if matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
            beginnings.push((number, begin));
        }
        begin += line.len();
    }
    // A log may have very many such lines.
    let few = beginnings.len().min(MAX_BEGINNINGS);
    let first = beginnings[..few].iter();
    let last = beginnings[few..].last();
    let is_json = |begin: usize| serde_json::from_slice::<&RawValue>(&text[begin..]).is_ok();
    first.chain(last).find(|(_, begin)| is_json(*begin)).map(|(number, _)| *number)
}

/// What a result tells of an output.
pub(super) fn written(captured: &Captured) -> Written {
    let tail = &captured.tail[captured.tail.len().saturating_sub(TAIL)..];
    Written {
        tail: String::from_utf8_lossy(tail).into_owned(),
        bytes: captured.bytes,
        truncated: captured.bytes > tail.len() as u64,
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
        Err(why) => return attempt.fail(FailureKind::Executor, format!("its line: {why}"), false),
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

/// The message for a line of a persistent process that is not JSON; `text` is its beginning.
pub(super) fn bad_line(text: &str) -> String {
    let shown = escaped(text, 200);
    match json::value(text.as_bytes()) {
        Err(why) => format!("the process wrote a line that is not JSON: {why}: {shown}"),
        // It was an answer too many.
        Ok(_) => format!("the process wrote a line that answers no job: {shown}"),
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
    fn a_file_of_somebody_else_is_not_read() {
        let directory = std::env::temp_dir().join(format!("jq-output-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("result.json");
        std::fs::write(&path, "{}").unwrap();
        let nothing = Captured { head: Vec::new(), tail: Vec::new(), bytes: 0 };
        assert!(matches!(given(OutputFrom::Auto, &path, 10, &nothing), Given::Json(_)));
        // Only root can give a directory away, and only root runs jobs as other users.
        if std::os::unix::fs::chown(&directory, Some(65_534), None).is_ok() {
            let Given::Unusable(why) = given(OutputFrom::Auto, &path, 10, &nothing) else {
                panic!("it is read")
            };
            assert!(why.contains("belongs to somebody else"), "{why}");
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert!(matches!(given(OutputFrom::Auto, &path, 10, &nothing), Given::Json(_)));
        }
        std::fs::remove_dir_all(directory).unwrap();
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

    fn stdout(text: &str) -> Captured {
        let text = text.as_bytes().to_vec();
        Captured { bytes: text.len() as u64, tail: text.clone(), head: text }
    }

    /// In one line what is given.
    fn told(given: Given) -> String {
        match given {
            Given::Json(value) => value.get().to_owned(),
            Given::Nothing(None) => "nothing".to_owned(),
            Given::Nothing(Some(note)) => format!("note: {note}"),
            Given::Unusable(why) => format!("unusable: {why}"),
            Given::Unreadable(why) => format!("unreadable: {why}"),
        }
    }

    #[test]
    fn result_files() {
        let path = std::env::temp_dir().join(format!("jq-output-{}", uuid::Uuid::new_v4()));
        let auto = |limit| told(given(OutputFrom::Auto, &path, limit, &stdout("[1]")));
        let file = |limit| told(given(OutputFrom::File, &path, limit, &stdout("[1]")));
        assert_eq!(auto(100), "[1]");
        assert!(file(100).contains("did not write it"));
        std::fs::write(&path, "[2]").unwrap();
        assert_eq!((auto(100), file(100)), ("[2]".to_owned(), "[2]".to_owned()));
        let text = told(given(OutputFrom::Stdout, &path, 100, &stdout("[1]")));
        assert_eq!(text, "[1]", "the file does not count");
        assert_eq!(told(given(OutputFrom::None, &path, 100, &stdout("[1]"))), "nothing");
        std::fs::write(&path, "[2").unwrap();
        assert!(auto(100).contains("not JSON"));
        std::fs::write(&path, "[2,3,4]").unwrap();
        assert!(auto(3).contains("longer than 3 bytes"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(auto(100).starts_with("unusable: the result file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(auto(100).contains("not a regular file"));
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn standard_output_that_may_be_text() {
        let auto = |limit, out: &str| {
            told(given(OutputFrom::Auto, Path::new("/no/such"), limit, &stdout(out)))
        };
        assert_eq!(auto(100, " {\"a\":1}\n"), "{\"a\":1}");
        assert_eq!(auto(100, "\u{feff}7"), "7");
        assert_eq!(auto(100, ""), "nothing");
        assert_eq!(auto(100, " \n"), "nothing");
        for text in ["hello", "3 files", "[INFO] begun\n[INFO] done\n", "done: {\"a\":1}"] {
            assert_eq!(auto(100, text), format!("note: {NOTE}"), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        for (text, why) in [
            ("{\"a\":NaN}", "NaN at line 1 column 6"),
            ("[1, -Infinity]", "Infinity at line 1"),
            ("NaN\n", "NaN at line 1 column 1"),
            ("{\"a\":1} {\"a\":2}", "trailing characters at line 1"),
            ("{'a': 1}", "line 1 column 2"),
            ("[1,", "EOF while parsing"),
            (&deep, "nested 101 deep"),
            ("\"long text that goes on and on\"", "31 bytes: 30 is the maximum"),
            ("long text that goes on and on and on", "30 is the maximum"),
            ("loading\n{\"a\":\n1}\n", "JSON begins at line 2"),
            ("[a]\n[b]\n[1]\n", "JSON begins at line 3"),
        ] {
            let limit = if why.contains("maximum") { 30 } else { 1000 };
            let told = auto(limit, text);
            assert!(told.starts_with("unusable: ") && told.contains(why), "{text}: {told}");
        }
        let lines = format!("{}{{\"a\":1}}\n", "[x]\n".repeat(100));
        assert!(auto(1000, &lines).contains("JSON begins at line 101"));
    }

    #[test]
    fn standard_output_that_must_be_json() {
        let given =
            |from, limit, out: &str| told(given(from, Path::new("/no"), limit, &stdout(out)));
        let whole = |limit, out: &str| given(OutputFrom::Stdout, limit, out);
        assert_eq!(whole(10, "[1]\n"), "[1]");
        assert!(whole(10, "").contains("nothing on it"));
        assert!(whole(10, "hello").contains("not JSON"));
        assert!(whole(3, "[1, 2]").contains("6 bytes: 3 is the maximum"));
        let last = |limit, out: &str| given(OutputFrom::LastLine, limit, out);
        assert_eq!(last(10, "loading\n[half\n{\"a\":1}\r\n\n"), "{\"a\":1}");
        assert_eq!(last(10, "7"), "7");
        assert_eq!(last(3, "much more than three bytes\n[1]"), "[1]");
        assert!(last(10, "\n \n").contains("no line"));
        assert!(last(10, "[1]\ndone").contains("not JSON"));
        assert!(last(3, "x\n[1, 2]").contains("more than 3 bytes"));
        let cut = Captured { head: vec![], tail: b"1]".to_vec(), bytes: 100 };
        let told = told(super::given(OutputFrom::LastLine, Path::new("/no"), 10, &cut));
        assert!(told.contains("more than 10 bytes"), "{told}");
    }

    #[test]
    fn lines_that_are_not_json() {
        assert!(bad_line("hello \u{1b}").contains("hello \\u{1b}"));
        assert!(bad_line("{\"a\":NaN}").contains("NaN at line 1 column 6"));
        assert!(bad_line("[1]").contains("answers no job"));
    }
}
