//! What needs the HTTP API.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::rig::Ctl;
use crate::support::{Endpoint, Input, PATIENCE, Server, comes_true, eventually, scratch_path};

/// A server that may be operated, and the program that may do so.
struct Operated {
    server: Server,
    ctl: Ctl,
    url: String,
    files: [std::path::PathBuf; 2],
}

impl Operated {
    fn start() -> Self {
        let (tokens, token) = (scratch_path("toml"), scratch_path("token"));
        let text =
            "[[token]]\nname = \"tests\"\nrole = \"operate\"\ntoken = \"a-token-for-the-tests\"\n";
        for (path, text) in [(&tokens, text), (&token, "a-token-for-the-tests\n")] {
            fs::write(path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(path, mode).unwrap();
        }
        let flags = ["--http", "127.0.0.1:0", "--http-token-file", tokens.to_str().unwrap()];
        let mut server = Server::jq(&flags);
        let address = address(&mut server);
        let url = format!("http://{address}/");
        let ctl = Ctl::of(&server).with(&["--http", &url, "--token-file", token.to_str().unwrap()]);
        Self { server, ctl, url, files: [tokens, token] }
    }
}

/// Where a server has its API.
pub(crate) fn address(server: &mut Server) -> SocketAddr {
    let line = server.process().await_output("serving HTTP");
    line.split("address=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
}

impl Drop for Operated {
    fn drop(&mut self) {
        self.files.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}

#[test]
fn jobs_are_listed_page_by_page() {
    let Operated { ctl, .. } = &Operated::start();
    let bodies: String = (0..2500).map(|it| format!("{it}\n")).collect();
    assert_eq!(ctl.run_on(&["put", "t", "--lines"], bodies.as_bytes()).status, 0);
    ctl.ok(&["bury", "5"]);
    let ids = |list: &Value| -> Vec<u64> {
        list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()).collect()
    };
    let all = ctl.json(&["jobs", "t", "--limit", "5000"]);
    assert_eq!(ids(&all), (1..=2500).collect::<Vec<_>>());
    let first = ctl.json(&["jobs", "t", "--limit", "3"]);
    assert_eq!(ids(&first), [1, 2, 3]);
    let cursor = first["next"].to_string();
    let second = ctl.json(&["jobs", "t", "--limit", "3", "--cursor", &cursor]);
    assert_eq!(ids(&second), [4, 5, 6]);
    assert_eq!(ids(&ctl.json(&["jobs", "t", "--state", "buried"])), [5]);
    let shown = ctl.ok(&["jobs", "t", "--limit", "2"]);
    assert!(shown.lines().last().unwrap().starts_with("There may be more: --cursor "), "{shown}");
    assert_eq!(ctl.run(&["jobs", "nowhere"]).status, 2);
}

#[test]
fn a_tube_is_exported_in_every_state_and_comes_back() {
    let Operated { ctl, .. } = &Operated::start();
    ctl.ok(&["put", "t", "ready"]);
    ctl.ok(&["put", "t", "delayed", "--delay", "500"]);
    ctl.ok(&["put", "t", "buried", "--priority", "4"]);
    ctl.ok(&["bury", "3"]);
    let exported = ctl.ok(&["export", "t"]);
    let said = ctl.run_on(&["import", "--tube", "copy"], exported.as_bytes());
    assert_eq!((said.status, said.out.as_str()), (0, "3 jobs queued\n"), "{said:?}");
    let states = ["4", "5", "6"].map(|id| ctl.json(&["job", id])["state"].clone());
    assert_eq!(states, ["ready", "delayed", "buried"].map(|state| json!(state)));
    assert!(ctl.json(&["job", "5"])["time-left"].as_u64().unwrap() > 400);
    let some = ctl.ok(&["export", "t", "--state", "buried", "--base64"]);
    assert!(some.contains("YnVyaWVk") && some.lines().count() == 1, "{some}");
}

#[test]
fn jobs_are_moved_and_tubes_cleared() {
    let Operated { ctl, .. } = &Operated::start();
    for body in ["1", "2", "3"] {
        ctl.ok(&["put", "t", body]);
    }
    assert_eq!(ctl.ok(&["move", "--to", "u", "1"]), "1 moved to u\n");
    assert_eq!(ctl.json(&["job", "1"])["tube"], json!("u"));
    let said = ctl.run(&["move", "--to", "u", "77"]);
    assert_eq!(said.status, 2, "{said:?}");
    let said = ctl.run(&["move", "--to", "u", "--from", "t"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(said.err.contains("2 jobs"), "the count comes first: {said:?}");
    let done = ctl.json(&["move", "--to", "u", "--from", "t", "--yes"]);
    assert_eq!((&done["matched"], &done["changed"]), (&json!(2), &json!(2)));
    assert_eq!(ctl.json(&["tube", "u"])["current-jobs-ready"], json!(3));
    assert_eq!(ctl.run(&["clear", "u"]).status, 4);
    assert_eq!(ctl.ok(&["clear", "u", "--yes"]), "3 deleted\n");
    ctl.ok(&["wait", "u", "--within", "5"]);
}

#[test]
fn the_server_is_drained_and_undrained() {
    let Operated { ctl, .. } = &Operated::start();
    assert_eq!(ctl.run(&["drain"]).status, 4);
    assert_eq!(ctl.ok(&["drain", "--yes"]), "The server refuses new jobs\n");
    assert_eq!(ctl.ok(&["drain", "--yes"]), "The server refuses new jobs already\n");
    let said = ctl.run(&["put", "t", "x"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("draining"), "{said:?}");
    assert_eq!(ctl.ok(&["undrain"]), "The server accepts new jobs\n");
    ctl.ok(&["put", "t", "x"]);
}

#[test]
fn connections_are_listed_and_closed() {
    let Operated { ctl, .. } = &Operated::start();
    let mut waiting = ctl.command(&["reserve", "t"]).stderr(Stdio::null()).spawn().unwrap();
    let found = || {
        let list = ctl.json(&["connections"]);
        let list = list.as_array().unwrap().clone();
        list.into_iter().find(|it| it["waiting"] == json!(true)).map(|it| it["id"].to_string())
    };
    assert!(comes_true(|| found().is_some()));
    let id = found().unwrap();
    assert!(ctl.ok(&["connections"]).contains("waits"));
    assert_eq!(ctl.run(&["connections", "--close", &id]).status, 4);
    assert_eq!(
        ctl.ok(&["connections", "--close", &id, "--yes"]),
        format!("connection {id} closed\n")
    );
    assert_eq!(waiting.wait().unwrap().code(), Some(6));
    assert_eq!(ctl.run(&["connections", "--close", &id, "--yes"]).status, 2);
}

#[test]
fn connections_of_a_host() {
    let operated = Operated::start();
    let ctl = &operated.ctl;
    let Endpoint::Tcp(server) = *operated.server.endpoint() else { panic!("it has a port") };
    // Clients on other addresses of this machine.
    let from = |host: &str| -> Vec<TcpStream> {
        let connect = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let host: SocketAddr = format!("{host}:0").parse().unwrap();
            socket.bind(&host.into()).unwrap();
            socket.connect(&server.into()).unwrap();
            TcpStream::from(socket)
        };
        (0..3).map(connect).collect()
    };
    let (mut two, three) = (from("127.0.0.2"), from("127.0.0.3"));
    two[0].write_all(b"put 0 0 60 1\r\na\r\nreserve\r\nreserve\r\n").unwrap();
    drop(three.into_iter().next());
    let hosts = || ctl.json(&["connections", "--by-host"]);
    let is_there = |host: &str, connections: u64, waiting: u64, reserved: u64| {
        comes_true(|| {
            let hosts = hosts();
            let found = hosts.as_array().unwrap().iter().find(|it| it["host"] == host);
            found.map_or((0, 0, 0), |it| {
                let count = |name: &str| it[name].as_u64().unwrap();
                (count("connections"), count("waiting"), count("reserved"))
            }) == (connections, waiting, reserved)
        })
    };
    assert!(is_there("127.0.0.2", 3, 1, 1), "{}", hosts());
    assert!(is_there("127.0.0.3", 0, 0, 0), "{}", hosts());
    let shown = ctl.ok(&["connections", "--by-host"]);
    let first: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first[..4], ["127.0.0.2", "3", "1", "1"], "{shown}");
    let list = ctl.json(&["connections", "--from", "127.0.0.2"]);
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!(ctl.json(&["connections", "--from", "192.0.2.1"]), json!([]));
    assert_eq!(ctl.run(&["connections", "--from", "127.0.0.2", "--close-all"]).status, 4);
    let closed = ctl.ok(&["connections", "--from", "127.0.0.2", "--close-all", "--yes"]);
    assert_eq!(closed.lines().count(), 3, "{closed}");
    assert!(is_there("127.0.0.2", 0, 0, 0), "{}", hosts());
    let none = ctl.run(&["connections", "--from", "127.0.0.2", "--close-all", "--yes"]);
    assert_eq!(none.status, 2, "{none:?}");
    // Its job is there for others.
    assert_eq!(ctl.ok(&["reserve", "default", "--within", "20"]), "a\n");
}

/// Only those that came back so often, on whichever page.
#[test]
fn jobs_that_came_back() {
    let Operated { ctl, .. } = &Operated::start();
    let bodies: String = (0..50).map(|it| format!("{it}\n")).collect();
    assert_eq!(ctl.run_on(&["put", "t", "--lines"], bodies.as_bytes()).status, 0);
    ctl.ok(&["reserve", "t", "--count", "2"]);
    let ids = |args: &[&str]| -> Vec<u64> {
        let list = ctl.json(&[&["jobs", "t"], args].concat());
        list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()).collect()
    };
    // Twice the same, which is ready first again.
    assert_eq!(ids(&["--returned", "2"]), [1]);
    assert_eq!(ids(&["--returned", "3"]), [] as [u64; 0]);
    assert_eq!(ids(&["--returned", "1", "--limit", "1"]), [1]);
    assert_eq!(ids(&["--returned", "0"]).len(), 50);
}

#[test]
fn a_token_that_does_not_suffice_is_said() {
    let operated = Operated::start();
    let ctl = Ctl::to("127.0.0.1:1").with(&["--http", &operated.url]);
    let said = ctl.run(&["connections"]);
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.err.contains("--token-file"), "{said:?}");
}

#[test]
fn tail_shows_what_passes() {
    let Operated { ctl, .. } = &Operated::start();
    let mut tail = ctl.command(&["tail", "t"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.ends_with("the server is running"), "{first}");
    ctl.ok(&["put", "other", "x"]);
    ctl.ok(&["put", "t", "x"]);
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("  t  1 put"), "{line}");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

/// What a server with as many connections as there may be answers is not about its memory.
#[test]
fn a_full_server_says_so() {
    let server = &Server::jq(&["--max-connections", "1"]);
    let mut only = None;
    // The one that has waited for the server to be ready may not be closed yet.
    eventually("one is connected", || {
        let mut conn = server.connect();
        let is_served = conn.try_send("list-tube-used\r\n").is_ok()
            && matches!(conn.next(PATIENCE), Input::Reply(reply) if reply.line() == b"USING default");
        only = is_served.then_some(conn);
        is_served
    });
    // If its connection is closed before it has sent its command, it learns of no reply.
    eventually("it is told why", || {
        let said = Ctl::of(server).run(&["stats"]);
        assert!(said.status == 1 || said.status == 6, "{said:?}");
        said.err.contains("as many connections as --max-connections allows")
    });
}

/// A policy goes to a file with its tube, and comes back if that is asked for: when all jobs are in.
#[test]
fn a_policy_goes_to_a_file_and_back() {
    let Operated { ctl, server, .. } = &Operated::start();
    ctl.ok(&["put", "t", "1"]);
    ctl.ok(&["put", "t", "2"]);
    ctl.ok(&["policy", "t", "max-jobs=1", "unique=true", "reserve-rate=2.5"]);
    let expected = json!({"max_jobs": 1, "unique": true, "reserve_rate": 2.5});
    let exported = ctl.ok(&["export", "t"]);
    let lines: Vec<Value> =
        exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{exported}");
    assert_eq!(lines[0], json!({"tube": "t", "policy": expected}));
    // Without HTTP it is said that it is missing, and the jobs are there.
    let plain = &Ctl::of(server);
    let said = plain.run(&["export", "t"]);
    assert_eq!((said.status, said.out.lines().count()), (0, 2), "{said:?}");
    for part in ["the policy of tube t is not exported", "--http URL"] {
        assert!(said.err.contains(part), "{said:?}");
    }
    // It is set only if that is asked for, and said otherwise.
    let said = plain.run_on(&["import", "--tube", "jobs"], exported.as_bytes());
    assert_eq!((said.status, said.out.as_str()), (0, "2 jobs queued\n"), "{said:?}");
    assert!(said.err.contains("--with-policy"), "{said:?}");
    assert_eq!(ctl.ok(&["policy", "jobs"]), "jobs has no policy\n");
    // The limit of one job refuses neither.
    let said = ctl.run_on(&["import", "--tube", "copy", "--with-policy"], exported.as_bytes());
    assert_eq!(said.out, "2 jobs queued, 1 policy set\n", "{said:?}");
    let mut set = ctl.json(&["policy", "copy"]);
    set.as_object_mut().unwrap().remove("source");
    assert_eq!(set, expected);
    assert_eq!(ctl.json(&["tube", "copy"])["current-jobs-ready"], json!(2));
    // Also when an import goes on behind its line.
    let rest = ["import", "--tube", "rest", "--with-policy", "--from-line", "3"];
    let said = ctl.run_on(&rest, exported.as_bytes());
    assert_eq!(said.out, "1 jobs queued, 1 policy set\n", "{said:?}");
}

#[test]
fn what_is_wrong_about_a_policy_in_a_file_is_said() {
    let Operated { ctl, server, .. } = &Operated::start();
    let job = r#"{"tube":"t","body":"x"}"#;
    let policy = |tube: &str, policy: &str| format!(r#"{{"tube":"{tube}","policy":{policy}}}"#);
    let import =
        |lines: &[&str]| ctl.run_on(&["import", "--with-policy"], lines.join("\n").as_bytes());
    for (line, why) in [
        (policy("t", r#"{"maximum":1}"#), "unknown field `maximum`"),
        (policy("t", r#"{"max_jobs":-1}"#), "-1"),
        (policy("a b", "{}"), "tube: "),
        (policy("t", r#"{"max_jobs":2}"#), "tube t has another policy in line 2"),
    ] {
        let first = policy("t", r#"{"max_jobs":1}"#);
        let said = import(&[job, &first, &line]);
        assert_eq!(said.status, 7, "{said:?}");
        for part in ["line 3: ", why, "1 jobs queued", "--from-line 3"] {
            assert!(said.err.contains(part), "{part} in {said:?}");
        }
        assert_eq!(ctl.ok(&["policy", "t"]), "t has no policy\n");
    }
    // What only the server can know.
    let said = import(&[&policy("t", r#"{"dead_letter":"t"}"#), job]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.err.contains("1 jobs queued, but the policy of tube t, line 1, was not"),
        "{said:?}"
    );
    assert!(said.err.contains("dead_letter") && said.err.contains("--from-line 3"), "{said:?}");
    let mended = [&policy("t", r#"{"max_jobs":1}"#), job].map(String::from).join("\n");
    let said = ctl.run_on(&["import", "--with-policy", "--from-line", "3"], mended.as_bytes());
    assert_eq!(said.out, "0 jobs queued, 1 policy set\n", "{said:?}");
    // Without HTTP nothing is begun.
    let said = Ctl::of(server).run_on(&["import", "--with-policy"], job.as_bytes());
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.err.contains("--with-policy needs the HTTP API"), "{said:?}");
    assert_eq!(ctl.json(&["tube", "t"])["current-jobs-ready"], json!(5));
}

#[test]
fn policies_are_shown_changed_and_removed() {
    let Operated { ctl, .. } = &Operated::start();
    let set = ctl.json(&["policy", "t", "max-jobs=1", "dead-letter=graveyard", "max-reserves=3"]);
    let expected =
        json!({"max_jobs": 1, "dead_letter": "graveyard", "max_reserves": 3, "source": "api"});
    assert_eq!(set, expected);
    ctl.ok(&["put", "t", "1"]);
    let said = ctl.run(&["put", "t", "2"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("no room") && said.err.contains("stats refused"), "{said:?}");
    let tubes = ctl.ok(&["tubes"]);
    assert!(tubes.contains("has a policy: 1 puts refused"), "{tubes}");
    assert_eq!(ctl.json(&["policy", "t", "max-jobs="]).get("max_jobs"), None);
    ctl.ok(&["put", "t", "2"]);
    assert!(ctl.ok(&["policy", "t"]).contains("dead-letter   graveyard"));
    let said = ctl.run(&["policy", "t", "max-jobs=many"]);
    assert_eq!(said.status, 5, "{said:?}");
    let row = |tubes: &str| tubes.lines().find(|line| line.starts_with("t ")).map(str::to_owned);
    let listed = || row(&ctl.ok(&["tubes"])).expect("it is listed");
    assert!(listed().contains("has a policy"), "{}", listed());
    assert_eq!(ctl.run(&["policy", "t", "--remove"]).status, 4);
    ctl.ok(&["policy", "t", "--remove", "--yes"]);
    assert_eq!(ctl.ok(&["policy", "t"]), "t has no policy\n");
    assert!(!listed().contains("policy"), "{}", listed());
}
