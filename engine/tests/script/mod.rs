//! Transcripts: sessions of several connections on virtual time, as text.
//!
//! ```text
//! # A comment names the rule.
//! == the title of a session, which begins with a new engine
//! a> put 0 0 60 3|abc        connection a sends two lines
//! a< INSERTED 1              and is answered with this line
//! b> reserve-with-timeout 2
//! -- +2s                     time passes; everything due on the way happens
//! b< TIMED_OUT
//! ```
//!
//! A line is a connection's letter, a mark, and a text. A connection opens when its letter first
//! occurs.
//!
//! | mark | meaning |
//! |------|---------|
//! | `>`  | sends the text and CRLF |
//! | `+`  | sends just the text |
//! | `<`  | receives the text and CRLF, next and exactly |
//! | `:`  | receives the text and LF: a line of a body |
//! | `~`  | receives a well-formed `OK` with these `key: value` lines, separated by commas |
//! | `!`  | `open`; `fin`: sends no more, but reads on; `gone`: disconnects at once |
//! | `?`  | is `closed` by the server now (it must be said when that happens) |
//!
//! In texts `|` is CRLF; `\r \n \t \0 \\ \xNN` are single bytes; `{x*200}` is x 200 times.
//!
//! `--` commands: `+1.5s` (also `ms`, `ns`); `late +5s` (nothing happens on the way, everything at
//! the end); `drain on`, `drain off`; `policy mail max-jobs=5 unique`, which replaces the one before;
//! `limits jobs=5 memory=1000` of the server; and, before anything is sent, `max-job-size 10`,
//! `dialect 1.12`.
//!
//! Everything that is received must be written before the next action: silence is checked too.

mod host;
mod parse;

use std::fmt;
use std::path::Path;

use host::Host;
pub(crate) use host::Pieces;
use parse::Step;

/// Where and why a transcript fails.
#[derive(Debug)]
pub(crate) struct Failure {
    line: usize,
    title: String,
    what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, in \"{}\": {}", self.line, self.title, self.what)
    }
}

/// Plays all sessions of a file. The clients' bytes arrive in the given pieces.
pub(crate) fn play_file(path: &Path, pieces: Pieces) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure {
        line: 0,
        title: String::new(),
        what: error.to_string(),
    })?;
    let mut title = String::new();
    let mut host = Host::new(pieces);
    let mut sessions = 0;
    let mut last = 0;
    for (number, line) in text.lines().enumerate() {
        last = number + 1;
        let failure = |what: String, title: &str| Failure { line: last, title: title.into(), what };
        let step = parse::line(line).map_err(|what| failure(what, &title))?;
        if step.is_action() {
            host.nothing_left().map_err(|what| failure(what, &title))?;
        }
        match step {
            Step::Nothing => {}
            Step::Session(name) => {
                title = name;
                sessions += 1;
                host = Host::new(pieces);
            }
            step => host.play(step).map_err(|what| failure(what, &title))?,
        }
    }
    let failure = |what: String| Failure { line: last, title: title.clone(), what };
    host.nothing_left().map_err(failure)?;
    if sessions == 0 { Err(failure("there is no session in this file".into())) } else { Ok(()) }
}
