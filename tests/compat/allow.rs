//! The only differences from beanstalkd 1.12 that these tests accept.
//!
//! Each entry is shown, on both servers, by a session under `sessions/` or a case of `command_line`
//! or `restart` that names it, and told to users in a section of that name in `docs/compat.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::command_line;
use crate::compare::Difference;
use crate::restart;
use crate::script::{self, Mode};
use crate::sessions::FILES;

/// A difference that is meant.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
}

/// Every one of them.
pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        name: "quoted-stats",
        reason: "since 1.13 upstream quotes names, so that YAML reads 123 and ~ as text",
    },
    Entry {
        name: "reserve-timeout-number",
        reason: "since 1.13 upstream refuses what is not a number below 2^31",
    },
    Entry { name: "bare-cr", reason: "upstream never answers a line with a CR inside it" },
    Entry { name: "straddling-crlf", reason: "upstream swallows the next command" },
    Entry { name: "half-uploaded-job", reason: "upstream serves memory that no client has sent" },
    Entry { name: "waiter-order", reason: "upstream serves waiters in an arbitrary order" },
    Entry { name: "lost-timer", reason: "upstream forgets a job's ttr when another job goes" },
    Entry { name: "forgotten-pause", reason: "upstream forgets a pause with the tube's last user" },
    Entry { name: "policies", reason: "what an operator has set for a tube shows in its stats" },
    Entry { name: "disconnects", reason: "who looks for crashing workers finds them in stats-job" },
    Entry {
        name: "extensions",
        reason: "who wants more can ask, and is told by a reply if it is not there",
    },
    Entry { name: "http-request", reason: "no web page may queue jobs through somebody's browser" },
    Entry {
        name: "closed-without-reading",
        reason: "upstream carries out one command of a client that is gone, or some, or all",
    },
    Entry { name: "flag-values", reason: "a value that makes no sense is more likely a mistake" },
    Entry { name: "long-flags", reason: "options of our own are long ones" },
    Entry { name: "graceful-stop", reason: "clients get the replies to what they have sent" },
    Entry { name: "end-of-drain", reason: "a drain that was begun by mistake can be taken back" },
    Entry { name: "hangup", reason: "who asks for a reload does not mean to lose the queue" },
    Entry { name: "kept-state", reason: "a restart changes no more than it must" },
    Entry { name: "damaged-binlog", reason: "what no client has put is not served" },
];

/// Whether a difference in one line of `stats` and the like is meant. The differences of whole
/// replies are not found here but written out in the sessions.
pub(crate) fn accepts(difference: &Difference, mode: Mode) -> bool {
    mode == Mode::Default && is_quoting(difference)
}

fn is_quoting(difference: &Difference) -> bool {
    let Some((key, value)) = difference.theirs.split_once(": ") else { return false };
    matches!(key, "name" | "tube" | "hostname" | "os" | "platform")
        && difference.ours == format!("{key}: \"{value}\"")
}

/// An entry that nothing needs would hide a difference that comes later, and one that users cannot
/// read about would surprise them.
#[test]
fn entries_are_shown_and_documented() {
    let listed: BTreeSet<String> = ENTRIES.iter().map(|entry| entry.name.to_owned()).collect();
    assert_eq!(listed.len(), ENTRIES.len(), "names are unique");
    assert!(ENTRIES.iter().all(|entry| !entry.reason.is_empty()));

    let shown: BTreeSet<String> = FILES
        .iter()
        .flat_map(|file| script::parse(file.text))
        .filter_map(|script| script.deviation)
        .chain(command_line::deviations().chain(restart::deviations()).map(str::to_owned))
        .collect();
    assert_eq!(listed, shown, "the allow-list, and what sessions and command lines show");

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compat.md");
    let page = fs::read_to_string(page).expect("docs/compat.md is there");
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, documented, "the allow-list and the headings of docs/compat.md");
}
