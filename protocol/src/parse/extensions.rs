//! The arguments of commands that are not beanstalkd's. There is no behaviour to follow, so there is
//! one way to write each: one space before each argument, and decimal numbers.

use super::{Line, Malformed, decimal};
use crate::command::{Command, JobMove, JobQuery};
use crate::stats::JobState;
use crate::types::{Token, TubeName};

/// `<max> <timeout>`
#[cold]
#[inline(never)]
pub(super) fn batch_reserve(rest: &[u8]) -> Result<Command, Malformed> {
    let [max, timeout] = arguments(rest)?;
    let max = number(max)?;
    if max == 0 {
        return Err(Malformed::BadFormat);
    }
    Ok(Command::BatchReserve { max, timeout: number(timeout)? })
}

/// `<tube> <state> <cursor> <count>`
#[cold]
#[inline(never)]
pub(super) fn list_jobs(rest: &[u8]) -> Result<Command, Malformed> {
    let [tube, state, cursor, count] = arguments(rest)?;
    let tube = match tube {
        b"-" => None,
        tube => Some(name(tube)?),
    };
    let state = match state {
        b"any" => None,
        word => Some(JobState::from_word(word).ok_or(Malformed::BadFormat)?),
    };
    let (cursor, count) = (number(cursor)?, number(count)?);
    Ok(Command::ListJobs(Box::new(JobQuery { tube, state, cursor, count })))
}

/// `<tube>`
#[cold]
#[inline(never)]
pub(super) fn clear_tube(rest: &[u8]) -> Result<Command, Malformed> {
    name(rest).map(Command::ClearTube)
}

/// `<id> <tube>`
#[cold]
#[inline(never)]
pub(super) fn move_job(rest: &[u8]) -> Result<Command, Malformed> {
    let [id, tube] = arguments(rest)?;
    Ok(Command::Move(Box::new(JobMove { id: number(id)?, to: name(tube)? })))
}

/// `auth <token>`
#[cold]
#[inline(never)]
pub(super) fn auth(line: &[u8]) -> Result<Line, Malformed> {
    match line.strip_prefix(b"auth ") {
        Some(token) => Ok(Line::Auth(Token::new(token))),
        None => Err(Malformed::Unknown),
    }
}

/// Exactly so many words with one space between two.
fn arguments<const N: usize>(rest: &[u8]) -> Result<[&[u8]; N], Malformed> {
    let mut words = rest.split(|byte| *byte == b' ');
    let mut arguments = [&b""[..]; N];
    for argument in &mut arguments {
        *argument = words.next().ok_or(Malformed::BadFormat)?;
    }
    if words.next().is_some() { Err(Malformed::BadFormat) } else { Ok(arguments) }
}

fn number<T: TryFrom<u64>>(word: &[u8]) -> Result<T, Malformed> {
    let digits = Some(word).filter(|word| !word.is_empty() && word.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(decimal).and_then(|number| T::try_from(number).ok());
    number.ok_or(Malformed::BadFormat)
}

fn name(word: &[u8]) -> Result<TubeName, Malformed> {
    TubeName::new(word).map_err(|_| Malformed::BadFormat)
}
