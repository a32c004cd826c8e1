//! One command line, parsed.
//!
//! beanstalkd compares prefixes, in a fixed order, and then reads numbers with C's string
//! functions. Both are visible on the wire (`statsx` is a malformed `stats`, but `peekx` is
//! unknown; `kick -1` kicks everything), so both are followed here exactly.

mod extensions;

use nom::IResult;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::digit1;
use nom::combinator::{all_consuming, map_res, opt};
use nom::error::Error;
use nom::sequence::preceded;

use crate::command::{Command, PutHeader};
use crate::dialect::Dialect;
use crate::types::{BadToken, Token, TubeName, is_name_byte};

/// A valid command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Command(Command),
    /// A body of the announced size follows.
    Put(PutHeader),
    /// For a server that knows this command. `Err`: what follows the word is no token.
    Auth(Result<Token, BadToken>),
}

/// Why a line is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The first word is not a known command: `UNKNOWN_COMMAND`.
    Unknown,
    /// The arguments are wrong: `BAD_FORMAT`.
    BadFormat,
    /// `BAD_FORMAT`, found only after the command was counted: junk after the size of a `put`.
    BadPut,
    /// `BAD_FORMAT`, found only after the command was counted: the name in a `pause-tube`.
    BadPauseTube,
    /// The put's size is over the limit. `size` + 2 bytes are to be discarded before the answer.
    TooBig {
        /// The announced size in bytes, without the CRLF.
        size: u32,
    },
}

/// Parses a line without its CRLF. `max_size` is the largest body that a put may announce.
pub(crate) fn parse_line(line: &[u8], dialect: Dialect, max_size: u32) -> Result<Line, Malformed> {
    // C strings end at a NUL, so no command can hold one.
    if memchr::memchr(0, line).is_some() {
        return Err(Malformed::BadFormat);
    }
    // The order of the arms within a letter is beanstalkd's: the longer prefix first.
    let command = match line.first() {
        Some(b'p') => {
            if let Some(rest) = line.strip_prefix(b"put ") {
                return put(rest, max_size);
            } else if let Some(rest) = line.strip_prefix(b"peek ") {
                Command::Peek(only_u64(rest)?)
            } else if let Some(rest) = line.strip_prefix(b"peek-ready") {
                bare(rest, Command::PeekReady)?
            } else if let Some(rest) = line.strip_prefix(b"peek-delayed") {
                bare(rest, Command::PeekDelayed)?
            } else if let Some(rest) = line.strip_prefix(b"peek-buried") {
                bare(rest, Command::PeekBuried)?
            } else if let Some(rest) = line.strip_prefix(b"pause-tube") {
                pause_tube(rest)?
            } else {
                return Err(Malformed::Unknown);
            }
        }
        Some(b'r') => {
            if let Some(rest) = line.strip_prefix(b"reserve-with-timeout ") {
                Command::ReserveWithTimeout(reserve_timeout(rest, dialect)?)
            } else if let Some(rest) = line.strip_prefix(b"reserve-job ") {
                Command::ReserveJob(only_u64(rest)?)
            } else if let Some(rest) = line.strip_prefix(b"reserve") {
                bare(rest, Command::Reserve)?
            } else if let Some(rest) = line.strip_prefix(b"release ") {
                let (id, priority, delay) = finish((uint::<u64>, uint, uint), rest)?;
                Command::Release { id, priority, delay }
            } else {
                return Err(Malformed::Unknown);
            }
        }
        Some(b'd') => match line.strip_prefix(b"delete ") {
            Some(rest) => Command::Delete(only_u64(rest)?),
            None => return Err(Malformed::Unknown),
        },
        Some(b'b') => {
            if let Some(rest) = line.strip_prefix(b"bury ") {
                let (id, priority) = finish((uint::<u64>, uint), rest)?;
                Command::Bury { id, priority }
            } else if let Some(rest) = line.strip_prefix(b"batch-reserve ") {
                extensions::batch_reserve(rest)?
            } else {
                return Err(Malformed::Unknown);
            }
        }
        Some(b't') => match line.strip_prefix(b"touch ") {
            Some(rest) => Command::Touch(only_u64(rest)?),
            None => return Err(Malformed::Unknown),
        },
        Some(b'k') => {
            if let Some(rest) = line.strip_prefix(b"kick ") {
                Command::Kick(kick_bound(rest)?)
            } else if let Some(rest) = line.strip_prefix(b"kick-job ") {
                Command::KickJob(only_u64(rest)?)
            } else {
                return Err(Malformed::Unknown);
            }
        }
        Some(b's') => {
            if let Some(rest) = line.strip_prefix(b"stats-job ") {
                Command::StatsJob(only_u64(rest)?)
            } else if let Some(rest) = line.strip_prefix(b"stats-tube ") {
                Command::StatsTube(name(rest)?)
            } else if let Some(rest) = line.strip_prefix(b"stats") {
                bare(rest, Command::Stats)?
            } else {
                return Err(Malformed::Unknown);
            }
        }
        Some(b'u') => match line.strip_prefix(b"use ") {
            Some(rest) => Command::Use(name(rest)?),
            None => return Err(Malformed::Unknown),
        },
        Some(b'w') => match line.strip_prefix(b"watch ") {
            Some(rest) => Command::Watch(name(rest)?),
            None => return Err(Malformed::Unknown),
        },
        Some(b'i') => match line.strip_prefix(b"ignore ") {
            Some(rest) => Command::Ignore(name(rest)?),
            None => return Err(Malformed::Unknown),
        },
        Some(b'l') => {
            if let Some(rest) = line.strip_prefix(b"list-tubes-watched") {
                bare(rest, Command::ListTubesWatched)?
            } else if let Some(rest) = line.strip_prefix(b"list-tube-used") {
                bare(rest, Command::ListTubeUsed)?
            } else if let Some(rest) = line.strip_prefix(b"list-tubes") {
                bare(rest, Command::ListTubes)?
            } else if let Some(rest) = line.strip_prefix(b"list-jobs ") {
                extensions::list_jobs(rest)?
            } else {
                return Err(Malformed::Unknown);
            }
        }
        Some(b'c') => match line.strip_prefix(b"clear-tube ") {
            Some(rest) => extensions::clear_tube(rest)?,
            None => return Err(Malformed::Unknown),
        },
        Some(b'm') => match line.strip_prefix(b"move ") {
            Some(rest) => extensions::move_job(rest)?,
            None => return Err(Malformed::Unknown),
        },
        Some(b'q') if line.starts_with(b"quit") => Command::Quit,
        Some(b'a') => return extensions::auth(line),
        _ => return Err(Malformed::Unknown),
    };
    Ok(Line::Command(command))
}

/// A command without arguments: any further byte is one too many.
fn bare(rest: &[u8], command: Command) -> Result<Command, Malformed> {
    if rest.is_empty() { Ok(command) } else { Err(Malformed::BadFormat) }
}

fn name(rest: &[u8]) -> Result<TubeName, Malformed> {
    TubeName::new(rest).map_err(|_| Malformed::BadFormat)
}

fn put(rest: &[u8], max_size: u32) -> Result<Line, Malformed> {
    let (rest, (priority, delay, ttr, size)) =
        (uint, uint, uint::<u32>, uint).parse(rest).map_err(bad_format)?;
    // The size is checked before what follows it.
    if size > max_size {
        return Err(Malformed::TooBig { size });
    }
    if !rest.is_empty() {
        return Err(Malformed::BadPut);
    }
    Ok(Line::Put(PutHeader { priority, delay, ttr, size }))
}

fn pause_tube(rest: &[u8]) -> Result<Command, Malformed> {
    let word = preceded(spaces, take_while1(is_name_byte));
    let (word, seconds) = finish((word, uint), rest)?;
    match TubeName::new(word) {
        Ok(tube) => Ok(Command::PauseTube(tube, seconds)),
        Err(_) => Err(Malformed::BadPauseTube),
    }
}

fn reserve_timeout(rest: &[u8], dialect: Dialect) -> Result<Option<u32>, Malformed> {
    match dialect {
        // What follows the number is ignored.
        Dialect::V1_13 => match uint::<u32>(rest) {
            Ok((_, seconds)) if seconds <= i32::MAX as u32 => Ok(Some(seconds)),
            _ => Err(Malformed::BadFormat),
        },
        // strtol without a look at where it stopped, stored in an int; negative waits forever.
        Dialect::V1_12 => {
            let (_, (negative, digits)) = c_number(rest).unwrap_or((rest, (false, b"0")));
            let magnitude: u64 = decimal(digits).ok_or(Malformed::BadFormat)?;
            let limit = i64::MAX as u64 + u64::from(negative);
            if magnitude > limit {
                return Err(Malformed::BadFormat);
            }
            let value = if negative { magnitude.wrapping_neg() } else { magnitude };
            Ok(u32::try_from(value as i32).ok())
        }
    }
}

/// strtoul into 32 bits: any sign, any white space before, anything after.
fn kick_bound(rest: &[u8]) -> Result<u32, Malformed> {
    let (_, (negative, digits)) = c_number(rest).map_err(bad_format)?;
    let magnitude: u64 = decimal(digits).ok_or(Malformed::BadFormat)?;
    Ok(if negative { magnitude.wrapping_neg() as u32 } else { magnitude as u32 })
}

/// The form that C's `strtol` and `strtoul` accept: white space, one sign, digits.
fn c_number(input: &[u8]) -> IResult<&[u8], (bool, &[u8])> {
    let white = take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r'));
    let sign = opt(alt((tag(&b"-"[..]), tag(&b"+"[..]))));
    let (rest, (sign, digits)) = preceded(white, (sign, digit1)).parse(input)?;
    Ok((rest, (sign == Some(b"-"), digits)))
}

/// Spaces, then an unsigned decimal number that fits `T`.
fn uint<T: TryFrom<u64>>(input: &[u8]) -> IResult<&[u8], T> {
    let fit = |digits| decimal(digits).and_then(|n| T::try_from(n).ok()).ok_or(());
    preceded(spaces, map_res(digit1, fit)).parse(input)
}

fn only_u64(rest: &[u8]) -> Result<u64, Malformed> {
    finish(uint, rest)
}

/// Runs `parser`, which must use up all of the line.
fn finish<'a, O>(
    parser: impl Parser<&'a [u8], Output = O, Error = Error<&'a [u8]>>,
    rest: &'a [u8],
) -> Result<O, Malformed> {
    all_consuming(parser).parse(rest).map(|(_, value)| value).map_err(bad_format)
}

fn spaces(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(|byte| byte == b' ').parse(input)
}

fn bad_format(_: nom::Err<Error<&[u8]>>) -> Malformed {
    Malformed::BadFormat
}

/// The value of ASCII digits, unless it is over 2^64 - 1.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;
