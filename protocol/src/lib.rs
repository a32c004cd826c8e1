//! The beanstalk wire protocol, in both directions and without I/O.
//!
//! Owns: what the bytes mean. Commands and replies as types, validated once here; the parser of a
//! command line; encoders; and incremental decoders that take bytes in whatever pieces
//! the network delivers ([`RequestDecoder`] for a server, [`ReplyDecoder`] for a client).
//!
//! Must not know: sockets, time, or what a queue does with a command. The engine and the client
//! both build on the types of this crate, so neither parses strings itself.
//!
//! The rules are those of beanstalkd 1.13's `doc/protocol.txt` and, where that text is silent, of
//! the running server; [`Dialect`] names the places where 1.12 differed.

mod command;
mod dialect;
mod line;
mod listing;
mod parse;
mod reply;
mod reply_decoder;
mod request_decoder;
mod request_line;
mod stats;
mod types;

pub use command::{Command, JobMove, JobQuery, PutHeader};
pub use dialect::{Dialect, UnknownDialect};
pub use listing::{JobListing, ListedJob};
pub use reply::Reply;
pub use reply_decoder::{ReplyDecoder, ReplyError};
pub use request_decoder::{Rejection, Request, RequestDecoder};
pub use request_line::RequestLine;
pub use stats::{
    AccessStats, BinlogHealth, BinlogStats, BinlogUse, CommandCounts, EXTENSIONS, JobState,
    JobStats, PolicyCounts, ProcessStats, RefusedPuts, ServerStats, TubeStats, begin_tube_list,
    push_tube_list,
};
pub use types::{
    BadToken, BadTubeName, DEFAULT_MAX_JOB_SIZE, DEFAULT_PRIORITY, JobId, MAX_JOB_SIZE, MAX_LINE,
    MAX_TUBE_NAME, Priority, Seconds, Token, TubeName, URGENT_PRIORITY,
};
