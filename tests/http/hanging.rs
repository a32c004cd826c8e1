//! A file system that does not answer while files are read again.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::client::{Http, token};
use crate::support::{PATIENCE, Process, eventually, scratch_path, skip};

/// How many threads of the process have this name.
fn threads(pid: u32, name: &str) -> usize {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let names =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|it| it.trim() == name).count()
}

/// Nobody waits for it but the reload, of which there is one at a time; nor does the end of the server.
#[test]
fn files_that_are_never_opened_are_in_nobody_s_way() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skip("a file system that hangs", "there is no strace");
    }
    let tubes = scratch_path("toml");
    fs::write(&tubes, "[tubes.a]\nmax-jobs = 1\n").unwrap();
    let mut http = Http::operating(&["--tubes", tubes.to_str().unwrap()]);
    let pid = http.server.pid();

    // Whoever opens one of the files waits for an hour.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=openat", "-e", "inject=openat:delay_enter=3600000000", "-P"]);
    strace.arg(&tubes).arg("-P").arg(http.token_file()).arg("-p").arg(pid.to_string());
    let strace = Process::spawn(strace);
    strace.await_output("attached");

    for _ in 0..3 {
        http.server.signal(Signal::SIGHUP);
        eventually("both files are read", || threads(pid, "jq-reload") == 2);
        let mut queue = http.queue();
        queue.ask("use a");
        assert_eq!(queue.ask("list-tube-used").line(), b"USING a");
        let known = http.send_as(Some(&token("read")), "GET", "/version", &[], b"");
        assert_eq!(known.status, 200, "the tokens of before stay");
    }
    assert_eq!(threads(pid, "jq-reload"), 2, "however often it is asked to");
    assert!(!http.server.output().contains("read again"), "{}", http.server.output());

    http.server.signal(Signal::SIGTERM);
    // It exits without these calls having come to an end.
    let is_cut_short = |line: &str| line.contains("openat resumed") && line.ends_with("= ?");
    eventually("it exits", || strace.output().lines().any(is_cut_short));
    // Which holds on to what it delays.
    drop(strace);
    let status = http.server.exit_status(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}: {}", http.server.output());
    fs::remove_file(&tubes).unwrap();
}
