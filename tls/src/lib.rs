//! TLS for programs that have their certificates and keys in files.
//!
//! - [`Client`]: the configuration of a program that connects; [`Server`]: of one that is connected to.
//!   Both read their files again when these have changed, so a certificate can be exchanged while the program
//!   runs. A file that cannot be used then is logged, and what was read before stays in use.
//! - [`explain()`]: why there is no secure connection, in words for people who do not know TLS.
//!
//! Owns: which files there are and what must be in them. Must not know: sockets, or what is said over a
//! connection.
//!
//! The cryptography is ring's, which needs no more than a C compiler to build, and which all programs here use
//! for their other connections too.

mod client;
mod explain;
mod files;
mod reread;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientFiles};
pub use explain::{explain, explain_cause};
pub use files::{FileError, Identity, MAX_FILE, authorities, is_exposed, read};
pub use reread::{Reread, Stamp, stamps};
pub use rustls;
pub use server::{ClientVerifiers, Server, ServerFiles, server_config};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography that all of this uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The time that is so many seconds after the beginning of 1970, for people: in UTC, as in RFC 3339.
pub fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|it| jiff::Timestamp::from_second(it).ok());
    // Beyond the year 9999, which no certificate can name.
    time.map_or_else(|| format!("{seconds} s after 1970"), |time| time.to_string())
}
