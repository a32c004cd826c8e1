//! Outgoing HTTP requests: fetching inputs, publishing results, callbacks.
//!
//! Owns: which URLs are allowed at all ([`policy`]), time and size limits of an exchange, how a
//! failed exchange is classified and whether a retry makes sense, digests of content,
//! signatures of callbacks, and credentials: what the worker shows of itself to whom. Must not know: what a job or a result is, when something is published,
//! or when and how often it is retried; that is up to the caller.
//!
//! The URLs come from jobs, and anyone who can queue a job can put any URL into it. So this is the
//! only place that connects to them, and it makes no connection that the policy does not allow: it
//! connects to the very address that was checked, and follows no redirects. Through a proxy, it checks all but
//! the addresses of names: these are resolved there.

pub mod callback;
pub mod digest;
pub mod policy;

mod address;
mod ask;
mod client;
mod credentials;
mod error;
mod proxy;
mod resolve;
mod secret;
#[cfg(test)]
mod tests;
mod token;
mod upload;

pub use ask::Response;
pub use callback::{BadSecret, Signer, unsigned};
pub use client::{BuildError, ClientCertificate, Fetched, Options, Outbound};
pub use credentials::{Authorization, BadCredential, Credential, check_prefix, header_name};
pub(crate) use digest::Hasher;
pub use digest::{BadDigest, Digest};
pub use error::{DeliverError, ExchangeError, Failure, FetchError};
pub use jq_api::job::Method;
pub use policy::{BadRule, Reach, Refused, UrlPolicy};
pub use proxy::{BadProxy, Proxy};
pub use secret::{BadSource, Secret, Source};
pub use token::TokenRequest;
