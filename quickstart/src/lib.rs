//! The parts of `cargo quickstart`: what it starts, serves and looks at.
//!
//! Everything is on loopback, on ports that the system gives, and in one temporary folder.

pub mod folder;
pub mod http;
pub mod input;
pub mod programs;
pub mod service;

use std::fmt;

/// Something failed; the text says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub String);

impl Failed {
    /// For `map_err`: what was being done, and what the system says.
    pub fn to<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("cannot {what}: {error}"))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}
