//! Descriptors kept back for the log: clients may take all others.
//!
//! A descriptor that was kept back is given up when a file is opened and there is no other. When a file
//! of the log is closed, its descriptor is kept back again, without ever being free in between.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::dup3;

use crate::log::binlog::lock;

/// Files that the log may open beside those that it has open: the next segment, an old one that is read
/// to be reclaimed, one that is written anew after a failure, the reserve, the directory.
const KEPT: usize = 6;

/// The descriptors that are kept back.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// What they are of meanwhile, so that no file is kept by them that was removed.
    nothing: Option<File>,
    kept: Mutex<Vec<OwnedFd>>,
}

/// Whether there is no descriptor left, in the process or in the system.
pub(crate) fn are_missing(error: &io::Error) -> bool {
    let raw = error.raw_os_error();
    [Errno::EMFILE, Errno::ENFILE].iter().any(|errno| raw == Some(*errno as i32))
}

impl Descriptors {
    /// As many as there are, at most as many as may be needed.
    pub(crate) fn keep() -> Arc<Self> {
        let nothing = File::open("/dev/null").ok();
        let clones = nothing.iter().flat_map(|it| std::iter::repeat_with(|| it.try_clone().ok()));
        let kept = clones.take(KEPT).flatten().map(OwnedFd::from).collect();
        Arc::new(Self { nothing, kept: Mutex::new(kept) })
    }

    /// Opens a file, with a descriptor that was kept back if there is no other.
    pub(crate) fn open(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        loop {
            match open() {
                Err(error) if are_missing(&error) => {
                    // Somebody else may be faster to take it; then there is another one.
                    let Some(given_up) = lock(&self.kept).pop() else { return Err(error) };
                    drop(given_up);
                }
                opened => return opened,
            }
        }
    }

    /// Closes a file.
    pub(crate) fn close(&self, file: File) {
        let mut kept = lock(&self.kept);
        if let Some(nothing) = &self.nothing
            && kept.len() < KEPT
        {
            let mut descriptor = OwnedFd::from(file);
            if dup3(nothing, &mut descriptor, OFlag::O_CLOEXEC).is_ok() {
                kept.push(descriptor);
            }
        }
    }
}
