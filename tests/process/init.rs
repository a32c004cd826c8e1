//! As process 1, for which the kernel has no default actions of signals: the way it runs in a
//! container.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::run::{connect, endpoint};
use crate::support::{Process, eventually, executable, jq_server, send_signal, skip};

/// unshare(1), if it may make a process namespace here.
fn unshare() -> Option<PathBuf> {
    let what = "running as process 1";
    let Some(unshare) = executable("unshare") else {
        skip(what, "unshare is not installed (Debian: util-linux)");
        return None;
    };
    let mut command = Command::new(&unshare);
    command.args(["--pid", "--fork", "true"]);
    if Process::spawn(command).exit_code() != 0 {
        skip(what, "this user may not make a process namespace");
        return None;
    }
    Some(unshare)
}

/// The process that is process 1 inside, by its number outside.
fn inner(outer: &Process) -> u32 {
    let pid = outer.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("the kernel lists children");
    children.trim().parse().expect("there is one child")
}

#[test]
fn signals_work_for_process_1() {
    let Some(unshare) = unshare() else { return };
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut command = Command::new(&unshare);
        command.args(["--pid", "--fork", "--kill-child"]).arg(jq_server());
        command.args(["-l", "127.0.0.1", "-p", "0"]);
        let mut outer = Process::spawn(command);
        let mut client = connect(&endpoint(&outer));
        assert_eq!(client.ask("stats").value("pid"), Some("1"));
        let server = inner(&outer);
        send_signal(server, Signal::SIGUSR1).expect("it is running");
        eventually("it drains", || client.ask("stats").value("draining") == Some("true"));
        send_signal(server, signal).expect("it is running");
        client.expect_closed();
        assert_eq!(outer.exit_code(), 0, "unshare passes the exit status on");
    }
}
