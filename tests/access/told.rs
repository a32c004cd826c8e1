//! What an operator is told: the log, metrics, the HTTP API.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::scene::{HASH, Scene, TOKEN};
use crate::support::{PATIENCE, eventually, scratch_path};

const SITE: &str = "[[principal]]\nname = \"site\"\nput = [\"mail\"]\nmax-bytes = 1000\n";

fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn metrics_and_the_api_name_the_principal() {
    let http = scratch_path("http");
    let flag = format!("unix:{}", http.display());
    let text = format!("{SITE}[[principal]]\nname = \"known\"\ntokens = [\"{HASH}\"]\n");
    let scene = Scene::start(&text, &["site"], &["--http", &flag]);
    let mut site = scene.act_as("site");
    site.send("use mail\r\nput 0 0 60 7\r\nabcdefg\r\nkick 1\r\nreserve\r\n");
    site.expect("USING mail\r\nINSERTED 1\r\nINTERNAL_ERROR\r\nINTERNAL_ERROR\r\n");
    let mut stranger = scene.stranger();
    stranger.send(format!("stats\r\nauth x\r\nauth {TOKEN}\r\nauth {TOKEN}\r\n"));
    stranger.expect("INTERNAL_ERROR\r\nNOT_AUTHENTICATED\r\nAUTHENTICATED\r\nAUTHENTICATED\r\n");
    let metrics = get(&http, "/metrics");
    for line in [
        "jq_denied_commands_total{principal=\"site\"} 2",
        "jq_denied_commands_total{principal=\"operator\"} 0",
        "jq_denied_commands_total{principal=\"\"} 1",
        "jq_principal_connections{principal=\"site\"} 1",
        "jq_principal_connections{principal=\"known\"} 1",
        "jq_principal_body_bytes{principal=\"site\"} 7",
        "jq_authentications_total{result=\"wrong\"} 1",
        "jq_authentications_total{result=\"right\"} 1",
        "jq_authentications_total{result=\"remembered\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} in {metrics}");
    }
    let connections = get(&http, "/api/v1/connections");
    for name in ["site", "known"] {
        let principal = format!("\"principal\":\"{name}\"");
        assert_eq!(connections.matches(&principal).count(), 1, "{principal} in {connections}");
    }
}

#[test]
fn refusals_are_logged_at_most_once_a_second() {
    let scene = Scene::start(SITE, &["site"], &[]);
    let start = Instant::now();
    let mut site = scene.act_as("site");
    for _ in 0..50 {
        site.send("pause-tube other 1\r\n".repeat(20));
        site.expect("INTERNAL_ERROR\r\n".repeat(20));
    }
    let output = scene.server.output();
    let lines: Vec<&str> = output.lines().filter(|line| line.contains("not allowed")).collect();
    let most = 1 + start.elapsed().as_secs() as usize;
    assert!((1..=most).contains(&lines.len()), "{lines:?}");
    let told = ["principal=site", "command=\"pause-tube\"", "tube=\"other\"", "denied=1"];
    assert!(told.iter().all(|told| lines[0].contains(told)), "{}", lines[0]);
    assert_eq!(scene.stat("denied-commands"), 1000);
}

#[test]
fn whom_a_connection_acts_for_is_logged() {
    let known = format!("[[principal]]\nname = \"known\"\ntokens = [\"{HASH}\"]\n");
    let scene = Scene::start(&format!("{SITE}{known}"), &["site"], &["-V"]);
    let is_said = |parts: &[&str]| {
        let output = scene.server.output();
        output.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    };
    let mut conn = scene.act_as("site");
    conn.ask("list-tube-used");
    let acts = "acts for a principal";
    eventually("the listener's is logged", || is_said(&[acts, "principal=site"]));
    assert!(!is_said(&[acts, "principal=known"]));
    conn.ask(format!("auth {TOKEN}"));
    eventually("the token's is logged", || is_said(&[acts, "principal=known"]));
    scene.reload(SITE);
    eventually("it is the listener's again", || {
        scene.server.output().lines().filter(|line| line.contains("principal=site")).count() == 2
    });
    scene.reload("");
    eventually("it is nobody's", || is_said(&["acts for nobody now", "before=\"site\""]));
}

#[test]
fn a_server_that_stops_does_not_wait_for_tokens() {
    let mut scene = Scene::start("", &[], &[]);
    let mut conn = scene.stranger();
    // From this address, each waits longer than the one before.
    conn.send("auth a\r\nauth b\r\n");
    conn.expect("NOT_AUTHENTICATED\r\n".repeat(2));
    let mut conns: Vec<_> = (0..8).map(|_| scene.stranger()).collect();
    for conn in &mut conns {
        conn.send("auth c\r\nlist-tube-used\r\n");
    }
    scene.server.signal(Signal::SIGTERM);
    let status = scene.server.exit_status(PATIENCE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    for conn in &mut conns {
        // Those that were verified before have their replies.
        while let crate::support::Input::Reply(_) = conn.next(PATIENCE) {}
    }
}
