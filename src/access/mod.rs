//! Who may do what over the protocol: principals, their rights in each tube, and their limits.
//!
//! A principal is who a connection acts for: a program, a team, an operator. A connection gets one from
//! its listener, from a certificate, from the user at the other end of a Unix socket, or by a token.
//!
//! Owns: the file of `--auth` (`file.rs`) and what it says ([`Directory`]); which directory is in force
//! ([`Access`]); tokens and their hashes ([`token`]), and the thread that verifies them ([`Verifier`]),
//! one at a time and with a delay for those who guess. Must not know: connections and commands.

mod address;
mod directory;
mod file;
mod hash_token;
mod in_force;
mod principal;
mod remembered;
pub mod token;
mod turns;
mod verifier;

pub use self::address::ClientAddress;
pub use self::directory::{Directory, Identity, Source};
pub use self::hash_token::{HashToken, HashTokenError};
pub use self::in_force::Access;
pub use self::principal::{Limits, Patterns, Principal, Rights};
pub use self::verifier::{Counts, Verdict, Verification, Verifier};
