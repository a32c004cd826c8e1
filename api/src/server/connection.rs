//! Clients of the queue.

use serde::{Deserialize, Serialize};

/// A connection of a client of the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Connection {
    /// Its number, counted from 1 since the server was started. No other connection gets it.
    pub id: u64,
    /// Where the client is: address and port, or `unix` for one on a Unix socket.
    pub address: String,
    /// The principal that it acts for. Missing if it has not said who it is, or the server does not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The tube that it uses.
    pub using: String,
    /// The tubes that it watches, at most the first 64.
    pub watching: Vec<String>,
    /// How many it watches.
    pub watched: u64,
    /// How many jobs it has reserved.
    pub reserved: u64,
    /// Until the first of them times out, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_left: Option<u64>,
    /// Whether it waits for a job.
    pub waiting: bool,
    /// Whether it has put a job.
    pub producer: bool,
    /// Whether it has asked for a job.
    pub worker: bool,
    /// For how long it has been open, in seconds.
    pub age: u64,
    /// For how long nothing has come from it, in seconds. Missing if that is not known, as on a Unix
    /// socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<u64>,
    /// Bytes of replies that it has not taken yet.
    pub unsent_bytes: u64,
    /// Bytes that have come from it and that are not carried out yet.
    pub unread_bytes: u64,
}

/// A page of connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionList {
    /// The connections.
    pub connections: Vec<Connection>,
    /// The cursor of the next page. Missing on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
