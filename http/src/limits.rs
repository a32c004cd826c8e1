//! What a client may take of a server.

use std::time::Duration;

/// The limits of a server. Each has an outcome when it is reached.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once, at least 1. For one more, the connection that has been idle for longest is
    /// closed: one that waits between two requests, or has not sent the head of its first one. If none
    /// is idle, the new one waits, and those behind it in the kernel's queue.
    pub connections: usize,
    /// How long a connection may rest between two requests. Then it is closed.
    pub idle_time: Duration,
    /// How long the head of a request may take from its first byte; and a handshake before the first
    /// request. Then the connection is closed.
    pub head_time: Duration,
    /// How long the body of a request may take from the end of its head. Then the answer is
    /// [`Refusal::BodyTooSlow`](crate::Refusal::BodyTooSlow).
    pub body_time: Duration,
    /// How long the handler may take from a whole request to the head of its answer. Then it is
    /// dropped, and the answer is [`Refusal::Overdue`](crate::Refusal::Overdue). The body of an answer
    /// may take longer: an event stream has no end in sight.
    pub request_time: Duration,
    /// How long an answer may stand without a byte of it being taken. Then the connection is closed.
    pub stall_time: Duration,
    /// How long running requests may take when serving ends. Then their connections are cut off.
    pub grace: Duration,
    /// Of the head of a request, and of what is read ahead, in bytes; anything below 8 KiB counts as
    /// 8 KiB. A longer head is answered with 431.
    pub head_bytes: usize,
    /// Of header fields in a request. With more of them it is answered with 431.
    pub header_fields: usize,
    /// Of the body of a request, in bytes, which are held in memory. The answer to a longer one is
    /// [`Refusal::BodyTooLong`](crate::Refusal::BodyTooLong).
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
