//! Whether the outcome of what is sent is certain: the same on every run, and on both servers.

use std::collections::BTreeMap;

use super::framing::{Command, Framer};
use super::session::MAX_JOB_SIZE;
use crate::script::Mode;

/// The one connection that may block in a reserve. Were there two, upstream's choice between them
/// would be arbitrary (entry `waiter-order`).
pub(crate) const WAITER: u8 = 0;

/// A connection that keeps [`HELD_TUBE`] alive and does nothing else.
pub(crate) const HOLDER: u8 = 9;

/// A tube that may be paused, as the default tube may: upstream forgets pauses of others (entry
/// `forgotten-pause`).
pub(crate) const HELD_TUBE: &str = "held";

/// So many seconds do not pass during a session.
const FAR_OFF: u64 = 60;

/// Judges, step by step, whether a session's outcome is certain.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    mode: Mode,
    framers: BTreeMap<u8, Framer>,
    ids: u64,
}

impl Judge {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, framers: BTreeMap::new(), ids: 0 }
    }

    /// How many ids have been given to puts.
    pub(crate) fn ids(&self) -> u64 {
        self.ids
    }

    /// The framing of a connection so far.
    pub(crate) fn framer(&mut self, conn: u8) -> &mut Framer {
        self.framers.entry(conn).or_insert_with(|| Framer::new(MAX_JOB_SIZE))
    }

    /// Takes note that a connection closes.
    pub(crate) fn close(&mut self, conn: u8) {
        self.framers.remove(&conn);
    }

    /// Takes what a connection sends next; `None` if the outcome is uncertain.
    pub(crate) fn send(&mut self, conn: u8, bytes: &[u8]) -> Option<End> {
        let framer = self.framer(conn);
        let puts_before = framer.puts();
        let commands = framer.feed(bytes);
        let unfinished = framer.unfinished();
        self.ids += framer.puts() - puts_before;
        if unfinished.is_some_and(|put| is_uncertain(&put, self.mode)) {
            return None;
        }
        let mut end = End::Open;
        for command in &commands {
            if is_uncertain(command, self.mode) || end != End::Open {
                return None;
            }
            if command.is_quit() {
                end = End::Closed;
                self.close(conn);
            } else if command.may_block() && conn != WAITER {
                return None;
            } else if command.may_block() {
                end = End::Blocked;
            } else if command.line.starts_with(b"pause-tube") {
                end = End::Resumed;
            }
        }
        Some(end)
    }
}

/// How a connection may be left by what it sends. All but the first must come last in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Blocked,
    Closed,
    /// A tube may have been resumed. Upstream serves those who wait for it a moment later, and a
    /// reserve that follows may come first.
    Resumed,
}

/// Whether the allow-list covers what this command shows, or the reply depends on the moment.
fn is_uncertain(command: &Command, mode: Mode) -> bool {
    let line = &command.line;
    // Entries `bare-cr` and `straddling-crlf`.
    if line.contains(&b'\r') || line.len() % 224 == 223 {
        return true;
    }
    if command.is_too_long {
        return false;
    }
    let text = String::from_utf8_lossy(line);
    if let Some(rest) = text.strip_prefix("put ") {
        let numbers = Words::of(rest);
        return numbers.is_soon(1) || numbers.is_soon(2) || numbers.is_zero(2);
    }
    if let Some(rest) = text.strip_prefix("release ") {
        return Words::of(rest).is_soon(2);
    }
    if let Some(rest) = text.strip_prefix("pause-tube") {
        let words = Words::of(rest);
        let lives_on = matches!(words.0.first(), Some(&("default" | HELD_TUBE)));
        return words.is_soon(1) || (!lives_on && !words.is_zero(1));
    }
    if let Some(seconds) = text.strip_prefix("reserve-with-timeout ") {
        return match mode {
            // Entry `reserve-timeout-number`.
            Mode::Default => !is_plain_timeout(seconds) || Words::of(seconds).is_soon(0),
            Mode::V1_12 => ends_soon(seconds),
        };
    }
    false
}

/// What follows a command's name, as far as it tells whether time matters.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.split_ascii_whitespace().collect())
    }

    fn is_zero(&self, index: usize) -> bool {
        self.seconds(index) == Some(0)
    }

    /// Whether it may be a time that passes during a session.
    fn is_soon(&self, index: usize) -> bool {
        self.seconds(index).is_some_and(|seconds| (1..FAR_OFF).contains(&seconds))
    }

    /// Also of a number with junk behind it.
    fn seconds(&self, index: usize) -> Option<u64> {
        let word = self.0.get(index)?;
        word.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    }
}

/// Whether 1.12 and later versions read the same number.
fn is_plain_timeout(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i32>().is_ok()
}

/// Whether 1.12 may make a time of it that passes during a session: it keeps 32 bits.
fn ends_soon(text: &str) -> bool {
    let number = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || "+-".contains(c));
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    let Ok(number) = number[..end].parse::<u128>() else { return false };
    let kept = number % (1 << 32);
    let far_off = u128::from(FAR_OFF);
    // Of a negative number, as of a positive one, what is close to zero or to 2^32 may be soon.
    (1..far_off).contains(&kept) || (number >> 32 > 0 && kept > (1 << 32) - far_off)
}
