//! Runs other people's client libraries, through the suites under `clients/`, against our server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::script::Mode;
use crate::support::{self, Endpoint, Server};

/// What a suite ends with when its library is not installed.
const NOT_INSTALLED: i32 = 77;

/// One test for each library: its name in Rust, its folder, and the manners it is tried with.
macro_rules! clients {
    ($($name:ident $folder:literal $mode:ident),* $(,)?) => {
        const FOLDERS: &[&str] = &[$($folder),*];

        $(#[test]
        fn $name() {
            run($folder, Mode::$mode);
        })*
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

fn run(client: &str, mode: Mode) {
    let server = Server::jq(mode.flags());
    let unix_server = Server::jq_unix(mode.flags());
    let Endpoint::Unix(socket) = unix_server.endpoint() else { unreachable!("it was asked for") };
    let output = Command::new(folder().join(client).join("run"))
        .args(["127.0.0.1", &server.port().to_string()])
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

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/clients")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
