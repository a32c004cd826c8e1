//! The server over real sockets and, for time limits, over pipes on a clock that jumps.

mod acceptor;
mod admit;
mod ending;
mod messages;
mod room;
mod support;
mod times;
