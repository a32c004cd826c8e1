//! What is wrong with the files of TLS, told at the start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::{Authority, Valid};
use crate::peer::connect;
use crate::secure::{Secure, arguments, text};
use crate::support::{Process, jq_server};

/// Runs a server that does not start. Returns what it says.
fn refused(cert: &Path, key: &Path, more: &[&str]) -> String {
    let mut command = Command::new(jq_server());
    command.args(arguments(cert, key, "")).args(more);
    let mut process = Process::spawn(command);
    assert_eq!(process.exit_code(), 5, "{}", process.output());
    process.output()
}

#[test]
fn mistakes_name_the_file_and_what_was_expected() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let (_, other_key) = authority.sign("other", "localhost", Valid::Now);
    let place = |name: &str, contents: &str| -> PathBuf {
        let path = authority.folder().join(name);
        fs::write(&path, contents).expect("the folder is writable");
        path
    };
    let empty = place("empty.pem", "");
    let cut = {
        let whole = fs::read_to_string(&cert).expect("it is text");
        place("cut.pem", &whole[..whole.len() / 2])
    };
    let missing = authority.folder().join("missing.pem");
    // Whoever opened it would wait for its other end.
    let pipe = authority.folder().join("pipe.pem");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("the folder is writable");
    for (cert, key, ca, flag, file, told) in [
        (&missing, &key, None, "--tls-cert", &missing, "No such file"),
        (&cert, &missing, None, "--tls-key", &missing, "No such file"),
        (&pipe, &key, None, "--tls-cert", &pipe, "not a regular file"),
        (&cert, &pipe, None, "--tls-key", &pipe, "not a regular file"),
        (&cert, &key, Some(&pipe), "--tls-client-ca", &pipe, "not a regular file"),
        (&empty, &key, None, "--tls-cert", &empty, "BEGIN CERTIFICATE"),
        (&key, &key, None, "--tls-cert", &key, "BEGIN CERTIFICATE"),
        (&cut, &key, None, "--tls-cert", &cut, ""),
        (&cert, &empty, None, "--tls-key", &empty, "BEGIN PRIVATE KEY"),
        (&cert, &cert, None, "--tls-key", &cert, "BEGIN PRIVATE KEY"),
        (&cert, &other_key, None, "--tls-key", &other_key, "not the key to"),
        (&cert, &key, Some(&empty), "--tls-client-ca", &empty, "BEGIN CERTIFICATE"),
        (&cert, &key, Some(&missing), "--tls-client-ca", &missing, "No such file"),
    ] {
        let more = ca.map(|ca| ["--tls-client-ca", text(ca)]);
        let output = refused(cert, key, more.as_ref().map_or(&[], |more| &more[..]));
        for part in [flag, text(file), told] {
            assert!(output.contains(part), "{part} in: {output}");
        }
    }
}

#[test]
fn keys_of_all_kinds() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let Some(openssl) = crate::support::executable("openssl") else {
        return crate::support::skip("keys of other kinds", "openssl is not installed");
    };
    let convert = |args: &[&str]| {
        let done = Command::new(&openssl).args(args).output().expect("openssl starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let path = |name: &str| authority.folder().join(name);
    // SEC1.
    let sec1 = path("sec1.pem");
    convert(&["ec", "-in", text(&key), "-out", text(&sec1)]);
    assert!(fs::read_to_string(&sec1).expect("it is text").contains("BEGIN EC PRIVATE KEY"));
    drop(Secure::with(&cert, &sec1, &[]).secure(&authority));
    // PKCS #1, in the same file as a certificate that it has signed itself.
    let (both, pkcs8) = (path("rsa.pem"), path("rsa.pkcs8.pem"));
    let made = ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    let files = ["-keyout", text(&pkcs8), "-out", text(&both)];
    convert(&[&["req", "-x509", "-newkey", "rsa:2048"], &made[..], &files].concat());
    let pkcs1 = path("rsa.pkcs1.pem");
    convert(&["rsa", "-traditional", "-in", text(&pkcs8), "-out", text(&pkcs1)]);
    let key = fs::read_to_string(&pkcs1).expect("it is text");
    assert!(key.contains("BEGIN RSA PRIVATE KEY"));
    let chain = fs::read_to_string(&both).expect("it is text");
    fs::write(&both, key + &chain).expect("the folder is writable");
    let server = Secure::with(&both, &both, &[]);
    // The authority has not signed it.
    let error = connect(server.tls, &authority, None).map(drop).expect_err("it is not trusted");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[test]
fn dates_are_warned_of() {
    let authority = Authority::new();
    for (valid, told, date) in
        [(Valid::Formerly, "has expired", "expired=20"), (Valid::Later, "not valid yet", "from=")]
    {
        let (cert, key) = authority.sign("server", "localhost", valid);
        let server = Secure::with(&cert, &key, &["--http", "127.0.0.1:0"]);
        let line = server.process.await_output(told);
        assert!(line.contains("WARN") && line.contains(text(&cert)), "{line}");
        assert!(line.contains(date) && line.contains("T00:00:00Z"), "a date: {line}");
        let error = connect(server.tls, &authority, None).map(drop).expect_err("it is refused");
        assert!(error.to_string().contains("certificate"), "{error}");
        let expires = server.metric("jq_tls_certificate_expires_seconds").expect("it is there");
        // In 2020, or after 3000.
        assert_eq!(expires < 1.6e9, valid == Valid::Formerly, "{expires}");
        // The client says why it leaves.
        crate::support::eventually("that is counted", || {
            server.metric("jq_tls_handshakes_total{result=\"refused\"}") == Some(1.0)
        });
        assert_eq!(server.metric("jq_ready"), Some(1.0), "others are served");
    }
}

#[test]
fn credentials_of_the_service_manager() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let name = |path: &Path| {
        let name = path.file_name().expect("it is a file").to_str().expect("it is UTF-8");
        PathBuf::from(format!("credential:{name}"))
    };
    let script =
        format!("export CREDENTIALS_DIRECTORY='{}'; exec \"$@\"", text(authority.folder()));
    let mut command = crate::support::by_shell(&script);
    command.args(arguments(&name(&cert), &name(&key), ""));
    let process = Process::spawn(command);
    let address = crate::secure::address_in(&process.await_output("tls=true"));
    assert!(connect(address, &authority, None).is_ok());
    let output = refused(&name(&cert), &name(&key), &[]);
    assert!(output.contains("expected systemd to set CREDENTIALS_DIRECTORY"), "{output}");
}

/// It has to read them again later.
#[test]
fn the_user_must_be_able_to_read_them() {
    if !nix::unistd::geteuid().is_root() {
        return crate::support::skip("another user's key", "only root can become another user");
    }
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let output = refused(&cert, &key, &["-u", "nobody"]);
    assert!(output.contains("Permission denied") && output.contains("--tls-"), "{output}");
}
