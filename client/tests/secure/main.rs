//! Over TLS, and with a token, against a server that is played by the test.
#![cfg(feature = "tls")]

#[path = "../../../tests/support/certificates.rs"]
mod certificates;
mod peer;
mod tls;
mod token;
