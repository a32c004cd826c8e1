//! The server over real sockets and, for time limits, over pipes on a clock that jumps.

#[cfg(feature = "tls")]
#[path = "../../../tests/support/certificates.rs"]
mod certificates;

mod acceptor;
mod admit;
mod ending;
mod messages;
mod room;
mod support;
mod times;
#[cfg(feature = "tls")]
mod tls;
