//! What is written is read; what was damaged is found out.

use std::collections::BTreeMap;

use beanstalk_protocol::MAX_JOB_SIZE;
use jq_engine::{DurableState, JobCounters, JobIds, JobRecord, JobUpdate, Nanos, Pause, Policy};
use jq_engine::{Record, ServerSettings, TubeSettings};
use jq_server::log::binlog::format::{
    self, Damage, Entry, HEADER_LEN, Header, Next, StoredBody, VERSION,
};

fn state(rng: &mut fastrand::Rng) -> DurableState {
    match rng.u8(..3) {
        0 => DurableState::Ready,
        1 => DurableState::Delayed(Nanos(rng.u64(..))),
        _ => DurableState::Buried(rng.u64(..)),
    }
}

fn update(rng: &mut fastrand::Rng) -> JobUpdate {
    let counters = JobCounters {
        reserves: rng.u32(..),
        timeouts: rng.u32(..3),
        releases: rng.u32(..),
        buries: rng.u32(..),
        kicks: rng.u32(..),
        disconnects: rng.u32(..2),
    };
    let counters = if rng.bool() { counters } else { JobCounters::default() };
    let (id, priority, delay) = (rng.u64(..), rng.u32(..), rng.u32(..));
    JobUpdate { id, priority, delay, state: state(rng), counters }
}

fn record<'a>(rng: &mut fastrand::Rng, tube: &'a str, body: &'a [u8]) -> Record<'a> {
    let id = rng.u64(..);
    let created = Nanos(rng.u64(..));
    let job = JobRecord { tube, created, ttr: rng.u32(..), now: update(rng), body, shared: None };
    match rng.u8(..14) {
        0 => Record::Put(job),
        1 => Record::Again(job),
        2 => Record::Update(update(rng)),
        3 => Record::Reserved(id),
        4 => Record::TimedOut(id),
        5 => Record::Kicked(id),
        6 => Record::Delete(id),
        7 => Record::Disconnected(id),
        8 => {
            let pause = Pause { seconds: rng.u32(..), until: Nanos(rng.u64(..)) };
            Record::Tube { tube, settings: TubeSettings { pause: Some(pause), policy: None } }
        }
        9 => Record::Tube { tube, settings: TubeSettings::default() },
        12 => Record::Tube {
            tube,
            settings: TubeSettings { pause: None, policy: Some(policy(rng, tube)) },
        },
        10 => Record::Moved { tube, now: update(rng) },
        11 => Record::Cleared { tube, kept: JobIds::new(body.as_chunks().0) },
        _ => Record::Server(ServerSettings { draining: rng.bool() }),
    }
}

/// Each rule is there or not.
fn policy<'a>(rng: &mut fastrand::Rng, tube: &'a str) -> Policy<&'a str> {
    Policy {
        max_jobs: rng.bool().then(|| rng.u64(..)),
        max_bytes: rng.bool().then(|| rng.u64(..)),
        max_reserves: rng.bool().then(|| rng.u32(..)),
        max_timeouts: rng.bool().then(|| rng.u32(..)),
        max_disconnects: rng.bool().then(|| rng.u32(..)),
        dead_letter: rng.bool().then_some(tube),
        expires: rng.bool().then(|| rng.u32(..)),
        // So that it is never an empty one, which is written like none.
        unique: true,
        default_ttr: rng.bool().then(|| rng.u32(..)),
        reserve_rate: rng.bool().then(|| rng.u32(..)),
        from_file: rng.bool(),
    }
}

/// The name of its kind. A new kind does not compile until it is here, and then has to be made above.
fn kind(record: &Record<'_>) -> &'static str {
    match record {
        Record::Put(_) => "put",
        Record::Again(_) => "again",
        Record::Update(_) => "update",
        Record::Moved { .. } => "moved",
        Record::Reserved(_) => "reserved",
        Record::TimedOut(_) => "timed out",
        Record::Disconnected(_) => "disconnected",
        Record::Kicked(_) => "kicked",
        Record::Delete(_) => "delete",
        Record::Cleared { .. } => "cleared",
        Record::Tube { settings: TubeSettings { pause: Some(_), .. }, .. } => "paused tube",
        Record::Tube { settings: TubeSettings { policy: Some(_), .. }, .. } => "ruled tube",
        Record::Tube { settings: TubeSettings { pause: None, .. }, .. } => "tube",
        Record::Server(ServerSettings { draining: true }) => "drain",
        Record::Server(ServerSettings { draining: false }) => "no drain",
    }
}

const KINDS: usize = 15;

/// What is read when this was written: that a job was told once more is nothing to be read.
fn as_read(record: Record<'_>) -> Record<'_> {
    match record {
        Record::Again(job) => Record::Put(job),
        other => other,
    }
}

#[test]
fn any_record_is_read_as_it_was_written() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut kinds = BTreeMap::new();
    for _ in 0..20_000 {
        let tube = "x".repeat(rng.usize(1..=200));
        let mut body = vec![0; rng.usize(..300)];
        rng.fill(&mut body);
        let record = record(&mut rng, &tube, &body);
        *kinds.entry(kind(&record)).or_insert(0) += 1;
        let mut bytes = Vec::new();
        let len = format::encode(&record, &mut bytes);
        assert_eq!(format::decode(&bytes), Ok(Next::Entry(Entry::Fact(as_read(record)), len)));
        // Not all of it: there is no saying what it is.
        let part = rng.usize(..len);
        assert!(matches!(format::decode(&bytes[..part]), Ok(Next::Need(need)) if need <= len));
        // A bit of it turned: it is not taken for sound.
        let (byte, bit) = (rng.usize(..len), rng.u8(..8));
        bytes[byte] ^= 1 << bit;
        assert!(!matches!(format::decode(&bytes), Ok(Next::Entry(..) | Next::Nothing)));
    }
    assert_eq!(kinds.len(), KINDS, "each kind was made: {kinds:?}");
    assert!(kinds.values().all(|count| *count > 500), "often: {kinds:?}");
}

#[test]
fn a_large_put_is_read_as_it_was_written() {
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..5000 {
        let tube = "x".repeat(rng.usize(1..=200));
        let body = StoredBody { len: rng.u32(..=MAX_JOB_SIZE), crc: rng.u32(..) };
        let created = Nanos(rng.u64(..));
        let now = update(&mut rng);
        let job =
            JobRecord { tube: &tube, created, ttr: rng.u32(..), now, body: b"", shared: None };
        let mut bytes = Vec::new();
        let len = format::encode_large_put(&job, body, &mut bytes);
        let entry = Entry::LargePut(job, body);
        assert_eq!(format::decode(&bytes), Ok(Next::Entry(entry, len)));
        let (byte, bit) = (rng.usize(..len), rng.u8(..8));
        bytes[byte] ^= 1 << bit;
        assert!(!matches!(format::decode(&bytes), Ok(Next::Entry(..) | Next::Nothing)));
    }
}

/// Its length is that of no body, or there is more behind it.
#[test]
fn a_large_put_that_means_nothing_is_damage() {
    let now = update(&mut fastrand::Rng::with_seed(3));
    let job = JobRecord { tube: "a", created: Nanos(1), ttr: 1, now, body: b"", shared: None };
    let body = StoredBody { len: MAX_JOB_SIZE + 1, crc: 1 };
    let mut bytes = Vec::new();
    format::encode_large_put(&job, body, &mut bytes);
    assert_eq!(format::decode(&bytes), Err(Damage::Meaning));
    let body = StoredBody { len: 5, crc: 1 };
    let mut sound = Vec::new();
    format::encode_large_put(&job, body, &mut sound);
    for payload in [[&sound[8..], b"x"].concat(), sound[8..sound.len() - 1].to_vec()] {
        let mut bytes = Vec::new();
        format::frame(&payload, &mut bytes);
        assert_eq!(format::decode(&bytes), Err(Damage::Meaning));
    }
}

#[test]
fn any_turned_bit_of_a_header_is_found() {
    let (number, next_id, previous_end) = (3, 77, 99);
    let header = Header { number, next_id, previous_end, left_out: 515, is_early: true };
    assert_eq!(Header::decode(&header.encode()), Ok(header));
    for bit in 0..HEADER_LEN * 8 {
        let mut bytes = header.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::decode(&bytes).is_err(), "bit {bit}");
    }
    assert_eq!(Header::decode(&header.encode()[..HEADER_LEN - 1]), Err(Damage::Short));
}

#[test]
fn another_version_is_named() {
    let mut bytes =
        Header { number: 3, next_id: 77, previous_end: 99, ..Header::default() }.encode();
    bytes[8] = VERSION as u8 + 1;
    // A turned bit is damage, not a version.
    assert_eq!(Header::decode(&bytes), Err(Damage::Checksum));
    let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
    bytes[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Header::decode(&bytes), Err(Damage::Version(VERSION + 1)));
}

#[test]
fn zeros_are_nothing() {
    assert_eq!(format::decode(&[0; 100]), Ok(Next::Nothing));
    assert_eq!(format::decode(&[0; 7]), Ok(Next::Need(8)));
}
