//! Our server against the real beanstalkd, byte for byte, and against real client libraries.
//!
//! Four kinds of tests:
//!
//! - `sessions/*.txt` are written sessions with the replies that both servers must give
//!   (`script` says how they are written);
//! - `random` makes up sessions from a seed and compares whatever the two servers answer;
//! - `command_line` tries flags and signals;
//! - `clients` runs other people's client libraries against our server.
//!
//! What may differ is in `allow`, and nowhere else.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/certificates.rs"]
mod certificates;

mod allow;
mod clients;
mod command_line;
mod compare;
mod play;
mod random;
mod restart;
mod script;
mod sessions;
mod side;
