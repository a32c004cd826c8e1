//! Who may do what over the protocol: principals, their rights in each tube, and their limits.
//!
//! A principal is who a connection acts for: a program, a team, an operator. A connection gets one from
//! its listener, from a certificate, from the user at the other end of a Unix socket, or by a token.

mod principal;

pub use principal::{Limits, Patterns, Principal, Rights};
