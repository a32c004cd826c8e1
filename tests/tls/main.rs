//! The real program with TLS: its certificates, its handshakes, and clients that are not ours.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/certificates.rs"]
mod certificates;

mod clients;
mod crowd;
mod failing;
mod files;
mod https;
mod others;
mod peer;
mod rotation;
mod secure;
mod serving;
