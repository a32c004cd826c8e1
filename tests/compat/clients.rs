//! Runs other people's client libraries, through the suites under `clients/`, against our server: directly, and
//! through stunnel over TLS.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::certificates::{Authority, Valid};
use crate::script::Mode;
use crate::support::folder::Folder;
use crate::support::{self, Conn, Endpoint, Input, PATIENCE, Process, Server, eventually};

/// What a suite ends with when its library is not installed.
const NOT_INSTALLED: i32 = 77;

/// A tube that has as many jobs as it may have.
const FULL: &str = "full";

/// One test for each library: its name in Rust, its folder, and the manners it is tried with.
macro_rules! clients {
    ($($name:ident $folder:literal $mode:ident),* $(,)?) => {
        const FOLDERS: &[&str] = &[$($folder),*];

        $(#[test]
        fn $name() {
            run($folder, Mode::$mode, Way::Direct);
        })*

        mod over_tls {
            use super::{Mode, Way, run};

            $(#[test]
            fn $name() {
                run($folder, Mode::$mode, Way::OverTls);
            })*
        }
    };
}

clients!(
    beaneater "beaneater" Default,
    beanstalkc "beanstalkc" Default,
    beanstalkd_rs "beanstalkd-rs" Default,
    fivebeans "fivebeans" Default,
    greenstalk "greenstalk" Default,
    jackd "jackd" Default,
    // It trips over the quotes that upstream, since 1.13, and we put around names.
    pheanstalk "pheanstalk" V1_12,
    pystalk "pystalk" Default,
);

#[test]
fn every_client_is_run() {
    let mut found: Vec<String> = fs::read_dir(folder())
        .expect("the folder of clients is there")
        .map(|entry| entry.expect("it can be listed"))
        .filter(|entry| entry.path().join("run").exists())
        .map(|entry| entry.file_name().into_string().expect("its name is text"))
        .collect();
    found.sort();
    assert_eq!(found, FOLDERS);
}

/// How the clients reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    /// stunnel is beside them, and speaks TLS with the server.
    OverTls,
}

/// Leads from a plain port to one with TLS.
struct Tunnel {
    _process: Process,
    port: u16,
}

impl Tunnel {
    /// To this port, whose certificate is of this authority. `None`, said, if there is no stunnel.
    fn to(port: u16, authority: &Authority) -> Option<Self> {
        let Some(stunnel) = support::executable("stunnel4") else {
            let why = "stunnel is not installed: run tests/compat/clients/install";
            support::skip("clients over TLS", why);
            return None;
        };
        let config = authority.folder().join("stunnel.conf");
        let ca = authority.file();
        // Another process may take the port before stunnel does.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let own = free.expect("a port is free").port();
            let text = format!(
                "foreground = yes\npid =\n[queue]\nclient = yes\naccept = 127.0.0.1:{own}\n\
                 connect = 127.0.0.1:{port}\nCAfile = {}\nverifyChain = yes\n\
                 checkHost = localhost\n",
                ca.display()
            );
            fs::write(&config, text).expect("the folder is writable");
            let mut command = Command::new(&stunnel);
            command.arg(&config);
            let mut process = Process::spawn(command);
            let mut ends = false;
            eventually("stunnel listens", || {
                ends = process.exit_status(Duration::ZERO).is_some();
                ends || process.output().contains("Configuration successful")
            });
            if !ends {
                return Some(Self { _process: process, port: own });
            }
        }
        panic!("stunnel does not start");
    }
}

fn run(client: &str, mode: Mode, way: Way) {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    // Another server may be tried that does not speak TLS.
    if way == Way::OverTls && !support::is_our_server() {
        return;
    }
    let folder_of_tubes = Folder::new();
    let tubes = folder_of_tubes.path().join("tubes.toml");
    fs::write(&tubes, format!("[tubes.{FULL}]\nmax-jobs = 1\n")).expect("the folder is writable");
    let tubes = ["--tubes", tubes.to_str().expect("it is UTF-8")];
    // Another server may be tried that knows none of this.
    let is_ours = support::is_our_server();
    let tubes = if is_ours { &tubes[..] } else { &[] };
    let [cert, key] = [&cert, &key].map(|path| path.to_str().expect("it is UTF-8"));
    let tls = ["--listen", "tls://127.0.0.1:0", "--tls-cert", cert, "--tls-key", key];
    let tls = if way == Way::OverTls { &tls[..] } else { &[] };
    let mut server = Server::jq(&[mode.flags(), tubes, tls].concat());
    let tunnel = if way == Way::OverTls {
        let line = server.process().await_output("tls=true");
        let (_, port) = line.split_once("127.0.0.1:").expect("there is an address");
        let port = port.split('"').next().and_then(|port| port.parse().ok());
        let Some(tunnel) = Tunnel::to(port.expect("it is a port"), &authority) else { return };
        Some(tunnel)
    } else {
        None
    };
    let port = tunnel.as_ref().map_or(server.port(), |tunnel| tunnel.port);
    let mut conn = server.connect();
    conn.send(format!("use {FULL}\r\nput 0 0 60 0\r\n\r\n"));
    conn.expect(format!("USING {FULL}\r\nINSERTED 1\r\n"));
    drop(conn);
    let crowded = is_ours.then(|| {
        let server = Server::jq(&[mode.flags(), &["--max-connections", "1"]].concat());
        let only = only_connection(&server);
        (server, only)
    });
    let principals = folder_of_tubes.path().join("auth.toml");
    fs::write(&principals, "[[principal]]\nname = \"a\"\n").expect("the folder is writable");
    let auth = ["--auth", principals.to_str().expect("it is UTF-8")];
    let denying = is_ours.then(|| Server::jq(&[mode.flags(), &auth].concat()));
    let unix_server = Server::jq_unix(mode.flags());
    let Endpoint::Unix(socket) = unix_server.endpoint() else { unreachable!("it was asked for") };
    let mut suite = Command::new(folder().join(client).join("run"));
    if let Some((crowded, _)) = &crowded {
        suite.env("JQ_FULL_TUBE", FULL).env("JQ_CROWDED_PORT", crowded.port().to_string());
    }
    if let Some(denying) = &denying {
        suite.env("JQ_DENIED_PORT", denying.port().to_string());
    }
    let output = suite
        .args(["127.0.0.1", &port.to_string()])
        .env("JQ_UNIX_SOCKET", socket)
        .env("JQ_QUOTED_NAMES", if mode.quotes_names() { "1" } else { "0" })
        .output()
        .expect("its suite starts");
    if output.status.code() == Some(NOT_INSTALLED) {
        support::skip(&format!("the client library {client}"), text(&output).trim_end());
        return;
    }
    assert!(output.status.success(), "{}\n{}", output.status, text(&output));
    println!("{}", text(&output));
}

/// The connection that leaves no room for another.
fn only_connection(server: &Server) -> Conn {
    let mut only = None;
    // The one that has waited for the server to be ready may not be closed yet.
    eventually("a connection is let in", || {
        let mut conn = server.connect();
        let is_in = conn.try_send("list-tube-used\r\n").is_ok()
            && matches!(conn.next(PATIENCE), Input::Reply(reply) if reply.line() == b"USING default");
        only = is_in.then_some(conn);
        is_in
    });
    only.expect("it was just let in")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/clients")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
