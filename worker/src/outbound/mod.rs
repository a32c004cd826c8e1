//! Outgoing HTTP requests: fetching inputs, publishing results, callbacks.
//!
//! Owns: which URLs are allowed at all ([`policy`]), time and size limits of an exchange, how a
//! failed exchange is classified and whether a retry makes sense, digests of content, and
//! signatures of callbacks. Must not know: what a job or a result is, when something is published,
//! or when and how often it is retried; that is up to the caller.
//!
//! The URLs come from jobs, and anyone who can queue a job can put any URL into it. So this is the
//! only place that connects to them, and it makes no connection that the policy does not allow: it
//! connects to the very address that was checked, and follows no redirects.

pub mod callback;
pub mod digest;
pub mod policy;

mod address;
mod client;
mod error;
mod resolve;
#[cfg(test)]
mod tests;

pub use callback::{BadSecret, Signer, unsigned};
pub use client::{BuildError, ClientCertificate, Fetched, Options, Outbound};
pub(crate) use digest::Hasher;
pub use digest::{BadDigest, Digest};
pub use error::{DeliverError, ExchangeError, Failure, FetchError};
pub use jq_api::job::Method;
pub use policy::{BadRule, Reach, Refused, UrlPolicy};
