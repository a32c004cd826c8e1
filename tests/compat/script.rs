//! The language that the sessions under `sessions/` are written in.
//!
//! A file holds sessions; each starts with `== name` and is played to a fresh server. `#` starts a
//! comment line. Connections are named by one word and opened when first named.
//!
//! | line             | meaning                                                              |
//! |------------------|----------------------------------------------------------------------|
//! | `flags: -z 10`   | further flags for the servers                                        |
//! | `mode: 1.12`     | play only to a server with these manners (else: to both, see `Mode`) |
//! | `deviation: x`   | the session shows the entry `x` of the allow-list                    |
//! | `a> text`        | send `text` and CRLF; adjoining lines go out in one write            |
//! | `a>> text`       | send `text` alone, in a write of its own                             |
//! | `a< line`        | the next reply is this line; `...` at the end stands for anything    |
//! | `a: text`        | its body: all of it, or for `OK` a line that occurs in it            |
//! | `a! line`        | what beanstalkd 1.12 replies instead of the reply above              |
//! | `a fin`          | half-close                                                           |
//! | `a close`        | close, all replies having been read                                  |
//! | `a reset`        | close abruptly                                                       |
//! | `drain`          | tell the server to take no more jobs                                 |
//! | `until key: 1`   | go on when `stats` says so                                            |
//! | `@ 1.5`          | the next reply comes 1.5 s after the session's start, not before     |
//! | `sleep 1.5`      | go on 1.5 s after the session's start                                |
//!
//! Three replies stand for themselves: `(silence)`, `(waits)` for a reserve that blocks, and
//! `(closed)`. In text, `\r \n \t \0 \\ \xHH` are the bytes they say, and `{x*223}` is `x` 223
//! times.

use std::time::Duration;

use crate::support;

/// Whose manners our server is told to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The default: upstream's since 1.13.
    Default,
    /// `--compat 1.12`.
    V1_12,
}

impl Mode {
    /// The flags that ask for it. A beanstalkd that stands in for our server takes none.
    pub(crate) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::V1_12 if support::is_our_server() => &["--compat", "1.12"],
            _ => &[],
        }
    }

    /// Whether names in stats are quoted.
    pub(crate) fn quotes_names(self) -> bool {
        self == Self::Default && support::is_our_server()
    }
}

/// One session.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) flags: Vec<String>,
    /// Play only in this mode.
    pub(crate) only: Option<Mode>,
    /// The name of the entry of the allow-list that it shows.
    pub(crate) deviation: Option<String>,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// Whether it waits for time to pass.
    pub(crate) fn is_timed(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.action, Action::NotBefore(_) | Action::SleepUntil(_)))
    }
}

/// One step and the line of the file that it came from.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) action: Action,
}

/// What happens in a step.
#[derive(Debug)]
pub(crate) enum Action {
    Send {
        conn: String,
        bytes: Vec<u8>,
    },
    Expect {
        conn: String,
        wanted: Wanted,
        theirs: Option<Wanted>,
    },
    Finish {
        conn: String,
    },
    Close {
        conn: String,
    },
    Reset {
        conn: String,
    },
    Drain,
    Until {
        key: String,
        value: String,
    },
    /// The next reply comes this long after the session's start.
    NotBefore(Duration),
    SleepUntil(Duration),
}

/// What must be read from a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Silence,
    Waits,
    Closed,
    Reply { line: Vec<u8>, open_ended: bool, body: Vec<Vec<u8>> },
}

/// Reads a file of sessions.
///
/// # Panics
///
/// If it is not well-formed: it is part of the tests.
pub(crate) fn parse(text: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            scripts.push(Script { name: name.to_owned(), ..Script::default() });
            continue;
        }
        let script = scripts.last_mut().expect("a file starts with a session's name");
        let known = parse_line(script, line_number, line);
        assert!(known.is_some(), "line {line_number} is not understood: {line}");
    }
    for script in &scripts {
        assert_in_order(script);
        let shows = script.steps.iter().any(|step| {
            matches!(&step.action, Action::Expect { theirs: Some(theirs), wanted, .. }
                if theirs != wanted)
        });
        assert_eq!(shows, script.deviation.is_some(), "{}: deviations are declared", script.name);
    }
    scripts
}

/// What two connections send reaches a server in an order only if the second sends after something
/// was read from the first, or `stats` showed that it had arrived.
fn assert_in_order(script: &Script) {
    let mut unheard: Option<&String> = None;
    for step in &script.steps {
        let busy = match &step.action {
            Action::Send { conn, .. } | Action::Finish { conn } => Some(conn),
            Action::Expect { wanted: Wanted::Silence, .. }
            | Action::NotBefore(_)
            | Action::SleepUntil(_) => continue,
            Action::Expect { conn, .. } => {
                unheard = unheard.filter(|name| *name != conn);
                continue;
            }
            Action::Until { .. } => {
                unheard = None;
                continue;
            }
            Action::Close { .. } | Action::Reset { .. } | Action::Drain => None,
        };
        let in_order = unheard.is_none() || unheard == busy;
        assert!(in_order, "{}, line {}: {unheard:?} is unheard", script.name, step.line);
        unheard = busy;
    }
}

fn parse_line(script: &mut Script, line: usize, text: &str) -> Option<()> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let action = match word {
        "flags:" => {
            script.flags = rest.split(' ').map(str::to_owned).collect();
            return Some(());
        }
        "mode:" => {
            script.only = Some(match rest {
                "1.12" => Mode::V1_12,
                "default" => Mode::Default,
                _ => return None,
            });
            return Some(());
        }
        "deviation:" => {
            script.deviation = Some(rest.to_owned());
            return Some(());
        }
        "drain" => Action::Drain,
        "until" => {
            let (key, value) = rest.split_once(": ")?;
            Action::Until { key: key.to_owned(), value: value.to_owned() }
        }
        "@" => Action::NotBefore(Duration::from_secs_f64(rest.parse().ok()?)),
        "sleep" => Action::SleepUntil(Duration::from_secs_f64(rest.parse().ok()?)),
        _ => return parse_conn_line(script, line, word, rest),
    };
    script.steps.push(Step { line, action });
    Some(())
}

fn parse_conn_line(script: &mut Script, line: usize, word: &str, rest: &str) -> Option<()> {
    let name_length = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
    let (name, mark) = word.split_at(name_length);
    let conn = name.to_owned();
    let last = script.steps.last_mut().map(|step| &mut step.action);
    let action = match (mark, rest) {
        (">", _) => {
            let mut sent = unescape(rest);
            sent.extend_from_slice(b"\r\n");
            if let Some(Action::Send { conn: previous, bytes }) = last
                && *previous == conn
                && bytes.ends_with(b"\r\n")
            {
                bytes.extend(sent);
                return Some(());
            }
            Action::Send { conn, bytes: sent }
        }
        (">>", _) => Action::Send { conn, bytes: unescape(rest) },
        ("<", _) => Action::Expect { conn, wanted: parse_wanted(rest), theirs: None },
        ("!", _) => {
            let Some(Action::Expect { theirs, .. }) = last else { return None };
            *theirs = Some(parse_wanted(rest));
            return Some(());
        }
        (":", _) => {
            let Some(Action::Expect { wanted, theirs, .. }) = last else { return None };
            let Wanted::Reply { body, .. } = theirs.as_mut().unwrap_or(wanted) else {
                return None;
            };
            body.push(unescape(rest));
            return Some(());
        }
        ("", "fin") => Action::Finish { conn },
        ("", "close") => Action::Close { conn },
        ("", "reset") => Action::Reset { conn },
        _ => return None,
    };
    script.steps.push(Step { line, action });
    Some(())
}

fn parse_wanted(text: &str) -> Wanted {
    match text {
        "(silence)" => Wanted::Silence,
        "(waits)" => Wanted::Waits,
        "(closed)" => Wanted::Closed,
        _ => {
            let open_ended = text.ends_with("...");
            let line = unescape(text.strip_suffix("...").unwrap_or(text));
            Wanted::Reply { line, open_ended, body: Vec::new() }
        }
    }
}

/// Writes bytes as the language wants them.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let piece = |&byte: &u8| match byte {
        b'\r' => "\\r".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\\' => "\\\\".to_owned(),
        // A space at the end of a line would not be seen, and a brace begins a repetition.
        b'!'..=b'z' | b'}' | b'~' => char::from(byte).to_string(),
        b' ' if bytes.last() != Some(&b' ') => " ".to_owned(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(piece).collect()
}

#[test]
fn what_is_escaped_is_unescaped() {
    let bytes: Vec<u8> = (0..=255).chain(*b" {a*3} ").collect();
    assert_eq!(unescape(&escape(&bytes)), bytes);
}

/// Turns the escapes and repetitions of the language into bytes.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (piece, used) = match first {
            '\\' => escaped(rest),
            '{' => repetition(rest),
            _ => (rest.as_bytes()[..first.len_utf8()].to_vec(), first.len_utf8()),
        };
        bytes.extend(piece);
        rest = &rest[used..];
    }
    bytes
}

fn escaped(text: &str) -> (Vec<u8>, usize) {
    let byte = match text.as_bytes()[1] {
        b'r' => b'\r',
        b'n' => b'\n',
        b't' => b'\t',
        b'0' => b'\0',
        b'\\' => b'\\',
        b'x' => {
            let byte = u8::from_str_radix(&text[2..4], 16).expect("\\x has two hex digits");
            return (vec![byte], 4);
        }
        other => panic!("unknown escape \\{}", char::from(other)),
    };
    (vec![byte], 2)
}

fn repetition(text: &str) -> (Vec<u8>, usize) {
    let end = text.find('}').expect("a repetition ends with }");
    let (piece, count) = text[1..end].split_once('*').expect("a repetition has a *");
    let count = count.parse().expect("a repetition has a count");
    (unescape(piece).repeat(count), end + 1)
}
