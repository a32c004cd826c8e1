//! The limits on what clients can use of a server.

use std::time::Duration;

/// The limits of a server. Each field says what happens when its limit is reached.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum number of simultaneous connections, at least 1. When it is exceeded, the connection
    /// that has been idle longest is closed: one between two requests, or one that has not sent the
    /// head of its first. If none is idle, the new connection waits, and further ones wait in the
    /// kernel's queue.
    pub connections: usize,
    /// Maximum idle time of a connection between two requests. Then it is closed.
    pub idle_time: Duration,
    /// Maximum time for the head of a request, from its first byte, and for a handshake. Then the
    /// connection is closed.
    pub head_time: Duration,
    /// Maximum time for the body of a request, from the end of its head. Then the answer is
    /// [`Refusal::BodyTooSlow`](crate::Refusal::BodyTooSlow).
    pub body_time: Duration,
    /// Maximum time for the handler, from the complete request to the head of its answer. Then the
    /// handler's future is dropped, and the answer is
    /// [`Refusal::Overdue`](crate::Refusal::Overdue). The body of an answer may take longer, as
    /// that of an event stream does.
    pub request_time: Duration,
    /// Maximum time in which the client accepts no byte of an answer. Then the connection is
    /// closed.
    pub stall_time: Duration,
    /// Maximum time for running requests when serving ends. Then their connections are cut off.
    pub grace: Duration,
    /// Maximum size of the head of a request, and of the read buffer, in bytes; less than 8 KiB
    /// counts as 8 KiB. A longer head is answered with 431.
    pub head_bytes: usize,
    /// Maximum number of header fields in a request. More are answered with 431.
    pub header_fields: usize,
    /// Maximum size of the body of a request, in bytes. Bodies are held in memory. The answer to a
    /// longer one is [`Refusal::BodyTooLong`](crate::Refusal::BodyTooLong).
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            idle_time: Duration::from_secs(75),
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            request_time: Duration::from_secs(60),
            stall_time: Duration::from_secs(30),
            grace: Duration::from_secs(2),
            head_bytes: 16 * 1024,
            header_fields: 64,
            body_bytes: 64 * 1024,
        }
    }
}
