//! What each command line, and each signal, comes to on both servers.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::{self, PATIENCE, Server};

/// What a command line comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Exits(i32),
    /// It serves, and its stats say this.
    Serves(&'static str, &'static str),
}

use Outcome::{Exits, Serves};

/// A command line, and what comes of it.
struct Case {
    flags: &'static [&'static str],
    ours: Outcome,
    /// What beanstalkd does instead, and the entry of the allow-list for that.
    theirs: Option<(Outcome, &'static str)>,
}

const fn same(flags: &'static [&'static str], outcome: Outcome) -> Case {
    Case { flags, ours: outcome, theirs: None }
}

const fn differs(
    flags: &'static [&'static str],
    ours: Outcome,
    theirs: Outcome,
    entry: &'static str,
) -> Case {
    Case { flags, ours, theirs: Some((theirs, entry)) }
}

const NO_FLAGS: &[&str] = &[];
const USAGE: Outcome = Exits(5);
const CANNOT_LOCK: Outcome = Exits(10);
const CANNOT_LISTEN: Outcome = Exits(111);

const CASES: &[Case] = &[
    same(&["-h"], Exits(0)),
    same(&["-v"], Exits(0)),
    same(&["-vh"], Exits(0)),
    same(&["-q"], USAGE),
    same(&["-Vq"], USAGE),
    same(&["stray"], USAGE),
    same(&["-"], USAGE),
    same(&["-b"], USAGE),
    same(&["-f"], USAGE),
    same(&["-l"], USAGE),
    same(&["-p"], USAGE),
    same(&["-s"], USAGE),
    same(&["-u"], USAGE),
    same(&["-z"], USAGE),
    same(&["-z", "x"], USAGE),
    same(&["-z", ""], USAGE),
    same(&["-z", "10x"], USAGE),
    same(&["-z", "0x10"], USAGE),
    same(&["-f", "x"], USAGE),
    same(&["-s", "x"], USAGE),
    same(&["-b", "/no/such/folder"], CANNOT_LOCK),
    same(&["-b", "/dev/null"], CANNOT_LOCK),
    same(&["-u", "no-such-user"], Exits(33)),
    same(&["-u", ""], Exits(33)),
    // An address for documentation, which no machine has.
    same(&["-l", "192.0.2.1"], CANNOT_LISTEN),
    same(&["-l", "unix:/no/such/folder/socket"], CANNOT_LISTEN),
    same(&[], Serves("max-job-size", "65535")),
    same(&["-V"], Serves("max-job-size", "65535")),
    same(&["-VVV"], Serves("max-job-size", "65535")),
    same(&["-z", "0"], Serves("max-job-size", "0")),
    same(&["-z20"], Serves("max-job-size", "20")),
    same(&["-Fz", "20"], Serves("max-job-size", "20")),
    same(&["-z", "10", "-z", "20"], Serves("max-job-size", "20")),
    same(&["-z", "1073741824"], Serves("max-job-size", "1073741824")),
    same(&["-z", "1073741825"], Serves("max-job-size", "1073741824")),
    same(&["-z", "5000000000"], Serves("max-job-size", "1073741824")),
    same(&["-s", "5000"], Serves("binlog-max-size", "5000")),
    same(&["-s1", "-s", "9000"], Serves("binlog-max-size", "9000")),
    same(&["-f0"], Serves("draining", "false")),
    same(&["-f", "1", "-f", "2"], Serves("draining", "false")),
    same(&["-F", "-F", "-f", "10"], Serves("draining", "false")),
    same(&["-c", "-n"], Serves("draining", "false")),
    same(&["-cncn"], Serves("draining", "false")),
    same(&["-l", "127.0.0.1"], Serves("draining", "false")),
    differs(&["-z", "-1"], USAGE, Serves("max-job-size", "1073741824"), "flag-values"),
    differs(&["-z", "+10"], USAGE, Serves("max-job-size", "10"), "flag-values"),
    differs(&["-z", " 10"], USAGE, Serves("max-job-size", "10"), "flag-values"),
    differs(&["-f", "-1"], USAGE, Serves("draining", "false"), "flag-values"),
    differs(&["-s", "-5"], USAGE, Serves("draining", "false"), "flag-values"),
    differs(&["-p", "no-such-service"], USAGE, CANNOT_LISTEN, "flag-values"),
    differs(&["-l", ""], USAGE, CANNOT_LISTEN, "flag-values"),
    differs(&["--help"], Exits(0), USAGE, "long-flags"),
    differs(&["--version"], Exits(0), USAGE, "long-flags"),
    differs(&["--compat", "1.12"], Serves("draining", "false"), USAGE, "long-flags"),
];

/// The entries of the allow-list that this file shows.
pub(crate) fn deviations() -> impl Iterator<Item = &'static str> {
    let of_cases = CASES.iter().filter_map(|case| case.theirs.map(|(_, entry)| entry));
    of_cases.chain([GRACEFUL_STOP, END_OF_DRAIN, HANGUP])
}

const GRACEFUL_STOP: &str = "graceful-stop";
const END_OF_DRAIN: &str = "end-of-drain";
const HANGUP: &str = "hangup";

#[test]
fn command_lines_come_to_the_same() {
    let beanstalkd = support::beanstalkd("the comparison of command lines with beanstalkd");
    for case in CASES {
        let theirs = case.theirs.map_or(case.ours, |(outcome, _)| outcome);
        assert_ne!(Some(case.ours), case.theirs.map(|(outcome, _)| outcome), "{:?}", case.flags);
        if let Some(beanstalkd) = &beanstalkd {
            check(beanstalkd, case.flags, theirs);
        }
        let ours = if support::is_our_server() { case.ours } else { theirs };
        check(&support::jq_server(), case.flags, ours);
    }
}

fn check(program: &Path, flags: &[&str], wanted: Outcome) {
    match wanted {
        Serves(key, value) => {
            let stats = Server::start(program, flags).connect().ask("stats");
            assert_eq!(stats.value(key), Some(value), "{} {flags:?}", program.display());
        }
        Exits(status) => {
            let got = support::exit_status(program, flags).and_then(|status| status.code());
            assert_eq!(got, Some(status), "{} {flags:?}", program.display());
        }
    }
}

/// Shows [`GRACEFUL_STOP`].
#[test]
fn stopping() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        if let Some(beanstalkd) = support::beanstalkd("what a signal does to beanstalkd") {
            let killed = ended_by(Server::start(&beanstalkd, NO_FLAGS), signal);
            assert_eq!(killed.signal(), Some(signal as i32));
        }
        if support::is_our_server() {
            assert_eq!(ended_by(Server::jq(NO_FLAGS), signal).code(), Some(0), "{signal}");
        }
    }
}

/// Shows [`END_OF_DRAIN`].
#[test]
fn draining_and_back() {
    if let Some(beanstalkd) = support::beanstalkd("what SIGUSR2 does to beanstalkd") {
        let killed = ended_by(Server::start(&beanstalkd, NO_FLAGS), Signal::SIGUSR2);
        assert_eq!(killed.signal(), Some(Signal::SIGUSR2 as i32));
    }
    if support::is_our_server() {
        let server = Server::jq(NO_FLAGS);
        let mut conn = server.connect();
        let mut signal = |signal, draining| {
            server.signal(signal);
            let deadline = Instant::now() + PATIENCE;
            while conn.ask("stats").value("draining") != Some(draining) {
                assert!(Instant::now() < deadline, "{signal}");
            }
            conn.send("put 0 0 60 1\r\nx\r\n");
            conn.reply().line().to_vec()
        };
        assert_eq!(signal(Signal::SIGUSR1, "true"), b"DRAINING");
        assert_eq!(signal(Signal::SIGUSR2, "false"), b"INSERTED 2");
    }
}

/// Shows [`HANGUP`].
#[test]
fn hanging_up() {
    if let Some(beanstalkd) = support::beanstalkd("what SIGHUP does to beanstalkd") {
        let killed = ended_by(Server::start(&beanstalkd, NO_FLAGS), Signal::SIGHUP);
        assert_eq!(killed.signal(), Some(Signal::SIGHUP as i32));
    }
    if support::is_our_server() {
        let server = Server::jq(NO_FLAGS);
        let mut conn = server.connect();
        conn.send("put 0 0 60 1\r\nx\r\n");
        conn.expect("INSERTED 1\r\n");
        server.signal(Signal::SIGHUP);
        support::eventually("it has come", || server.output().contains("SIGHUP"));
        assert_eq!(conn.ask("peek 1").line(), b"FOUND 1 1");
    }
}

fn ended_by(mut server: Server, signal: Signal) -> ExitStatus {
    server.signal(signal);
    server.exit_status(PATIENCE).expect("the signal ends it")
}
