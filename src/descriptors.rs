//! Descriptors kept back for what must go on when clients have taken all others.
//!
//! A descriptor that was kept back is given up when one is needed and there is no other. When what it
//! went to is closed, its descriptor is kept back again, without ever being free in between.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::dup3;

/// The descriptors that are kept back.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// What they are of meanwhile, so that no file is kept by them that was removed.
    nothing: Option<File>,
    /// How many there should be.
    most: usize,
    kept: Mutex<Vec<OwnedFd>>,
}

/// Whether there is no descriptor left, in the process or in the system.
pub(crate) fn are_missing(error: &io::Error) -> bool {
    let raw = error.raw_os_error();
    [Errno::EMFILE, Errno::ENFILE].iter().any(|errno| raw == Some(*errno as i32))
}

impl Descriptors {
    /// So many, or as many as there are.
    pub(crate) fn keep(most: usize) -> Arc<Self> {
        let nothing = File::open("/dev/null").ok();
        let clones = nothing.iter().flat_map(|it| std::iter::repeat_with(|| it.try_clone().ok()));
        let kept = clones.take(most).flatten().map(OwnedFd::from).collect();
        Arc::new(Self { nothing, most, kept: Mutex::new(kept) })
    }

    /// Opens a file, with a descriptor that was kept back if there is no other.
    pub(crate) fn open(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        loop {
            match open() {
                // Somebody else may be faster to take it; then there is another one.
                Err(error) if are_missing(&error) && self.give_up() => {}
                opened => return opened,
            }
        }
    }

    /// Frees one of them, for whatever is opened next. False: there is none.
    pub(crate) fn give_up(&self) -> bool {
        self.kept().pop().is_some()
    }

    /// Closes what was opened.
    pub(crate) fn close(&self, opened: impl Into<OwnedFd>) {
        let mut descriptor = opened.into();
        let mut kept = self.kept();
        if let Some(nothing) = &self.nothing
            && kept.len() < self.most
            && dup3(nothing, &mut descriptor, OFlag::O_CLOEXEC).is_ok()
        {
            kept.push(descriptor);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.kept.lock().expect("nobody panics while holding this lock")
    }
}
