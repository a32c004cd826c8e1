//! The format of beanstalkd's files.

use beanstalk_protocol::TubeName;
use jq_engine::{DurableState, JobCounters, JobRecord, JobUpdate, Nanos};

use super::super::format::{self, Damage};
use super::super::jobs::Jobs;
use super::{GOLDEN, golden, padded, unhex};

/// Reads a file. Returns the jobs, and the offset of a record that was not completely written.
fn read(bytes: &[u8]) -> Result<(Jobs, Option<usize>), (usize, Damage)> {
    let mut jobs = Jobs::default();
    let torn = jobs.take_file(bytes)?;
    Ok((jobs, torn))
}

fn job<'a>(
    (id, tube, body): (u64, &'a str, &'a [u8]),
    (priority, delay, ttr): (u32, u32, u32),
    created: u64,
    state: DurableState,
    [reserves, timeouts, releases, buries, kicks]: [u32; 5],
) -> JobRecord<'a> {
    let counters =
        JobCounters { reserves, timeouts, releases, buries, kicks, ..JobCounters::default() };
    let now = JobUpdate { id, priority, delay, state, counters };
    JobRecord { tube, created: Nanos(created), ttr, now, body, shared: None }
}

/// The jobs according to beanstalkd before it was killed.
fn golden_jobs() -> [JobRecord<'static>; 4] {
    let delayed = |until| DurableState::Delayed(Nanos(until));
    let kicked = [0, 0, 0, 0, 1];
    [
        job(
            (1, "t", b"a\0c"),
            (5, 3600, 60),
            1_795_371_990_854_980_000,
            DurableState::Ready,
            kicked,
        ),
        job(
            (3, "default", b"x"),
            (u32::MAX, 0, 61),
            1_795_371_990_855_965_000,
            DurableState::Buried(1),
            [1, 0, 0, 1, 0],
        ),
        job(
            (4, "default", b"yz"),
            (10, 7200, 1),
            1_795_371_990_856_339_000,
            delayed(1_795_379_190_856_339_000),
            [0; 5],
        ),
        job(
            (5, "default", b"w"),
            (12, 86_400, 5),
            1_795_371_990_856_444_000,
            delayed(1_795_458_390_856_706_000),
            [1, 0, 1, 0, 0],
        ),
    ]
}

#[test]
fn what_beanstalkd_wrote_is_read() {
    for bytes in [golden(), padded(golden())] {
        let (jobs, torn) = read(&bytes).unwrap();
        let records: Vec<_> = jobs.records().collect();
        assert_eq!(records, golden_jobs());
        assert_eq!(torn, None);
        assert_eq!(jobs.next_id(), 6);
    }
}

#[test]
fn what_is_said_of_jobs_in_files_that_are_gone() {
    // These jobs are deleted too, but their ids have been used.
    for (record, next_id) in [(5, 3), (9, 6)] {
        let (jobs, _) = read(&unhex(&[GOLDEN[0], GOLDEN[record]].concat())).unwrap();
        assert_eq!((jobs.len(), jobs.next_id()), (0, next_id));
    }
}

#[test]
fn what_we_write_is_what_beanstalkd_wrote() {
    // The jobs of which beanstalkd wrote only the put, and the one that it deleted.
    let mut bytes = unhex(GOLDEN[0]);
    let [_, _, delayed, _] = golden_jobs();
    format::encode_job(&delayed, &mut bytes);
    let created = 1_795_371_990_855_678_000;
    let deleted = job((2, "t", b""), (7, 0, 60), created, DurableState::Ready, [0; 5]);
    format::encode_job(&deleted, &mut bytes);
    format::encode_deleted(&deleted, &mut bytes);
    let wanted = [GOLDEN[0], GOLDEN[7], GOLDEN[2], GOLDEN[5]].concat();
    assert_eq!(bytes, unhex(&wanted));
}

#[test]
fn what_we_write_is_read() {
    let mut bytes = unhex(GOLDEN[0]);
    golden_jobs().iter().for_each(|job| format::encode_job(job, &mut bytes));
    let (jobs, _) = read(&bytes).unwrap();
    let records: Vec<_> = jobs.records().collect();
    assert_eq!(records, golden_jobs());
}

#[test]
fn a_record_may_be_cut_off_anywhere_by_zeros() {
    /// Offset of the end of the creation time in a record without a name.
    const CREATED_END: usize = 52;
    let list = |bytes: &[u8]| {
        let (jobs, _) = read(bytes).unwrap();
        jobs.records().map(|job| format!("{job:?}")).collect::<Vec<_>>()
    };
    let mut begin = 4;
    for (at, record) in GOLDEN.iter().enumerate().skip(1) {
        let before = unhex(&GOLDEN[..at].concat());
        let after = [&before[..], &unhex(record)].concat();
        for cut in begin..after.len() {
            let jobs = list(&padded(after[..cut].to_vec()));
            if jobs == list(&before) || jobs == list(&after) {
                continue;
            }
            // An update cut off before its state: this cannot be told from a deletion.
            let of = list(&before);
            let is_deletion = jobs.len() + 1 == of.len() && jobs.iter().all(|job| of.contains(job));
            let is_like_deletion = record.starts_with("00000000") && cut >= begin + CREATED_END;
            assert!(is_deletion && is_like_deletion, "cut at {cut}: {jobs:?} of {of:?}");
        }
        begin = after.len();
    }
}

#[test]
fn a_record_contradicts_another() {
    // The first byte of the body's size and of the creation time of the job that is buried.
    for at in [begin_of(6) + 36, begin_of(6) + 44] {
        let mut bytes = padded(golden());
        bytes[at] ^= 1;
        let found = read(&bytes).map(|_| ());
        assert_eq!(found, Err((begin_of(6), Damage::Contradiction)), "byte {at}");
    }
    // A kicked job is buried, but half of the record was not written.
    let whole = unhex(&GOLDEN[..4].concat());
    let buried = GOLDEN[3].replace("01000000 01000000", "00000000 00000000");
    let torn = [&whole[..], &unhex(&buried)].concat();
    let (jobs, offset) = read(&padded(torn)).unwrap();
    assert_eq!((jobs.len(), offset), (2, Some(whole.len())));
}

/// Where a record begins.
fn begin_of(record: usize) -> usize {
    unhex(&GOLDEN[..record].concat()).len()
}

#[test]
fn a_file_that_ends_within_a_record_is_damaged() {
    let bytes = golden();
    let mut end = 4;
    for record in &GOLDEN[1..] {
        let len = unhex(record).len();
        for cut in end + 1..end + len {
            match read(&bytes[..cut]) {
                Err((offset, Damage::Short)) => assert_eq!(offset, end, "cut at {cut}"),
                // Only zeros are left of it.
                Ok(_) => assert!(bytes[end..cut].iter().all(|byte| *byte == 0), "cut at {cut}"),
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
        end += len;
    }
}

#[test]
fn damage_is_found_where_it_is() {
    // The second record begins at 94; the fields of its job begin at 99.
    let cases: [(usize, u8, usize, Damage); 10] = [
        (0, 8, 0, Damage::Version(8)),
        (94, 0xFF, 94, Damage::NameLength(0xFF)),
        (98, b' ', 94, Damage::Name(TubeName::new(b" ").unwrap_err())),
        (106, 0x80, 94, Damage::Value("id", i64::MIN + 2)),
        (122, 0x80, 94, Damage::Value("delay", i64::MIN)),
        (130, 0x80, 94, Damage::Value("time to run", i64::MIN + 60_000_000_000)),
        (134, 0x80, 94, Damage::Value("size of its body", i64::from(i32::MIN) + 2)),
        (175, 5, 94, Damage::Value("state", 5)),
        (175, 0, 94, Damage::Value("state", 0)),
        (179, b'x', 94, Damage::BodyEnd),
    ];
    for (at, byte, offset, damage) in cases {
        let mut bytes = padded(golden());
        bytes[at] = byte;
        assert_eq!(read(&bytes).map(|_| ()), Err((offset, damage)), "byte {at}");
    }
    let mut bytes = padded(golden());
    *bytes.last_mut().unwrap() = 1;
    assert_eq!(read(&bytes).map(|_| ()), Err((800, Damage::BehindEnd)));
}

#[test]
fn whatever_the_bytes_are_reading_ends() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5000 {
        let mut bytes = golden();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        if random.bool() {
            bytes = padded(bytes);
        }
        if let Ok((jobs, torn)) = read(&bytes) {
            assert!(torn.is_none_or(|offset| offset < bytes.len()));
            assert!(jobs.len() < GOLDEN.len());
        }
    }
}

#[test]
fn a_record_of_version_5() {
    let mut bytes = unhex("05000000 0100000000000000 74");
    let fields: [&[u8]; 13] = [
        &9_u64.to_le_bytes(),
        &7_u32.to_le_bytes(),
        &[0; 4],
        &2_000_000_u64.to_le_bytes(),
        &3_000_000_u64.to_le_bytes(),
        &3_u32.to_le_bytes(),
        &[0; 4],
        &1_000_001_u64.to_le_bytes(),
        &4_000_001_u64.to_le_bytes(),
        &unhex("01000000 02000000 03000000 04000000 05000000"),
        &[4],
        b"x",
        b"\r\n",
    ];
    bytes.extend(fields.concat());
    let delayed = DurableState::Delayed(Nanos(4_000_001_000));
    let wanted = job((9, "t", b"x"), (7, 2, 3), 1_000_001_000, delayed, [1, 2, 3, 4, 5]);
    for bytes in [bytes.clone(), padded(bytes)] {
        let (jobs, _) = read(&bytes).unwrap();
        assert_eq!(jobs.records().collect::<Vec<_>>(), [wanted]);
    }
}

#[test]
fn jobs_that_are_told_once_more_keep_their_turn() {
    let buried = |id, turn| {
        let state = DurableState::Buried(turn);
        job((id, "t", b""), (0, 0, 1), 1, state, [1, 0, 0, 1, 0])
    };
    let mut bytes = unhex(GOLDEN[0]);
    for (id, turn) in [(2, 1), (1, 2), (3, 3), (2, 1)] {
        format::encode_job(&buried(id, turn), &mut bytes);
    }
    let (jobs, _) = read(&bytes).unwrap();
    assert_eq!(jobs.records().collect::<Vec<_>>(), [buried(1, 2), buried(2, 1), buried(3, 3)]);
}
