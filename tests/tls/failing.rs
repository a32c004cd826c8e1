//! Handshakes that must fail, and that cost nobody else anything.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::certificates::Authority;
use crate::peer::{connect, open};
use crate::secure::Secure;
use crate::support::{eventually, executable, skip};

/// Says this, and hears what is said to it until the end.
fn say(address: SocketAddr, bytes: &[u8], then_leave: bool) -> Vec<u8> {
    let mut stream = open(address).expect("the server accepts");
    // The server may be quicker to close it.
    let _ = stream.write_all(bytes);
    if then_leave {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut heard = Vec::new();
    let mut byte = [0];
    while matches!(stream.read(&mut byte), Ok(1)) {
        heard.push(byte[0]);
    }
    heard
}

/// A client hello of this version and with this suite, and nothing modern.
fn old_hello(version: u16, suite: u16) -> Vec<u8> {
    let mut hello = version.to_be_bytes().to_vec();
    hello.extend([7; 32]);
    hello.extend([0, 0, 2]);
    hello.extend(suite.to_be_bytes());
    hello.extend([1, 0]);
    let mut message = vec![1, 0];
    message.extend((hello.len() as u16).to_be_bytes());
    message.extend(hello);
    let mut record = vec![22, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

#[test]
fn all_of_these() {
    /// TLS_RSA_WITH_AES_128_CBC_SHA.
    const OLD_SUITE: u16 = 0x002f;
    let authority = Authority::new();
    let server = Secure::start(&authority, &["--http", "127.0.0.1:0"]);
    let count = |result: &str| {
        let series = format!("jq_tls_handshakes_total{{result=\"{result}\"}}");
        server.metric(&series).expect("it is there")
    };
    let cases: &[(&str, Vec<u8>, bool, &str)] = &[
        ("nothing", Vec::new(), true, "closed"),
        ("half a hello", old_hello(0x0303, OLD_SUITE)[..20].to_vec(), true, "closed"),
        ("the protocol", b"list-tube-used\r\n".to_vec(), false, "not_tls"),
        ("HTTP", b"GET / HTTP/1.1\r\nhost: q\r\n\r\n".to_vec(), false, "not_tls"),
        ("garbage", vec![0xff; 100], false, "not_tls"),
        ("a long record", [&[22, 3, 1, 0xff, 0xff][..], &[1; 100]].concat(), false, "not_tls"),
        ("an empty record", vec![22, 3, 1, 0, 0], false, "not_tls"),
        ("SSL 2", [&[0x80, 0x2e, 1, 0, 2][..], &[0; 43]].concat(), false, "not_tls"),
        ("SSL 3", old_hello(0x0300, OLD_SUITE), false, "incompatible"),
        ("TLS 1.0", old_hello(0x0301, OLD_SUITE), false, "incompatible"),
        ("TLS 1.1", old_hello(0x0302, OLD_SUITE), false, "incompatible"),
        ("an old suite", old_hello(0x0303, OLD_SUITE), false, "incompatible"),
        ("data before the hello", vec![23, 3, 3, 0, 1, 0], false, "failed"),
        ("an alert", vec![21, 3, 1, 0, 2, 2, 40], false, "refused"),
        (
            "a hello without end",
            {
                // A message of 16 MB in records of 16 KiB.
                let head = [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
                let record = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
                [&head[..], &[0; 0x4000 - 4], &record.repeat(20)].concat()
            },
            false,
            "not_tls",
        ),
    ];
    for (what, bytes, leaves, result) in cases {
        let before = count(result);
        let heard = say(server.tls, bytes, *leaves);
        // At most an alert.
        assert!(heard.is_empty() || heard[0] == 21, "{what}: {}", heard.escape_ascii());
        eventually(&format!("{what} is counted as {result}"), || count(result) == before + 1.0);
        assert_eq!(server.secure(&authority).ask("use t"), "USING t", "{what}");
        assert_eq!(server.connect().ask("use t").line(), b"USING t", "{what}");
    }
    // A client that does not trust the certificate says so.
    let before = count("refused");
    assert!(connect(server.tls, &Authority::new(), None).is_err());
    eventually("it is counted", || count("refused") == before + 1.0);
    assert_eq!(server.metric("jq_tls_handshakes_in_progress"), Some(0.0));
}

#[test]
fn a_flood_of_them_is_no_flood_in_the_log() {
    let authority = Authority::new();
    let server = Secure::start(&authority, &[]);
    let start = Instant::now();
    for _ in 0..100 {
        say(server.tls, b"list-tube-used\r\n", false);
    }
    let seconds = start.elapsed().as_secs() as usize;
    let lines = server.process.output().matches("TLS handshakes have failed").count();
    assert!((1..=seconds + 2).contains(&lines), "{lines} lines in {seconds} s");
}

/// The same by a program that others use for it.
#[test]
fn versions_that_openssl_offers() {
    let Some(openssl) = executable("openssl") else {
        return skip("versions of TLS", "openssl is not installed");
    };
    let authority = Authority::new();
    let server = Secure::start(&authority, &[]);
    let reaches = |flags: &[&str]| {
        let mut client = Command::new(&openssl)
            .args(["s_client", "-quiet", "-connect", &server.tls.to_string()])
            .args(["-verify_return_error", "-verify_hostname", "localhost", "-CAfile"])
            .arg(authority.file())
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts");
        let mut input = client.stdin.take().expect("it is piped");
        // It may be gone before it reads.
        let _ = input.write_all(b"list-tube-used\r\nquit\r\n");
        let output = client.wait_with_output().expect("it ends");
        drop(input);
        output.stdout == b"USING default\r\n"
    };
    assert!(reaches(&["-tls1_2"]));
    assert!(reaches(&["-tls1_3"]));
    assert!(reaches(&["-alpn", "beanstalk"]));
    assert!(!reaches(&["-alpn", "h2"]));
    for old in ["-tls1", "-tls1_1"] {
        assert!(!reaches(&[old, "-cipher", "DEFAULT@SECLEVEL=0"]), "{old}");
    }
    assert!(!reaches(&["-tls1_2", "-cipher", "AES128-SHA"]));
    assert!(reaches(&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"]));
}
