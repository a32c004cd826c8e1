//! Files that are missing, or were copied in part: seen at the start, and named.

use std::fs;
use std::path::PathBuf;

use jq_server::log::binlog::manifest::{Extent, MANIFEST};

use crate::numbered::{self, EXIT_CANNOT_REPLAY, POLICY, REPAIR, SIZE, body, jobs, put};
use crate::support::eventually;
use crate::support::folder::{Folder, kill, name, stop};

const JOBS: u64 = 200;

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
