//! Clients of other people: Python's ssl, Node's tls.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::Authority;
use crate::secure::Secure;
use crate::support::{executable, skip};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/scripts").join(name)
}

/// Runs a script that ends with 0 if all is well, and with 77 if its library is not there.
fn run(program: &Path, name: &str) {
    let authority = Authority::new();
    let server = Secure::start(&authority, &[]);
    let output = Command::new(program)
        .arg(script(name))
        .arg(server.tls.port().to_string())
        .arg(authority.file())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    if output.status.code() == Some(77) {
        return skip(&format!("TLS with {name}"), said.trim_end());
    }
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
}

/// Where tests/compat/clients/install has put libraries.
fn clients() -> PathBuf {
    let installed = std::env::var_os("JQ_CLIENTS_DIR").map(PathBuf::from);
    installed.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients"))
}

#[test]
fn python() {
    let installed = clients().join("python/bin/python");
    match Some(installed).filter(|path| path.exists()).or_else(|| executable("python3")) {
        Some(python) => run(&python, "greenstalk_over_ssl.py"),
        None => skip("TLS with Python", "python3 is not installed"),
    }
}

#[test]
fn node() {
    match executable("node") {
        Some(node) => run(&node, "jackd_over_tls.js"),
        None => skip("TLS with Node", "node is not installed"),
    }
}
