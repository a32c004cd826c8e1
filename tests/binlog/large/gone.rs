//! Bodies of which nothing is to be left, and bodies that are missing.

use std::fs;

use nix::sys::signal::Signal;

use super::{LARGE, bodies, body, path_of, put, put_large, serve};
use crate::large::assert_there;
use crate::numbered::EXIT_CANNOT_REPLAY;
use crate::support::eventually;
use crate::support::folder::{Folder, kill, name, stop};

#[test]
fn a_put_that_is_refused_leaves_no_file() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    server.signal(Signal::SIGUSR1);
    eventually("it drains", || conn.ask("stats").value("draining") == Some("true"));
    conn.send(put(&body(1, LARGE)));
    conn.expect("DRAINING\r\n");
    server.signal(Signal::SIGUSR2);
    eventually("it drains no more", || conn.ask("stats").value("draining") == Some("false"));
    conn.send([format!("put 0 0 60 {LARGE}\r\n").as_bytes(), &body(1, LARGE), b"xy"].concat());
    conn.expect("EXPECTED_CRLF\r\n");
    let too_large = "put 0 0 60 50000001\r\n";
    conn.send(too_large);
    conn.send(vec![b'x'; 50_000_001]);
    conn.send("\r\n");
    conn.expect("JOB_TOO_BIG\r\n");
    assert!(bodies(folder.path()).is_empty());
    conn.send(put(&body(4, LARGE)));
    conn.expect("INSERTED 3\r\n");
}

/// Who has sent all of a job need not wait for the answer. Who has sent a part of it has sent nothing.
#[test]
fn a_client_that_leaves() {
    let folder = Folder::new();
    let server = serve(&folder, "-f50");
    let mut conn = server.connect();
    conn.send(put(&body(1, LARGE)));
    conn.finish();
    let mut other = server.connect();
    eventually("the job is there", || other.ask("peek 1").body().is_some());
    assert_there(&mut other, 1);
    let mut conn = server.connect();
    conn.send(&put(&body(2, LARGE))[..LARGE]);
    conn.reset();
    eventually("it has gone", || other.ask("stats").value("current-connections") == Some("1"));
    assert_eq!(bodies(folder.path()), [path_of(&folder, 1)]);
}

#[test]
fn what_no_record_refers_to_goes_at_the_start() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    put_large(&mut server.connect(), 1);
    kill(server);
    // As a server leaves them that is killed before the put is recorded.
    for id in [2, 77] {
        fs::write(path_of(&folder, id), "half of a body").expect("it can be written");
    }
    let server = serve(&folder, "-f0");
    assert_eq!(bodies(folder.path()), [path_of(&folder, 1)]);
    assert_there(&mut server.connect(), 1);
}

/// What is done to the file of job 2, and what is said of it.
type Harm = (fn(&Folder), &'static str);

const HARMS: [Harm; 4] = [
    (
        |folder| fs::remove_file(path_of(folder, 2)).expect("it is there"),
        "body-0000000002 is missing, though there is a job that has its body there",
    ),
    (
        |folder| write(folder, |bytes| bytes.truncate(1_000_000)),
        "body-0000000002 is incomplete: 1500000 bytes of it were sound, and now 1000000 are",
    ),
    (
        |folder| write(folder, |bytes| bytes[700_000] ^= 1),
        "body-0000000002 is damaged: the body of job 2: its checksum does not match",
    ),
    (
        |folder| write(folder, |bytes| bytes.push(0)),
        "body-0000000002 is damaged: the body of job 2: its checksum does not match",
    ),
];

fn write(folder: &Folder, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path_of(folder, 2)).expect("it is there");
    change(&mut bytes);
    fs::write(path_of(folder, 2), bytes).expect("it can be written");
}

#[test]
fn a_body_that_is_not_what_it_was_is_damage() {
    for (harm, said) in HARMS {
        let folder = Folder::new();
        let server = serve(&folder, "-f0");
        let mut conn = server.connect();
        (1..=3).for_each(|id| put_large(&mut conn, id));
        kill(server);
        harm(&folder);
        let before = folder.contents();
        let (status, output) = folder.refuse(&["-f0"]);
        assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
        assert!(output.contains(said) && output.contains("--binlog-repair"), "{output}");
        assert!(folder.contents() == before, "nothing is changed");

        let left = fs::read(path_of(&folder, 2)).ok();
        let server = folder.serve(&["-f0", "--binlog-repair"]);
        let mut conn = server.connect();
        assert_eq!(conn.ask("peek 2").line(), b"NOT_FOUND");
        assert_there(&mut conn, 1);
        assert_there(&mut conn, 3);
        assert_eq!(bodies(folder.path()), [path_of(&folder, 1), path_of(&folder, 3)]);
        let aside = fs::read(folder.inner().join("damaged-body-0000000002")).ok();
        assert!(aside == left, "what there is of it is kept");
        kill(server);
        let server = serve(&folder, "-f0");
        let mut conn = server.connect();
        assert_there(&mut conn, 3);
        assert_eq!(conn.ask("peek 2").line(), b"NOT_FOUND", "the repair lasts");
        stop(server);
    }
}

/// A body is all that is left of a job whose record is damaged.
#[test]
fn a_repair_keeps_a_body_that_a_lost_record_may_have_referred_to() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    put_large(&mut conn, 1);
    put_large(&mut conn, 2);
    kill(server);
    let path = folder.last_segment();
    let mut bytes = fs::read(&path).expect("it can be read");
    // Behind the header and a mark.
    bytes[48 + 17 + 20] ^= 1;
    fs::write(&path, bytes).expect("it can be written");
    let server = folder.serve(&["-f0", "--binlog-repair"]);
    let mut conn = server.connect();
    assert_eq!(conn.ask("peek 1").line(), b"NOT_FOUND");
    assert_there(&mut conn, 2);
    let aside = fs::read(folder.inner().join("damaged-body-0000000001")).expect("it is kept");
    assert!(aside == body(1, LARGE));
    stop(server);
    assert!(folder.contents().iter().any(|(path, _)| name(path) == "damaged-body-0000000001"));
}

/// All segments and the manifest are gone: that is no empty directory.
#[test]
fn bodies_alone_are_no_empty_log() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    put_large(&mut server.connect(), 1);
    kill(server);
    for path in folder.segments() {
        fs::remove_file(path).expect("it is there");
    }
    fs::remove_file(folder.inner().join("manifest")).expect("it is there");
    let (status, output) = folder.refuse(&["-f0"]);
    assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
    assert!(output.contains("manifest is missing"), "{output}");
    assert_eq!(bodies(folder.path()), [path_of(&folder, 1)]);
}
