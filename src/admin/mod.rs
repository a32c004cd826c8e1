//! HTTP for those who look and steer from outside: health, the API, metrics.
//!
//! Owns: the listener of `--http` with its own thread, who may do what ([`access`]), the routes and
//! their answers, and the table of reasons why the server does not do all of its work
//! ([`readiness`]). Must not know: how the queue works or how connections are served. It reads and
//! changes the queue as everybody does who is not a connection, through the hub, and in steps that
//! are so small that nobody notices them. The limits between a request and its answer are
//! `jq-http`'s, the documents are `jq-api`'s.

pub(crate) mod access;
mod answer;
mod app;
mod bulk;
mod cursor;
mod extract;
mod idempotency;
mod openapi;
mod query;
pub(crate) mod readiness;
mod routes;
mod socket;
mod tubes;
mod walk;

mod thread;

pub use self::thread::{Admin, AdminError};
