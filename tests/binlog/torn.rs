//! The last record may not have been written to its end when the server or the machine stopped.

use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::support::Conn;
use crate::support::folder::{Folder, kill, stop};

const POLICY: &[&str] = &["-f", "0"];

/// A job's body: its number, as often as makes it easy to cut somewhere within.
fn body(number: u64) -> String {
    format!("{number:04}").repeat(10)
}

/// Jobs from 1 to `count`, acknowledged, and then the end.
fn folder_of(count: u64) -> Folder {
    let folder = Folder::new();
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    for number in 1..=count {
        conn.send(format!("put 0 0 60 40\r\n{}\r\n", body(number)));
        conn.expect(format!("INSERTED {number}\r\n"));
    }
    kill(server);
    folder
}

/// The ids of the jobs that are there, which must be the first ones, as they were put.
fn jobs(conn: &mut Conn, most: u64) -> u64 {
    let count: u64 = conn.ask("stats").value("current-jobs-ready").unwrap().parse().unwrap();
    assert!(count <= most);
    for number in 1..=count {
        conn.send(format!("peek {number}\r\n"));
        conn.expect(format!("FOUND {number} 40\r\n{}\r\n", body(number)));
    }
    count
}

/// The length of the part of a file that is not zeros behind the last record.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

#[test]
fn a_record_that_is_cut_off() {
    let folder = folder_of(5);
    let segment = folder.last_segment();
    let whole = fs::read(&segment).expect("it can be read");
    let end = written(&whole);
    // Within the body, within the fields, and within the frame of the last record.
    for cut in [1, 20, 39, 45, 70, 80] {
        fs::write(&segment, &whole[..end - cut]).expect("it can be written");
        let server = folder.serve(POLICY);
        let count = jobs(&mut server.connect(), 5);
        assert_eq!(count, 4, "{cut} bytes less");
        let log = stop(server);
        assert!(log.contains("torn"), "{log}");
        assert!(log.contains(crate::support::folder::name(&segment)), "{log}");
        // What the run has left behind it is not part of the next one.
        for other in folder.segments().into_iter().filter(|other| *other != segment) {
            fs::remove_file(other).expect("it is ours");
        }
    }
}

#[test]
fn what_is_cut_off_stays_cut_off() {
    let folder = folder_of(5);
    let segment = folder.last_segment();
    let whole = fs::read(&segment).expect("it can be read");
    fs::write(&segment, &whole[..written(&whole) - 10]).expect("it can be written");
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    assert_eq!(jobs(&mut conn, 5), 4);
    conn.send(format!("put 0 0 60 40\r\n{}\r\n", body(5)));
    assert!(conn.reply().line().starts_with(b"INSERTED "));
    kill(server);
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    assert_eq!(conn.ask("stats").value("current-jobs-ready"), Some("5"));
    assert!(!stop(server).contains("torn"), "the first one has cut it off");
}

#[test]
fn garbage_behind_the_end() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = folder_of(5);
        let segment = folder.last_segment();
        let whole = fs::read(&segment).expect("it can be read");
        let garbage: Vec<u8> = (0..random.usize(1..300)).map(|_| random.u8(..)).collect();
        fs::write(&segment, &whole[..written(&whole)]).expect("it can be written");
        let mut file = OpenOptions::new().append(true).open(&segment).expect("it is there");
        file.write_all(&garbage).expect("it can be written");
        drop(file);
        let server = folder.serve(POLICY);
        assert_eq!(jobs(&mut server.connect(), 5), 5, "seed {seed}");
        let log = stop(server);
        assert!(log.contains("torn") && log.contains("bytes="), "seed {seed}: {log}");
    }
}

/// A file for the next segment may have been made ready, and hold nothing, or zeros.
#[test]
fn a_file_that_was_only_made_ready() {
    for content in [&[][..], &[0; 8192][..], b"jqbin"] {
        let folder = folder_of(3);
        let last = folder.last_segment();
        let (head, digits) = crate::support::folder::name(&last).split_at("segment-".len());
        let number: u64 = digits.parse().expect("it is a number");
        let next = folder.inner().join(format!("{head}{:010}", number + 1));
        fs::write(next, content).expect("it can be written");
        let server = folder.serve(POLICY);
        assert_eq!(jobs(&mut server.connect(), 3), 3, "{} bytes", content.len());
        stop(server);
    }
}
