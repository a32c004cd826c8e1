//! How a stream of bytes falls into commands, so that the harness knows how many replies to wait
//! for. A model of its own, as simple as can be: the server's decoder is what is tested.

/// A line with its CRLF.
const LONGEST_LINE: usize = 224;

/// The framing of one connection's bytes.
#[derive(Debug, Clone)]
pub(crate) struct Framer {
    max_job_size: u64,
    state: State,
    /// Puts whose line was accepted, each of which takes an id.
    puts: u64,
    /// Puts that are counted, accepted or not.
    counted_puts: u64,
}

#[derive(Debug, Clone)]
enum State {
    Line(Vec<u8>),
    Body {
        put: Vec<u8>,
        left: u64,
    },
    /// A body that is thrown away.
    TooBig {
        put: Vec<u8>,
        left: u64,
    },
    Closed,
}

/// A command that the server has now read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its line, without CRLF.
    pub(crate) line: Vec<u8>,
    pub(crate) is_too_long: bool,
}

impl Command {
    /// Whether it closes the connection instead of being answered.
    pub(crate) fn is_quit(&self) -> bool {
        !self.is_too_long && self.line.starts_with(b"quit") && !self.line.contains(&0)
    }

    /// Whether the answer may have to wait for a job.
    pub(crate) fn may_block(&self) -> bool {
        let timeout = self.line.strip_prefix(b"reserve-with-timeout ");
        self.line == b"reserve"
            || timeout.is_some_and(|seconds| !seconds.starts_with(b"0 ") && seconds != b"0")
    }
}

impl Framer {
    pub(crate) fn new(max_job_size: u64) -> Self {
        Self { max_job_size, state: State::Line(Vec::new()), puts: 0, counted_puts: 0 }
    }

    /// How many bytes of a put's body are still to come, if one is on its way.
    pub(crate) fn body_left(&self) -> Option<u64> {
        match &self.state {
            State::Body { left, .. } => Some(*left),
            _ => None,
        }
    }

    /// How many bytes of any body are still to come.
    pub(crate) fn swallows(&self) -> u64 {
        match &self.state {
            State::Body { left, .. } | State::TooBig { left, .. } => *left,
            _ => 0,
        }
    }

    /// The put whose body is on its way, kept or not.
    pub(crate) fn unfinished(&self) -> Option<Command> {
        match &self.state {
            State::Body { put, .. } | State::TooBig { put, .. } => {
                Some(Command { line: put.clone(), is_too_long: false })
            }
            _ => None,
        }
    }

    /// How many puts have been given an id.
    pub(crate) fn puts(&self) -> u64 {
        self.puts
    }

    /// By how much `cmd-put` has moved.
    pub(crate) fn counted_puts(&self) -> u64 {
        self.counted_puts
    }

    /// Whether it is between two commands.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(&self.state, State::Line(line) if line.is_empty())
    }

    /// Takes what is sent next; the commands that end in it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Command> {
        bytes.iter().filter_map(|byte| self.feed_byte(*byte)).collect()
    }

    fn feed_byte(&mut self, byte: u8) -> Option<Command> {
        match &mut self.state {
            State::Closed => None,
            State::Line(line) => {
                line.push(byte);
                if !line.ends_with(b"\r\n") {
                    return None;
                }
                let is_too_long = line.len() > LONGEST_LINE;
                line.truncate(line.len() - 2);
                let line = std::mem::take(line);
                self.end_line(Command { line, is_too_long })
            }
            State::Body { put, left } | State::TooBig { put, left } => {
                *left -= 1;
                if *left > 0 {
                    return None;
                }
                let line = std::mem::take(put);
                self.state = State::Line(Vec::new());
                Some(Command { line, is_too_long: false })
            }
        }
    }

    fn end_line(&mut self, command: Command) -> Option<Command> {
        if command.is_quit() {
            self.state = State::Closed;
        }
        if command.is_too_long {
            return Some(command);
        }
        let Some((size, ends_there)) = put_size(&command.line) else { return Some(command) };
        self.counted_puts += 1;
        let (put, left) = (command.line.clone(), size + 2);
        if size > self.max_job_size {
            self.state = State::TooBig { put, left };
        } else if ends_there {
            self.puts += 1;
            self.state = State::Body { put, left };
        } else {
            return Some(command);
        }
        None
    }
}

/// The size that a well-formed put announces, and whether the line ends behind it.
fn put_size(line: &[u8]) -> Option<(u64, bool)> {
    if line.contains(&0) {
        return None;
    }
    let mut rest = line.strip_prefix(b"put ")?;
    let mut number = 0;
    for _ in 0..4 {
        (number, rest) = leading_number(rest)?;
    }
    Some((number, rest.is_empty()))
}

/// A 32-bit number with any spaces before it, and what follows.
fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let start = text.iter().position(|byte| *byte != b' ')?;
    let text = &text[start..];
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number.into(), rest))
}
