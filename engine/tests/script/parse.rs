//! One line of a transcript.

use std::time::Duration;

use beanstalk_protocol::{Dialect, TubeName};
use jq_engine::{Limits, Policy};

/// The meaning of a line.
#[derive(Debug)]
pub(crate) enum Step {
    /// An empty line or a comment.
    Nothing,
    /// A new session with this title.
    Session(String),
    /// The connection sends these bytes.
    Send(char, Vec<u8>),
    /// The connection has received these bytes.
    Receive(char, Vec<u8>),
    /// The connection has received an `OK` with these lines in its body.
    ReceiveStats(char, Vec<String>),
    Open(char),
    Fin(char),
    Gone(char),
    /// The server has closed the connection.
    Closed(char),
    /// Time passes, and everything due on the way happens when it is due.
    Pass(Duration),
    /// Time passes, and everything due on the way happens at the end.
    PassLate(Duration),
    Drain(bool),
    /// The policy of this tube from now on.
    Policy(TubeName, Policy<TubeName>),
    /// The limits of the server from now on.
    Limits(Limits),
    MaxJobSize(u32),
    Dialect(Dialect),
}

impl Step {
    /// Whether the line makes something happen, rather than expecting it to have happened.
    pub(crate) fn is_action(&self) -> bool {
        !matches!(
            self,
            Self::Nothing | Self::Receive(..) | Self::ReceiveStats(..) | Self::Closed(_)
        )
    }
}

pub(crate) fn line(line: &str) -> Result<Step, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(Step::Nothing);
    }
    if let Some(title) = line.strip_prefix("== ") {
        return Ok(Step::Session(title.into()));
    }
    if let Some(control) = line.strip_prefix("-- ") {
        return self::control(control);
    }
    let mut chars = line.chars();
    let (Some(conn @ 'a'..='z'), Some(mark)) = (chars.next(), chars.next()) else {
        return Err(format!("not a line of a transcript: {line}"));
    };
    let rest = chars.as_str();
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    Ok(match (mark, text) {
        ('>', _) => Step::Send(conn, with(bytes(text)?, b"\r\n")),
        ('+', _) => Step::Send(conn, bytes(text)?),
        ('<', _) => Step::Receive(conn, with(bytes(text)?, b"\r\n")),
        (':', _) => Step::Receive(conn, with(bytes(text)?, b"\n")),
        ('~', _) => Step::ReceiveStats(conn, text.split(", ").map(String::from).collect()),
        ('!', "open") => Step::Open(conn),
        ('!', "fin") => Step::Fin(conn),
        ('!', "gone") => Step::Gone(conn),
        ('?', "closed") => Step::Closed(conn),
        _ => return Err(format!("unknown mark or word: {line}")),
    })
}

fn control(text: &str) -> Result<Step, String> {
    let words: Vec<&str> = text.split(' ').collect();
    Ok(match words[..] {
        ["drain", "on"] => Step::Drain(true),
        ["drain", "off"] => Step::Drain(false),
        ["policy", name, ref rules @ ..] => Step::Policy(tube(name)?, policy(rules)?),
        ["limits", ref limits @ ..] => Step::Limits(self::limits(limits)?),
        ["late", time] => Step::PassLate(duration(time)?),
        ["max-job-size", size] => {
            Step::MaxJobSize(size.parse().map_err(|_| format!("no size: {size}"))?)
        }
        ["dialect", version] => Step::Dialect(version.parse().map_err(|e| format!("{e}"))?),
        [time] => Step::Pass(duration(time)?),
        _ => return Err(format!("unknown command: {text}")),
    })
}

fn tube(name: &str) -> Result<TubeName, String> {
    TubeName::new(name.as_bytes()).map_err(|error| error.to_string())
}

/// Rules such as `max-jobs=5` and `unique`. Without any it is the policy that removes one.
fn policy(rules: &[&str]) -> Result<Policy<TubeName>, String> {
    let mut policy = Policy::default();
    for rule in rules {
        let (name, value) = rule.split_once('=').unwrap_or((rule, ""));
        let number = || value.parse::<u32>().map_err(|_| format!("no number: {rule}"));
        match name {
            "max-jobs" => policy.max_jobs = Some(number()?.into()),
            "max-bytes" => policy.max_bytes = Some(number()?.into()),
            "max-reserves" => policy.max_reserves = Some(number()?),
            "max-timeouts" => policy.max_timeouts = Some(number()?),
            "max-disconnects" => policy.max_disconnects = Some(number()?),
            "dead-letter" => policy.dead_letter = Some(tube(value)?),
            "expires" => policy.expires = Some(number()?),
            "unique" => policy.unique = true,
            "default-ttr" => policy.default_ttr = Some(number()?),
            "reserves-per-second" => policy.reserve_rate = Some(1000 * number()?),
            _ => return Err(format!("unknown rule: {rule}")),
        }
    }
    Ok(policy)
}

fn limits(limits: &[&str]) -> Result<Limits, String> {
    let mut all = Limits::NONE;
    for limit in limits {
        let (name, value) = limit.split_once('=').unwrap_or((limit, ""));
        let number = value.parse().map_err(|_| format!("no number: {limit}"))?;
        match name {
            "jobs" => all.jobs = number,
            "memory" => all.memory = number,
            _ => return Err(format!("unknown limit: {limit}")),
        }
    }
    Ok(all)
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("no time: {text}");
    let number = text.strip_prefix('+').ok_or_else(bad)?;
    let (number, unit) = if let Some(number) = number.strip_suffix("ms") {
        (number, 1e6)
    } else if let Some(number) = number.strip_suffix("ns") {
        (number, 1.0)
    } else {
        (number.strip_suffix('s').ok_or_else(bad)?, 1e9)
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    Ok(Duration::from_nanos((number * unit) as u64))
}

/// The text with its escapes resolved.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '{' {
            let (inner, after) = rest[1..].split_once('}').ok_or("no } for a {")?;
            let (unit, times) = inner.rsplit_once('*').ok_or("no * between { and }")?;
            let times = times.parse().map_err(|_| format!("no number of times: {times}"))?;
            out.extend(bytes(unit)?.repeat(times));
            rest = after;
            continue;
        }
        let (byte, used) = match (first, rest.get(1..2)) {
            ('|', _) => {
                out.push(b'\r');
                (b'\n', 1)
            }
            ('\\', Some("r")) => (b'\r', 2),
            ('\\', Some("n")) => (b'\n', 2),
            ('\\', Some("t")) => (b'\t', 2),
            ('\\', Some("0")) => (0, 2),
            ('\\', Some("\\")) => (b'\\', 2),
            ('\\', Some("x")) => {
                let digits = rest.get(2..4).unwrap_or_default();
                (u8::from_str_radix(digits, 16).map_err(|_| format!("no byte: {rest}"))?, 4)
            }
            (' '..='~', _) if first != '\\' => (first as u8, 1),
            _ => return Err(format!("unknown escape: {rest}")),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    Ok(out)
}

fn with(mut text: Vec<u8>, end: &[u8]) -> Vec<u8> {
    text.extend_from_slice(end);
    text
}
