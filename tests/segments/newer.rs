//! Settings that a newer release has written: this one must not go on as if they were not there.

use std::sync::Arc;

use jq_server::log::binlog::format::{self, Header};
use jq_server::log::binlog::manifest::{Extent, MANIFEST};
use jq_server::log::binlog::segment_name;

use crate::replay::{Memory, open};

const PUT: &[u8] = b"\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x3c\0\0\0\0\x01abody";

/// A disk with nothing but a manifest, which names nothing.
fn disk() -> Memory {
    let disk = Memory::default();
    disk.put(MANIFEST, Extent::default().encode().to_vec());
    disk
}

/// A segment of these records.
fn segment(number: u64, previous_end: u64, records: &[&[u8]], behind: &[u8]) -> Vec<u8> {
    let mut bytes =
        Header { number, next_id: 1, previous_end, ..Header::default() }.encode().to_vec();
    for record in records {
        format::frame(record, &mut bytes);
    }
    bytes.extend_from_slice(behind);
    bytes
}

/// Asserts that what is on the disk is refused, with and without a repair, and left as it is.
fn assert_refused(disk: Memory, message: &str) {
    let disk = Arc::new(disk);
    let before = disk.contents();
    for repair in [false, true] {
        let error = open(&disk, repair).expect_err("it is not understood");
        assert_eq!(error.to_string(), message);
        assert!(!error.is_repairable(), "{error}");
        assert_eq!(disk.contents(), before);
    }
}

#[test]
fn an_unknown_setting_is_refused() {
    let prefix = "segment-0000000001 was written by a newer release: the record at offset";
    let pause = b"\x01\x0c\x05\0\0\0\xff\xff\xff\xff\xff\0\0\0";
    let tube = |fields: &[u8]| [b"\x0a\x01\x01a", fields].concat();
    for (record, what) in [
        (tube(b"\x6b\0"), "a tube's settings, with the tag 107"),
        (tube(&[pause, &b"\x6c\x02xy"[..]].concat()), "a tube's settings, with the tag 108"),
        (b"\x0a\x02\x01a".to_vec(), "a tube's settings, in layout version 2"),
        (b"\x0b\x01\x63\x03xyz".to_vec(), "the server's settings, with the tag 99"),
        (b"\x0b\x09".to_vec(), "the server's settings, in layout version 9"),
    ] {
        // In the last segment, what cannot be read may be a torn end; but not this.
        for is_last in [true, false] {
            let disk = disk();
            let bytes = segment(1, 0, &[PUT, &record], b"");
            let offset = bytes.len() - record.len() - format::FRAME_LEN;
            if !is_last {
                let previous_end = bytes.len() as u64;
                disk.put(&segment_name(2), segment(2, previous_end, &[PUT], b""));
            }
            disk.put(&segment_name(1), bytes);
            let message = format!("{prefix} {offset}: {what}, which this release does not know");
            assert_refused(disk, &message);
        }
    }
}

/// A repair does not take it for a part of the damage before it.
#[test]
fn a_repair_does_not_step_over_it() {
    let newer: &[u8] = b"\x0a\x01\x01a\x6b\0";
    let disk = disk();
    let mut bytes = segment(1, 0, &[], b"some bytes that are no record");
    let offset = bytes.len();
    format::frame(newer, &mut bytes);
    let sealed = bytes.len() as u64;
    disk.put(&segment_name(1), bytes);
    disk.put(&segment_name(2), segment(2, sealed, &[PUT], b""));
    let error = open(&Arc::new(disk), true).expect_err("it is not understood");
    let message = error.to_string();
    assert!(message.contains(&format!("the record at offset {offset}: a tube's")), "{message}");
}

/// Nor is a segment removed that seems never to have been begun.
#[test]
fn a_torn_header_does_not_hide_it() {
    let mut bytes = segment(1, 0, &[b"\x0a\x01\x01a\x6b\0"], b"");
    bytes[44] ^= 1;
    let disk = Arc::new(disk());
    disk.put(&segment_name(1), bytes.clone());
    for repair in [false, true] {
        open(&disk, repair).expect_err("it is not understood");
        assert_eq!(disk.contents().get(&segment_name(1)), Some(&bytes));
    }
}

/// What is known and makes no sense is damage, as anything else.
#[test]
fn a_broken_setting_is_damage() {
    for record in [&b"\x0a\x01\x01a\x01\x0b\0\0\0\0\0\0\0\0\0\0\0"[..], b"\x0a\x01\x01a\x01"] {
        assert_eq!(
            format::decode(&segment(1, 0, &[record], b"")[format::HEADER_LEN..]),
            Err(format::Damage::Meaning)
        );
    }
    let trailing = b"\x0b\x01\x01\x01x";
    assert_eq!(
        format::decode(&segment(1, 0, &[trailing], b"")[format::HEADER_LEN..]),
        Err(format::Damage::Meaning)
    );
}
