//! A segment of which every byte is known. If this fails, the format has changed: that takes a new
//! version, and a server that still reads the old one.

use std::path::Path;

use jq_engine::{DurableState, JobCounters, JobRecord, JobUpdate, Nanos, Record};
use jq_server::log::binlog::format::{self, Entry, HEADER_LEN, Header, Next};

const HEADER: Header = Header { number: 7, next_id: 42, previous_end: 1234 };

const COUNTERS: JobCounters =
    JobCounters { reserves: 5, timeouts: 1, releases: 2, buries: 3, kicks: 4 };

/// One record of each kind, and one job in each state.
fn records() -> Vec<Record<'static>> {
    let update = |id, state, counters| JobUpdate { id, priority: 1024, delay: 9, state, counters };
    let created = Nanos(1_700_000_000_000_000_000);
    let job = |tube, now, body| JobRecord { tube, created, ttr: 60, now, body };
    let until = Nanos(1_700_000_009_000_000_000);
    let none = JobCounters::default();
    vec![
        Record::Put(job("default", update(1, DurableState::Ready, none), b"hello")),
        Record::Put(job("a", update(2, DurableState::Delayed(until), none), b"")),
        Record::Put(job("b", update(u64::MAX - 1, DurableState::Buried(17), COUNTERS), b"\0\r\n")),
        Record::Update(update(1, DurableState::Ready, COUNTERS)),
        Record::Update(update(1, DurableState::Delayed(until), COUNTERS)),
        Record::Update(update(1, DurableState::Buried(18), COUNTERS)),
        Record::Reserved(1),
        Record::TimedOut(1),
        Record::Kicked(1),
        Record::Delete(1),
        Record::Pause { tube: "default", seconds: 30, until },
        Record::Drain(true),
    ]
}

const MARK: u64 = 300;

fn golden() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/segments/golden.segment");
    std::fs::read(path).expect("the golden file is part of the sources")
}

#[test]
fn is_written_so() {
    let mut bytes = HEADER.encode().to_vec();
    for record in records() {
        let before = bytes.len();
        assert_eq!(format::encode(&record, &mut bytes), bytes.len() - before, "{record:?}");
    }
    format::encode_mark(MARK, &mut bytes);
    assert!(bytes == golden(), "the format has changed");
}

#[test]
fn is_read_so() {
    let bytes = golden();
    assert_eq!(Header::decode(&bytes), Ok(HEADER));
    let mut rest = &bytes[HEADER_LEN..];
    for record in records() {
        let Ok(Next::Entry(entry, len)) = format::decode(rest) else {
            panic!("{record:?} is not read");
        };
        assert_eq!(entry, Entry::Fact(record));
        rest = &rest[len..];
    }
    assert_eq!(format::decode(rest), Ok(Next::Entry(Entry::Mark(MARK), format::MARK_LEN)));
    assert_eq!(rest.len(), format::MARK_LEN);
}

/// What the documentation promises of the size of a job.
#[test]
fn a_job_of_100_bytes_takes_146() {
    let mut bytes = Vec::new();
    let now = JobUpdate {
        id: 1_000_000,
        priority: 0,
        delay: 0,
        state: DurableState::Ready,
        counters: JobCounters::default(),
    };
    let job = JobRecord { tube: "default", created: Nanos(0), ttr: 1, now, body: &[0; 100] };
    assert_eq!(format::encode(&Record::Put(job), &mut bytes), 146);
}
