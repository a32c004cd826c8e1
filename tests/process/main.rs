//! The real program as an operator sees it: flags and exit statuses, where it listens, who it is,
//! what it logs, what signals do to it.

#[path = "../support/mod.rs"]
mod support;

mod activation;
mod auth;
mod clock;
mod flags;
mod hash_token;
mod init;
mod listen;
mod logs;
mod run;
mod signals;
mod stop;
mod user;
