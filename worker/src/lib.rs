//! jq-worker: what turns queued JSON jobs into local processes, and their results into JSON at a URL.
//!
//! From the inside out: [`job`] and [`result`] are documents, from `jq-api`. [`ending`] is the table of
//! how a job leaves the worker, [`retry`] decides about another attempt, and [`blame`] whether a job kills
//! its workers. [`exec`] runs processes,
//! [`outbound`] speaks to other machines, [`store`] keeps results through crashes, [`source`],
//! [`servers`], [`search`] and [`lease`] are about the queue. [`executor`] makes one attempt at a job, [`health`]
//! says what of this machine does not work. [`delivery`] sends results to [`destinations`], [`lifecycle`] takes a job from the reserve to the delete. [`worker`]
//! assembles all of them; nothing below knows it. [`web`] serves results, [`commands`] are what the
//! command line offers.

pub mod blame;
pub mod collect;
pub mod commands;
pub mod config;
pub mod delivery;
pub mod destinations;
pub mod elsewhere;
pub mod ending;
pub mod exec;
pub mod executor;
pub mod fault;
pub mod front;
pub mod given_back;
pub mod health;
mod hold;
pub mod lease;
pub mod lifecycle;
mod look;
mod many;
pub mod metrics;
pub mod outbound;
pub mod parked;
mod pieces;
pub mod readiness;
pub mod retry;
pub mod room;
pub mod schedule;
pub mod search;
pub mod servers;
pub mod setup;
pub mod shared;
pub mod source;
pub mod store;
pub mod surface;
pub mod table;
pub mod tasks;
pub mod web;
pub mod worker;

pub use jq_api::{artifact, job, json, result, text};
