//! An HTTP/1.1 server with limits of time, size and number, for any routes.
//!
//! Owns: accepting and ending connections ([`Server`], [`Acceptor`]), every limit between a request
//! and its answer ([`Limits`]), the building blocks of answers ([`reply`], [`Problem`],
//! [`Validators`], [`Cors`], [`Streams`]) and the check of bearer tokens ([`Guard`]). Must not
//! know: what is served. Jobs, tubes, paths and documents belong to a [`Handler`], which is an
//! `axum::Router` or anything else that turns a request into a reply.
//!
//! One client must not make the server unavailable to others. So nothing here waits for a client
//! without a limit, and no memory grows without a limit with what a client sends.
//!
//! ```no_run
//! # async fn example(stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
//! use axum::{Router, routing::get};
//! use jq_http::{Limits, Server};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let routes = Router::new().route("/healthz", get(|| async { "ok\n" }));
//! Server::new(Limits::default()).serve(listener, routes, stop).await;
//! # Ok(())
//! # }
//! ```

mod acceptor;
mod conditional;
mod connection;
mod cors;
mod events;
mod guard;
mod handler;
mod limits;
mod pace;
mod problem;
mod range;
pub mod reply;
mod room;
mod serve;
#[cfg(feature = "tls")]
mod tls;

pub use acceptor::Acceptor;
pub use conditional::Validators;
pub use cors::Cors;
pub use events::{Full, Streams, last_event_id};
pub use guard::{Denied, Guard};
pub use handler::{Handler, Peer, Refusal};
pub use limits::Limits;
pub use problem::Problem;
pub use range::Wanted;
pub use reply::Reply;
pub use serve::{Ending, Server};
#[cfg(feature = "tls")]
pub use tls::{PROTOCOL, Tls};
