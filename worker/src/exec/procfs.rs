//! Finding the children of a process in `/proc`.
//!
//! Only used when something was left behind, because it looks at every process of the machine. The
//! kernel's own list of children (`/proc/PID/task/TID/children`) is a build option that many
//! kernels lack.

use rustix::process::Pid;
use std::fs;

/// A process, as `/proc` showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) group: Option<Pid>,
    /// Whether it has ended and its parent has not waited for it yet.
    pub(super) is_zombie: bool,
}

/// The current children of `parent`. Empty if `/proc` cannot be read.
pub(super) fn children_of(parent: Pid) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut children = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        // The process may be gone by now.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        if let Some((its_parent, group, state)) = parse_stat(&stat)
            && its_parent == parent.as_raw_nonzero().get()
        {
            let is_zombie = matches!(state, b'Z' | b'X' | b'x');
            children.push(Process { pid, group: Pid::from_raw(group), is_zombie });
        }
    }
    children
}

/// Parent, process group and state, of `PID (name) STATE PPID PGRP ...`. The process chooses its
/// own name, which may contain parentheses and blanks, so the last parenthesis counts.
fn parse_stat(stat: &[u8]) -> Option<(i32, i32, u8)> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some((parent, group, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_anything() {
        assert_eq!(parse_stat(b"12 (a) R 1 2 (b) S 34 56 78 0\n"), Some((34, 56, b'S')));
        assert_eq!(parse_stat(b"12 (\xff\n) Z 1 2 3"), Some((1, 2, b'Z')));
        assert_eq!(parse_stat(b"12 (x) S 1"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn our_own_child_is_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let children = children_of(rustix::process::getpid());
        child.kill().unwrap();
        child.wait().unwrap();
        let found = children.iter().find(|process| process.pid == pid).unwrap();
        assert!(!found.is_zombie);
    }
}
