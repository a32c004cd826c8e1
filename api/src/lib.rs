//! The documents that server, worker and command line exchange, as JSON.
//!
//! [`job`] is what a producer queues, [`result`] is its outcome, [`artifact`] a file that belongs to it, and [`status`] is what a worker
//! reports about itself. [`server`] has the documents of jq-server's HTTP API. [`json`] limits the JSON of third parties that these documents contain, and
//! [`text`] shows theirs in messages.
//!
//! Owns: the names of members, their order, formats and limits. Must not know: sockets, files,
//! processes, or what a program does with a document. Members are added, never renamed or removed:
//! older and newer programs read each other's documents.

pub mod artifact;
pub mod job;
pub mod json;
pub mod result;
pub mod server;
pub mod status;
pub mod text;
