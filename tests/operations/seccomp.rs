//! The filter of system calls in the unit: the server runs under it, and the filter forbids.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::page::{file, read};
use crate::scene::Scene;
use crate::support::{Conn, executable, scratch_path, skip};

/// What the filter of a unit allows, as systemd expands it.
fn allowed_by(unit: &str, analyze: &Path) -> BTreeSet<String> {
    let unit = read(unit);
    let filters = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let mut allowed = BTreeSet::new();
    for filter in filters {
        let (forbids, groups) = filter.strip_prefix('~').map_or((false, filter), |it| (true, it));
        for group in groups.split_whitespace() {
            for name in expand(group, analyze) {
                if forbids {
                    allowed.remove(&name);
                } else {
                    allowed.insert(name);
                }
            }
        }
    }
    allowed
}

/// The calls of a group; a group may have groups.
fn expand(group: &str, analyze: &Path) -> BTreeSet<String> {
    if !group.starts_with('@') {
        return BTreeSet::from([group.to_owned()]);
    }
    let output = Command::new(analyze).args(["syscall-filter", group]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are ASCII");
    // The first line is the group itself.
    let names = text.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#'));
    names.filter(|line| !line.is_empty()).flat_map(|name| expand(name, analyze)).collect()
}

/// The system's Python, which has Debian's packages, if it has this one.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from("/usr/bin/python3");
    let has = Command::new(&python).args(["-c", "import seccomp"]).output();
    has.is_ok_and(|output| output.status.success()).then_some(python)
}

/// `before` for a shell that then becomes a server under this filter.
fn under(names: &Path, python: &Path) -> String {
    let script = file("tests/operations/under_filter.py");
    let (names, script) = (names.display(), script.display());
    format!("set -- '{}' '{script}' '{names}' \"$@\";", python.display())
}

#[test]
fn the_server_runs_under_the_filter_of_its_unit() {
    let Some(analyze) = executable("systemd-analyze") else {
        return skip(
            "seccomp",
            "systemd-analyze is not installed (Debian: apt-get install systemd)",
        );
    };
    let Some(python) = python() else {
        return skip("seccomp", "apt-get install python3-seccomp");
    };
    let allowed = allowed_by("packaging/jq-server.service", &analyze);
    assert!(allowed.len() > 200 && allowed.contains("epoll_wait"), "{allowed:?}");
    let forbidden = ["ptrace", "mount", "setuid", "chroot", "init_module", "bpf"];
    for name in forbidden {
        assert!(!allowed.contains(name), "{name}");
    }
    let (names, dir) = (scratch_path("names"), scratch_path("jobs"));
    fs::create_dir(&dir).expect("the temporary folder is writable");
    let write = |names: &Path, allowed: &BTreeSet<String>| {
        let lines: Vec<&str> = allowed.iter().map(String::as_str).collect();
        fs::write(names, lines.join("\n")).expect("the temporary folder is writable");
    };
    write(&names, &allowed);

    // Everything that a server does beside serving: files that fill and are compacted, memory that is
    // returned, descriptors that are counted, a start with jobs, a reload, an end.
    for round in 0..2 {
        let flags = ["--threads", "2", "-s", "65536", "-f", "0", "-z", "8000000"];
        let mut scene = Scene::start(&under(&names, &python), Some(&dir), &flags);
        let mut conn = Conn::open(scene.server.endpoint()).expect("it is there");
        let large = vec![b'x'; 6_000_000];
        conn.send(format!("put 0 0 60 {}\r\n", large.len()));
        conn.send(&large);
        conn.send("\r\n");
        assert!(conn.reply().line().starts_with(b"INSERTED"));
        for _ in 0..200 {
            conn.send("put 5 0 60 1000\r\n");
            conn.send(vec![b'y'; 1000]);
            conn.send("\r\nreserve-with-timeout 0\r\n");
            assert!(conn.reply().line().starts_with(b"INSERTED"));
            let reserved = conn.reply();
            let line = String::from_utf8_lossy(reserved.line()).into_owned();
            let id = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line}")).to_owned();
            assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        }
        for path in ["/metrics", "/readyz"] {
            assert_eq!(scene.get(path), if path == "/metrics" { "401" } else { "200" });
        }
        scene.server.signal(Signal::SIGHUP);
        scene.server.process().await_output("tokens was read again");
        assert!(conn.ask("stats").is_well_formed());
        scene.server.signal(Signal::SIGTERM);
        assert_eq!(scene.server.process().exit_code(), 0, "round {round}");
    }

    // And the filter is one: without a call that every server needs, there is none.
    let mut too_few = allowed;
    too_few.remove("epoll_wait");
    write(&names, &too_few);
    let status = Command::new(&python)
        .arg(file("tests/operations/under_filter.py"))
        .arg(&names)
        .arg(crate::support::program("jq-server"))
        .args(["-l", "127.0.0.1", "-p", "0"])
        .output()
        .expect("it runs")
        .status;
    assert!(!status.success(), "{status}");
    fs::remove_file(&names).expect("it was just made");
    fs::remove_dir_all(&dir).expect("it was just made");
}
