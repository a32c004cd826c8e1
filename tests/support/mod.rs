//! What every integration test needs to talk to a server over a socket: start one, connect to it,
//! send bytes, read replies; and to look at the process from outside.
//!
//! This module knows how replies are framed and nothing else of the protocol. It must stay free of
//! the project's own parser and client: a test that used those would share their mistakes.

// Each test target compiles its own copy and uses its own part of it.
#![allow(dead_code, unused_imports)]

mod conn;
pub(crate) mod folder;
mod peer;
mod process;
pub(crate) mod procfs;
mod program;
mod reply;
mod server;
mod wait;

pub(crate) use conn::{Conn, Input};
pub(crate) use peer::{beanstalkd, executable, skip};
pub(crate) use process::{Process, send_signal};
pub(crate) use program::program;
pub(crate) use reply::Reply;
pub(crate) use server::{
    Endpoint, Server, by_shell, exit_status, is_our_server, jq_server, scratch_path,
};
use wait::POLL_INTERVAL;
pub(crate) use wait::{PATIENCE, comes_true, eventually};
