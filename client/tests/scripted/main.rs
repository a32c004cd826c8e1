//! The client against a server that is played by the test: every reply, also those that no real
//! server gives on demand, at every split; servers that close, fall silent, or talk nonsense.

mod cancel;
mod client;
mod client_extensions;
mod commands;
mod extensions;
mod fake;
mod loss;
mod pipeline;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Polls once.
fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn tube(name: &str) -> jq_client::TubeName {
    name.parse().expect("a good name")
}
