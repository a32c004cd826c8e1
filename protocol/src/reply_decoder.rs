//! Decodes bytes from a server into replies.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::parse::decimal;
use crate::reply::Reply;
use crate::types::{JobId, TubeName};

/// Longest reply line in bytes, its CRLF included: `USING` and the longest tube name fit well.
const MAX_REPLY_LINE: usize = 512;

/// Incremental decoder for the bytes that a server sends. Bodies are slices of the input, not
/// copies.
#[derive(Debug)]
pub struct ReplyDecoder {
    /// Bytes at the front of the buffer that were searched for a line's end already.
    searched: usize,
    /// The line of a reply whose body has not arrived completely.
    awaiting: Option<(Word, usize)>,
    max_body: usize,
}

/// The replies that have a body.
#[derive(Debug, Clone, Copy)]
enum Word {
    Reserved(JobId),
    Found(JobId),
    Ok,
}

/// The server sent something that is not a reply. The connection cannot be used any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyError {
    /// This line (shortened) is not a reply of the protocol.
    UnknownLine(String),
    /// No line ended within the longest possible line.
    LineTooLong,
    /// A body of this many bytes exceeds the limit that the client set.
    BodyTooBig(u64),
    /// A body was not followed by CRLF.
    MissingCrlf,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLine(line) => write!(f, "the server sent {line:?}, which is no reply"),
            Self::LineTooLong => {
                write!(f, "the server sent a line of more than {MAX_REPLY_LINE} bytes")
            }
            Self::BodyTooBig(size) => {
                write!(f, "the server announced a body of {size} bytes, over the client's limit")
            }
            Self::MissingCrlf => write!(f, "the server sent a body without CRLF behind it"),
        }
    }
}

impl std::error::Error for ReplyError {}

impl ReplyDecoder {
    /// A decoder for a new connection that accepts bodies of up to `max_body` bytes.
    pub fn new(max_body: usize) -> Self {
        Self { searched: 0, awaiting: None, max_body }
    }

    /// Takes the next reply from the front of `input`. `None` means that more bytes are needed.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Reply<Bytes>>, ReplyError> {
        if self.awaiting.is_none() {
            let Some(end) = self.find_line(input)? else { return Ok(None) };
            let line = input.split_to(end + 2).freeze().slice(..end);
            match parse_reply(&line)? {
                Parsed::Whole(reply) => return Ok(Some(reply)),
                Parsed::WithBody(word, size) => {
                    let size = usize::try_from(size)
                        .ok()
                        .filter(|size| *size <= self.max_body)
                        .ok_or(ReplyError::BodyTooBig(size))?;
                    self.awaiting = Some((word, size));
                }
            }
        }
        let Some((word, size)) = self.awaiting else { return Ok(None) };
        if input.len() < size + 2 {
            input.reserve(size + 2 - input.len());
            return Ok(None);
        }
        self.awaiting = None;
        let body = input.split_to(size).freeze();
        if &input[..2] != b"\r\n" {
            return Err(ReplyError::MissingCrlf);
        }
        input.advance(2);
        Ok(Some(match word {
            Word::Reserved(id) => Reply::Reserved(id, body),
            Word::Found(id) => Reply::Found(id, body),
            Word::Ok => Reply::Ok(body),
        }))
    }

    /// Offset of the CRLF that ends the first line.
    fn find_line(&mut self, input: &BytesMut) -> Result<Option<usize>, ReplyError> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.searched..]) {
            let newline = self.searched + found;
            self.searched = newline + 1;
            if newline > 0 && input[newline - 1] == b'\r' {
                self.searched = 0;
                // As if it had come in pieces, when its end would not have been waited for.
                if newline >= MAX_REPLY_LINE {
                    return Err(ReplyError::LineTooLong);
                }
                return Ok(Some(newline - 1));
            }
        }
        self.searched = input.len();
        if input.len() >= MAX_REPLY_LINE { Err(ReplyError::LineTooLong) } else { Ok(None) }
    }
}

enum Parsed {
    Whole(Reply<Bytes>),
    WithBody(Word, u64),
}

fn parse_reply(line: &[u8]) -> Result<Parsed, ReplyError> {
    let unknown = || {
        let shown = &line[..line.len().min(80)];
        ReplyError::UnknownLine(String::from_utf8_lossy(shown).into_owned())
    };
    let mut words = line.split(|byte| *byte == b' ');
    let word = words.next().unwrap_or_default();
    let arguments = [words.next(), words.next()];
    if words.next().is_some() {
        return Err(unknown());
    }
    let number = |digits: &[u8]| {
        let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        if all_digits { decimal(digits) } else { None }.ok_or_else(unknown)
    };
    let reply = match (word, arguments) {
        (b"INSERTED", [Some(id), None]) => Reply::Inserted(number(id)?),
        (b"BURIED", [Some(id), None]) => Reply::InsertedBuried(number(id)?),
        (b"USING", [Some(tube), None]) => Reply::Using(TubeName::new(tube).map_err(|_| unknown())?),
        (b"RESERVED", [Some(id), Some(size)]) => {
            return Ok(Parsed::WithBody(Word::Reserved(number(id)?), number(size)?));
        }
        (b"WATCHING", [Some(count), None]) => Reply::Watching(number(count)?),
        (b"FOUND", [Some(id), Some(size)]) => {
            return Ok(Parsed::WithBody(Word::Found(number(id)?), number(size)?));
        }
        (b"KICKED", [Some(count), None]) => Reply::Kicked(number(count)?),
        (b"BATCH", [Some(count), None]) => Reply::Batch(number(count)?),
        (b"CLEARED", [Some(count), None]) => Reply::Cleared(number(count)?),
        (b"OK", [Some(size), None]) => return Ok(Parsed::WithBody(Word::Ok, number(size)?)),
        (word, [None, None]) => match word {
            b"DEADLINE_SOON" => Reply::DeadlineSoon,
            b"TIMED_OUT" => Reply::TimedOut,
            b"DELETED" => Reply::Deleted,
            b"RELEASED" => Reply::Released,
            b"BURIED" => Reply::Buried,
            b"TOUCHED" => Reply::Touched,
            b"NOT_IGNORED" => Reply::NotIgnored,
            b"KICKED" => Reply::KickedJob,
            b"PAUSED" => Reply::Paused,
            b"MOVED" => Reply::Moved,
            b"AUTHENTICATED" => Reply::Authenticated,
            b"NOT_AUTHENTICATED" => Reply::NotAuthenticated,
            b"NOT_FOUND" => Reply::NotFound,
            b"OUT_OF_MEMORY" => Reply::OutOfMemory,
            b"INTERNAL_ERROR" => Reply::InternalError,
            b"DRAINING" => Reply::Draining,
            b"BAD_FORMAT" => Reply::BadFormat,
            b"UNKNOWN_COMMAND" => Reply::UnknownCommand,
            b"EXPECTED_CRLF" => Reply::ExpectedCrlf,
            b"JOB_TOO_BIG" => Reply::JobTooBig,
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    };
    Ok(Parsed::Whole(reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(bytes: &[u8]) -> Result<Vec<Reply<Bytes>>, ReplyError> {
        let mut decoder = ReplyDecoder::new(1000);
        let mut input = BytesMut::from(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = decoder.decode(&mut input)? {
            replies.push(reply);
        }
        Ok(replies)
    }

    #[test]
    fn kicked_and_buried_with_and_without_a_number() {
        assert_eq!(
            decode_all(b"KICKED\r\nKICKED 3\r\nBURIED\r\nBURIED 4\r\n"),
            Ok(vec![Reply::KickedJob, Reply::Kicked(3), Reply::Buried, Reply::InsertedBuried(4)])
        );
    }

    #[test]
    fn what_is_no_reply_is_named() {
        assert_eq!(decode_all(b"HELLO\r\n"), Err(ReplyError::UnknownLine("HELLO".into())));
        assert_eq!(decode_all(b"OK x\r\n"), Err(ReplyError::UnknownLine("OK x".into())));
        assert_eq!(decode_all(b"OK 1001\r\n"), Err(ReplyError::BodyTooBig(1001)));
        assert_eq!(decode_all(b"OK 1\r\nabc"), Err(ReplyError::MissingCrlf));
        assert_eq!(decode_all(&[b'x'; 600]), Err(ReplyError::LineTooLong));
    }

    #[test]
    fn a_line_at_the_limit_in_one_piece_and_in_two() {
        for length in MAX_REPLY_LINE - 2..MAX_REPLY_LINE + 3 {
            let mut line = vec![b'x'; length - 2];
            line.extend_from_slice(b"\r\n");
            let expected = if length <= MAX_REPLY_LINE {
                ReplyError::UnknownLine("x".repeat(80))
            } else {
                ReplyError::LineTooLong
            };
            assert_eq!(decode_all(&line), Err(expected.clone()), "{length} bytes");
            let mut decoder = ReplyDecoder::new(1000);
            let mut input = BytesMut::from(&line[..length - 1]);
            let early = decoder.decode(&mut input);
            input.extend_from_slice(&line[length - 1..]);
            let all = early.and_then(|_| decoder.decode(&mut input));
            assert_eq!(all, Err(expected), "{length} bytes in two pieces");
        }
    }

    #[test]
    fn lines_that_only_look_like_replies() {
        for line in [
            "",
            " ",
            "DELETED ",
            "DELETED 1",
            "deleted",
            "INSERTED",
            "INSERTED ",
            "INSERTED x",
            "INSERTED 1 2",
            "INSERTED  1",
            "INSERTED +1",
            "INSERTED 18446744073709551616",
            "USING",
            "USING -a",
            "USING a b",
            "RESERVED 1",
            "RESERVED 1 2 3",
            "FOUND 1 x",
            "OK",
            "OK ",
            "KICKED x",
            "WATCHING",
            "NOT_FOUND\n",
            "TIMED_OUT\r",
        ] {
            let found = decode_all(format!("{line}\r\n").as_bytes());
            assert_eq!(found, Err(ReplyError::UnknownLine(line.to_owned())), "{line:?}");
        }
    }

    #[test]
    fn a_body_may_hold_anything() {
        assert_eq!(
            decode_all(b"RESERVED 1 8\r\nOK 2\r\n\r\n\r\nFOUND 2 0\r\n\r\nOK 1\r\n\0\r\n"),
            Ok(vec![
                Reply::Reserved(1, Bytes::from_static(b"OK 2\r\n\r\n")),
                Reply::Found(2, Bytes::new()),
                Reply::Ok(Bytes::from_static(b"\0")),
            ])
        );
    }
}
