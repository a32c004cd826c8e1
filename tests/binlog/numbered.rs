//! Jobs whose bodies tell their numbers, on a disk that something happens to.

use crate::support::Conn;
use crate::support::folder::Folder;

pub(crate) const POLICY: &[&str] = &["-f", "0", "-s", "65536"];

pub(crate) const REPAIR: &[&str] = &["-f", "0", "-s", "65536", "--binlog-repair"];

pub(crate) const EXIT_CANNOT_REPLAY: i32 = 11;

/// Bytes of each body.
pub(crate) const SIZE: usize = 1000;

pub(crate) fn body(number: u64) -> String {
    format!("{number:010}").repeat(SIZE / 10)
}

/// Puts the jobs from 1 to this one into an empty queue.
pub(crate) fn put(conn: &mut Conn, last: u64) {
    for number in 1..=last {
        conn.send(format!("put 0 0 60 {SIZE}\r\n{}\r\n", body(number)));
        conn.expect(format!("INSERTED {number}\r\n"));
    }
}

/// Which of the jobs up to this one are there, all of them as they were put.
pub(crate) fn jobs(conn: &mut Conn, last: u64) -> Vec<u64> {
    let mut there = Vec::new();
    for number in 1..=last {
        let reply = conn.ask(format!("peek {number}"));
        if let Some(got) = reply.body() {
            assert_eq!(got, body(number).as_bytes());
            there.push(number);
        } else {
            assert_eq!(reply.line(), b"NOT_FOUND");
        }
    }
    there
}

/// Asserts that a server refuses to start, says why, and changes nothing.
pub(crate) fn assert_refused(folder: &Folder, words: &[&str]) {
    let before = folder.contents();
    let (status, output) = folder.refuse(POLICY);
    assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
    for word in words {
        assert!(output.contains(word), "{word:?} in {output}");
    }
    assert!(!output.contains("listening"), "{output}");
    assert!(folder.contents() == before, "nothing is changed");
}
