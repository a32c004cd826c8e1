//! TLS on listeners.
//!
//! Owns: the certificate and its key, handshakes, and the socket over a socket that a connection is served
//! on. Must not know: the protocol, and what is in the queue. Without a listener that speaks TLS there is
//! nothing of it.
//!
//! It is rustls, with TLS 1.2 and 1.3, and ring as its cryptography, which jq-worker uses too: it needs no
//! more to build than a C compiler.

mod certificates;
mod handshakes;
mod names;
mod outcome;
mod session;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use self::certificates::Watch;
pub use self::certificates::{Certificates, TlsFileError};
pub(crate) use self::handshakes::{HandshakeThread, Handshakes};
pub(crate) use self::outcome::Outcome;
pub(crate) use self::session::Session;
pub(crate) use self::stream::TlsSocket;
