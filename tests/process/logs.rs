//! What it logs.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::run::connect;
use crate::support::Server;

/// Runs a server through a short life, and tells what it logged.
fn life(flags: &[&str]) -> String {
    let mut server = Server::jq(flags);
    let mut client = connect(server.endpoint());
    client.send("put 0 0 60 1\r\nx\r\nquit\r\n");
    client.expect("INSERTED 1\r\n");
    client.expect_closed();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.process().exit_code(), 0);
    server.output()
}

#[test]
fn each_v_adds_detail() {
    let [quiet, connections, batches] = [&[][..], &["-V"], &["-VV"]].map(life);
    for log in [&quiet, &connections, &batches] {
        assert!(log.contains("listening") && log.contains("stopped"), "{log}");
    }
    assert!(!quiet.contains("connected"), "{quiet}");
    assert!(connections.contains("DEBUG connected"), "{connections}");
    assert!(connections.contains("DEBUG disconnected"), "{connections}");
    assert!(!connections.contains("batch"), "{connections}");
    assert!(batches.contains("TRACE batch"), "{batches}");
}

#[test]
fn text_is_free_of_colours_when_nobody_watches() {
    let log = life(&["-VV"]);
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[test]
fn json_lines() {
    let log = life(&["-VV", "--log-format", "json", "-c"]);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    let find = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("{message} in {log}"))
    };
    assert_eq!(find("listening")["level"], "INFO");
    assert!(find("listening")["address"].as_str().is_some_and(|it| it.starts_with("127.0.0.1:")));
    assert_eq!(find("-c is obsolete and does nothing")["level"], "WARN");
    assert_eq!(find("connected")["level"], "DEBUG");
    assert_eq!(find("stopping")["jobs"], 1);
}

/// A server outlives the disk that its log is on.
#[test]
fn a_log_that_cannot_be_written() {
    let mut server = Server::jq_by_shell(r#"exec "$@" 2>/dev/full"#, &["-VV"]);
    let mut client = connect(server.endpoint());
    client.ask("stats");
    server.signal(Signal::SIGTERM);
    client.expect_closed();
    assert_eq!(server.process().exit_code(), 0);
}
