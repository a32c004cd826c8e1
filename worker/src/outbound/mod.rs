//! HTTP that the worker starts itself: fetching inputs, publishing results, calling back.
//!
//! Owns: which URLs may be spoken to at all ([`policy`]), time and size limits of an exchange, what
//! a failed exchange is called and whether it is worth repeating, digests of content, and signatures of
//! callbacks. Must not know: what a job or a result is, when something is published, or when and how
//! often it is tried; that is its caller's.
//!
//! The URLs come from jobs, and whoever can queue a job can write any URL into it. So this is the
//! one place that opens connections to them, and it opens none that the policy does not allow: the
//! address that was checked is the address that is connected to, and no redirect is followed.

pub mod callback;
pub mod digest;
pub mod policy;

mod address;
mod client;
mod error;
mod resolve;
#[cfg(test)]
mod tests;

pub use callback::{BadSecret, Signer};
pub use client::{BuildError, Fetched, Options, Outbound};
pub use digest::{BadDigest, Digest};
pub use error::{DeliverError, ExchangeError, Failure, FetchError};
pub use jq_api::job::Method;
pub use policy::{BadRule, Reach, Refused, UrlPolicy};
