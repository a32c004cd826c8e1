//! How much of processors and disks a process gets while others want some too.
//!
//! Owned here: the numbers that the kernel wants, and whether it would take them from us. Not known
//! here: whose process it is.

use super::command::Identity;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_uid};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::thread;

/// A process's place in the line for the disk, as `ioprio_set` wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPriority(pub(super) u16);

/// Bits of the level within the class.
const CLASS_SHIFT: u16 = 13;

impl FromStr for IoPriority {
    type Err = String;

    /// `idle`; or `best-effort` or `realtime`, with or without a level from 0, the highest, to 7.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?}: expected \"idle\", or \"best-effort\" or \"realtime\" with a level, as in \
                 \"best-effort:7\""
            )
        };
        let (class, level) = match text.split_once(':') {
            None => (text, None),
            Some((class, level)) => (class, Some(level)),
        };
        let level = match level {
            None => None,
            Some(level) => Some(level.parse().ok().filter(|level| *level <= 7).ok_or_else(bad)?),
        };
        let (class, level) = match (class, level) {
            ("idle", None) => (3, 0),
            ("best-effort", level) => (2, level.unwrap_or(4)),
            ("realtime", level) => (1, level.unwrap_or(4)),
            _ => return Err(bad()),
        };
        Ok(Self((class << CLASS_SHIFT) | level))
    }
}

impl fmt::Display for IoPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.0 & ((1 << CLASS_SHIFT) - 1);
        match self.0 >> CLASS_SHIFT {
            3 => f.write_str("idle"),
            2 => write!(f, "best-effort:{level}"),
            _ => write!(f, "realtime:{level}"),
        }
    }
}

/// Sets the nice value of the calling thread, and so of the programs that it becomes.
pub(super) fn set_nice(nice: i32) -> rustix::io::Result<()> {
    // Of no process in particular: it is the calling thread then.
    rustix::process::setpriority_process(None, nice)
}

/// Sets the place in the line for the disk of the calling thread, and so of the programs that it
/// becomes.
#[allow(unsafe_code)]
pub(super) fn set_io(priority: IoPriority) -> rustix::io::Result<()> {
    /// `IOPRIO_WHO_PROCESS`; with 0 in the place of a process it is the calling thread.
    const WHO_PROCESS: libc::c_long = 1;
    // SAFETY: the three arguments are numbers. The call changes nothing but how the kernel schedules
    // the calling thread.
    let result = unsafe {
        let value = libc::c_long::from(priority.0);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0 as libc::c_long, value)
    };
    if result == 0 {
        return Ok(());
    }
    let errno = io::Error::last_os_error().raw_os_error();
    Err(rustix::io::Errno::from_raw_os_error(errno.unwrap_or(libc::EINVAL)))
}

/// Whether this process may start others with these priorities, as somebody else if there is an `identity`:
/// they are set when the process is that user's already. It asks the kernel: capabilities, limits and
/// sandboxes all have a say.
///
/// # Errors
///
/// The kernel's answer for the nice value, or for the other one.
pub fn may_have(
    nice: Option<i32>,
    io: Option<IoPriority>,
    identity: Option<Identity>,
) -> Result<(), (&'static str, io::Error)> {
    if nice.is_none() && io.is_none() {
        return Ok(());
    }
    // They are a thread's own, so one that ends at once is a trial without consequences.
    let trial = thread::spawn(move || {
        if let Some(Identity { uid, gid }) = identity {
            // The system calls are about this thread alone.
            set_thread_gid(Gid::from_raw(gid)).map_err(|error| ("group", error.into()))?;
            set_thread_uid(Uid::from_raw(uid)).map_err(|error| ("user", error.into()))?;
        }
        nice.map_or(Ok(()), set_nice).map_err(|error| ("nice", error.into()))?;
        io.map_or(Ok(()), set_io).map_err(|error| ("ionice", error.into()))
    });
    trial.join().unwrap_or_else(|_| Err(("nice", io::Error::other("it cannot be tried"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_line_for_the_disk() {
        let number = |text: &str| text.parse().map(|IoPriority(number)| number);
        assert_eq!(number("idle"), Ok(3 << 13));
        assert_eq!(number("best-effort"), Ok(2 << 13 | 4));
        assert_eq!(number("best-effort:0"), Ok(2 << 13));
        assert_eq!(number("realtime:7"), Ok(1 << 13 | 7));
        for text in ["idle", "best-effort:0", "realtime:7"] {
            assert_eq!(text.parse::<IoPriority>().unwrap().to_string(), text);
        }
        for text in ["", "idle:3", "best-effort:8", "best-effort:", "nice", "realtime:-1"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trial_changes_nothing() {
        let before = rustix::process::getpriority_process(None).unwrap();
        may_have(Some(19), Some("idle".parse().unwrap()), None).unwrap();
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
    }

    #[test]
    fn another_user_may_have_less() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let nobody = Some(Identity { uid: 65_534, gid: 65_534 });
        may_have(Some(19), None, nobody).unwrap();
        assert_eq!(may_have(Some(-20), None, nobody).unwrap_err().0, "nice");
        assert!(rustix::process::geteuid().is_root());
    }
}
