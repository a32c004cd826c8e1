//! The last record may not have been written to its end when the server or the machine stopped.

use std::fs::{self, OpenOptions};
use std::io::Write;

use jq_engine::{DurableState, JobCounters, JobRecord, JobUpdate, Nanos, Record};
use jq_server::log::binlog::format::{self, HEADER_LEN, Header};

use crate::numbered::assert_refused;
use crate::support::folder::{Folder, kill, stop};
use crate::support::{Conn, eventually};

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

/// Another job is half put behind the last one: of its record, `missing` bytes are not written.
fn put_in_part(folder: &Folder, number: u64, missing: usize) -> std::path::PathBuf {
    let segment = folder.last_segment();
    let mut bytes = fs::read(&segment).expect("it can be read");
    bytes.truncate(written(&bytes));
    let (state, counters) = (DurableState::Ready, JobCounters::default());
    let now = JobUpdate { id: number, priority: 0, delay: 0, state, counters };
    let body = body(number);
    let job = JobRecord {
        tube: "default",
        created: Nanos(1),
        ttr: 60,
        now,
        body: body.as_bytes(),
        shared: None,
    };
    format::encode(&Record::Put(job), &mut bytes);
    bytes.truncate(bytes.len() - missing);
    fs::write(&segment, bytes).expect("it can be written");
    segment
}

#[test]
fn a_record_that_is_cut_off() {
    // Within the body, within the fields, and within the frame of the last record.
    for missing in [1, 20, 39, 45, 70, 80] {
        let folder = folder_of(5);
        let segment = put_in_part(&folder, 6, missing);
        let server = folder.serve(POLICY);
        let count = jobs(&mut server.connect(), 6);
        assert_eq!(count, 5, "{missing} bytes less");
        let log = stop(server);
        assert!(log.contains("torn"), "{log}");
        assert!(log.contains(crate::support::folder::name(&segment)), "{log}");
    }
}

#[test]
fn what_is_cut_off_stays_cut_off() {
    let folder = folder_of(4);
    put_in_part(&folder, 5, 10);
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

/// Jobs in two segments, the second of which was begun while the first was not synced: with this interval,
/// nothing is, unless the test waits for it. Returns how many jobs there are.
fn two_segments(folder: &Folder, interval: &str, then: impl FnOnce(&mut Conn, u64)) -> u64 {
    two_segments_from(folder, interval, |_| 0, then)
}

/// The same; `first` puts so many jobs before.
fn two_segments_from(
    folder: &Folder,
    interval: &str,
    first: impl FnOnce(&mut Conn) -> u64,
    then: impl FnOnce(&mut Conn, u64),
) -> u64 {
    let server = folder.serve(&["-f", interval, "-s", "65536", "-z", "2000000"]);
    let mut conn = server.connect();
    let mut count = first(&mut conn);
    while folder.segments().len() < 2 || !is_begun(folder) {
        for _ in 0..10 {
            count += 1;
            conn.send(format!("put 0 0 60 40\r\n{}\r\n", body(count)));
            conn.expect(format!("INSERTED {count}\r\n"));
        }
    }
    assert_eq!(folder.segments().len(), 2, "the third is made later");
    then(&mut conn, count);
    kill(server);
    count
}

fn is_begun(folder: &Folder) -> bool {
    header(folder).is_some_and(|header| header.is_early)
}

/// Of the last segment.
fn header(folder: &Folder) -> Option<Header> {
    Header::decode(&fs::read(folder.last_segment()).expect("it can be read")).ok()
}

/// All that is behind a place in the middle of the first of two segments is zeros, as after a power cut.
fn tear_first(folder: &Folder) {
    let segment = folder.segments().swap_remove(0);
    let mut bytes = fs::read(&segment).expect("it can be read");
    let half = bytes.len() / 2;
    bytes[half..].fill(0);
    fs::write(segment, bytes).expect("it can be written");
}

/// The disk has the newest segment, and not all of the one before: the newest does not count.
#[test]
fn the_segment_before_the_last_one() {
    const HOUR: &str = "3600000";
    let folder = Folder::new();
    let put = two_segments(&folder, HOUR, |_, _| ());
    tear_first(&folder);
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    let count = jobs(&mut conn, put);
    assert!(count > 0 && count < put, "{count} of {put}");
    // What comes next is in a segment of the same number, and nothing of the old one is behind it.
    let next = count + 1;
    conn.send(format!("put 0 0 60 40\r\n{}\r\n", body(next)));
    conn.expect(format!("INSERTED {next}\r\n"));
    let written = fs::metadata(folder.last_segment()).expect("it is there").len();
    assert!(written > HEADER_LEN as u64);
    kill(server);
    let server = folder.serve(POLICY);
    assert_eq!(jobs(&mut server.connect(), next), next);
    let log = stop(server);
    assert!(!log.contains("torn"), "{log}");
}

/// The newest segment does not count then; but as long as the body of a large job is missing, nothing is
/// changed.
#[test]
fn the_segment_before_the_last_one_and_a_body() {
    const LARGE: usize = 1_500_000;
    let folder = Folder::new();
    let large = |id: u64| {
        move |conn: &mut Conn| {
            conn.send(format!("put 0 0 60 {LARGE}\r\n{}\r\n", "x".repeat(LARGE)));
            conn.expect(format!("INSERTED {id}\r\n"));
            id
        }
    };
    let mut last = 0;
    two_segments_from(&folder, "3600000", large(1), |conn, count| last = large(count + 1)(conn));
    tear_first(&folder);
    let path = |id| folder.inner().join(format!("body-{id:010}"));
    let (file, aside) = (path(1), folder.path().join("aside"));
    fs::rename(&file, &aside).expect("it is there");
    assert_refused(&folder, &["body-0000000001 is missing"]);
    fs::rename(aside, file).expect("it can be put back");
    assert!(path(last).exists());
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    assert_eq!(conn.ask("peek 1").body().map(<[u8]>::len), Some(LARGE));
    assert_eq!(conn.ask(format!("peek {last}")).line(), b"NOT_FOUND");
    assert!(!path(last).exists(), "its put was in the newest segment");
    stop(server);
}

/// If that one was on the disk, it is damage, and nothing is changed.
#[test]
fn a_segment_before_the_last_that_was_on_the_disk() {
    let folder = Folder::new();
    two_segments(&folder, "10", |conn, count| {
        eventually("all is synced", || {
            conn.ask("stats").value("binlog-unsynced-bytes") == Some("0")
        });
        // Its record follows a mark.
        let next = count + 1;
        conn.send(format!("put 0 0 60 40\r\n{}\r\n", body(next)));
        conn.expect(format!("INSERTED {next}\r\n"));
    });
    tear_first(&folder);
    let first = folder.segments().swap_remove(0);
    let first = first.file_name().and_then(|name| name.to_str()).expect("its name is text");
    assert_refused(&folder, &[first]);
}
