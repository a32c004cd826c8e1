//! The server over real sockets; and, for what takes time, over pipes and on a clock that jumps.

mod acceptor;
mod ending;
mod messages;
mod room;
mod support;
mod times;
