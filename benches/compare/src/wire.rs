//! The bytes of the three commands that make up a load, and their replies.
//!
//! This is the client's hot path: requests are copied from buffers built in advance, and replies
//! are compared with the one form that is right, so that checking everything costs little.

use std::io::Write;

use crate::failure::Failure;

/// What one command of a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// `put`, answered by `INSERTED <id>`.
    Put,
    /// `reserve`, answered by `RESERVED <id> <bytes>` and the body.
    Reserve,
    /// `batch-reserve`, which a load sends once for all jobs of a batch. The reply to the first of
    /// them begins with `BATCH <number>`.
    Batch,
    /// `delete <id>`, answered by `DELETED`.
    Delete,
}

/// Bodies up to this size are compared as a whole, longer ones at both ends: reading 60 KB again
/// would cost the client more than the rest of the command.
const COMPARED_WHOLE: usize = 4096;
/// How much of a longer body is compared at each end.
const COMPARED_ENDS: usize = 64;

/// The priority of all jobs. It is not urgent (below 1024), because most jobs in use are not.
const PRIORITY: u32 = 1024;
/// Time to run of all jobs in seconds: longer than any round.
const TTR: u32 = 3600;

/// Requests for bodies of one size, and the replies that are right for them.
pub(crate) struct Wire {
    puts: Vec<u8>,
    put_bytes: usize,
    reserves: Vec<u8>,
    reserve_bytes: usize,
    body: Vec<u8>,
    /// What redis sends before the body of a job, if this is redis' protocol.
    redis: Option<Vec<u8>>,
}

const RESERVE: &[u8] = b"reserve\r\n";
const DELETED: &[u8] = b"DELETED\r\n";

impl Wire {
    /// Prepares batches of up to `depth` commands with bodies of `body` bytes.
    pub(crate) fn new(body: usize, depth: usize) -> Self {
        Self::delayed(body, depth, 0)
    }

    /// The same with jobs that are delayed by so many seconds.
    pub(crate) fn delayed(body: usize, depth: usize, delay: u64) -> Self {
        let body = letters(body);
        let put = format!("put {PRIORITY} {delay} {TTR} {}\r\n", body.len());
        Self::from_parts(&put, RESERVE, depth, body, None)
    }

    /// The same in redis' protocol: jobs go in at one end of the list `key` and out at the other.
    pub(crate) fn redis(body: usize, depth: usize, key: &str) -> Self {
        let (body, name) = (letters(body), format!("${}\r\n{key}\r\n", key.len()));
        let put = format!("*3\r\n$5\r\nLPUSH\r\n{name}${}\r\n", body.len());
        let take = format!("*3\r\n$5\r\nBRPOP\r\n{name}$1\r\n0\r\n");
        let taken = format!("*2\r\n{name}${}\r\n", body.len()).into_bytes();
        Self::from_parts(&put, take.as_bytes(), depth, body, Some(taken))
    }

    fn from_parts(
        put: &str,
        reserve: &[u8],
        depth: usize,
        body: Vec<u8>,
        redis: Option<Vec<u8>>,
    ) -> Self {
        let put = [put.as_bytes(), &body, b"\r\n"].concat();
        Self {
            puts: put.repeat(depth),
            put_bytes: put.len(),
            reserves: reserve.repeat(depth),
            reserve_bytes: reserve.len(),
            body,
            redis,
        }
    }

    /// Whether a job that was handed out is gone, so that there is nothing to delete.
    pub(crate) fn takes_away(&self) -> bool {
        self.redis.is_some()
    }

    /// `count` puts, at most the depth given to [`Wire::new`].
    pub(crate) fn puts(&self, count: usize) -> &[u8] {
        &self.puts[..count * self.put_bytes]
    }

    /// `count` reserves, at most the depth given to [`Wire::new`].
    pub(crate) fn reserves(&self, count: usize) -> &[u8] {
        &self.reserves[..count * self.reserve_bytes]
    }

    /// The bytes of a body.
    #[cfg(test)]
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Frames the reply to one `op` at the start of `bytes`: its length, and the job id in it (0
    /// where there is none). `None` when the reply is not complete yet.
    pub(crate) fn reply(&self, op: Op, bytes: &[u8]) -> Result<Option<(usize, u64)>, Failure> {
        if let Some(taken) = &self.redis {
            return self.redis_reply(op, taken, bytes);
        }
        match op {
            Op::Put => parse(bytes, "INSERTED <id>", |p| {
                p.expect(b"INSERTED ")?;
                let id = p.number()?;
                p.expect(b"\r\n")?;
                Ok(id)
            }),
            Op::Reserve | Op::Batch => {
                parse(bytes, "RESERVED <id> <bytes> and the body that was put", |p| {
                    if op == Op::Batch && p.begins_with(b'B') {
                        p.expect(b"BATCH ")?;
                        p.number()?;
                        p.expect(b"\r\n")?;
                    }
                    p.expect(b"RESERVED ")?;
                    let id = p.number()?;
                    p.expect(b" ")?;
                    if p.number()? != self.body.len() as u64 {
                        return Err(Stop::Wrong);
                    }
                    p.expect(b"\r\n")?;
                    p.body(&self.body)?;
                    p.expect(b"\r\n")?;
                    Ok(id)
                })
            }
            Op::Delete => parse(bytes, "DELETED", |p| p.expect(DELETED).map(|()| 0)),
        }
    }

    /// Redis knows no ids: 0 stands for all of them.
    fn redis_reply(
        &self,
        op: Op,
        taken: &[u8],
        bytes: &[u8],
    ) -> Result<Option<(usize, u64)>, Failure> {
        match op {
            Op::Put => parse(bytes, "the length of the list", |p| {
                p.expect(b":")?;
                p.number()?;
                p.expect(b"\r\n")?;
                Ok(0)
            }),
            Op::Reserve => parse(bytes, "the list's name and the body that was put", |p| {
                p.expect(taken)?;
                p.body(&self.body)?;
                p.expect(b"\r\n")?;
                Ok(0)
            }),
            Op::Batch => Err(Failure::wrong("no reply: there are no batches", bytes)),
            Op::Delete => Err(Failure::wrong("no reply: there is nothing to delete", bytes)),
        }
    }
}

/// A body of this many bytes.
fn letters(bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(bytes).collect()
}

/// Appends `delete <id>`.
pub(crate) fn delete(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(b"delete ");
    out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Why framing stopped before the end of a reply.
enum Stop {
    Incomplete,
    Wrong,
}

fn parse(
    bytes: &[u8],
    expected: &str,
    steps: impl FnOnce(&mut Parser<'_>) -> Result<u64, Stop>,
) -> Result<Option<(usize, u64)>, Failure> {
    let mut parser = Parser { bytes, at: 0 };
    match steps(&mut parser) {
        Ok(id) => Ok(Some((parser.at, id))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Wrong) => Err(Failure::wrong(expected, bytes)),
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn begins_with(&self, byte: u8) -> bool {
        self.bytes.get(self.at) == Some(&byte)
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), Stop> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            Ok(())
        } else if word.starts_with(rest) {
            Err(Stop::Incomplete)
        } else {
            Err(Stop::Wrong)
        }
    }

    /// One or more digits and then something else, which is left.
    fn number(&mut self) -> Result<u64, Stop> {
        let start = self.at;
        let mut value = 0_u64;
        while let Some(byte) = self.bytes.get(self.at) {
            if !byte.is_ascii_digit() {
                return if self.at > start { Ok(value) } else { Err(Stop::Wrong) };
            }
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(u64::from(byte - b'0')))
                .ok_or(Stop::Wrong)?;
            self.at += 1;
        }
        Err(Stop::Incomplete)
    }

    fn body(&mut self, body: &[u8]) -> Result<(), Stop> {
        if body.len() <= COMPARED_WHOLE {
            return self.expect(body);
        }
        let rest = &self.bytes[self.at..];
        if rest.len() < body.len() {
            return Err(Stop::Incomplete);
        }
        let (head, tail) = (..COMPARED_ENDS, body.len() - COMPARED_ENDS..body.len());
        if rest[head] != body[head] || rest[tail.clone()] != body[tail] {
            return Err(Stop::Wrong);
        }
        self.at += body.len();
        Ok(())
    }
}

/// Writes the reply to a reserve. It is here because the echo's replies and the client's
/// expectations must be the same.
pub(crate) fn reserved(out: &mut Vec<u8>, id: u64, body: &[u8]) {
    write!(out, "RESERVED {id} {}\r\n", body.len()).expect("a Vec takes all that is written");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_to(op: Op, wire: &Wire) -> Vec<u8> {
        let mut bytes = Vec::new();
        match op {
            Op::Put => bytes.extend_from_slice(b"INSERTED 12345\r\n"),
            Op::Reserve => reserved(&mut bytes, 12345, wire.body()),
            Op::Batch => {
                bytes.extend_from_slice(b"BATCH 7\r\n");
                reserved(&mut bytes, 12345, wire.body());
            }
            Op::Delete => bytes.extend_from_slice(DELETED),
        }
        bytes
    }

    #[test]
    fn a_reply_is_framed_at_every_split() {
        for (op, id) in
            [(Op::Put, 12345), (Op::Reserve, 12345), (Op::Batch, 12345), (Op::Delete, 0)]
        {
            for size in [0, 5, COMPARED_WHOLE, COMPARED_WHOLE + 1] {
                let wire = Wire::new(size, 1);
                let whole = reply_to(op, &wire);
                for end in 0..whole.len() {
                    assert_eq!(wire.reply(op, &whole[..end]).unwrap(), None, "{op:?} {end}");
                }
                let followed = [&whole[..], b"INSERTED"].concat();
                for bytes in [&whole, &followed] {
                    assert_eq!(wire.reply(op, bytes).unwrap(), Some((whole.len(), id)), "{op:?}");
                }
            }
        }
    }

    #[test]
    fn wrong_replies_are_refused() {
        let wire = Wire::new(3, 1);
        for (op, bytes) in [
            (Op::Put, &b"BURIED 1\r\n"[..]),
            (Op::Put, b"INSERTED \r\n"),
            (Op::Put, b"INSERTED 1 \r\n"),
            (Op::Put, b"INSERTED -1\r\n"),
            (Op::Put, b"INSERTED 18446744073709551616\r\n"),
            (Op::Put, b"INSERTED 1\n"),
            (Op::Put, b"inserted 1\r\n"),
            (Op::Reserve, b"RESERVED 1 4\r\nabcd\r\n"),
            (Op::Reserve, b"RESERVED 1 3\r\nabx\r\n"),
            (Op::Reserve, b"RESERVED 1 3\r\nabcd\r\n"),
            (Op::Reserve, b"DEADLINE_SOON\r\n"),
            (Op::Delete, b"NOT_FOUND\r\n"),
            (Op::Delete, b"D\r\n"),
        ] {
            assert!(wire.reply(op, bytes).is_err(), "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn replies_of_redis() {
        let wire = Wire::redis(3, 2, "list");
        assert_eq!(wire.puts(1), b"*3\r\n$5\r\nLPUSH\r\n$4\r\nlist\r\n$3\r\nabc\r\n");
        assert_eq!(wire.reserves(1), b"*3\r\n$5\r\nBRPOP\r\n$4\r\nlist\r\n$1\r\n0\r\n");
        for (op, whole) in
            [(Op::Put, &b":17\r\n"[..]), (Op::Reserve, b"*2\r\n$4\r\nlist\r\n$3\r\nabc\r\n")]
        {
            for end in 0..whole.len() {
                assert_eq!(wire.reply(op, &whole[..end]).unwrap(), None, "{op:?} {end}");
            }
            let followed = [whole, b"*2"].concat();
            assert_eq!(wire.reply(op, &followed).unwrap(), Some((whole.len(), 0)), "{op:?}");
        }
        for (op, wrong) in [
            (Op::Put, &b"-ERR no\r\n"[..]),
            (Op::Reserve, b"*-1\r\n"),
            (Op::Reserve, b"*2\r\n$4\r\nlist\r\n$3\r\nabd\r\n"),
            (Op::Delete, b":1\r\n"),
        ] {
            assert!(wire.reply(op, wrong).is_err(), "{:?}", wrong.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_long_body_is_compared_at_its_ends() {
        let wire = Wire::new(60_000, 1);
        let right = reply_to(Op::Reserve, &wire);
        for at in [right.len() - 60_002, right.len() - 3] {
            let mut wrong = right.clone();
            wrong[at] = b'!';
            assert!(wire.reply(Op::Reserve, &wrong).is_err(), "{at}");
        }
    }

    #[test]
    fn requests() {
        let wire = Wire::new(3, 2);
        assert_eq!(wire.puts(1), b"put 1024 0 3600 3\r\nabc\r\n");
        assert_eq!(wire.puts(2).len(), 2 * wire.puts(1).len());
        assert_eq!(Wire::delayed(0, 1, 17).puts(1), b"put 1024 17 3600 0\r\n\r\n");
        assert_eq!(wire.reserves(2), b"reserve\r\nreserve\r\n");
        let mut out = Vec::new();
        delete(&mut out, u64::MAX);
        assert_eq!(out, b"delete 18446744073709551615\r\n");
    }
}
