//! Async (tokio) client for beanstalkd-compatible job queues.
//!
//! - [`Connection`]: one connection, a typed method for each command of the protocol. Simple and
//!   strict: when the connection is lost, so are its jobs, and every method says so.
//! - [`Pipeline`]: many commands in flight on one connection.
//! - [`Client`]: a connection that reconnects. It restores the tubes that it uses and watches, and
//!   repeats only operations that cannot have had an effect.
//!
//! None of them starts a task or polls: unless awaited, nothing happens. The effect of dropping a
//! command's future is defined: see [`Connection`](Connection#dropped-futures).
//!
//! ```no_run
//! use jq_client::{Client, ClientOptions, ConnectOptions, PutOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ConnectOptions::new("localhost:11300".parse()?);
//! let mut client = Client::new(server, ClientOptions::default());
//! client.use_tube(&"thumbnails".parse()?);
//! let id = client.put(br#"{"image":42}"#, PutOptions::default()).await?;
//! println!("queued as job {id}");
//! # Ok(())
//! # }
//! ```
//!
//! A server is named by an [`Endpoint`]: `HOST:PORT`, `unix:PATH`, or a URL, `beanstalks://HOST` for TLS.
//! What a program shows to servers of itself are its [`Credentials`]: a token in a file, and for TLS a
//! certificate and the authorities that it trusts. Files are read again when they have changed.
//!
//! ```no_run
//! use jq_client::{Connection, Credentials, Endpoint, TlsFiles, TlsOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let files = TlsFiles { authorities: Some("/etc/jq/ca.pem".into()), ..TlsFiles::default() };
//! let credentials = Credentials {
//!     token_file: Some("/etc/jq/token".into()),
//!     tls: TlsOptions::new(files),
//! };
//! let server: Endpoint = "beanstalks://queue.example".parse()?;
//! let connection = Connection::connect(&credentials.connect_to(&server)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! TLS needs the feature `tls`, which is on by default.
//!
//! Owns: sockets, time limits, which reply answers what. Must not know: what a byte of the protocol
//! means, which is [`beanstalk_protocol`]'s, or what is in a job.

mod address;
mod auth;
mod call;
mod client;
mod commands;
mod connection;
mod credentials;
mod dial;
mod endpoint;
mod error;
mod extensions;
#[cfg(feature = "clap")]
mod flag;
mod job;
mod options;
mod pipeline;
mod rights;
mod stats;
mod transport;

pub use address::{Address, BadAddress, DEFAULT_PORT};
pub use client::{Client, ClientOptions, Lease};
pub use connection::Connection;
#[cfg(feature = "tls")]
pub use credentials::TlsOptions;
pub use credentials::{Credentials, read_secret, read_token};
pub use endpoint::Endpoint;
pub use error::{ConnectError, Error, PutError, Refusal};
#[cfg(feature = "clap")]
pub use flag::EndpointParser;
pub use job::{
    DEFAULT_TTR, Ignored, Job, Outcome, PutOptions, ReleaseOptions, Released, Reservation,
};
pub use options::{ConnectOptions, ConnectionLimits};
pub use pipeline::Pipeline;
pub use stats::Stats;

#[cfg(feature = "tls")]
pub use jq_tls::{ClientFiles as TlsFiles, FileError, Identity};

pub use beanstalk_protocol::{
    BadToken, BadTubeName, Command, DEFAULT_MAX_JOB_SIZE, DEFAULT_PRIORITY, JobId, JobListing,
    JobMove, JobQuery, JobState, ListedJob, MAX_JOB_SIZE, MAX_TUBE_NAME, Priority, Reply,
    ReplyError, Seconds, Token, TubeName,
};
/// What holds bodies.
pub use bytes::Bytes;
