//! Damage to what was on the disk: nothing is served until somebody asks for what is left.

use std::fs;
use std::path::PathBuf;

use jq_server::log::binlog::format::{self, VERSION};

use crate::numbered::{EXIT_CANNOT_REPLAY, POLICY, REPAIR, SIZE, assert_refused, body, jobs, put};
use crate::support::folder::{Folder, kill, name, stop};

/// Bytes of a segment's header.
const HEADER: usize = 48;

/// Several segments full of jobs, from 1 to [`JOBS`].
fn folder() -> Folder {
    let folder = Folder::new();
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    put(&mut conn, JOBS);
    kill(server);
    assert!(folder.segments().len() > 3, "{:?}", folder.segments());
    folder
}

const JOBS: u64 = 300;

/// The files that a repair has written aside.
fn set_aside(folder: &Folder) -> Vec<PathBuf> {
    let files = folder.contents().into_iter().map(|(path, _)| path);
    files.filter(|path| name(path).starts_with("damaged-")).collect()
}

/// Repairs, and checks what is left; then the next servers serve the same, without a repair.
fn assert_repaired(folder: &Folder, lost: &[u64]) {
    let all: Vec<u64> = (1..=JOBS).filter(|number| !lost.contains(number)).collect();
    let server = folder.serve(REPAIR);
    let mut conn = server.connect();
    assert_eq!(jobs(&mut conn, JOBS), all);
    conn.send("put 0 0 60 1\r\nx\r\n");
    conn.expect(format!("INSERTED {}\r\n", JOBS + 1));
    conn.send(format!("delete {}\r\n", JOBS + 1));
    conn.expect("DELETED\r\n");
    kill(server);
    for _ in 0..2 {
        let server = folder.serve(POLICY);
        assert_eq!(jobs(&mut server.connect(), JOBS), all, "the repair lasts");
        stop(server);
    }
}

/// Where in the file, and in which file, the record of this job begins.
fn find(folder: &Folder, number: u64) -> (PathBuf, usize) {
    let text = body(number);
    for path in folder.segments() {
        let bytes = fs::read(&path).expect("it can be read");
        let at = bytes.windows(SIZE).position(|window| window == text.as_bytes());
        if let Some(at) = at {
            // In front of the body: the tube's name, the fields, and the frame.
            return (path, at - "default".len() - 31 - 8);
        }
    }
    panic!("job {number} is in a segment");
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).expect("it can be read");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn a_flipped_bit_in_a_body() {
    let folder = folder();
    let (path, start) = find(&folder, 100);
    flip(&path, start + 500);
    let offset = format!("offset {start}");
    assert_refused(&folder, &[name(&path), &offset, "checksum", "--binlog-repair"]);
    assert_repaired(&folder, &[100]);
    let aside = set_aside(&folder);
    let [file] = &aside[..] else { panic!("{aside:?}") };
    assert!(name(file).contains(name(&path)) && name(file).ends_with(&format!("-{start}")));
    let mut bytes = fs::read(file).expect("it can be read");
    assert_eq!(bytes.len(), 46 + SIZE, "the whole record");
    bytes[500] ^= 0x10;
    assert!(bytes.ends_with(body(100).as_bytes()), "as it was found");
}

/// A length that leads astray: the records behind it are found all the same.
#[test]
fn a_flipped_bit_in_a_length() {
    for byte in 0..4 {
        let folder = folder();
        let (path, start) = find(&folder, 150);
        flip(&path, start + byte);
        assert_refused(&folder, &[name(&path), &format!("offset {start}")]);
        assert_repaired(&folder, &[150]);
    }
}

/// What was on the disk is told from what was being written, also in the last segment.
#[test]
fn a_flipped_bit_in_the_last_segment() {
    let folder = folder();
    // Behind it may be a file that was only made ready.
    let last = find(&folder, JOBS).0;
    let number = (1..=JOBS).find(|number| find(&folder, *number).0 == last);
    let number = number.expect("jobs are in it");
    assert!(number + 2 < JOBS, "there are more behind it");
    let (path, start) = find(&folder, number);
    flip(&path, start + 200);
    assert_refused(&folder, &[name(&last), &format!("offset {start}")]);
    assert_repaired(&folder, &[number]);
}

#[test]
fn a_repair_says_what_is_lost() {
    let folder = folder();
    for number in [20, 22, 160] {
        let (path, start) = find(&folder, number);
        flip(&path, start + 300);
    }
    let server = folder.serve(REPAIR);
    assert_eq!(jobs(&mut server.connect(), JOBS).len() as u64, JOBS - 3);
    let log = stop(server);
    assert!(log.contains("places=3") && log.contains("bytes=3138"), "{log}");
    assert_eq!(set_aside(&folder).len(), 3);
}

/// In its magic, its version, its number, and its checksum.
#[test]
fn a_flipped_bit_in_a_header() {
    for at in [2, 9, 20, 46] {
        let folder = folder();
        let path = folder.segments().swap_remove(1);
        flip(&path, at);
        assert_refused(&folder, &[name(&path), "header", "offset 0", "--binlog-repair"]);
        assert_repaired(&folder, &[]);
    }
}

#[test]
fn a_segment_that_is_missing() {
    let folder = folder();
    let path = folder.segments().swap_remove(1);
    let bytes = fs::read(&path).expect("it can be read");
    let lost: Vec<u64> = (1..=JOBS)
        .filter(|number| bytes.windows(SIZE).any(|window| window == body(*number).as_bytes()))
        .collect();
    assert!(lost.len() > 10);
    fs::remove_file(&path).expect("it is there");
    assert_refused(&folder, &[name(&path), "missing", "--binlog-repair"]);
    assert_repaired(&folder, &lost);
}

/// A segment whose file ends before the next one says that it does.
#[test]
fn a_segment_that_is_too_short() {
    let folder = folder();
    let path = folder.segments().swap_remove(1);
    let bytes = fs::read(&path).expect("it can be read");
    fs::write(&path, &bytes[..bytes.len() - SIZE / 2]).expect("it can be written");
    assert_refused(&folder, &[name(&path), "offset", "--binlog-repair"]);
    let server = folder.serve(REPAIR);
    assert_eq!(jobs(&mut server.connect(), JOBS).len() as u64, JOBS - 1);
    stop(server);
    let server = folder.serve(POLICY);
    assert_eq!(jobs(&mut server.connect(), JOBS).len() as u64, JOBS - 1);
}

/// What a newer release has written is not damaged, and not to be repaired.
#[test]
fn a_newer_format() {
    let folder = folder();
    let newer = format!("version {}", VERSION + 1);
    for path in folder.segments() {
        let mut bytes = fs::read(&path).expect("it can be read");
        bytes[8] = VERSION as u8 + 1;
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, bytes).expect("it can be written");
    }
    assert_refused(&folder, &[&newer]);
    let before = folder.contents();
    let (status, output) = folder.refuse(REPAIR);
    assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
    assert!(output.contains(&newer), "{output}");
    assert!(folder.contents() == before, "nothing is changed");
}

/// Nor is a setting that only a newer release knows, wherever it is.
#[test]
fn a_newer_setting() {
    let folder = folder();
    // What is set aside goes back, so that a record can be appended.
    drop(stop(folder.serve(POLICY)));
    let path = folder.last_segment();
    let mut bytes = fs::read(&path).expect("it can be read");
    format::frame(b"\x0a\x01\x01a\x6b\0", &mut bytes);
    fs::write(&path, bytes).expect("it can be written");
    let before = folder.contents();
    for flags in [POLICY, REPAIR] {
        let (status, output) = folder.refuse(flags);
        assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
        assert!(output.contains("was written by a newer release"), "{output}");
        assert!(output.contains("a tube's settings, with the tag 107"), "{output}");
        assert!(!output.contains("--binlog-repair"), "{output}");
        assert!(folder.contents() == before, "nothing is changed");
    }
}
