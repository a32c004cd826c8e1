//! What is wrong with the first line of a script, which the system says in words that mislead: "no such
//! file" for a script that is there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// As much of a first line as the kernel reads, in bytes.
const MAX_LINE: u64 = 255;

/// Why a program cannot be started, as far as its first line tells. `path` is what `PATH` is for it.
pub(super) fn problem(program: &Path, path: &OsStr) -> Option<String> {
    let mut head = Vec::new();
    let read = File::open(program).and_then(|file| file.take(MAX_LINE).read_to_end(&mut head));
    if let Err(error) = read {
        // A program that may only be run is one all the same, but a script must be read.
        let is_forbidden = error.kind() == std::io::ErrorKind::PermissionDenied;
        return (!is_forbidden).then(|| error.to_string());
    }
    if head.starts_with(b"\xef\xbb\xbf#!") {
        return Some("a byte order mark stands before its #! line: save it without one".to_owned());
    }
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        let why =
            "its #! line ends with a carriage return, which becomes part of the interpreter's name";
        return Some(format!("{why}: save it with Unix line ends"));
    }
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let Some(interpreter) = words.next() else {
        return Some("its #! line names no interpreter".to_owned());
    };
    if !interpreter.starts_with('/') {
        return Some(format!("its #! line names {interpreter:?}: expected an absolute path"));
    }
    if !is_executable(Path::new(interpreter)) {
        return Some(format!("its #! line names {interpreter:?}: no such program"));
    }
    if Path::new(interpreter).file_name() != Some(OsStr::new("env")) {
        return None;
    }
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    let is_there = std::env::split_paths(path).any(|folder| is_executable(&folder.join(name)));
    (!is_there).then(|| format!("its #! line names {name:?}: no such program on PATH"))
}

fn is_executable(path: &Path) -> bool {
    let meta = std::fs::metadata(path);
    meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        let script = std::env::temp_dir().join(format!("jq-script-{}", uuid::Uuid::new_v4()));
        let path = std::env::var_os("PATH").unwrap();
        for (text, why) in [
            ("#!/bin/sh\r\nexit 0\r\n", Some("carriage return")),
            ("\u{feff}#!/bin/sh\n", Some("byte order mark")),
            ("#!\n", Some("no interpreter")),
            ("#!sh\n", Some("absolute")),
            ("#!/no/such/python\n", Some("/no/such/python")),
            ("#!/usr/bin/env no-such-python -u\n", Some("no-such-python")),
            ("#!/usr/bin/env -S no-such-python -u\n", Some("no-such-python")),
            ("#!/usr/bin/env sh\n", None),
            ("#! /bin/sh -e\n", None),
            ("\u{7f}ELF\r\n", None),
            ("", None),
        ] {
            std::fs::write(&script, text).unwrap();
            let said = problem(&script, &path);
            assert_eq!(said.is_some(), why.is_some(), "{text:?}: {said:?}");
            let said = said.unwrap_or_default();
            assert!(said.contains(why.unwrap_or_default()), "{text:?}: {said}");
        }
        std::fs::remove_file(script).unwrap();
    }
}
