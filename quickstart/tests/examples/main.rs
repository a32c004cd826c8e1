//! The quickstart, the sample handlers and the website, with the real programs.

#[allow(dead_code, reason = "not every test program plays against beanstalkd")]
#[path = "../../../tests/support/peer.rs"]
mod peer;

mod browser;
mod docs;
mod handlers;
mod helpers;
mod quickstart;
mod support;
mod website;
