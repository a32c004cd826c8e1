//! jq-server: what a server does around the engine.
//!
//! The root of the library is short on purpose. [`config`] turns flags into a checked
//! configuration, [`server`] runs one, [`access`] says who may do what over the protocol, [`admin`] shows it to those who look and steer by HTTP, [`clock`] is the only reader of the operating system's time,
//! [`log`] keeps durable facts, and [`logging`] says where
//! diagnostics go, [`observe`] has what it shows over time, and [`policies`] what operators set for tubes.

pub mod access;
pub mod admin;
pub mod clock;
pub mod config;
mod descriptors;
mod freeing;
pub mod log;
pub mod logging;
pub mod memory;
pub mod observe;
mod paced;
pub mod policies;
pub mod privileges;
pub mod server;
mod settings_file;

pub use settings_file::FileError;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
