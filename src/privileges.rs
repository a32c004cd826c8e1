//! Becoming another user, and getting the descriptors that are allowed.

use std::fmt;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{User, initgroups, setgid, setuid};

/// Why the server could not become the user that `-u` names.
#[derive(Debug)]
pub enum BecomeError {
    /// There is no such user.
    NoSuchUser(String),
    /// The system refused.
    Refused(String, nix::Error),
}

impl fmt::Display for BecomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUser(name) => write!(f, "-u {name}: no such user"),
            Self::Refused(name, error) => {
                write!(f, "-u {name}: cannot switch to this user: {error}")
            }
        }
    }
}

impl std::error::Error for BecomeError {}

/// Gives up the rights of the current user for those of `name`, its groups included. To be called
/// after the sockets are bound, and before any thread starts.
pub fn become_user(name: &str) -> Result<(), BecomeError> {
    let refused = |error| BecomeError::Refused(name.to_owned(), error);
    let user = User::from_name(name)
        .map_err(refused)?
        .ok_or_else(|| BecomeError::NoSuchUser(name.to_owned()))?;
    // A server that runs as that user already needs no rights to become it.
    if nix::unistd::geteuid() == user.uid && nix::unistd::getegid() == user.gid {
        return Ok(());
    }
    let c_name = std::ffi::CString::new(name).map_err(|_| refused(nix::Error::EINVAL))?;
    initgroups(&c_name, user.gid).map_err(refused)?;
    setgid(user.gid).map_err(refused)?;
    setuid(user.uid).map_err(refused)
}

/// Allows as many open descriptors as the system permits: the usual default of 1,024 is a
/// convention for programs that use `select`, and would be the limit of connections.
pub fn raise_descriptor_limit() {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => {
            if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                tracing::warn!(%error, soft, hard, "cannot raise the limit of open descriptors");
            }
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot read the limit of open descriptors"),
    }
}
