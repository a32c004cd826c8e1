//! Whether two replies to the same command are the same: byte for byte, but for what no two servers
//! can share.

use crate::allow;
use crate::script::Mode;
use crate::support::Reply;

/// How far apart two servers' whole seconds may be: one for a tick that falls between them, the
/// rest for a machine that is busy with other tests.
const SECONDS_APART: u64 = 3;

/// A reply and what is needed to judge it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) reply: Reply,
    /// How many `stats` the harness had asked for on its own connection.
    pub(crate) polls: u64,
}

/// Where the two servers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) theirs: String,
    pub(crate) ours: String,
}

/// What differs between beanstalkd's reply and ours, apart from what the allow-list accepts.
pub(crate) fn difference(theirs: &Heard, ours: &Heard, mode: Mode) -> Option<Difference> {
    if theirs.reply == ours.reply {
        return None;
    }
    let whole = Difference { theirs: theirs.reply.to_string(), ours: ours.reply.to_string() };
    let dictionaries = (dictionary(&theirs.reply), dictionary(&ours.reply));
    let (Some(their_lines), Some(our_lines)) = dictionaries else { return Some(whole) };
    // Keys of our own come last, so these pairs are all of beanstalkd's.
    if our_lines.len() < their_lines.len() || !ours.reply.is_well_formed() {
        return Some(whole);
    }
    let extra_polls = (theirs.polls, ours.polls);
    their_lines
        .iter()
        .zip(&our_lines)
        .map(|(theirs, ours)| line_difference(theirs, ours, extra_polls))
        .find_map(|found| found.filter(|difference| !allow::accepts(difference, mode)))
}

fn line_difference(theirs: &str, ours: &str, polls: (u64, u64)) -> Option<Difference> {
    let found = Some(Difference { theirs: theirs.to_owned(), ours: ours.to_owned() });
    let (Some((key, their_value)), Some((our_key, our_value))) =
        (theirs.split_once(": "), ours.split_once(": "))
    else {
        return found.filter(|_| theirs != ours);
    };
    let same = key == our_key
        && match key {
            "pid" | "rusage-utime" | "rusage-stime" => {
                our_value.chars().all(|c| c.is_ascii_digit() || c == '.')
            }
            // Ours are smaller, and there are some for reserves and pauses too.
            "binlog-records-written" => their_value == our_value || seconds(our_value) > 0,
            "version" => {
                our_value.len() > 2 && our_value.starts_with('"') && our_value.ends_with('"')
            }
            "id" => {
                their_value == our_value || (is_instance(their_value) && is_instance(our_value))
            }
            "age" | "time-left" | "pause-time-left" | "uptime" => {
                seconds(their_value).abs_diff(seconds(our_value)) <= SECONDS_APART
            }
            "cmd-stats" => {
                seconds(their_value).checked_sub(polls.0) == seconds(our_value).checked_sub(polls.1)
            }
            _ => their_value == our_value,
        };
    found.filter(|_| !same)
}

/// The lines of a body that is a YAML dictionary.
fn dictionary(reply: &Reply) -> Option<Vec<&str>> {
    let body = std::str::from_utf8(reply.body()?).ok()?;
    let lines: Vec<&str> = body.strip_prefix("---\n")?.lines().collect();
    lines.first()?.contains(": ").then_some(lines)
}

/// The random name of a server's run: 16 hexadecimal digits, unlike a job's id.
fn is_instance(value: &str) -> bool {
    value.len() == 16 && value.chars().all(|c| c.is_ascii_hexdigit())
}

fn seconds(value: &str) -> u64 {
    // Anything but a number compares as one that no other is near to.
    value.parse().unwrap_or(u64::MAX / 2)
}
