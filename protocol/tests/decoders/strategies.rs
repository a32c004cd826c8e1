//! Random values of the protocol, and streams that are nearly right.

use beanstalk_protocol::{
    Command, Dialect, JobMove, JobQuery, JobState, PutHeader, Reply, TubeName,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::decoder::MAX_BODY;

pub(crate) fn dialect() -> impl Strategy<Value = Dialect> {
    select(vec![Dialect::V1_12, Dialect::V1_13])
}

/// Lengths of the pieces that a stream comes in: mostly tiny ones.
pub(crate) fn lengths() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(0..4u8, 1..8), vec(any::<u8>(), 1..8)]
}

fn tube() -> impl Strategy<Value = TubeName> {
    prop_oneof![
        4 => "[A-Za-z0-9+/;.$_()][-A-Za-z0-9+/;.$_()]{0,20}",
        1 => "[A-Za-z0-9+/;.$_()][-A-Za-z0-9+/;.$_()]{199}",
    ]
    .prop_map(|name| TubeName::new(name.as_bytes()).expect("the pattern makes good names"))
}

/// Small numbers, and those at the limits.
fn id() -> impl Strategy<Value = u64> {
    prop_oneof![0..20u64, any::<u64>(), Just(u64::MAX)]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..20u32, any::<u32>(), Just(u32::MAX)]
}

/// A name that fits the line of a command with large numbers.
fn short_name() -> impl Strategy<Value = TubeName> {
    "[A-Za-z0-9+/;.$_()][-A-Za-z0-9+/;.$_()]{0,150}"
        .prop_map(|name| TubeName::new(name.as_bytes()).expect("the pattern makes good names"))
}

fn query() -> impl Strategy<Value = JobQuery> {
    use JobState::{Buried, Delayed, Ready, Reserved};
    let states = vec![None, Some(Ready), Some(Delayed), Some(Reserved), Some(Buried)];
    let numbers = (number(), number());
    (prop::option::of(short_name()), select(states), numbers)
        .prop_map(|(tube, state, (cursor, count))| JobQuery { tube, state, cursor, count })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let timeout =
        prop_oneof![Just(None), (0..=i32::MAX as u32).prop_map(Some), Just(Some(i32::MAX as u32))];
    let bare = select(vec![
        Command::Reserve,
        Command::PeekReady,
        Command::PeekDelayed,
        Command::PeekBuried,
        Command::Stats,
        Command::ListTubes,
        Command::ListTubeUsed,
        Command::ListTubesWatched,
        Command::Quit,
    ]);
    let of_a_job = select(vec![
        Command::ReserveJob as fn(u64) -> Command,
        Command::Delete,
        Command::Touch,
        Command::Peek,
        Command::KickJob,
        Command::StatsJob,
    ]);
    let of_a_tube = select(vec![
        Command::Use as fn(TubeName) -> Command,
        Command::Watch,
        Command::Ignore,
        Command::StatsTube,
    ]);
    prop_oneof![
        bare,
        (of_a_job, id()).prop_map(|(command, id)| command(id)),
        (of_a_tube, tube()).prop_map(|(command, tube)| command(tube)),
        timeout.prop_map(Command::ReserveWithTimeout),
        (id(), number(), number()).prop_map(|(id, priority, delay)| Command::Release {
            id,
            priority,
            delay
        }),
        (id(), number()).prop_map(|(id, priority)| Command::Bury { id, priority }),
        number().prop_map(Command::Kick),
        (tube(), number()).prop_map(|(tube, seconds)| Command::PauseTube(tube, seconds)),
        (1..=u32::MAX, number()).prop_map(|(max, timeout)| Command::BatchReserve { max, timeout }),
        tube().prop_map(Command::ClearTube),
        query().prop_map(|query| Command::ListJobs(Box::new(query))),
        (id(), short_name()).prop_map(|(id, to)| Command::Move(Box::new(JobMove { id, to }))),
    ]
}

/// Bytes that are often the ones that mean something.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![select(b"\r\n\0 0a".to_vec()), any::<u8>()];
    prop_oneof![
        vec(byte, 0..20),
        vec(any::<u8>(), 0..=MAX_BODY as usize),
        vec(any::<u8>(), MAX_BODY as usize),
    ]
}

pub(crate) fn put() -> impl Strategy<Value = (PutHeader, Vec<u8>)> {
    (number(), number(), number(), body()).prop_map(|(priority, delay, ttr, body)| {
        (PutHeader { priority, delay, ttr, size: body.len() as u32 }, body)
    })
}

pub(crate) fn reply() -> impl Strategy<Value = Reply<Bytes>> {
    let bare = select(vec![
        Reply::DeadlineSoon,
        Reply::TimedOut,
        Reply::Deleted,
        Reply::Released,
        Reply::Buried,
        Reply::Touched,
        Reply::NotIgnored,
        Reply::KickedJob,
        Reply::Paused,
        Reply::Moved,
        Reply::Authenticated,
        Reply::NotAuthenticated,
        Reply::NotFound,
        Reply::OutOfMemory,
        Reply::InternalError,
        Reply::Draining,
        Reply::BadFormat,
        Reply::UnknownCommand,
        Reply::ExpectedCrlf,
        Reply::JobTooBig,
    ]);
    let numbered = select(vec![
        Reply::Inserted as fn(u64) -> Reply<Bytes>,
        Reply::InsertedBuried,
        Reply::Watching,
        Reply::Kicked,
        Reply::Batch,
        Reply::Cleared,
    ]);
    let with_job = select(vec![Reply::Reserved as fn(u64, Bytes) -> Reply<Bytes>, Reply::Found]);
    let body = || body().prop_map(Bytes::from);
    prop_oneof![
        bare,
        (numbered, id()).prop_map(|(reply, number)| reply(number)),
        (with_job, id(), body()).prop_map(|(reply, id, body)| reply(id, body)),
        body().prop_map(Reply::Ok),
        tube().prop_map(Reply::Using),
    ]
}

/// What a client sends: commands and puts in good order, and things that are not.
pub(crate) fn request_stream() -> impl Strategy<Value = Vec<u8>> {
    let good_put = put().prop_map(|(header, body)| {
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"\r\n");
        bytes
    });
    let good_command = command().prop_map(|command| {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        bytes
    });
    // The size is wrong by a little, or over the limit.
    let bad_put = (0..2 * MAX_BODY, body(), "( |x|\r|\0)?").prop_map(|(size, body, junk)| {
        let mut bytes = format!("put 0 0 1 {size}{junk}\r\n").into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    });
    prop_oneof![
        6 => stream_of(prop_oneof![3 => good_command, 3 => good_put, 2 => bad_put, 2 => noise()]),
        1 => vec(any::<u8>(), 0..600),
    ]
}

/// What a server sends, and things that it does not.
pub(crate) fn reply_stream() -> impl Strategy<Value = Vec<u8>> {
    let good = reply().prop_map(|reply| {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        bytes
    });
    let bad = "(RESERVED|FOUND|OK|USING|KICKED) ?[0-9]{0,3} ?[0-9]{0,21}\r\n";
    prop_oneof![
        6 => stream_of(prop_oneof![
            12 => good,
            1 => bad.prop_map(String::into_bytes),
            1 => noise(),
        ]),
        1 => vec(any::<u8>(), 0..1200),
    ]
}

/// Lines of all lengths around the limits, and bytes that matter.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let line =
        (select(vec![0usize, 1, 217, 222, 223, 224, 225, 447, 509, 510, 511, 700]), "kick 1|")
            .prop_map(|(length, start)| {
                let mut line = start.into_bytes();
                line.resize(length.max(line.len()), b'x');
                line.extend_from_slice(b"\r\n");
                line
            });
    prop_oneof![line, vec(select(b"\r\n\0 0kq-".to_vec()), 0..10)]
}

/// Several parts in a row, then a few bytes changed, taken out or put in.
fn stream_of(part: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), 0..3u8, select(b"\r\n\0 09-+xz".to_vec()));
    (vec(part, 0..8), vec(change, 0..4)).prop_map(|(parts, changes)| {
        let mut bytes = parts.concat();
        for (at, kind, byte) in changes {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                2 if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => {}
            }
        }
        bytes
    })
}
