//! jq-worker: what turns queued JSON jobs into local processes, and their results into JSON at a URL.
//!
//! From the inside out: [`job`] and [`result`] are documents; [`exec`] runs processes, [`outbound`]
//! speaks to other machines, [`store`] keeps results through crashes, [`source`] and [`lease`] are
//! about the queue. [`executor`] makes one attempt at a job of them, [`lifecycle`] takes a job from
//! the reserve to the delete, and [`worker`] holds all together. [`web`] serves results,
//! [`commands`] are what the command line offers.

pub mod commands;
pub mod config;
pub mod delivery;
pub mod ending;
pub mod exec;
pub mod executor;
pub mod job;
pub mod json;
pub mod lease;
pub mod lifecycle;
pub mod metrics;
pub mod outbound;
pub mod parked;
pub mod result;
pub mod retry;
pub mod room;
pub mod source;
pub mod store;
pub mod surface;
pub mod table;
pub mod web;
pub mod worker;
