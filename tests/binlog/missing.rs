//! Files that are missing, or were copied in part: seen at the start, and named.

use std::fs;
use std::path::PathBuf;

use jq_server::log::binlog::manifest::{Extent, MANIFEST};

use crate::numbered::{self, EXIT_CANNOT_REPLAY, POLICY, REPAIR, SIZE, body, jobs, put};
use crate::support::eventually;
use crate::support::folder::{Folder, kill, name, stop};

const JOBS: u64 = 200;

/// Nothing is ever synced.
const NEVER: &[&str] = &["-F", "-s", "65536"];

fn manifest(folder: &Folder) -> PathBuf {
    folder.inner().join(MANIFEST)
}

fn extent(folder: &Folder) -> Extent {
    let bytes = fs::read(manifest(folder)).expect("the server has made it");
    Extent::decode(&bytes).expect("it is sound")
}

/// The file of the segment of this number.
fn segment(folder: &Folder, number: u64) -> PathBuf {
    folder.inner().join(format!("segment-{number:010}"))
}

/// Several segments full of jobs, of which the manifest says that they are there.
fn folder() -> Folder {
    let folder = Folder::new();
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    put(&mut conn, JOBS);
    eventually("the manifest says all", || {
        let extent = extent(&folder);
        let bytes = fs::read(segment(&folder, extent.sound)).expect("it is there");
        let last = bytes.windows(SIZE).position(|window| window == body(JOBS).as_bytes());
        last.is_some_and(|at| extent.end >= (at + SIZE) as u64)
    });
    kill(server);
    assert!(extent(&folder).newest > 3);
    folder
}

/// Asserts that a server refuses to start, says why and what to do, and changes nothing.
fn assert_refused(folder: &Folder, words: &[&str]) {
    numbered::assert_refused(folder, &[words, &["--binlog-repair"]].concat());
}

/// Asserts that a repair serves all jobs but those whose bodies are in here, and that this lasts.
fn assert_repaired(folder: &Folder, lost: &[u8]) {
    let is_lost = |number: u64| lost.windows(SIZE).any(|window| window == body(number).as_bytes());
    let left: Vec<u64> = (1..=JOBS).filter(|number| !is_lost(*number)).collect();
    let server = folder.serve(REPAIR);
    assert_eq!(jobs(&mut server.connect(), JOBS), left);
    kill(server);
    for _ in 0..2 {
        let server = folder.serve(POLICY);
        let mut conn = server.connect();
        assert_eq!(jobs(&mut conn, JOBS), left, "the repair lasts");
        conn.send("put 0 0 60 1\r\nx\r\n");
        let reply = String::from_utf8_lossy(conn.reply().line()).into_owned();
        let id = reply.strip_prefix("INSERTED ").expect("it is taken");
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        stop(server);
    }
}

#[test]
fn any_segment() {
    let newest = extent(&folder()).newest;
    for number in [1, 2, newest] {
        let folder = folder();
        let path = segment(&folder, number);
        let bytes = fs::read(&path).expect("it can be read");
        fs::remove_file(&path).expect("it is there");
        assert_refused(&folder, &[name(&path), "missing"]);
        // As it was, it is served.
        fs::write(&path, &bytes).expect("it can be written");
        let server = folder.serve(POLICY);
        assert_eq!(jobs(&mut server.connect(), JOBS).len() as u64, JOBS);
        kill(server);
        fs::remove_file(&path).expect("it is there");
        assert_refused(&folder, &[name(&path), "missing"]);
        assert_repaired(&folder, &bytes);
    }
}

/// As after a power cut when nothing was ever synced: the newest segment has no file, though the manifest
/// names it, and what there is of the one before is torn. The log had gone on behind that one, so a repair
/// serves what is intact in it, and the log does not go on in its place.
#[test]
fn the_newest_segment_behind_a_torn_one() {
    const DELETED: u64 = 30;
    const LAST: u64 = 170;
    for torn in [Torn::Emptied, Torn::Blank, Torn::Begin, Torn::Middle] {
        let folder = Folder::new();
        let server = folder.serve(NEVER);
        let mut conn = server.connect();
        for number in 1..=LAST {
            conn.send(format!("put 0 0 60 {SIZE}\r\n{}\r\n", body(number)));
            conn.expect(format!("INSERTED {number}\r\n"));
            // Few enough are left that a repair does not write as many segments as there were.
            if number <= DELETED {
                assert_eq!(conn.ask(format!("delete {number}")).line(), b"DELETED");
            }
        }
        kill(server);
        let Extent { oldest, newest, .. } = extent(&folder);
        assert_eq!((oldest, newest), (1, 3), "they fill two, and not three");
        // What was said last did not get to the disk either.
        let told = Extent { oldest, newest, sound: 0, end: 0 };
        fs::write(manifest(&folder), told.encode()).expect("it can be written");
        fs::remove_file(segment(&folder, 3)).expect("it is there");
        let bytes = fs::read(segment(&folder, 2)).expect("it can be read");
        // Bodies are digits; what is between them is not.
        let is_body = |at: &usize| bytes[*at..at + SIZE].iter().all(u8::is_ascii_digit);
        let bodies: Vec<usize> = (0..=bytes.len() - SIZE).filter(is_body).collect();
        let (len, blank, lost) = match torn {
            Torn::Emptied => (0, 0..0, 0..bodies.len()),
            Torn::Blank => (bytes.len(), 0..bytes.len(), 0..bodies.len()),
            Torn::Begin => (bytes.len(), 0..bodies[0] + 1, 0..1),
            Torn::Middle => (bytes.len(), bodies[3]..bodies[5] + 1, 3..6),
        };
        let number = |at: usize| -> u64 {
            let text = String::from_utf8_lossy(&bytes[bodies[at]..bodies[at] + 10]);
            text.parse().expect("it is a number")
        };
        let lost: Vec<u64> = lost.map(number).collect();
        let missing = number(bodies.len() - 1) + 1;
        let left = (DELETED + 1..missing).filter(|number| !lost.contains(number));
        let left: Vec<u64> = left.collect();
        let mut changed = bytes[..len].to_vec();
        changed[blank].fill(0);
        fs::write(segment(&folder, 2), changed).expect("it can be written");
        assert_refused(&folder, &["segment-0000000003 is missing"]);
        let server = folder.serve(REPAIR);
        assert_eq!(jobs(&mut server.connect(), LAST), left, "{torn:?}");
        kill(server);
        for _ in 0..2 {
            let server = folder.serve(NEVER);
            assert_eq!(jobs(&mut server.connect(), LAST), left, "the repair lasts: {torn:?}");
            stop(server);
        }
    }
}

/// What is left of a segment.
#[derive(Debug, Clone, Copy)]
enum Torn {
    /// Its file.
    Emptied,
    /// Its file and the length of that.
    Blank,
    /// All but the header and what is behind it, in the midst of a record.
    Begin,
    /// All but some records.
    Middle,
}

#[test]
fn all_segments() {
    let folder = folder();
    let mut all = Vec::new();
    for path in folder.segments() {
        all.extend(fs::read(&path).expect("it can be read"));
        fs::remove_file(path).expect("it is there");
    }
    assert_refused(&folder, &["segment-0000000001", "missing", "put it back"]);
    assert_repaired(&folder, &all);
}

#[test]
fn the_end_of_the_newest_segment() {
    let Extent { sound, end, .. } = extent(&folder());
    for len in [48, 1000, end / 2, end - SIZE as u64, end - 1] {
        let folder = folder();
        let path = segment(&folder, sound);
        let bytes = fs::read(&path).expect("it can be read");
        fs::write(&path, &bytes[..len as usize]).expect("it can be written");
        assert_refused(
            &folder,
            &[name(&path), "incomplete", &format!("{end} bytes"), "put it back"],
        );
        // Also where the file is as long as it was.
        let mut zeros = bytes.clone();
        zeros[len as usize..].fill(0);
        fs::write(&path, zeros).expect("it can be written");
        assert_refused(&folder, &[name(&path)]);
        fs::write(&path, &bytes[..len as usize]).expect("it can be written");
        let server = folder.serve(REPAIR);
        let left = jobs(&mut server.connect(), JOBS);
        assert!((left.len() as u64) < JOBS, "{left:?}");
        kill(server);
        let server = folder.serve(POLICY);
        assert_eq!(jobs(&mut server.connect(), JOBS), left, "the repair lasts");
    }
}

#[test]
fn the_manifest() {
    let folder = folder();
    let bytes = fs::read(manifest(&folder)).expect("it can be read");
    fs::remove_file(manifest(&folder)).expect("it is there");
    assert_refused(&folder, &[MANIFEST, "missing"]);
    assert_repaired(&folder, &[]);
    assert!(manifest(&folder).exists());
    for len in [0, 20, bytes.len() - 1] {
        fs::write(manifest(&folder), &bytes[..len]).expect("it can be written");
        let (status, output) = folder.refuse(POLICY);
        assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
        assert!(output.contains("manifest is damaged"), "{output}");
    }
    assert_repaired(&folder, &[]);
}

/// What was reclaimed and came back, from a backup say, is not served again.
#[test]
fn a_segment_that_was_given_up_is_back() {
    let folder = folder();
    let server = folder.serve(POLICY);
    let first = segment(&folder, 1);
    let bytes = fs::read(&first).expect("it can be read");
    let mut conn = server.connect();
    for number in 1..=JOBS {
        assert_eq!(conn.ask(format!("delete {number}")).line(), b"DELETED");
    }
    eventually("it is reclaimed", || !first.exists());
    stop(server);
    fs::write(&first, bytes).expect("it can be written");
    let server = folder.serve(POLICY);
    assert_eq!(jobs(&mut server.connect(), JOBS), [0; 0]);
    assert!(!first.exists(), "it is needed no more");
}
