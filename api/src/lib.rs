//! The documents that server, worker and command line exchange, as JSON.
//!
//! [`job`] is what a producer queues, [`result`] is what comes of it, and [`status`] is what a worker
//! says of itself. [`json`] bounds the JSON of strangers that these documents carry along.
//!
//! Owns: the names of members, their order, their forms and their limits. Must not know: sockets,
//! files, processes, or what a program does with a document. Members are added, never renamed or
//! removed: older and newer programs read each other's documents.

pub mod job;
pub mod json;
pub mod result;
pub mod status;
