//! Decodes bytes from a client into requests.

use crate::command::{Command, PutHeader};
use crate::dialect::Dialect;
use crate::line::{LineEnd, LineReader};
use crate::parse::{Line, Malformed, parse_line};
use crate::types::{BadToken, MAX_LINE, Token};

/// One step of a client, in the order in which it arrived.
///
/// A `put` is two steps, because the job's id is assigned when its line is read, and its body may
/// arrive much later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A complete command.
    Command(Command),
    /// The line of a put; its [`Request::Body`], [`Request::BrokenBody`] or [`Request::UnheldBody`]
    /// follows.
    Put(PutHeader),
    /// The body of the put before it, without its CRLF, in an allocation of exactly its size.
    Body(Box<[u8]>),
    /// The body of the put before it was not followed by CRLF. Its bytes are discarded.
    BrokenBody,
    /// There was no memory for the body of the put before it. Its bytes are discarded.
    UnheldBody,
    /// The line of a put over the size limit. Its body is discarded as it arrives, and then
    /// [`Rejection::JobTooBig`] follows.
    OversizedPut,
    /// Something that must be answered with an error.
    Rejected(Rejection),
    /// The client says who it is: `auth <token>`. Only of a decoder that is to know this command
    /// ([`RequestDecoder::with_auth`]); for others, it is an unknown one.
    Auth(Token),
}

/// Why a request is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The line does not begin with a known command: `UNKNOWN_COMMAND`.
    UnknownCommand,
    /// The line is malformed or too long: `BAD_FORMAT`.
    BadFormat,
    /// A put with junk after its size: `BAD_FORMAT`, but it counts as a put.
    BadPut,
    /// A `pause-tube` with an invalid name: `BAD_FORMAT`, but it counts as a `pause-tube`.
    BadPauseTube,
    /// The body of a [`Request::OversizedPut`] is discarded: `JOB_TOO_BIG`.
    JobTooBig,
}

/// Incremental decoder for the bytes that a client sends.
///
/// Holds no more than has arrived: of a line at most [`MAX_LINE`] bytes, of a body a buffer that
/// grows with it. A body that arrives in one piece is copied once, into its final allocation.
#[derive(Debug)]
pub struct RequestDecoder {
    state: State,
    lines: LineReader,
    dialect: Dialect,
    max_job_size: u32,
    /// Asked before a large body is held.
    has_room: fn() -> bool,
    /// Frees a large body that is not given to anybody.
    free: fn(Vec<u8>),
    /// Bodies from this many bytes on are set aside.
    aside_from: usize,
    /// Whether `auth` is a command.
    knows_auth: bool,
    /// The largest body that is held now, in bytes.
    limit: u32,
}

/// Bodies from this many bytes on are held only if there is memory; what is smaller, everything else needs
/// as well.
const LARGE: usize = 4096;

#[derive(Debug)]
enum State {
    Line,
    /// A body of `size` bytes and its CRLF are arriving. `trailer` is what has come of the latter.
    Body {
        body: Vec<u8>,
        size: usize,
        trailer: Trailer,
    },
    /// A body that is set aside.
    Aside(Box<[u8]>),
    /// A token was decoded. What follows it depends on whose it is.
    Auth,
    /// So many bytes are still to come of a body that is not held.
    Discard {
        left: u64,
        why: Unheld,
    },
}

/// Why a body is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unheld {
    TooBig,
    NoMemory,
}

/// What of a body's CRLF has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trailer {
    Nothing,
    /// One byte, which was (or was not) CR.
    One {
        is_cr: bool,
    },
}

impl RequestDecoder {
    /// A decoder for a new connection. `max_job_size`, in bytes, is the largest body accepted.
    pub fn new(dialect: Dialect, max_job_size: u32) -> Self {
        let lines = LineReader::new(MAX_LINE);
        Self {
            state: State::Line,
            lines,
            dialect,
            max_job_size,
            has_room: || true,
            free: drop,
            aside_from: usize::MAX,
            knows_auth: false,
            limit: max_job_size,
        }
    }

    /// The same, which has bodies that it gives to nobody, because they are broken, freed by `free`.
    pub fn with_free(self, free: fn(Vec<u8>)) -> Self {
        Self { free, ..self }
    }

    /// Takes what has arrived of a body that is not complete.
    pub fn take_partial(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Body { body, .. } => std::mem::take(body),
            State::Line | State::Aside(_) | State::Auth | State::Discard { .. } => Vec::new(),
        }
    }

    /// The same, which does not make a [`Request::Body`] of a body that arrived in pieces and has at least
    /// `from` bytes, but sets it aside: [`RequestDecoder::take_aside`].
    pub fn with_aside(self, from: usize) -> Self {
        Self { aside_from: from, ..self }
    }

    /// The same, which knows the command `auth`. Nothing that follows an `auth` is decoded before
    /// [`RequestDecoder::reset`].
    pub fn with_auth(self) -> Self {
        Self { knows_auth: true, ..self }
    }

    /// Whether every body of the puts that follow is too large, so that none is held: for a client of which
    /// nothing is taken.
    pub fn hold_nothing(&mut self, holds_nothing: bool) {
        self.limit = if holds_nothing { 0 } else { self.max_job_size };
    }

    /// Takes the body that was set aside. To be called when [`RequestDecoder::decode`] says that more is
    /// needed: if a body was set aside, there may be more of the input left, and nothing more is decoded
    /// until the body is taken. It belongs to the last [`Request::Put`].
    pub fn take_aside(&mut self) -> Option<Box<[u8]>> {
        match std::mem::replace(&mut self.state, State::Line) {
            State::Aside(body) => Some(body),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The same, which holds large bodies only while `has_room` says that there is memory. Without it
    /// they are held if they can be allocated.
    pub fn with_room(self, has_room: fn() -> bool) -> Self {
        Self { has_room, ..self }
    }

    /// Whether everything so far was complete: no partial line or body is held.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Line) && !self.lines.is_midway()
    }

    /// Bytes allocated for a partial line or body: at most twice what has arrived of it, or 16 if
    /// that is more, whatever size a put has announced.
    pub fn held_bytes(&self) -> usize {
        let body = match &self.state {
            State::Body { body, .. } => body.capacity(),
            State::Aside(body) => body.len(),
            State::Line | State::Auth | State::Discard { .. } => 0,
        };
        body + self.lines.held_bytes()
    }

    /// Discards a partial line or body. For a caller that kept the bytes and will decode them
    /// again.
    pub fn reset(&mut self) {
        self.state = State::Line;
        self.lines = LineReader::new(MAX_LINE);
    }

    /// Decodes the next request of `input` from `*at` on, and moves `*at` past it. `None` means
    /// that all of `input` is used up and more is needed, or that a body was set aside
    /// ([`RequestDecoder::with_aside`]), or an `auth` was decoded ([`RequestDecoder::with_auth`]).
    #[inline]
    pub fn decode(&mut self, input: &[u8], at: &mut usize) -> Option<Request> {
        match &mut self.state {
            State::Line => {
                if *at == input.len() {
                    return None;
                }
                let found = match self.lines.next(input, at) {
                    LineEnd::Incomplete => return None,
                    LineEnd::Overlong => return Some(Request::Rejected(Rejection::BadFormat)),
                    LineEnd::Within(start, end) => {
                        parse_line(&input[start..end], self.dialect, self.limit)
                    }
                    LineEnd::Joined => {
                        let found = parse_line(self.lines.partial(), self.dialect, self.limit);
                        self.lines.clear();
                        found
                    }
                };
                Some(self.after_line(found))
            }
            State::Discard { .. } => self.discard(input, at),
            State::Body { .. } => self.body(input, at),
            State::Aside(_) | State::Auth => None,
        }
    }

    /// What a parsed line means for the stream.
    fn after_line(&mut self, found: Result<Line, Malformed>) -> Request {
        let rejection = match found {
            Ok(Line::Command(command)) => return Request::Command(command),
            Ok(Line::Put(header)) => {
                let size = header.size as usize;
                self.state = State::Body { body: Vec::new(), size, trailer: Trailer::Nothing };
                return Request::Put(header);
            }
            Ok(Line::Auth(token)) => return self.auth(token),
            Err(Malformed::TooBig { size }) => {
                self.state = State::Discard { left: u64::from(size) + 2, why: Unheld::TooBig };
                return Request::OversizedPut;
            }
            Err(Malformed::Unknown) => Rejection::UnknownCommand,
            Err(Malformed::BadFormat) => Rejection::BadFormat,
            Err(Malformed::BadPut) => Rejection::BadPut,
            Err(Malformed::BadPauseTube) => Rejection::BadPauseTube,
        };
        Request::Rejected(rejection)
    }

    #[cold]
    fn auth(&mut self, token: Result<Token, BadToken>) -> Request {
        match token {
            _ if !self.knows_auth => Request::Rejected(Rejection::UnknownCommand),
            Ok(token) => {
                self.state = State::Auth;
                Request::Auth(token)
            }
            Err(BadToken) => Request::Rejected(Rejection::BadFormat),
        }
    }

    /// The rest of a body that is not held.
    #[cold]
    #[inline(never)]
    fn discard(&mut self, input: &[u8], at: &mut usize) -> Option<Request> {
        let State::Discard { left, why } = &mut self.state else { return None };
        let here = (input.len() - *at).min(usize::try_from(*left).unwrap_or(usize::MAX));
        *at += here;
        *left -= here as u64;
        if *left > 0 {
            return None;
        }
        let why = *why;
        self.state = State::Line;
        Some(match why {
            Unheld::TooBig => Request::Rejected(Rejection::JobTooBig),
            Unheld::NoMemory => Request::UnheldBody,
        })
    }

    fn body(&mut self, input: &[u8], at: &mut usize) -> Option<Request> {
        let State::Body { body, size, trailer } = &mut self.state else { return None };
        let rest = &input[*at..];

        // The common case: all of it is here.
        if body.is_empty() && *trailer == Trailer::Nothing && rest.len() >= *size + 2 {
            let (data, end) = (&rest[..*size], &rest[*size..*size + 2]);
            *at += *size + 2;
            let request = if end != b"\r\n" {
                Request::BrokenBody
            } else if data.len() < LARGE {
                Request::Body(data.into())
            } else {
                copy_large(data, self.has_room).map_or(Request::UnheldBody, Request::Body)
            };
            self.state = State::Line;
            return Some(request);
        }
        self.body_in_pieces(input, at)
    }

    /// A body that has not arrived as a whole.
    #[inline(never)]
    fn body_in_pieces(&mut self, input: &[u8], at: &mut usize) -> Option<Request> {
        let State::Body { body, size, trailer } = &mut self.state else { return None };
        let rest = &input[*at..];
        let here = rest.len().min(*size - body.len());
        if !grow(body, here, *size, self.has_room) {
            // What came of it is freed, and what is to come is not kept.
            let left = (*size - body.len()) as u64 + 2;
            // Now, since memory is short.
            drop(std::mem::take(body));
            self.state = State::Discard { left, why: Unheld::NoMemory };
            return self.discard(input, at);
        }
        body.extend_from_slice(&rest[..here]);
        *at += here;
        if body.len() < *size {
            return None;
        }
        let end = &input[*at..];
        let whole = match (*trailer, end) {
            (_, []) => return None,
            (Trailer::Nothing, [first]) => {
                *trailer = Trailer::One { is_cr: *first == b'\r' };
                *at += 1;
                return None;
            }
            (Trailer::Nothing, [first, second, ..]) => {
                *at += 2;
                (*first, *second) == (b'\r', b'\n')
            }
            (Trailer::One { is_cr }, [second, ..]) => {
                *at += 1;
                is_cr && *second == b'\n'
            }
        };
        let body = std::mem::take(body);
        self.state = State::Line;
        if !whole {
            (self.free)(body);
            return Some(Request::BrokenBody);
        }
        let body = body.into_boxed_slice();
        if body.len() >= self.aside_from {
            self.state = State::Aside(body);
            return None;
        }
        Some(Request::Body(body))
    }
}

/// Makes room for `more` bytes in a body that will have `size` in the end, and tells whether there is. The
/// room at least doubles, so that a body is moved a bounded number of times, and never exceeds `size`, so
/// that nothing needs to be given back; and a client that announces much but sends little gets little.
fn grow(body: &mut Vec<u8>, more: usize, size: usize, has_room: fn() -> bool) -> bool {
    let needed = body.len() + more;
    if needed <= body.capacity() {
        return true;
    }
    let capacity = needed.max(2 * body.capacity()).min(size);
    let additional = capacity - body.len();
    if size < LARGE {
        body.reserve_exact(additional);
        return true;
    }
    has_room() && body.try_reserve_exact(additional).is_ok()
}

/// A copy of a body that is all there, if there is memory for it.
#[cold]
fn copy_large(data: &[u8], has_room: fn() -> bool) -> Option<Box<[u8]>> {
    let mut body = Vec::new();
    if !grow(&mut body, data.len(), data.len(), has_room) {
        return None;
    }
    body.extend_from_slice(data);
    Some(body.into_boxed_slice())
}

#[cfg(test)]
mod tests;
