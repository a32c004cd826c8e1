//! Segments of which every byte is known, one for each version of the format. The newest is what is
//! written. If that fails, the format has changed: that takes a new version, and a server that still
//! reads the old ones.

use std::path::Path;
use std::sync::Arc;

use jq_engine::{
    DurableState, Engine, JobCounters, JobIds, JobRecord, JobUpdate, Nanos, Pause, Record,
};
use jq_engine::{ServerSettings, TubeSettings};
use jq_server::log::Log;
use jq_server::log::binlog::format::{self, Entry, HEADER_LEN, Header, Next, StoredBody};
use jq_server::log::binlog::manifest::{Extent, MANIFEST};
use jq_server::log::binlog::{BinlogHandle, body_name, segment_name};

use crate::replay::{Memory, Recorder, compact, open, told};

const HEADER: Header =
    Header { number: 7, next_id: 42, previous_end: 1234, left_out: 0, is_early: false };

/// With what version 4 has besides.
const HEADER_4: Header = Header { left_out: 1, is_early: true, ..HEADER };

const COUNTERS: JobCounters =
    JobCounters { reserves: 5, timeouts: 1, releases: 2, buries: 3, kicks: 4, disconnects: 0 };

const CREATED: Nanos = Nanos(1_700_000_000_000_000_000);
const UNTIL: Nanos = Nanos(1_700_000_009_000_000_000);

const PAUSED: TubeSettings<'_> =
    TubeSettings { pause: Some(Pause { seconds: 30, until: UNTIL }), policy: None };

fn update(id: u64, state: DurableState, counters: JobCounters) -> JobUpdate {
    JobUpdate { id, priority: 1024, delay: 9, state, counters }
}

fn job<'a>(tube: &'a str, now: JobUpdate, body: &'a [u8]) -> JobRecord<'a> {
    JobRecord { tube, created: CREATED, ttr: 60, now, body, shared: None }
}

/// One record of each kind of version 1, and one job in each state.
fn version_1() -> Vec<Record<'static>> {
    let none = JobCounters::default();
    vec![
        Record::Put(job("default", update(1, DurableState::Ready, none), b"hello")),
        Record::Put(job("a", update(2, DurableState::Delayed(UNTIL), none), b"")),
        Record::Put(job("b", update(u64::MAX - 1, DurableState::Buried(17), COUNTERS), b"\0\r\n")),
        Record::Update(update(1, DurableState::Ready, COUNTERS)),
        Record::Update(update(1, DurableState::Delayed(UNTIL), COUNTERS)),
        Record::Update(update(1, DurableState::Buried(18), COUNTERS)),
        Record::Reserved(1),
        Record::TimedOut(1),
        Record::Kicked(1),
        Record::Delete(1),
        Record::Tube { tube: "default", settings: PAUSED },
        Record::Server(ServerSettings { draining: true }),
    ]
}

/// The same, and what version 2 has besides.
fn version_2() -> Vec<Record<'static>> {
    let lost = JobCounters { disconnects: 6, ..COUNTERS };
    let mut records = version_1();
    records.extend([
        Record::Put(job("c", update(3, DurableState::Ready, lost), b"lost")),
        Record::Update(update(3, DurableState::Buried(19), lost)),
        Record::Disconnected(2),
        Record::Tube { tube: "a", settings: PAUSED },
        Record::Tube { tube: "a", settings: TubeSettings::default() },
        Record::Server(ServerSettings::default()),
        Record::Server(ServerSettings { draining: true }),
    ]);
    records
}

/// The same, and what version 4 has besides.
fn version_4() -> Vec<Record<'static>> {
    let lost = JobCounters { disconnects: 6, ..COUNTERS };
    let mut records = version_2();
    records.extend([
        Record::Put(job("c", update(4, DurableState::Ready, JobCounters::default()), b"moves")),
        Record::Moved { tube: "longer", now: update(4, DurableState::Delayed(UNTIL), COUNTERS) },
        Record::Put(job("e", update(5, DurableState::Ready, JobCounters::default()), b"kept")),
        Record::Put(job("e", update(6, DurableState::Ready, JobCounters::default()), b"gone")),
        Record::Put(job("e", update(7, DurableState::Buried(21), JobCounters::default()), b"")),
        Record::Cleared { tube: "e", kept: JobIds::new(&KEPT) },
        Record::Cleared { tube: "nobody's", kept: JobIds::new(&[]) },
        Record::Moved { tube: "d", now: update(4, DurableState::Buried(20), lost) },
    ]);
    records
}

/// Of version 4: the jobs that a clearing has kept, one of which is gone since.
const KEPT: [[u8; 8]; 2] = [5u64.to_le_bytes(), 40u64.to_le_bytes()];

/// What is in the file of job 8.
const LARGE: &[u8] = b"too large to be in a segment";

/// What version 4 has besides: a job whose body is in a file of its own.
fn large_put() -> Entry<'static> {
    let body = StoredBody { len: LARGE.len() as u32, crc: crc32c::crc32c(LARGE) };
    Entry::LargePut(job("d", update(8, DurableState::Buried(22), COUNTERS), b""), body)
}

/// What is in the segment of this version, before the mark.
fn entries(version: u32) -> Vec<Entry<'static>> {
    let records = match version {
        1 => version_1(),
        2 | 3 => version_2(),
        _ => version_4(),
    };
    let facts = records.into_iter().map(Entry::Fact);
    facts.chain((version >= 4).then(large_put)).collect()
}

const MARK: u64 = 300;

/// What the manifest beside a segment of version 3 or a newer one says.
const EXTENT: Extent = Extent { oldest: 7, newest: 7, sound: 7, end: 300 };

fn golden(version: u32) -> Vec<u8> {
    read(&format!("version-{version}.segment"))
}

fn golden_manifest() -> Vec<u8> {
    read("version-3.manifest")
}

fn read(name: &str) -> Vec<u8> {
    let name = format!("tests/segments/{name}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read(path).expect("the golden files are part of the sources")
}

#[test]
fn is_written_so() {
    assert_eq!(format::VERSION, 4, "there is a golden file for each version");
    let mut bytes = HEADER_4.encode().to_vec();
    for record in version_4() {
        let before = bytes.len();
        assert_eq!(format::encode(&record, &mut bytes), bytes.len() - before, "{record:?}");
    }
    let Entry::LargePut(job, body) = large_put() else { panic!("it is one") };
    let before = bytes.len();
    let len = format::encode_large_put(&job, body, &mut bytes);
    assert_eq!(len, bytes.len() - before);
    format::encode_mark(MARK, &mut bytes);
    assert!(bytes == golden(4), "the format has changed");
    assert!(EXTENT.encode()[..] == golden_manifest(), "the format of the manifest has changed");
}

#[test]
fn is_read_so() {
    assert_eq!(Extent::decode(&golden_manifest()), Ok(EXTENT));
    for version in 1..=4 {
        let bytes = golden(version);
        assert_eq!(bytes[8..12], version.to_le_bytes());
        let header = if version < 4 { HEADER } else { HEADER_4 };
        assert_eq!(Header::decode(&bytes), Ok(header));
        let mut rest = &bytes[HEADER_LEN..];
        for expected in entries(version) {
            let Ok(Next::Entry(entry, len)) = format::decode(rest) else {
                panic!("{expected:?} of version {version} is not read");
            };
            assert_eq!(entry, expected);
            rest = &rest[len..];
        }
        assert_eq!(format::decode(rest), Ok(Next::Entry(Entry::Mark(MARK), format::MARK_LEN)));
        assert_eq!(rest.len(), format::MARK_LEN);
    }
}

/// A disk with the golden file of this version, as it would be found in a directory.
fn disk_of(version: u32) -> Arc<Memory> {
    let disk = Memory::default();
    disk.put(&segment_name(HEADER.number), golden(version));
    if version >= 3 {
        disk.put(MANIFEST, golden_manifest());
    }
    if version >= 4 {
        disk.put(&body_name(8), LARGE.to_vec());
    }
    Arc::new(disk)
}

/// The queue that these records make, with all bodies in the segment.
fn queue_of(entries: &[Entry<'_>]) -> Engine {
    let disk = Memory::default();
    let mut bytes = HEADER.encode().to_vec();
    for entry in entries {
        let record = match *entry {
            Entry::Fact(record) => record,
            Entry::LargePut(job, _) => Record::Put(JobRecord { body: LARGE, ..job }),
            Entry::Mark(_) => continue,
        };
        format::encode(&record, &mut bytes);
    }
    disk.put(&segment_name(HEADER.number), bytes);
    disk.put(MANIFEST, golden_manifest());
    open(&Arc::new(disk), false).expect("it is sound").1
}

#[test]
fn is_replayed() {
    for version in 1..=4 {
        let (_, engine) = open(&disk_of(version), false).expect("it is sound");
        assert_eq!(told(&engine), told(&queue_of(&entries(version))), "version {version}");
        let first_kept = engine.job(5).is_some();
        assert_eq!(first_kept, version >= 4);
        assert_eq!(engine.job_count(), [2, 3, 3, 6][version as usize - 1]);
        assert_eq!(engine.tubes_with_settings(), ["default"]);
        assert!(engine.server_stats().draining);
    }
}

/// A server of today goes on in a directory of an older one, is started again, and reclaims what
/// the older one has written.
#[test]
fn versions_are_mixed_in_one_directory() {
    let disk = disk_of(1);
    let mut opened = open(&disk, false).expect("it is sound");
    let (binlog, engine) = &mut opened;
    let mut sink = Recorder(BinlogHandle::new(binlog));
    let now = Nanos::from_secs(1_000_000);
    let lost = JobCounters { disconnects: 6, ..COUNTERS };
    let news = [
        Record::Disconnected(2),
        Record::Update(update(u64::MAX - 1, DurableState::Ready, lost)),
        Record::Tube { tube: "default", settings: TubeSettings::default() },
        Record::Tube { tube: "b", settings: PAUSED },
    ];
    for record in news {
        let segment = sink.0.append(&record, true).segment;
        engine.restore(now, record, segment, &mut sink).expect("the name is sound");
    }
    binlog.sync().expect("this disk does not fail");
    binlog.close().expect("this disk does not fail");
    let expected = told(engine);
    assert!(expected.iter().any(|record| record.contains("disconnects: 1")), "{expected:?}");
    assert!(expected.iter().any(|record| record.contains("disconnects: 6")), "{expected:?}");
    assert_eq!(engine.tubes_with_settings(), ["b"]);

    let written = || -> Vec<u8> {
        let files = disk.contents();
        let segments = files.iter().filter(|(name, _)| name.starts_with("segment-"));
        segments.map(|(_, bytes)| bytes[8]).collect()
    };
    assert_eq!(written(), [1, 4]);
    let mut again = open(&disk, false).expect("both are sound");
    assert_eq!(told(&again.1), expected);
    // The old one is reclaimed some time, and then all is of today's version.
    let mut sink = Recorder(BinlogHandle::new(&again.0));
    for _ in 0..100 {
        for _ in 0..20 {
            sink.0.append(&Record::Delete(40), true);
        }
        again.0.sync().expect("this disk does not fail");
        compact(&mut again);
    }
    assert!(!disk.contents().contains_key(&segment_name(HEADER.number)));
    assert_eq!(told(&again.1), expected);
    again.0.close().expect("this disk does not fail");
    assert!(written().iter().all(|version| *version == 4));
    let (_, last) = open(&disk, false).expect("all are sound");
    assert_eq!(told(&last), expected);
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
    let job = JobRecord {
        tube: "default",
        created: Nanos(0),
        ttr: 1,
        now,
        body: &[0; 100],
        shared: None,
    };
    assert_eq!(format::encode(&Record::Put(job), &mut bytes), 146);
}

/// A job whose connection never vanished takes no byte for that.
#[test]
fn only_disconnects_take_room() {
    let len = |counters| {
        let record = Record::Update(update(1, DurableState::Ready, counters));
        format::encode(&record, &mut Vec::new())
    };
    let disconnected = JobCounters { disconnects: 1, ..COUNTERS };
    assert_eq!(len(COUNTERS), format::SMALL_LEN - 4 - 8);
    assert_eq!(len(disconnected), len(COUNTERS) + 4);
}
